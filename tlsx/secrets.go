package tlsx

import (
	"bytes"
	"encoding/hex"
)

// Sizes of what a key log line carries, in bytes.
const (
	randomBytes    = 32
	maxSecretBytes = 48 // TLS 1.2 master secret, and traffic secrets of suites with SHA-384
)

// secret is one secret of a handshake; n is 0 until it is known.
type secret struct {
	b [maxSecretBytes]byte
	n uint8
}

func (s *secret) bytes() []byte { return s.b[:s.n] }

// secrets is the key log of one handshake: it keeps in memory what the takeover needs, and only that. A writer per
// handshake, never a table: randoms are the peer's choice, and two peers may choose the same (SECURITY 24).
type secrets struct {
	clientRandom   [randomBytes]byte
	client, server secret // TLS 1.3 application traffic
	master         secret // TLS 1.2
}

// Write takes one line of the key log: label, client random, secret. The line is wiped, although an io.Writer should not:
// crypto/tls makes it for this call and drops it.
func (s *secrets) Write(line []byte) (int, error) {
	label, rest, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	random, value, _ := bytes.Cut(rest, []byte(" "))
	switch string(label) {
	case "CLIENT_TRAFFIC_SECRET_0":
		s.keep(&s.client, random, value)
	case "SERVER_TRAFFIC_SECRET_0":
		s.keep(&s.server, random, value)
	case "CLIENT_RANDOM":
		s.keep(&s.master, random, value)
	}
	n := len(line)
	clear(line)
	return n, nil
}

// keep decodes a line. One that does not fit is left out, and the takeover finds nothing.
func (s *secrets) keep(to *secret, random, value []byte) {
	if hex.DecodedLen(len(random)) != randomBytes || hex.DecodedLen(len(value)) > maxSecretBytes {
		return
	}
	if _, err := hex.Decode(s.clientRandom[:], random); err != nil {
		return
	}
	if n, err := hex.Decode(to.b[:], value); err == nil {
		to.n = uint8(n)
	}
}

func (s *secrets) wipe() { *s = secrets{} }
