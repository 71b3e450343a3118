package engine

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// These are the facts about the kernel that the engine is built on, each proved on the kernel that runs the tests.

// poll returns the events that wait in p now.
func poll(t *testing.T, p *epoll) []event {
	t.Helper()
	buf := make([]event, 16)
	return buf[:must(p.wait(buf, 0, true))]
}

func newPoller(t *testing.T) *epoll {
	t.Helper()
	p := must(newEpoll())
	t.Cleanup(func() { p.close() })
	return p
}

// epoll(7): an edge is reported once; epoll_ctl(2): EPOLL_CTL_MOD looks at the present readiness and reports it anew.
// Rewatch and the hand-over of a socket with unread bytes rest on it.
func TestFactModifyingReportsPresentReadiness(t *testing.T) {
	p := newPoller(t)
	a, b := streamPair(t)
	defer closeAll(a, b)
	check(t, writeAll(b, []byte("x")))
	first, second := MakeToken(3, 7, 9), MakeToken(4, 8, 11)
	check(t, p.watch(a, first))
	want := []event{{first, Readable | Writable}}
	if got := poll(t, p); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("after watch got %v, want %v", got, want)
	}
	if got := poll(t, p); len(got) != 0 {
		t.Fatalf("an edge was reported twice: %v", got)
	}
	check(t, p.rewatch(a, second))
	want[0].tok = second
	if got := poll(t, p); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("after rewatch got %v, want %v", got, want)
	}
}

// epoll_event(3type): the user data are 64 bits and come back as they were given.
func TestFactEventCarries64Bits(t *testing.T) {
	p := newPoller(t)
	for _, tok := range []Token{0, 1, 1 << 31, 1 << 32, 1 << 63, 0xfedcba9876543210, 1<<64 - 1} {
		a, b := streamPair(t)
		check(t, p.watch(a, tok))
		if got := poll(t, p); len(got) != 1 || got[0].tok != tok {
			t.Errorf("got %v, want one event with token %x", got, tok)
		}
		closeAll(a, b)
	}
}

// epoll_ctl(2): EPOLLRDHUP is an edge of its own: the peer's end is seen although input before it is still unread.
func TestFactEndIsSeenBehindUnreadInput(t *testing.T) {
	for name, pair := range map[string]func(testing.TB) (int, int){"tcp": tcpPair, "unix": streamPair} {
		t.Run(name, func(t *testing.T) {
			p := newPoller(t)
			a, b := pair(t)
			defer closeAll(a, b)
			check(t, p.watch(a, 1))
			check(t, writeAll(b, []byte("unread")))
			eventually(t, "input is reported", func() bool { return seen(poll(t, p), Readable) })
			check(t, unix.Shutdown(b, unix.SHUT_WR))
			eventually(t, "the end is reported", func() bool { return seen(poll(t, p), Readable|HangUp) })
		})
	}
}

func seen(events []event, r Ready) bool {
	for _, ev := range events {
		if ev.ready&r == r {
			return true
		}
	}
	return false
}

// shutdown(2) of a socket by one who does not own it wakes the owner's poll, and spares the descriptor's number.
func TestFactShutdownWakesTheOwner(t *testing.T) {
	p := newPoller(t)
	a, b := tcpPair(t)
	defer closeAll(a, b)
	check(t, p.watch(a, 1))
	poll(t, p)
	check(t, unix.Shutdown(a, unix.SHUT_RDWR))
	if got := poll(t, p); !seen(got, Gone) {
		t.Errorf("after shutdown got %v, want Gone", got)
	}
	if !isOpen(a) {
		t.Error("shutdown closed the descriptor")
	}
}

// epoll(7), "can an epoll file descriptor be monitored": in Go's poller, too, and every event inside is an edge outside,
// even while an earlier one was not taken. A loop that asks once more before it sleeps misses nothing.
func TestFactEpollSleepsOnGosPoller(t *testing.T) {
	p := newPoller(t)
	a, b := streamPair(t)
	defer closeAll(a, b)
	check(t, p.watch(a, 1))
	poll(t, p)
	for round := range 3 {
		got := make(chan []event, 1)
		go func() { // ends with the event below
			buf := make([]event, 16)
			n, _ := p.wait(buf, forever, true)
			got <- buf[:n]
		}()
		check(t, writeAll(b, []byte("unread")))
		if events := receive(t, "an event", got); !seen(events, Readable) {
			t.Errorf("round %d: got %v, want input", round, events)
		}
	}
}

