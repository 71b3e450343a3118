package engine

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// greeter accepts like an owner: it greets, closes and settles at once, or keeps what it got until release.
type greeter struct {
	keep     bool
	mu       sync.Mutex
	held     []held
	accepted atomic.Int64
	refused  atomic.Int64
}

type held struct {
	l *Loop
	c Accepted
}

var greeting = []byte("* OK ready\r\n")

func (g *greeter) Accept(l *Loop, c Accepted) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = append(g.held, held{l, c})
	Send(c.FD, greeting)
	if !g.keep {
		g.drop(len(g.held) - 1)
	}
	g.accepted.Add(1)
}

func (g *greeter) drop(i int) {
	h := g.held[i]
	g.held = append(g.held[:i], g.held[i+1:]...)
	h.l.Close(h.c.FD)
	h.l.Settle()
	h.l.Leave()
}

// release ends one connection, or all when n is -1.
func (g *greeter) release(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ; len(g.held) > 0 && n != 0; n-- {
		g.drop(0)
	}
}

func (g *greeter) options() ListenOptions {
	return ListenOptions{Addr: loopback, Accept: g.Accept, TurnAway: func() []byte { return []byte("* BYE full\r\n") },
		Refused: func() { g.refused.Add(1) }}
}

// serve makes an engine listen for g, which gives everything back at the end.
func (r *rig) serve(g *greeter) *Listener {
	r.t.Helper()
	ln, err := r.Listen(g.options())
	check(r.t, err)
	r.t.Cleanup(func() { g.release(-1) })
	return ln
}

// everywhere waits until every loop has handled what was posted to it.
func (r *rig) everywhere() {
	r.t.Helper()
	for _, l := range r.Loops() {
		on(r.t, l, func() {})
	}
}

// A loop takes 16 newcomers at a time, so that a flood of them does not stall sessions; none is lost.
func TestAcceptTakesSixteenPerWakeUp(t *testing.T) {
	r := newRig(t, Options{Loops: 1})
	g := &greeter{}
	var turns = map[int64]int{} // newcomers by turn of the loop, which its clock names
	o := g.options()
	o.Accept = func(l *Loop, c Accepted) { turns[l.Now()]++; g.Accept(l, c) }
	ln := must(r.Listen(o))
	const clients = 100
	for range clients {
		defer unix.Close(dial(t, ln.Addr()))
	}
	r.Start()
	eventually(t, "all are accepted", func() bool { return g.accepted.Load() == clients })
	on(t, r.Loops()[0], func() {
		full := 0
		for _, n := range turns {
			if n > acceptBatch {
				t.Errorf("%d newcomers in one turn, want at most %d", n, acceptBatch)
			}
			if n == acceptBatch {
				full++
			}
		}
		if full != clients/acceptBatch {
			t.Errorf("%d full batches, want %d", full, clients/acceptBatch)
		}
	})
}

// Newcomers are spread evenly, each is told to the loop it is placed on, and its goroutine is that loop's.
func TestAcceptPlacesOnTheEmptiestLoop(t *testing.T) {
	const loops, clients = 3, 60
	r := newRig(t, Options{Loops: loops})
	g := &greeter{keep: true}
	o := g.options()
	var inside [loops]int // the race detector says whether each belongs to one goroutine
	o.Accept = func(l *Loop, c Accepted) { inside[l.ID()]++; g.Accept(l, c) }
	ln := must(r.Listen(o))
	t.Cleanup(func() { g.release(-1) })
	r.Start()
	for range clients {
		defer unix.Close(dial(t, ln.Addr()))
	}
	eventually(t, "all are accepted", func() bool { return g.accepted.Load() == clients })
	for _, l := range r.Loops() {
		if got := l.Load(); got < clients/loops-loops || got > clients/loops+loops {
			t.Errorf("loop %d has %d of %d sessions", l.ID(), got, clients)
		}
		if got := ask(t, l, func() int { return inside[l.ID()] }); got != l.Load() {
			t.Errorf("loop %d was told of %d sessions, want %d", l.ID(), got, l.Load())
		}
	}
	if got := r.OpenFDs(); got != clients {
		t.Errorf("%d sockets are accounted open, want %d", got, clients)
	}
	if got := r.Pending(); got != clients {
		t.Errorf("%d backend sockets are pending, want %d", got, clients)
	}
	r.Loops()[0].Move()
	r.Loops()[0].Leave()
	g.release(-1)
	for _, l := range r.Loops() {
		if got := l.Load(); got != 0 {
			t.Errorf("loop %d is left with load %d", l.ID(), got)
		}
	}
}

