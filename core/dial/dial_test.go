package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	v4 = netip.MustParseAddr("127.0.0.1")
	v6 = netip.MustParseAddr("::1")
)

// polled is a Conn on poll(2).
type polled struct {
	mu       sync.Mutex
	fd       int // -1: closed
	deadline time.Time
	cut      bool
	closed   chan struct{} // if set, closed by Close; Interrupt then takes its time and is not to see that
}

var errCut = errors.New("interrupted")

func (p *polled) FD() int                 { return p.fd }
func (p *polled) SetDeadline(t time.Time) { p.deadline = t }

func (p *polled) WaitWrite() error {
	for {
		p.mu.Lock()
		cut := p.cut
		p.mu.Unlock()
		switch {
		case cut:
			return errCut
		case !p.deadline.IsZero() && !time.Now().Before(p.deadline):
			return os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(fds, 5); n > 0 || err != nil && err != unix.EINTR {
			return err
		}
	}
}

func (p *polled) Interrupt() {
	p.mu.Lock()
	p.cut = true
	gone := p.fd < 0
	p.mu.Unlock()
	if p.closed != nil {
		select {
		case <-p.closed:
			gone = true
		case <-time.After(50 * time.Millisecond): // long enough for the dial to notice, were it not to wait
		}
	}
	if gone {
		panic("closed while being interrupted")
	}
}

func (p *polled) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fd := p.fd
	p.fd = -1
	if p.closed != nil {
		close(p.closed)
	}
	return unix.Close(fd)
}

// poller is a Waiter of polled Conns.
type poller struct {
	fail  error
	adopt func(*polled) // if set, sees each Conn
}

func (w poller) Adopt(fd int) (*polled, error) {
	if w.fail != nil {
		unix.Close(fd)
		return nil, w.fail
	}
	p := &polled{fd: fd}
	if w.adopt != nil {
		w.adopt(p)
	}
	return p, nil
}

// listen accepts on an address until the test ends and tells the peers' addresses.
func listen(t *testing.T, addr netip.Addr, port uint16) (netip.AddrPort, <-chan netip.Addr) {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
	if err != nil {
		t.Fatal(err)
	}
	peers := make(chan netip.Addr, 64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			peers <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort(), peers
}

// full is a listener whose queue is full, so that connecting to it hangs.
func full(t *testing.T, addr netip.Addr, port uint16) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.As4(), Port: int(port)}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	to := endpoint(sa)
	for {
		c, err := net.DialTimeout("tcp", to.String(), 50*time.Millisecond)
		if err != nil {
			return to
		}
		t.Cleanup(func() { c.Close() })
	}
}

