package mock

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cloudwego/netpoll"

	"mailsplice/bench/suite"
)

// Server is one backend: a listener, and the sessions on it.
type Server struct {
	name   string
	config *tls.Config // nil: plain
	suite  suite.Suite // to count
	addr   string
	loop   netpoll.EventLoop
	done   chan struct{}

	mu       sync.Mutex
	sessions map[netpoll.Connection]*session
	seen     Counts // but for Joined
}

// Serve starts a backend on a loopback address with a free port; with config it speaks TLS from the first byte.
// Handshakes that come to the suite are counted; what others do is up to config.
func Serve(name string, config *tls.Config, want suite.Suite) (*Server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{name: name, config: config, suite: want, addr: ln.Addr().String(), done: make(chan struct{}),
		sessions: map[netpoll.Connection]*session{}}
	if s.loop, err = netpoll.NewEventLoop(s.request, netpoll.WithOnConnect(s.connect), netpoll.WithWriteTimeout(writeTimeout)); err != nil {
		ln.Close()
		return nil, err
	}
	go s.run(ln) // ends with Close
	return s, nil
}

func (s *Server) run(ln net.Listener) {
	defer close(s.done)
	s.loop.Serve(ln)
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.addr }

// Close ends the listener and, as far as ctx allows, the sessions. It asks more than once: netpoll forgets a Shutdown that
// comes before its Serve has begun.
func (s *Server) Close(ctx context.Context) error {
	const pause = 5 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		err := s.loop.Shutdown(ctx)
		select {
		case <-s.done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Counts is what it has seen.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.seen
	c.Joined = len(s.sessions)
	return c
}

// Push writes a line to every session that has logged in, and returns to how many.
func (s *Server) Push(line string) (int, error) {
	s.mu.Lock()
	all := make([]*session, 0, len(s.sessions))
	for _, one := range s.sessions {
		all = append(all, one)
	}
	s.mu.Unlock()
	for i, one := range all {
		if err := one.send([]byte(line + "\r\n")); err != nil {
			return i, fmt.Errorf("pushing to session %d of %d: %w", i, len(all), err)
		}
	}
	return len(all), nil
}

type contextKey struct{}

// connect runs before the first request of a connection. A plain one is greeted at once.
func (s *Server) connect(ctx context.Context, c netpoll.Connection) context.Context {
	one := &session{name: s.name}
	one.admit = func() { s.admit(c, one) }
	if s.config == nil {
		one.layer = plain{c}
		if one.greet() != nil {
			c.Close()
		}
	}
	return context.WithValue(ctx, contextKey{}, one)
}

// request runs whenever a connection has something to read, one call at a time.
func (s *Server) request(ctx context.Context, c netpoll.Connection) error {
	one, ok := ctx.Value(contextKey{}).(*session)
	if !ok {
		return c.Close()
	}
	if err := s.serve(one, c); err != nil {
		c.Close()
	}
	return nil
}

func (s *Server) serve(one *session, c netpoll.Connection) error {
	if one.layer == nil {
		if err := s.begin(one, c); err != nil {
			return err
		}
	}
	err := one.work()
	if errors.Is(err, errLogout) {
		if secure, ok := one.layer.(encrypted); ok {
			secure.CloseWrite()
		}
	}
	return err
}

// begin is the handshake and the greeting of a connection with TLS.
func (s *Server) begin(one *session, c netpoll.Connection) error {
	if err := c.SetReadTimeout(handshakeTimeout); err != nil {
		return err
	}
	layer, state, err := handshake(c, s.config)
	if err != nil {
		return err
	}
	one.layer = layer
	s.mu.Lock()
	s.seen.Handshakes++
	if state.DidResume {
		s.seen.Resumed++
	}
	if s.suite.Agreed(state) {
		s.seen.Agreed++
	}
	s.mu.Unlock()
	return one.greet()
}

// admit files a session that has logged in, until its connection closes.
func (s *Server) admit(c netpoll.Connection, one *session) {
	s.mu.Lock()
	s.sessions[c] = one
	s.seen.Logins++
	s.mu.Unlock()
	c.AddCloseCallback(func(c netpoll.Connection) error {
		s.mu.Lock()
		delete(s.sessions, c)
		s.mu.Unlock()
		return nil
	})
}