// One level-triggered socket in several loops loses no connection, however many come at once.
func TestAcceptLosesNobody(t *testing.T) {
	r := startRig(t, 4)
	g := &greeter{}
	ln := r.serve(g)
	const callers, each = 10, 100
	var wg sync.WaitGroup
	for range callers {
		wg.Add(1)
		go func() { // ends after its calls
			defer wg.Done()
			for range each {
				if err := greeted(ln.Addr()); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	r.everywhere()
	if got := g.accepted.Load(); got != callers*each {
		t.Errorf("%d accepted, want %d", got, callers*each)
	}
}

// greeted connects and wants the greeting and an end.
func greeted(to netip.AddrPort) error {
	fd, err := connect(to)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	tv := unix.NsecToTimeval(int64(patience))
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if got, err := readAll(fd); err != nil || !bytes.Equal(got, greeting) {
		return fmt.Errorf("client got %q, %v; want the greeting", got, err)
	}
	return nil
}

// A loop that stands still does not keep newcomers waiting.
func TestAcceptGoesOnBesideAPausedLoop(t *testing.T) {
	r := startRig(t, 2)
	g := &greeter{}
	ln := r.serve(g)
	r.everywhere()
	busy := r.Loops()[0]
	for range 50 {
		busy.Move() // so that newcomers are placed on the other
	}
	resume, _ := busy.Pause()
	for range 50 {
		if err := greeted(ln.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	resume()
	for range 50 {
		busy.Leave()
	}
	on(t, busy, func() {})
}

// Close takes the connections that the kernel had queued, closes the socket after the last loop has left, and then the
// port is free. Many rounds, since the loops race for being the last.
func TestListenerCloseTakesTheQueue(t *testing.T) {
	const loops, clients = 2, 3 * acceptBatch // more than the loops take before they hear of the end
	r := startRig(t, loops)
	for round := range 50 {
		g := &greeter{}
		ln := must(r.Listen(g.options()))
		r.everywhere()
		var resumes [loops]func()
		for i, l := range r.Loops() {
			resumes[i], _ = l.Pause()
		}
		var fds [clients]int
		for i := range fds {
			fds[i] = dial(t, ln.Addr())
		}
		ln.Close()
		ln.Close()
		fd := ln.FD()
		if !isOpen(fd) {
			t.Fatal("the socket is closed while loops watch it")
		}
		for _, resume := range resumes {
			resume()
		}
		receive(t, "the listener's end", ln.Done())
		for i, c := range fds {
			if got, err := readAll(c); err != nil || !bytes.Equal(got, greeting) {
				t.Fatalf("round %d: queued client %d got %q, %v; want the greeting", round, i, got, err)
			}
			unix.Close(c)
		}
		if c, err := connect(ln.Addr()); err != unix.ECONNREFUSED {
			unix.Close(c)
			t.Errorf("connecting after the end: %v, want %v", err, unix.ECONNREFUSED)
		}
		for _, l := range r.Loops() {
			if n := ask(t, l, func() int { return len(l.accept.listeners) }); n != 0 {
				t.Errorf("loop %d still watches %d listeners", l.ID(), n)
			}
		}
		again, err := r.Listen(ListenOptions{Addr: ln.Addr(), Accept: g.Accept})
		check(t, err)
		again.Close()
		receive(t, "the second listener's end", again.Done())
	}
}

// The last loop leaves while its handler panics on a queued newcomer: the socket is closed all the same.
func TestListenerCloseSurvivesAPanic(t *testing.T) {
	r := startRig(t, 1)
	l := r.Loops()[0]
	o := ListenOptions{Addr: loopback, Accept: func(l *Loop, c Accepted) {
		l.Close(c.FD)
		l.Settle()
		l.Leave()
		panic("boom")
	}}
	ln := must(r.Listen(o))
	on(t, l, func() {})
	resume, _ := l.Pause()
	ln.Close()
	defer unix.Close(dial(t, ln.Addr()))
	resume()
	receive(t, "the listener's end", ln.Done())
	on(t, l, func() {})
	r.bugs.want(t, 1)
}

// A panic for one newcomer does not end the listener.
func TestAcceptSurvivesAPanic(t *testing.T) {
	r := startRig(t, 1)
	g := &greeter{}
	o := g.options()
	first := true
	o.Accept = func(l *Loop, c Accepted) {
		g.Accept(l, c)
		if first {
			first = false
			panic("boom")
		}
	}
	ln := must(r.Listen(o))
	for range 3 {
		if err := greeted(ln.Addr()); err != nil {
			t.Error(err)
		}
	}
	r.bugs.want(t, 1)
}

func TestListenerOfAnotherProcess(t *testing.T) {
	r := startRig(t, 2)
	fd := must(listen(ListenOptions{Addr: loopback}))
	addr := addrPort(must(syscall.Getsockname(fd)))
	must(unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0))
	check(t, unix.SetNonblock(fd, false))
	client := dial(t, addr) // queued before
	defer unix.Close(client)
	g := &greeter{}
	o := g.options()
	o.Addr, o.FD = addr, fd
	ln := must(r.Listen(o))
	if ln.FD() != fd || ln.Addr() != addr {
		t.Errorf("listening with %d on %v, want %d on %v", ln.FD(), ln.Addr(), fd, addr)
	}
	if got, err := readAll(client); err != nil || !bytes.Equal(got, greeting) {
		t.Errorf("the queued client got %q, %v; want the greeting", got, err)
	}
	if flags := must(unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)); flags&unix.FD_CLOEXEC == 0 {
		t.Error("the descriptor is not closed on exec")
	}
	if flags := must(unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)); flags&unix.O_NONBLOCK == 0 {
		t.Error("the descriptor blocks")
	}
}

func TestListenerOfAnotherProcessIsChecked(t *testing.T) {
	r := startRig(t, 1)
	ln := must(listen(ListenOptions{Addr: loopback}))
	addr := addrPort(must(syscall.Getsockname(ln)))
	plain := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	file := must(unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0))
	defer closeAll(ln, plain, file)
	for _, c := range []struct {
		name string
		fd   int
		addr netip.AddrPort
		want string
	}{
		{"does not listen", plain, addr, "not a listening socket"},
		{"no socket", file, addr, "not a listening socket"},
		{"another port", ln, netip.AddrPortFrom(addr.Addr(), addr.Port()^1), "it listens on " + addr.String()},
		{"another address", ln, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), addr.Port()), "it listens on"},
		{"another family", ln, netip.AddrPortFrom(netip.IPv6Loopback(), addr.Port()), "it listens on"},
	} {
		_, err := r.Listen(ListenOptions{Addr: c.addr, FD: c.fd})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.addr.String()) {
			t.Errorf("%s: got %v, want an error about %v with %q", c.name, err, c.addr, c.want)
		}
		if !isOpen(c.fd) {
			t.Errorf("%s: the descriptor, which stays the caller's, was closed", c.name)
		}
	}
}

