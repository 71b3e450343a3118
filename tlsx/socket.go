package tlsx

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is a connected stream socket in the hands of one goroutine. The owner closes it; nothing in this package does.
type Socket interface {
	// Read reads at least one byte, waiting as needed. The end of input is 0 and nil.
	Read(p []byte) (int, error)
	// Write writes all of p, waiting as needed.
	Write(p []byte) (int, error)
	// SetDeadline bounds the waits that start afterwards; they fail with os.ErrDeadlineExceeded. Zero lifts the bound.
	SetDeadline(t time.Time)
	// FD is the descriptor, for looking without taking.
	FD() int
}

// ErrPipelined: bytes arrived in the clear that belong behind the handshake. Whoever sent them, the session ends.
var ErrPipelined = errors.New("unexpected bytes before the handshake")

// CheckQuiet is the STARTTLS rule: before the go-ahead is written to a client, and after a backend's is read, nothing may
// be left over, neither unconsumed bytes in our hands nor anything in the socket fd (SECURITY 1 and 6). It never waits.
func CheckQuiet(fd int, unconsumed []byte) error {
	if len(unconsumed) > 0 {
		return ErrPipelined
	}
	n, err := peek(fd, make([]byte, 1))
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return fmt.Errorf("looking into socket: %w", err)
	case n == 0:
		return fmt.Errorf("looking into socket: %w", io.ErrUnexpectedEOF)
	}
	return ErrPipelined
}

// Arrival is how much of a client's first record has come.
type Arrival uint8

// The arrivals.
const (
	Partial Arrival = iota // wait for more
	Whole                  // a handshake can start without waiting for its first record
	Alien                  // not TLS: close, there is nobody to understand an alert
	Ended                  // end of input
)

// FirstRecord looks whether the first record of a handshake is complete in the socket, without taking a byte. A client
// that stops before costs no goroutine (DESIGN 3.1).
func FirstRecord(fd int) (Arrival, error) {
	var header [headerBytes]byte
	n, err := peek(fd, header[:])
	switch {
	case errors.Is(err, unix.EAGAIN):
		return Partial, nil
	case err != nil:
		return Ended, fmt.Errorf("looking into socket: %w", err)
	case n == 0:
		return Ended, nil
	case !plausible(header[:n]):
		return Alien, nil
	case n < headerBytes:
		return Partial, nil
	}
	waiting, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return Ended, fmt.Errorf("looking into socket: %w", err)
	}
	if waiting < headerBytes+bodyBytes(header[:]) {
		return Partial, nil
	}
	return Whole, nil
}

// plausible reports whether header, which may be cut short, begins a record with a ClientHello: a handshake record of
// version 3.x, not empty and not longer than plaintext may be (RFC 8446 5.1).
func plausible(header []byte) bool {
	if header[0] != recordHandshake || len(header) > 1 && header[1] != 3 {
		return false
	}
	return len(header) < headerBytes || bodyBytes(header) > 0 && bodyBytes(header) <= maxPlaintext
}

// peek looks at what the socket holds; the answer is unix.EAGAIN when that is nothing.
func peek(fd int, p []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return n, err
		}
	}
}