// close(2) frees the number, and open(2) and socket(2) give out the lowest free one: it is reused at once. Whoever still
// remembers a closed number writes into a stranger's socket; hence one owner closes (SECURITY 32).
func TestFactClosedNumberIsReusedAtOnce(t *testing.T) {
	a, b := streamPair(t)
	defer unix.Close(b)
	lowest := must(unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0))
	unix.Close(lowest)
	lowest = min(lowest, a)
	unix.Close(a)
	c := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	defer unix.Close(c)
	if c != lowest {
		t.Errorf("new socket got number %d, want %d", c, lowest)
	}
}

// socket(7): a second bind to a port fails with EADDRINUSE, but with SO_REUSEPORT on both it silently succeeds: two
// instances by mistake would share the clients. Hence it is an option.
func TestFactSecondBind(t *testing.T) {
	for _, c := range []struct {
		first, second bool
		want          error
	}{
		{false, false, unix.EADDRINUSE},
		{true, false, unix.EADDRINUSE},
		{false, true, unix.EADDRINUSE},
		{true, true, nil},
	} {
		fd := must(listen(ListenOptions{Addr: loopback, ReusePort: c.first}))
		addr := addrPort(must(syscall.Getsockname(fd)))
		again, err := listen(ListenOptions{Addr: addr, ReusePort: c.second})
		if got := cause(err); got != c.want {
			t.Errorf("first reusing %v, second %v: got %v, want %v", c.first, c.second, got, c.want)
		}
		if err == nil {
			unix.Close(again)
		} else if !strings.Contains(err.Error(), addr.String()) {
			t.Errorf("error %q does not name %v", err, addr)
		}
		unix.Close(fd)
	}
}

// cause is the innermost error.
func cause(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
}

// socket(7), tcp(7): closing one of two SO_REUSEPORT listeners resets the clients in its queue, although the other one
// goes on (unless net.ipv4.tcp_migrate_req is set). One socket in all loops has no such moment.
func TestFactClosingOneOfTwoListenersResets(t *testing.T) {
	if v, err := os.ReadFile("/proc/sys/net/ipv4/tcp_migrate_req"); err == nil && v[0] != '0' {
		check(t, os.WriteFile("/proc/sys/net/ipv4/tcp_migrate_req", []byte("0"), 0))
		defer os.WriteFile("/proc/sys/net/ipv4/tcp_migrate_req", v, 0)
	}
	one := must(listen(ListenOptions{Addr: loopback, ReusePort: true}))
	addr := addrPort(must(syscall.Getsockname(one)))
	two := must(listen(ListenOptions{Addr: addr, ReusePort: true}))
	defer unix.Close(two)
	clients := make([]int, 64) // all in one queue: once in 2^63 runs
	for i := range clients {
		clients[i] = dial(t, addr)
	}
	defer closeAll(clients...)
	unix.Close(one)
	resets := 0
	for _, fd := range clients {
		check(t, unix.SetNonblock(fd, true))
		if _, err := unix.Read(fd, make([]byte, 1)); err == unix.ECONNRESET {
			resets++
		} else if err != unix.EAGAIN {
			t.Errorf("client of the other listener: got %v, want %v", err, unix.EAGAIN)
		}
	}
	if resets == 0 || resets == len(clients) {
		t.Errorf("%d of %d clients were reset, want some", resets, len(clients))
	}
}

