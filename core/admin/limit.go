package admin

import (
	"net"
	"sync"
	"sync/atomic"
)

// limit bounds the connections accepted from ln and not closed yet. The newest above the bound is closed at once: waiting
// in the backlog would let silent connections keep the operator out without a sign of why.
func limit(ln net.Listener, most int64) net.Listener { return &limited{Listener: ln, most: most} }

type limited struct {
	net.Listener
	most int64
	open atomic.Int64
}

// Accept is called by one goroutine; connections close in any.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Load() >= l.most {
			c.Close()
			continue
		}
		l.open.Add(1)
		return &counted{Conn: c, release: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
	}
}

type counted struct {
	net.Conn
	release func()
}

// Close may be called more than once, as net/http does.
func (c *counted) Close() error {
	defer c.release()
	return c.Conn.Close()
}