func TestListenErrors(t *testing.T) {
	r := startRig(t, 1)
	taken := must(listen(ListenOptions{Addr: loopback}))
	defer unix.Close(taken)
	for _, c := range []struct {
		name string
		addr netip.AddrPort
		want error
	}{
		{"taken", addrPort(must(syscall.Getsockname(taken))), unix.EADDRINUSE},
		{"not ours", netip.MustParseAddrPort("[2001:db8::1]:0"), unix.EADDRNOTAVAIL},
	} {
		_, err := r.Listen(ListenOptions{Addr: c.addr})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.addr.String()) {
			t.Errorf("%s: got %v, want %v naming %v", c.name, err, c.want, c.addr)
		}
	}
}

// SPEC 2.3: clients of IPv4 are told as IPv4 also by a socket of IPv6.
func TestAcceptTellsAddresses(t *testing.T) {
	for _, c := range []struct {
		name, listen, client string
	}{
		{"IPv4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1"},
		{"IPv4 mapped to IPv6", "[::ffff:127.0.0.1]:0", "127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRig(t, 1)
			g := &greeter{keep: true}
			o := g.options()
			o.Addr = netip.MustParseAddrPort(c.listen)
			ln := must(r.Listen(o))
			t.Cleanup(func() { g.release(-1) })
			want := netip.MustParseAddr(c.client)
			if got := ln.Addr(); got.Addr() != want || got.Port() == 0 {
				t.Errorf("listening on %v, want %v and a port", got, want)
			}
			fd := dial(t, ln.Addr())
			defer unix.Close(fd)
			eventually(t, "the client is accepted", func() bool { return g.accepted.Load() == 1 })
			got := g.held[0].c
			if self := addrPort(must(syscall.Getsockname(fd))); got.Client != self {
				t.Errorf("client %v, want %v", got.Client, self)
			}
			if got.Local != ln.Addr() {
				t.Errorf("local address %v, want %v", got.Local, ln.Addr())
			}
			for name, want := range map[string]bool{"close on exec": true, "non-blocking": true} {
				if on := flagged(got.FD, name); on != want {
					t.Errorf("%s is %v, want %v", name, on, want)
				}
			}
		})
	}
}

