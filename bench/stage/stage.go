package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/measure"
	"mailsplice/bench/mock"
)

// MaxAccounts is how many accounts the mapping file holds: numbers 0 to MaxAccounts-1.
const MaxAccounts = 20_000

// sparefiles are descriptors that a process needs besides its sessions'.
const spareFiles = 500

// Options describe a stage.
type Options struct {
	Proxy       Starter
	Key         Key  // of the certificate that clients see
	ClientTLS   bool // implicit TLS between clients and proxy, else plain
	BackendTLS  bool // implicit TLS between proxy and backends, else plain
	Backends    int  // processes, a backend each; at least 1
	Clients     int  // processes with clients; at least 1
	Curve       string
	LogLevel    string // of the proxy, if it has one; empty: its default
	Destination func(account int) int
}

// Starter starts one kind of proxy.
type Starter interface {
	// Name is what tables call it.
	Name() string
	// Start starts it. It must be ready to take connections when Start returns.
	Start(ctx context.Context, s *Setting) (Proxy, error)
}

// Proxy is a running proxy under test.
type Proxy interface {
	// Addr is where it takes clients.
	Addr() string
	// Pids are its processes.
	Pids() []int
	// Goroutines is how many there are; false when the proxy does not tell.
	Goroutines(ctx context.Context) (int, bool)
	// Stop ends it. It returns when all its processes are gone.
	Stop()
}

// Setting is what a proxy is told.
type Setting struct {
	Options
	Dir      string   // for its files
	Backends []string // addresses, in order
	Listen   string   // where to take clients

	front, back *certificate
}

// BackendName is the name of a backend: "b0", "b1", ...
func BackendName(i int) string { return fmt.Sprintf("b%d", i) }

// Stage is everything that runs.
type Stage struct {
	Proxy    Proxy
	Clients  []*load.Clients
	Backends []*mock.Backends

	setting Setting
	dir     string
}

// Open sets a stage up. Whoever opens it closes it.
func Open(ctx context.Context, o Options) (s *Stage, err error) {
	o.Backends, o.Clients = max(o.Backends, 1), max(o.Clients, 1)
	if o.Destination == nil {
		o.Destination = func(account int) int { return account % o.Backends }
	}
	s = &Stage{setting: Setting{Options: o}}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "mailsplice-bench-"); err != nil {
		return s, err
	}
	s.setting.Dir = s.dir
	if s.setting.front, err = newCertificate(o.Key, proxyName); err != nil {
		return s, err
	}
	if s.setting.back, err = newCertificate(ECDSA, backendName); err != nil {
		return s, err
	}
	if err = s.startBackends(ctx); err != nil {
		return s, err
	}
	if err = s.startProxy(ctx); err != nil {
		return s, err
	}
	return s, s.startClients()
}

func (s *Stage) startBackends(ctx context.Context) error {
	for i := range s.setting.Options.Backends {
		o := mock.Options{Names: []string{BackendName(i)}}
		if s.setting.BackendTLS {
			o.CertPEM, o.KeyPEM = s.setting.back.CertPEM, s.setting.back.KeyPEM
		}
		b, err := mock.Start(ctx, o)
		if err != nil {
			return err
		}
		s.Backends = append(s.Backends, b)
		s.setting.Backends = append(s.setting.Backends, b.Addrs...)
	}
	return nil
}

func (s *Stage) startProxy(ctx context.Context) (err error) {
	if s.setting.Listen, err = freeAddr(); err != nil {
		return err
	}
	if s.Proxy, err = s.setting.Proxy.Start(ctx, &s.setting); err != nil {
		s.Proxy = nil
		return fmt.Errorf("starting %s: %w", s.setting.Proxy.Name(), err)
	}
	return nil
}

func (s *Stage) startClients() error {
	for range s.setting.Options.Clients {
		c, err := load.Start()
		if err != nil {
			return err
		}
		s.Clients = append(s.Clients, c)
	}
	return nil
}

// Close ends every process and removes every file.
func (s *Stage) Close() {
	for _, c := range s.Clients {
		c.Stop()
	}
	if s.Proxy != nil {
		s.Proxy.Stop()
	}
	for _, b := range s.Backends {
		b.Stop()
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// Target is the proxy as clients see it.
func (s *Stage) Target() load.Target {
	return load.Target{Addr: s.Proxy.Addr(), TLS: s.setting.ClientTLS, Curve: s.setting.Curve}
}

// Usage is what the proxy has in use.
func (s *Stage) Usage() (measure.Usage, error) { return measure.Processes(s.Proxy.Pids()...) }

// CPU is what the proxy has used of it so far.
func (s *Stage) CPU() (time.Duration, error) { return measure.CPU(s.Proxy.Pids()...) }

// Joined is how many sessions the backends have.
func (s *Stage) Joined(ctx context.Context) (n int, err error) {
	for _, b := range s.Backends {
		c, err := b.Counts(ctx)
		if err != nil {
			return 0, err
		}
		n += c.Joined
	}
	return n, nil
}

// freeAddr is a loopback address whose port nobody had a moment ago.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// MaxSessions is how many sessions a proxy of one process can hold here: two descriptors each.
func MaxSessions() (int, error) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, err
	}
	return int(min(r.Max, 1<<30)-spareFiles) / 2, nil
}

// waitReady tries to connect until somebody listens at addr. It gives up when ended is closed or ctx is over.
func waitReady(ctx context.Context, addr string, ended <-chan struct{}) error {
	const pause = 20 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ended:
			return errors.New("it has ended")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