// closed is a port on which nobody listens.
func closed(t *testing.T, addr netip.Addr) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// descriptors counts the process's open files.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// book answers names from a table.
func book(entries map[string]string) func(context.Context, string) ([]netip.Addr, error) {
	return func(_ context.Context, host string) (addrs []netip.Addr, err error) {
		list, ok := entries[host]
		if !ok {
			return nil, errors.New("no such host")
		}
		for _, a := range strings.Fields(list) {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		return addrs, nil
	}
}

func newDialer(t *testing.T, o Options) *Dialer {
	t.Helper()
	d := New(o)
	t.Cleanup(d.Close)
	return d
}

func seconds(t *testing.T, n int) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestDial(t *testing.T) {
	at, _ := listen(t, netip.MustParseAddr("127.0.0.2"), 0)
	at6, _ := listen(t, v6, at.Port())
	full(t, netip.MustParseAddr("127.0.0.4"), at.Port())
	names := book(map[string]string{
		"one": "127.0.0.2", "mapped": "::ffff:127.0.0.2", "second": "127.0.0.3 127.0.0.2", "both": "::1 127.0.0.2",
		"dead": "127.0.0.3", "none": "", "hangs": "127.0.0.4 127.0.0.2",
	})
	before := descriptors(t)
	for _, c := range []struct {
		hosts string
		want  netip.AddrPort
		host  int
	}{
		{"127.0.0.2", at, 0}, {"::ffff:127.0.0.2", at, 0}, {"::1", at6, 0}, {"one", at, 0}, {"mapped", at, 0}, {"second", at, 0}, {"both", at6, 0},
		{"dead one", at, 1}, {"none one", at, 1}, {"unknown one", at, 1}, {"127.0.0.3 ::1 one", at6, 1}, {"hangs", at, 0}, {"127.0.0.4 one", at, 1},
		{"dead none one", at, 2},
	} {
		d := newDialer(t, Options{Resolve: names})
		conn, peer, err := Dial(seconds(t, 6), d, poller{}, Target{Hosts: strings.Fields(c.hosts), Port: at.Port()})
		if err != nil || peer.Addr != c.want || peer.Host != c.host {
			t.Errorf("%s: got %v, %v; want %v, host %d", c.hosts, peer, err, c.want, c.host)
			continue
		}
		if !conn.deadline.IsZero() {
			t.Errorf("%s: a deadline is left: %v", c.hosts, conn.deadline)
		}
		conn.Close()
		waitFor(t, func() bool { return descriptors(t) <= before }) // the listener closes its ends by itself
	}
}

func TestDialFails(t *testing.T) {
	at := closed(t, v4)
	hangs := full(t, netip.MustParseAddr("127.0.0.4"), 0)
	names := book(map[string]string{"dead": "127.0.0.1 127.0.0.2", "none": "", "self": "127.0.0.9"})
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	own := func(a netip.AddrPort) bool { return a.Addr() == netip.MustParseAddr("127.0.0.9") }
	noFD := errors.New("no room")
	for _, c := range []struct {
		name  string
		ctx   context.Context
		w     poller
		to    Target
		want  Error // but for Err, Destination
		cause error
	}{
		{"refused", seconds(t, 5), poller{}, Target{Hosts: []string{"127.0.0.1"}, Port: at.Port()},
			Error{PhaseConnect, ScopeHost, true, "", at.String(), nil}, unix.ECONNREFUSED},
		{"all refused", seconds(t, 5), poller{}, Target{Hosts: []string{"dead"}, Port: at.Port()},
			Error{PhaseConnect, ScopeHost, true, "", fmt.Sprintf("127.0.0.2:%d", at.Port()), nil}, unix.ECONNREFUSED},
		{"not resolved", seconds(t, 5), poller{}, Target{Hosts: []string{"unknown"}, Port: at.Port()},
			Error{PhaseResolve, ScopeHost, true, "", "unknown", nil}, nil},
		{"no address", seconds(t, 5), poller{}, Target{Hosts: []string{"none"}, Port: at.Port()},
			Error{PhaseResolve, ScopeHost, true, "", "none", nil}, errNoAddress},
		{"no host", seconds(t, 5), poller{}, Target{}, Error{PhaseResolve, ScopeNone, true, "", "", nil}, errNoAddress},
		{"timeout", seconds(t, 1), poller{}, Target{Hosts: []string{"127.0.0.4"}, Port: hangs.Port()},
			Error{PhaseConnect, ScopeHost, true, "", hangs.String(), nil}, nil},
		{"caller gave up", canceled, poller{}, Target{Hosts: []string{"127.0.0.4"}, Port: hangs.Port()},
			Error{PhaseConnect, ScopeNone, false, "", hangs.String(), nil}, context.Canceled},
		{"own listener", seconds(t, 5), poller{}, Target{Hosts: []string{"self", "127.0.0.1"}, Port: at.Port()},
			Error{PhaseResolve, ScopeNone, false, "", "self", nil}, ErrOwnListener},
		{"own listener by address", seconds(t, 5), poller{}, Target{Hosts: []string{"127.0.0.9"}, Port: at.Port()},
			Error{PhaseResolve, ScopeNone, false, "", "127.0.0.9", nil}, ErrOwnListener},
		{"not adopted", seconds(t, 5), poller{fail: noFD}, Target{Hosts: []string{"127.0.0.1"}, Port: at.Port()},
			Error{PhaseConnect, ScopeNone, true, "", at.String(), nil}, noFD},
		{"one local, one not", seconds(t, 5), poller{}, Target{Hosts: []string{"127.0.0.1", "fe80::1%nowhere"}, Port: at.Port()},
			Error{PhaseConnect, ScopeHost, true, "", fmt.Sprintf("[fe80::1%%nowhere]:%d", at.Port()), nil}, unix.ECONNREFUSED},
		{"no source", seconds(t, 5), poller{},
			Target{Hosts: []string{"127.0.0.1"}, Port: at.Port(), Sources: NewSources([]netip.Addr{netip.MustParseAddr("192.0.2.1")})},
			Error{PhaseConnect, ScopeNone, true, "", at.String(), nil}, unix.EADDRNOTAVAIL},
	} {
		d := newDialer(t, Options{Resolve: names, Own: own})
		before := descriptors(t)
		c.to.Destination = "legacy"
		_, _, err := Dial(c.ctx, d, c.w, c.to)
		var got *Error
		if !errors.As(err, &got) {
			t.Errorf("%s: got %v, want an *Error", c.name, err)
			continue
		}
		c.want.Err, c.want.Destination = got.Err, "legacy"
		if *got != c.want {
			t.Errorf("%s: got  %+v\nwant %+v", c.name, *got, c.want)
		}
		if c.cause != nil && !errors.Is(err, c.cause) {
			t.Errorf("%s: got %v, want %v among the causes", c.name, err, c.cause)
		}
		if !strings.Contains(err.Error(), `destination "legacy": `) || !strings.Contains(err.Error(), c.want.Addr) {
			t.Errorf("%s: %q names not destination and address", c.name, err)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%s: %d descriptors became %d", c.name, before, after)
		}
	}
}

// A dial that waits ends with its caller, not with its deadline.
func TestCancelWhileConnecting(t *testing.T) {
	hangs := full(t, v4, 0)
	before := descriptors(t)
	ctx, cancel := context.WithCancelCause(seconds(t, 60))
	kicked := errors.New("kicked")
	w := poller{adopt: func(p *polled) { p.closed = make(chan struct{}); cancel(kicked) }}
	start := time.Now()
	_, _, err := Dial(ctx, newDialer(t, Options{}), w, Target{Hosts: []string{"127.0.0.1"}, Port: hangs.Port()})
	var e *Error
	if !errors.As(err, &e) || e.Scope != ScopeNone || e.Retryable || !errors.Is(err, kicked) {
		t.Errorf("got %+v, want a failure of no host, not retryable, caused by the kick", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors became %d", before, after)
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		left time.Duration
		n    int
		want time.Duration
	}{
		{10 * time.Second, 1, 10 * time.Second},
		{10 * time.Second, 2, 5 * time.Second},
		{10 * time.Second, 20, time.Second},
		{1500 * time.Millisecond, 2, time.Second},
		{500 * time.Millisecond, 2, 500 * time.Millisecond},
		{10 * time.Second, 0, 10 * time.Second},
	} {
		now := time.Now()
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(c.left))
		got := share(ctx, c.n).Sub(now)
		cancel()
		if got < c.want-100*time.Millisecond || got > c.want+100*time.Millisecond {
			t.Errorf("share of %v for %d: got %v, want %v", c.left, c.n, got, c.want)
		}
	}
	if got := share(context.Background(), 3); !got.IsZero() {
		t.Errorf("without deadline: got %v, want none", got)
	}
}

func TestSources(t *testing.T) {
	at, peers := listen(t, v4, 0)
	at6, peers6 := listen(t, v6, 0)
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	for _, c := range []struct {
		name    string
		to      netip.AddrPort
		peers   <-chan netip.Addr
		sources *Sources
		want    string
		busy    uint64
	}{
		{"none", at, peers, nil, "127.0.0.1 127.0.0.1", 0},
		{"in turn", at, peers, NewSources(addrs("127.0.0.5", "::ffff:127.0.0.6", "127.0.0.7")), "127.0.0.5 127.0.0.6 127.0.0.7 127.0.0.5", 0},
		{"only of the family", at, peers, NewSources(addrs("::1", "127.0.0.5")), "127.0.0.5 127.0.0.5", 0},
		{"IPv6", at6, peers6, NewSources(addrs("127.0.0.5", "::1")), "::1 ::1", 0},
		{"none of the family", at6, peers6, NewSources(addrs("127.0.0.5")), "::1", 0},
		{"not ours, the next one", at, peers, NewSources(addrs("192.0.2.1", "127.0.0.5")), "127.0.0.5 127.0.0.5", 1},
	} {
		d := newDialer(t, Options{})
		var got []string
		for range strings.Fields(c.want) {
			conn, _, err := Dial(seconds(t, 5), d, poller{}, Target{Hosts: []string{c.to.Addr().String()}, Port: c.to.Port(), Sources: c.sources})
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			got = append(got, (<-c.peers).String())
			conn.Close()
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.name, got, c.want)
		}
		if n := d.Stats().SourceUnavailable; n != c.busy {
			t.Errorf("%s: got %d sources unavailable, want %d", c.name, n, c.busy)
		}
	}
}