// tcp(7), RFC 1122 4.2.2.13: closing with unread input sends RST and throws unsent bytes away, the farewell among them;
// SHUT_WR and reading on to the end does not. Retire exists for it.
func TestFactClosingOnUnreadInputEatsTheFarewell(t *testing.T) {
	farewell := []byte("* BYE\r\n")
	part := func(politely bool) ([]byte, int, error) {
		ours, peer := tcpPair(t)
		defer unix.Close(peer)
		owed := fill(t, ours)
		check(t, writeAll(peer, []byte("pipelined")))
		p := make([]byte, 64<<10)
		eventually(t, "the pipelined input is there", func() bool { // the peer has taken some, so the farewell fits
			n, _, err := unix.Recvfrom(ours, p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return n > 0 && err == nil
		})
		var got bytes.Buffer
		for sent := 0; sent < len(farewell); {
			n := must(readSome(peer, p))
			got.Write(p[:n])
			if n, err := unix.SendmsgN(ours, farewell[sent:], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT); err == nil {
				sent += n
			}
		}
		if politely {
			check(t, unix.Shutdown(ours, unix.SHUT_WR))
			must(unix.Read(ours, p))
		}
		unix.Close(ours)
		rest, err := readAll(peer)
		got.Write(rest)
		return got.Bytes(), owed + len(farewell), err
	}
	if got, want, err := part(true); err != nil || len(got) != want || !bytes.HasSuffix(got, farewell) {
		t.Errorf("after a polite end: %d bytes, %v; want %d with the farewell", len(got), err, want)
	}
	if got, sent, err := part(false); err != unix.ECONNRESET || len(got) >= sent {
		t.Errorf("after a plain close: %d of %d bytes, %v; want fewer and %v", len(got), sent, err, unix.ECONNRESET)
	}
}

// accept(2): the descriptor is taken before the queue is looked at, so EMFILE comes even when nobody waits; a loop must
// not take it for work. The number of a closed spare serves for one newcomer.
func TestFactAcceptWantsADescriptorFirst(t *testing.T) {
	ln := must(listen(ListenOptions{Addr: loopback}))
	defer unix.Close(ln)
	full := exhaust(t)
	defer full.end()
	if _, _, err := unix.Accept4(ln, unix.SOCK_NONBLOCK); err != unix.EMFILE {
		t.Errorf("accept without a free descriptor: got %v, want %v", err, unix.EMFILE)
	}
	full.giveOne()
	if _, _, err := unix.Accept4(ln, unix.SOCK_NONBLOCK); err != unix.EAGAIN {
		t.Errorf("accept with one: got %v, want %v", err, unix.EAGAIN)
	}
}

// exhausted is a process without free descriptors.
type exhausted struct {
	t   *testing.T
	old unix.Rlimit
	fds []int
}

// exhaust lowers the soft limit of open files to what is open and fills the gaps.
func exhaust(t *testing.T) *exhausted {
	t.Helper()
	x := &exhausted{t: t}
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &x.old))
	top := must(unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0))
	x.fds = append(x.fds, top)
	check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(top) + 1, Max: x.old.Max}))
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return x
		}
		x.fds = append(x.fds, fd)
	}
}

// giveOne frees one descriptor.
func (x *exhausted) giveOne() {
	unix.Close(x.fds[len(x.fds)-1])
	x.fds = x.fds[:len(x.fds)-1]
}

func (x *exhausted) end() {
	check(x.t, unix.Setrlimit(unix.RLIMIT_NOFILE, &x.old))
	closeAll(x.fds...)
	x.fds = nil
}

// epoll_ctl(2) EPOLLEXCLUSIVE wakes one of the threads in epoll_wait(2); of epolls that lie in another one it wakes all. A
// newcomer would therefore wake every loop, which is why a listener has few watchers.
func TestFactExclusiveWakesEveryLoop(t *testing.T) {
	for name, exclusive := range map[string]uint32{"shared": 0, "exclusive": unix.EPOLLEXCLUSIVE} {
		t.Run(name, func(t *testing.T) {
			const sleepers = 8
			ln, addr := listenPlain(t, 16)
			defer unix.Close(ln)
			woken := make(chan error, sleepers)
			for range sleepers {
				p := newPoller(t)
				check(t, p.ctl(unix.EPOLL_CTL_ADD, ln, unix.EPOLLIN|exclusive, 1))
				go func() { // ends with the newcomer
					_, err := p.wait(make([]event, 1), forever, true)
					woken <- err
				}()
			}
			defer unix.Close(dial(t, addr))
			for range sleepers {
				check(t, receive(t, "another one wakes", woken))
			}
		})
	}
}

// send(2), MSG_MORE: what SHUT_WR follows at once leaves with the FIN, as one segment, and arrives.
func TestFactLastBytesLeaveWithTheEnd(t *testing.T) {
	for _, c := range []struct {
		name     string
		transmit func(fd int, p []byte) (int, error)
		want     uint32
	}{{"Transmit", Transmit, 2}, {"TransmitLast", TransmitLast, 1}} {
		a, b := tcpPair(t)
		TuneSocket(a)
		before := must(unix.GetsockoptTCPInfo(a, unix.IPPROTO_TCP, unix.TCP_INFO)).Segs_out
		if n, err := c.transmit(a, []byte("bye")); n != 3 || err != nil {
			t.Fatalf("%s: sent %d bytes, %v", c.name, n, err)
		}
		check(t, Shut(a, unix.SHUT_WR))
		if got := must(unix.GetsockoptTCPInfo(a, unix.IPPROTO_TCP, unix.TCP_INFO)).Segs_out - before; got != c.want {
			t.Errorf("%s: %d segments, want %d", c.name, got, c.want)
		}
		buf := make([]byte, 8)
		if n := must(readSome(b, buf)); string(buf[:n]) != "bye" {
			t.Errorf("%s: %q arrived", c.name, buf[:n])
		}
		if n := must(readSome(b, buf)); n != 0 {
			t.Errorf("%s: %d bytes behind the end", c.name, n)
		}
		closeAll(a, b)
	}
}
