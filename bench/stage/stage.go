package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/measure"
	"mailsplice/bench/mock"
	"mailsplice/bench/suite"
	"mailsplice/core/mailfake/port"
)

// MaxAccounts is how many accounts the mapping holds if nothing is said: numbers 0 to MaxAccounts-1.
const MaxAccounts = 20_000

// ErrCannot is returned by a proxy that has no way to do what it is asked for.
var ErrCannot = errors.New("this proxy cannot do it")

// sparefiles are descriptors that a process needs besides its sessions'.
const spareFiles = 500

// Options describe a stage.
type Options struct {
	Proxy       Starter
	Key         Key        // of the certificate that clients see
	ClientTLS   bool       // implicit TLS between clients and proxy, else plain
	BackendTLS  bool       // implicit TLS between proxy and backends, else plain
	Suite       suite.Kind // of clients and backends on legs with TLS; empty: suite.TLS13GCM
	Backends    int        // processes, a backend each; at least 1
	Clients     int        // processes with clients; at least 1
	Processes   int        // of the proxy, which share its port; at least 1
	Accounts    int        // in the mapping; 0: MaxAccounts
	Curve       string
	LogLevel    string // of the proxy, if it has one; empty: its default
	Destination func(account int) int
}

// Starter starts one kind of proxy.
type Starter interface {
	// Name is what tables call it.
	Name() string
	// Start starts it. It must be ready to take connections when Start returns. ErrCannot: not with this setting.
	Start(ctx context.Context, s *Setting) (Proxy, error)
}

// Different is a Starter whose proxy does not do the same work as the others.
type Different interface {
	// Difference says what it does less, and what more.
	Difference() string
}

// PlainBackend is a Starter whose proxy speaks no TLS towards backends, whatever Options.BackendTLS says.
type PlainBackend interface{ PlainBackend() }

// Single is an error if a proxy of several processes is asked for.
func (s *Setting) Single() error {
	if s.Processes > 1 {
		return fmt.Errorf("%w: -processes is for mailsplice only", ErrCannot)
	}
	return nil
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

	Front *Certificate // that the proxy shows to clients, with its key
	Back  *Certificate // that backends show; the proxy must trust no other
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
	o.Backends, o.Clients, o.Processes = max(o.Backends, 1), max(o.Clients, 1), max(o.Processes, 1)
	if o.Accounts == 0 {
		o.Accounts = MaxAccounts
	}
	if _, plain := o.Proxy.(PlainBackend); plain {
		o.BackendTLS = false
	}
	if o.Suite == "" {
		o.Suite = suite.TLS13GCM
	}
	if o.Suite != suite.TLS13GCM && !o.ClientTLS && !o.BackendTLS {
		return nil, fmt.Errorf("%w: no leg has TLS, so none has %v", ErrCannot, o.Suite)
	}
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
	if s.setting.Front, err = newCertificate(o.Key, ProxyName); err != nil {
		return s, err
	}
	if s.setting.Back, err = newCertificate(ECDSA, BackendHost); err != nil {
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
			o.CertPEM, o.KeyPEM, o.Suite = s.setting.Back.CertPEM, s.setting.Back.KeyPEM, s.setting.Suite.ECDSA()
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
	if s.setting.Listen, err = FreeAddr(); err != nil {
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
	t := load.Target{Addr: s.Proxy.Addr(), TLS: s.setting.ClientTLS, Curve: s.setting.Curve, Suite: s.setting.Suite.ECDSA()}
	if s.setting.Key == RSA {
		t.Suite = s.setting.Suite.RSA()
	}
	return t
}

// Usage is what the proxy has in use.
func (s *Stage) Usage() (measure.Usage, error) { return overAll(s.Proxy, measure.Processes) }

// overAll measures a proxy's processes. Some peers have helpers that come and go: when one ends between the list and the look at
// it, both are done again.
func overAll[T any](p Proxy, ask func(pids ...int) (T, error)) (t T, err error) {
	for range 5 {
		if t, err = ask(p.Pids()...); !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			break
		}
	}
	return t, err
}

// Handshakes is what backends have seen of them.
type Handshakes struct {
	All     int
	Resumed int // of All
	Agreed  int // of All: with the suite of the Options, and X25519
}

// Since is what came after before.
func (h Handshakes) Since(before Handshakes) Handshakes {
	return Handshakes{h.All - before.All, h.Resumed - before.Resumed, h.Agreed - before.Agreed}
}

// Handshakes is what the backends have seen of them so far.
func (s *Stage) Handshakes(ctx context.Context) (h Handshakes, err error) {
	for _, b := range s.Backends {
		c, err := b.Counts(ctx)
		if err != nil {
			return h, err
		}
		h.All, h.Resumed, h.Agreed = h.All+c.Handshakes, h.Resumed+c.Resumed, h.Agreed+c.Agreed
	}
	return h, nil
}

// CPU is what the proxy has used of it so far.
func (s *Stage) CPU() (time.Duration, error) { return overAll(s.Proxy, measure.CPU) }

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

// FreeAddr is a loopback address whose port nobody had a moment ago.
func FreeAddr() (string, error) {
	addr, err := port.Free(netip.MustParseAddr("127.0.0.1"))
	return addr.String(), err
}

// MaxSessions is how many sessions a proxy of one process can hold here: two descriptors each.
func MaxSessions() (int, error) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, err
	}
	return int(min(r.Max, 1<<30)-spareFiles) / 2, nil
}

// WaitReady tries to connect until somebody listens at addr. It gives up when ended is closed or ctx is over.
func WaitReady(ctx context.Context, addr string, ended <-chan struct{}) error {
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