// tcp(7): what is set on a listening socket holds for what is accepted from it, also from one that another process made.
func TestFactAcceptedSocketsHaveTheListenersOptions(t *testing.T) {
	for _, inherited := range []bool{false, true} {
		t.Run(fmt.Sprintf("inherited %v", inherited), func(t *testing.T) {
			r := startRig(t, 1)
			g := &greeter{keep: true}
			o := g.options()
			if inherited {
				o.FD = must(listen(ListenOptions{Addr: loopback}))
				o.Addr = addrPort(must(syscall.Getsockname(o.FD)))
			}
			ln := must(r.Listen(o))
			t.Cleanup(func() { g.release(-1) })
			defer unix.Close(dial(t, ln.Addr()))
			eventually(t, "the client is accepted", func() bool { return g.accepted.Load() == 1 })
			wantTuned(t, g.held[0].c.FD)
		})
	}
}

// A listener of all addresses tells which of them a client has connected to.
func TestAcceptOfAWildcardTellsTheLocalAddress(t *testing.T) {
	r := startRig(t, 1)
	g := &greeter{keep: true}
	o := g.options()
	o.Addr = netip.MustParseAddrPort("0.0.0.0:0")
	ln := must(r.Listen(o))
	t.Cleanup(func() { g.release(-1) })
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), ln.Addr().Port())
	defer unix.Close(dial(t, to))
	eventually(t, "the client is accepted", func() bool { return g.accepted.Load() == 1 })
	if got := g.held[0].c.Local; got != to {
		t.Errorf("local address %v, want %v", got, to)
	}
}

func flagged(fd int, name string) bool {
	if name == "non-blocking" {
		return must(unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0))&unix.O_NONBLOCK != 0
	}
	return must(unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0))&unix.FD_CLOEXEC != 0
}

func TestAddrPortOfOtherFamilies(t *testing.T) {
	if got := addrPort(&syscall.SockaddrUnix{Name: "/x"}); got.IsValid() {
		t.Errorf("a unix socket's address is %v, want none", got)
	}
}

// DESIGN 2: what every TCP leg has, and what listeners have.
func TestSocketOptions(t *testing.T) {
	ours, peer := tcpPair(t)
	defer closeAll(ours, peer)
	TuneSocket(ours)
	wantTuned(t, ours)
	only := must(listen(ListenOptions{Addr: netip.MustParseAddrPort("[::1]:0"), V6Only: true}))
	both := must(listen(ListenOptions{Addr: netip.MustParseAddrPort("[::ffff:127.0.0.1]:0")}))
	shared := must(listen(ListenOptions{Addr: loopback, ReusePort: true}))
	defer closeAll(only, both, shared)
	for _, c := range []struct {
		name                 string
		fd, level, opt, want int
	}{
		{"IPV6_V6ONLY on", only, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
		{"IPV6_V6ONLY off", both, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0},
		{"SO_REUSEADDR", both, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{"SO_REUSEPORT off", both, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0},
		{"SO_REUSEPORT on", shared, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
	} {
		if got := must(unix.GetsockoptInt(c.fd, c.level, c.opt)); got != c.want {
			t.Errorf("%s is %d, want %d", c.name, got, c.want)
		}
	}
}

// wantTuned wants what every TCP leg has.
func wantTuned(t *testing.T, fd int) {
	t.Helper()
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
		if got := must(unix.GetsockoptInt(fd, c.level, c.opt)); got != c.want {
			t.Errorf("%s is %d, want %d", c.name, got, c.want)
		}
	}
}
