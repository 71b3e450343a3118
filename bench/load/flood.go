package load

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

var errCaptured = errors.New("ClientHello captured")

// capture is a connection that keeps what is written first, and fails.
type capture struct {
	net.Conn
	hello []byte
}

func (c *capture) Write(p []byte) (int, error) {
	c.hello = append(c.hello, p...)
	return 0, errCaptured
}

// clientHello is the first flight that crypto/tls would send.
func (t Target) clientHello() []byte {
	var c capture
	tls.Client(&c, t.config(nil)).Handshake() // fails by errCaptured
	return c.hello
}

// flood makes the server do handshakes as an attacker would: the same ClientHello again and again, a wait for the server's
// flight, which has cost it a key exchange and a signature, and the end. The flood itself costs next to nothing.
func (h *holder) flood(a FloodArgs) (Reply, error) {
	if !a.TLS {
		return Reply{}, errors.New("a flood of handshakes needs TLS")
	}
	hello, end := a.clientHello(), time.Now().Add(a.For)
	return workers(a.AtOnce, func(w int, r *Reply) {
		for i := w; time.Now().Before(end); i += a.AtOnce {
			if err := a.provoke(a.First+i, hello); err != nil {
				r.fail(err)
				continue
			}
			r.Done++
		}
	}), nil
}

// provoke ends when the server has sent what it has signed: TLS 1.3 has begun the encrypted part of its flight then, TLS 1.2
// has sent its key exchange.
func (t Target) provoke(i int, hello []byte) error {
	conn, err := t.dialTCP(i)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(ioTimeout))
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	return signed(conn)
}

// signed reads a server's flight up to its signature.
func signed(r io.Reader) error {
	const (
		headerBytes     = 5
		handshake       = 22 // RFC 8446 5.1, RFC 5246 6.2.1
		applicationData = 23
		maxRecords      = 8
	)
	header := make([]byte, headerBytes)
	var messages []byte // of TLS 1.2, or in TLS 1.3 a ServerHello
	for range maxRecords {
		if _, err := io.ReadFull(r, header); err != nil {
			return err
		}
		if header[0] == applicationData {
			return nil
		}
		body := make([]byte, int(header[3])<<8|int(header[4]))
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		if header[0] != handshake {
			continue
		}
		if messages = append(messages, body...); keyExchanged(messages) {
			return nil
		}
	}
	return errResponse
}

// keyExchanged says whether there is a whole ServerKeyExchange among the messages (RFC 5246 7.4), however records part them.
func keyExchanged(messages []byte) bool {
	const (
		headerBytes       = 4
		serverKeyExchange = 12
	)
	for len(messages) >= headerBytes {
		n := headerBytes + int(messages[1])<<16 + int(messages[2])<<8 + int(messages[3])
		if n > len(messages) {
			return false
		}
		if messages[0] == serverKeyExchange {
			return true
		}
		messages = messages[n:]
	}
	return false
}
