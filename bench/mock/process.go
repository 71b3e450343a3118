package mock

import (
	"context"
	"crypto/tls"
	"errors"
	"io"

	"github.com/cloudwego/netpoll"

	"mailsplice/bench/child"
	"mailsplice/bench/suite"
)

// Role is what a process with backends is started as.
const Role = "mock"

// Options describe the backends of a process.
type Options struct {
	Names           []string    // one backend each
	CertPEM, KeyPEM []byte      // empty: no TLS
	Suite           suite.Suite // the only version and cipher suite to accept; zero: crypto/tls decides
}

// Counts is what all backends of a process have seen, or one of them.
type Counts struct {
	Joined     int // sessions that have logged in and are still there
	Logins     int
	Handshakes int // of TLS, completed
	Resumed    int // of Handshakes
	Agreed     int // of Handshakes: with the Suite of the Options, and X25519
}

// Main is the process: it serves calls on r and w until r ends. Close-time errors do not matter to anyone.
func Main(r io.Reader, w io.Writer) error {
	if err := netpoll.Configure(netpoll.Config{LoggerOutput: io.Discard}); err != nil {
		return err
	}
	var servers []*Server
	return child.Serve(r, w, map[string]child.Handler{
		"serve": child.Handle(func(o Options) (addrs []string, err error) {
			if servers != nil {
				return nil, errors.New("serves already")
			}
			servers, err = serveAll(o)
			for _, s := range servers {
				addrs = append(addrs, s.Addr())
			}
			return addrs, err
		}),
		"counts": child.Handle(func(child.None) (c Counts, err error) {
			for _, s := range servers {
				c.add(s.Counts())
			}
			return c, nil
		}),
		"push": child.Handle(func(line string) (n int, err error) {
			for _, s := range servers {
				m, err := s.Push(line)
				if n += m; err != nil {
					return n, err
				}
			}
			return n, nil
		}),
	})
}

func (c *Counts) add(o Counts) {
	c.Joined, c.Logins = c.Joined+o.Joined, c.Logins+o.Logins
	c.Handshakes, c.Resumed, c.Agreed = c.Handshakes+o.Handshakes, c.Resumed+o.Resumed, c.Agreed+o.Agreed
}

func serveAll(o Options) (servers []*Server, err error) {
	var config *tls.Config
	if len(o.CertPEM) > 0 {
		cert, err := tls.X509KeyPair(o.CertPEM, o.KeyPEM)
		if err != nil {
			return nil, err
		}
		// Full records from the first byte on: the cost of small ones is not what is measured.
		config = &tls.Config{Certificates: []tls.Certificate{cert}, DynamicRecordSizingDisabled: true}
		o.Suite.Restrict(config)
	}
	for _, name := range o.Names {
		s, err := Serve(name, config, o.Suite)
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// Backends is a process with backends as its parent sees it.
type Backends struct {
	*child.Process
	Addrs []string // of each name, in order
}

// Start starts a process that serves o. Stop ends it.
func Start(ctx context.Context, o Options) (*Backends, error) {
	p, err := child.Start(Role)
	if err != nil {
		return nil, err
	}
	b := &Backends{Process: p}
	if err := p.Call(ctx, "serve", o, &b.Addrs); err != nil {
		p.Stop()
		return nil, err
	}
	return b, nil
}

// Counts asks what the backends have seen.
func (b *Backends) Counts(ctx context.Context) (c Counts, err error) {
	err = b.Call(ctx, "counts", child.None{}, &c)
	return c, err
}

// Push writes a line to every session that has logged in, and returns to how many.
func (b *Backends) Push(ctx context.Context, line string) (n int, err error) {
	err = b.Call(ctx, "push", line, &n)
	return n, err
}
