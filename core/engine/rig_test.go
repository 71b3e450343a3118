package engine

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of these tests. It is far above what any of them needs, so that a slow machine does not
// fail them; none of them measures against it.
const patience = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bugLog counts broken invariants that an engine reported.
type bugLog struct{ n atomic.Int64 }

func (b *bugLog) Enabled(context.Context, slog.Level) bool  { return true }
func (b *bugLog) Handle(context.Context, slog.Record) error { b.n.Add(1); return nil }
func (b *bugLog) WithAttrs([]slog.Attr) slog.Handler        { return b }
func (b *bugLog) WithGroup(string) slog.Handler             { return b }
func (b *bugLog) want(t *testing.T, bugs int64) {
	t.Helper()
	if got := b.n.Load(); got != bugs {
		t.Errorf("engine reported %d bugs, want %d", got, bugs)
	}
}

// rig is an engine under test. At the test's end it is stopped, and must have given back every descriptor and counter.
type rig struct {
	*Engine
	t    *testing.T
	bugs *bugLog
	stop func()
}

// newRig makes an engine that go has not started yet.
func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	r := &rig{t: t, bugs: &bugLog{}}
	before := openFiles(t)
	o.Log = slog.New(r.bugs)
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Engine = e
	if spotless {
		e.spots.inUse = maxSpots
	}
	r.stop = func() {
		e.Stop()
		if got := e.OpenFDs(); got != 0 {
			t.Errorf("after Stop %d session sockets are accounted open, want 0", got)
		}
		if got := e.Pending(); got != 0 {
			t.Errorf("after Stop %d backend sockets are pending, want 0", got)
		}
	}
	t.Cleanup(func() {
		r.stop()
		eventually(t, "all descriptors are given back", func() bool { return openFiles(t) <= before })
	})
	return r
}

// startRig makes a running engine.
func startRig(t *testing.T, loops int) *rig {
	t.Helper()
	r := newRig(t, Options{Loops: loops})
	r.Start()
	return r
}

// on runs f on the loop and waits for it.
func on(t *testing.T, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	l.Do(func() { defer close(done); f() })
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the loop does not answer")
	}
}

// ask runs f on the loop and returns what it says.
func ask[T any](t *testing.T, l *Loop, f func() T) (v T) {
	t.Helper()
	on(t, l, func() { v = f() })
	return v
}

// script is a handler made of functions; what is left out does nothing.
type script struct {
	ready  func(Token, Ready)
	due    func(Token) int64
	failed func(Token, any)
}

func (s *script) Ready(t Token, r Ready) {
	if s.ready != nil {
		s.ready(t, r)
	}
}

func (s *script) Due(t Token) int64 {
	if s.due != nil {
		return s.due(t)
	}
	return 0
}

func (s *script) Failed(t Token, cause any) {
	if s.failed != nil {
		s.failed(t, cause)
	}
}

// eventually waits until cond holds, looking again every millisecond.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain until %s", patience, what)
		}
	}
}

// receive takes one value from c.
func receive[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited %v in vain for %s", patience, what)
	}
	return v
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return len(names) - 1 // not d itself
}

// isOpen tells whether fd is a descriptor now.
func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// must is for preparations of a test: it panics on an error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// streamPair makes two connected sockets, ours non-blocking as the engine wants it.
func streamPair(t testing.TB) (ours, peer int) {
	t.Helper()
	fds := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	check(t, unix.SetNonblock(fds[0], true))
	bound(t, fds[1])
	return fds[0], fds[1]
}

// tcpPair is streamPair over loopback.
func tcpPair(t testing.TB) (ours, peer int) {
	t.Helper()
	ln, addr := listenPlain(t, 1)
	defer unix.Close(ln)
	peer = dial(t, addr)
	ours, _ = must2(unix.Accept4(ln, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC))
	return ours, peer
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

// bound makes blocking calls on a peer's socket end at last, so that a broken engine fails a test instead of hanging it.
func bound(t testing.TB, fd int) {
	t.Helper()
	tv := unix.NsecToTimeval(int64(patience))
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv))
}

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// listenPlain makes a blocking listening socket on loopback without an engine.
func listenPlain(t testing.TB, queue int) (fd int, addr netip.AddrPort) {
	t.Helper()
	fd = must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	_, sa := sockaddr(loopback)
	check(t, unix.Bind(fd, sa))
	check(t, unix.Listen(fd, queue))
	return fd, addrPort(must(syscall.Getsockname(fd)))
}

// dial connects a blocking socket.
func dial(t testing.TB, to netip.AddrPort) int {
	t.Helper()
	fd, err := connect(to)
	if err != nil {
		t.Fatalf("connecting to %v: %v", to, err)
	}
	bound(t, fd)
	return fd
}

func connect(to netip.AddrPort) (int, error) {
	family, sa := sockaddr(to)
	fd := must(unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// readSome reads once. A socket with a timeout is interrupted by the scheduler's signals, signal(7), and is tried again.
func readSome(fd int, p []byte) (n int, err error) {
	for {
		if n, err = unix.Read(fd, p); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// readAll reads to the end of input, or to an error.
func readAll(fd int) ([]byte, error) {
	var all bytes.Buffer
	p := make([]byte, 64<<10)
	for {
		n, err := readSome(fd, p)
		if n <= 0 {
			return all.Bytes(), err
		}
		all.Write(p[:n])
	}
}

// writeAll writes everything, or as far as it goes.
func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.SendmsgN(fd, p, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// fill writes to a non-blocking socket until it takes no more, and returns how many bytes that were.
func fill(t testing.TB, fd int) (sent int) {
	t.Helper()
	p := make([]byte, 64<<10)
	for {
		n, err := unix.SendmsgN(fd, p, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch err {
		case nil:
			sent += n
		case unix.EAGAIN:
			return sent
		default:
			t.Fatalf("filling a socket: %v", err)
		}
	}
}

// closeAll closes the peers' descriptors at the end of a test.
func closeAll(fds ...int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// waitsIn tells whether some goroutine is blocked inside the named function.
func waitsIn(function string) bool {
	p := make([]byte, 1<<20)
	for g := range strings.SplitSeq(string(p[:runtime.Stack(p, true)]), "\n\n") {
		head, _, _ := strings.Cut(g, "\n")
		if strings.Contains(g, function) && (strings.Contains(head, "chan receive") || strings.Contains(head, "IO wait") || strings.Contains(head, "select")) {
			return true
		}
	}
	return false
}
