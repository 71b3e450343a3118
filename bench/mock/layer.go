package mock

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/cloudwego/netpoll"
)

// handshakeTimeout bounds a blocking read of the handshake, and writeTimeout a blocked write.
const (
	handshakeTimeout = 15 * time.Second
	writeTimeout     = time.Minute
)

// transport is a netpoll connection below crypto/tls.
type transport struct {
	netpoll.Connection
	established bool // reads do not block any more
}

// Read blocks only during the handshake.
func (t *transport) Read(p []byte) (int, error) {
	if t.established && t.Reader().Len() == 0 {
		return 0, errNothing
	}
	return t.Connection.Read(p)
}

// errNothing: crypto/tls keeps what it has of a record and returns a net.Error that is Temporary as it is.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing to read yet" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// layer is how a session reads and writes.
type layer interface {
	// read returns what there is without waiting; errNothing when there is nothing.
	read(p []byte) (int, error)
	write(p []byte) error
}

// plain is a layer without TLS.
type plain struct{ netpoll.Connection }

func (l plain) read(p []byte) (int, error) {
	if l.Reader().Len() == 0 {
		return 0, errNothing
	}
	return l.Connection.Read(p)
}

func (l plain) write(p []byte) error {
	_, err := l.Write(p)
	return err
}

// encrypted is a layer with TLS, its handshake done.
type encrypted struct{ *tls.Conn }

func (l encrypted) read(p []byte) (int, error) { return l.Read(p) }

func (l encrypted) write(p []byte) error {
	_, err := l.Write(p)
	return err
}

// handshake is the server's side of TLS on c, and what came of it. It blocks.
func handshake(c netpoll.Connection, config *tls.Config) (l layer, state tls.ConnectionState, err error) {
	t := &transport{Connection: c}
	secure := tls.Server(t, config)
	if err := secure.Handshake(); err != nil {
		return nil, state, err
	}
	t.established = true
	return encrypted{secure}, secure.ConnectionState(), nil
}