// IP_BIND_ADDRESS_NO_PORT on both families (ip(7), since Linux 4.2): bind(2) reserves no port, connect(2) chooses it.
func TestBindTakesNoPort(t *testing.T) {
	for _, from := range []netip.Addr{v4, v6} {
		family := unix.AF_INET
		if from.Is6() {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := bind(fd, from); err != nil {
			t.Errorf("%v: %v", from, err)
		}
		sa, err := syscall.Getsockname(fd)
		if got := endpoint(sa); err != nil || got != netip.AddrPortFrom(from, 0) {
			t.Errorf("%v: bound to %v, %v; want port 0", from, got, err)
		}
		unix.Close(fd)
	}
}

func TestSocketOptions(t *testing.T) {
	at, _ := listen(t, v4, 0)
	conn, _, err := Dial(seconds(t, 5), newDialer(t, Options{}), poller{}, Target{Hosts: []string{"127.0.0.1"}, Port: at.Port()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, c := range []struct {
		name             string
		level, opt, want int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 120},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 30},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 240_000},
	} {
		if got, err := unix.GetsockoptInt(conn.FD(), c.level, c.opt); got != c.want || err != nil {
			t.Errorf("%s: got %d, %v; want %d", c.name, got, err, c.want)
		}
	}
	flags, err := unix.FcntlInt(uintptr(conn.FD()), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("socket blocks: %#x, %v", flags, err)
	}
	if flags, err := unix.FcntlInt(uintptr(conn.FD()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("socket survives exec: %#x, %v", flags, err)
	}
}

// A socket that is connected to itself is nobody listening.
func TestConnectedToItself(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: v4.As4()}); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, sa); err != nil {
		t.Fatal(err)
	}
	if err := finish(&polled{fd: fd}); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v, want ECONNREFUSED", err)
	}
}

func TestManyDialsAtOnce(t *testing.T) {
	at, _ := listen(t, v4, 0)
	d := newDialer(t, Options{Resolve: book(map[string]string{"one": "127.0.0.3 127.0.0.1"})})
	sources := NewSources([]netip.Addr{v4, netip.MustParseAddr("127.0.0.5")})
	before := descriptors(t)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			conn, peer, err := Dial(seconds(t, 20), d, poller{}, Target{Hosts: []string{"one"}, Port: at.Port(), Sources: sources})
			if err != nil || peer.Addr != at {
				t.Errorf("got %v, %v; want %v", peer, err, at)
				return
			}
			conn.Close()
		})
	}
	wg.Wait()
	if got := d.Stats(); got.Lookups != 1 || got.Dials != 64 {
		t.Errorf("got %+v, want 1 look-up and 64 dials", got)
	}
	waitFor(t, func() bool { return descriptors(t) <= before }) // the listener closes its ends by itself
}

// waitFor fails the test if the condition does not come true.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not come true")
		}
	}
}

func TestPhaseNames(t *testing.T) {
	var got []string
	for p := range PhaseConnect + 2 {
		got = append(got, p.String())
	}
	if want := []string{"unknown", "resolve", "connect", "unknown"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
