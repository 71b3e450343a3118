package engine

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// adopt lends ours to the test.
func adopt(t *testing.T, l *Loop, ours int) *Park {
	t.Helper()
	p, err := l.Adopt(ours)
	check(t, err)
	if (p.spot == nil) != spotless {
		t.Fatalf("there is a spot: %v, want %v", p.spot != nil, !spotless)
	}
	return p
}

// spotless is set while engines have no spots left.
var spotless bool

// bothWays runs a test with Parks that wait at spots, and with Parks that their loop tells.
func bothWays(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	for name, without := range map[string]bool{"by itself": false, "by the loop": true} {
		t.Run(name, func(t *testing.T) {
			spotless = without
			defer func() { spotless = false }()
			test(t)
		})
	}
}

func TestParkReadsAndWrites(t *testing.T) { bothWays(t, testParkReadsAndWrites) }

func testParkReadsAndWrites(t *testing.T) {
	r := startRig(t, 1)
	ours, peer := tcpPair(t)
	defer unix.Close(peer)
	p := adopt(t, r.Loops()[0], ours)
	defer p.Close()
	p.SetDeadline(time.Now().Add(patience))
	want := make([]byte, 4<<20) // more than the buffers between them hold
	rand.NewChaCha8([32]byte{1}).Read(want)
	peerDone := make(chan error, 1)
	go func() { // ends with the stream: reads everything, then sends it back and ends
		got := make([]byte, len(want))
		for n := 0; n < len(got); {
			m, err := readSome(peer, got[n:])
			if m <= 0 {
				peerDone <- errors.Join(err, io.ErrUnexpectedEOF)
				return
			}
			n += m
		}
		peerDone <- errors.Join(writeAll(peer, got), unix.Shutdown(peer, unix.SHUT_WR))
	}()
	if n, err := p.Write(want); n != len(want) || err != nil {
		t.Fatalf("wrote %d of %d: %v", n, len(want), err)
	}
	var got bytes.Buffer
	buf := make([]byte, 32<<10)
	for {
		check(t, p.WaitRead())
		n, err := p.Read(buf)
		check(t, err)
		if n == 0 {
			break
		}
		got.Write(buf[:n])
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes came back, want the %d that were sent", got.Len(), len(want))
	}
	check(t, receive(t, "the peer", peerDone))
	if got := r.OpenFDs(); got != 1 {
		t.Errorf("%d session sockets are open, want 1", got)
	}
	p.Close()
	p.Close()
	if got := r.OpenFDs(); got != 0 || p.Detach() != -1 {
		t.Errorf("after Close %d session sockets are open, want 0, and Detach gives %d, want -1", got, p.Detach())
	}
}

// connecting starts a non-blocking connect(2).
func connecting(t *testing.T, to netip.AddrPort) int {
	t.Helper()
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))
	_, sa := sockaddr(to)
	if err := unix.Connect(fd, sa); err != unix.EINPROGRESS && err != nil {
		t.Fatal(err)
	}
	return fd
}

// deaf is a listener whose queue is full, so that a connect to it goes on until it is given up.
func deaf(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, addr := listenPlain(t, 0)
	first := dial(t, addr)
	t.Cleanup(func() { closeAll(ln, first) })
	return addr
}

func TestParkConnects(t *testing.T) { bothWays(t, testParkConnects) }

func testParkConnects(t *testing.T) {
	r := startRig(t, 1)
	ln, addr := listenPlain(t, 4)
	for _, c := range []struct {
		name string
		want error
	}{{"to a listener", nil}, {"to nobody", unix.ECONNREFUSED}} {
		t.Run(c.name, func(t *testing.T) {
			p := adopt(t, r.Loops()[0], connecting(t, addr))
			defer p.Close()
			p.SetDeadline(time.Now().Add(patience))
			check(t, p.WaitWrite())
			errno := must(unix.GetsockoptInt(p.FD(), unix.SOL_SOCKET, unix.SO_ERROR))
			if got := unix.Errno(errno); got != 0 && got != c.want {
				t.Errorf("connecting ended with %v, want %v", got, c.want)
			}
		})
		if c.want == nil {
			unix.Close(ln)
		}
	}
}

// verbs are the calls that wait.
var verbs = []struct {
	name string
	call func(p *Park) error
	in   string // the function it waits in
}{
	{"Read", func(p *Park) error { _, err := p.Read(make([]byte, 1)); return err }, "(*Park).Read("},
	{"Write", func(p *Park) error { _, err := p.Write(make([]byte, 16<<20)); return err }, "(*Park).Write("},
	{"WaitRead", (*Park).WaitRead, "(*Park).WaitRead("},
	{"WaitWrite", func(p *Park) error { fillPark(p); return p.WaitWrite() }, "(*Park).WaitWrite("},
}

// fillPark makes a socket unable to take more.
func fillPark(p *Park) {
	for {
		if n, _ := unix.SendmsgN(p.fd, make([]byte, 64<<10), nil, nil, unix.MSG_NOSIGNAL); n <= 0 {
			return
		}
	}
}

func TestParkDeadlines(t *testing.T) { bothWays(t, testParkDeadlines) }

func testParkDeadlines(t *testing.T) {
	r := startRig(t, 1)
	for _, v := range verbs {
		for name, after := range map[string]time.Duration{"past": -time.Hour, "soon": 10 * time.Millisecond} {
			t.Run(v.name+" "+name, func(t *testing.T) {
				ours, peer := streamPair(t)
				defer unix.Close(peer)
				p := adopt(t, r.Loops()[0], ours)
				defer p.Close()
				deadline := time.Now().Add(after)
				for range 2 { // the second time with a used timer
					p.SetDeadline(deadline)
					if err := v.call(p); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Fatalf("got %v, want %v", err, os.ErrDeadlineExceeded)
					}
					if early := time.Until(deadline); early > 0 {
						t.Errorf("the deadline came %v early", early)
					}
					deadline = deadline.Add(after)
				}
				p.SetDeadline(time.Time{})
				check(t, writeAll(peer, []byte("x")))
				if n, err := p.Read(make([]byte, 1)); n != 1 || err != nil {
					t.Errorf("after the deadline was lifted Read gives %d, %v; want 1 byte", n, err)
				}
			})
		}
	}
}

func TestParkDeadlineOfAConnect(t *testing.T) { bothWays(t, testParkDeadlineOfAConnect) }

func testParkDeadlineOfAConnect(t *testing.T) {
	r := startRig(t, 1)
	p := adopt(t, r.Loops()[0], connecting(t, deaf(t)))
	defer p.Close()
	p.SetDeadline(time.Now().Add(10 * time.Millisecond))
	if err := p.WaitWrite(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want %v", err, os.ErrDeadlineExceeded)
	}
}

// Interrupt ends every call, whether it comes before or while the goroutine waits, and the error says so.
func TestParkInterruptInEveryState(t *testing.T) { bothWays(t, testParkInterruptInEveryState) }

func testParkInterruptInEveryState(t *testing.T) {
	r := startRig(t, 1)
	full := deaf(t)
	pair := func(t *testing.T) (int, func()) {
		ours, peer := streamPair(t)
		return ours, func() { unix.Close(peer) }
	}
	type state struct {
		name   string
		socket func(t *testing.T) (fd int, end func())
		call   func(*Park) error
		in     string
	}
	var states []state
	for _, v := range verbs {
		states = append(states, state{v.name, pair, v.call, v.in})
	}
	states = append(states,
		state{"connecting", func(t *testing.T) (int, func()) { return connecting(t, full), func() {} }, (*Park).WaitWrite,
			"(*Park).WaitWrite("},
		state{"not connected yet", func(t *testing.T) (int, func()) {
			return must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)), func() {}
		}, (*Park).WaitWrite, ""},
		state{"with input waiting", func(t *testing.T) (int, func()) {
			ours, peer := streamPair(t)
			check(t, writeAll(peer, []byte("x")))
			return ours, func() { unix.Close(peer) }
		}, (*Park).WaitRead, ""},
	)
	for _, c := range states {
		for _, during := range []bool{false, true} {
			for name, deadline := range map[string]time.Time{"without deadline": {}, "with deadline": time.Now().Add(time.Hour)} {
				if during && c.in == "" {
					continue // it does not wait
				}
				when := map[bool]string{false: " before ", true: " during "}[during]
				t.Run(c.name+when+name, func(t *testing.T) {
					fd, end := c.socket(t)
					defer end()
					p := adopt(t, r.Loops()[0], fd)
					p.SetDeadline(deadline)
					if !during {
						p.Interrupt()
					}
					got := make(chan error, 1)
					go func() { got <- c.call(p); p.Close() }() // ended by Interrupt
					if during {
						eventually(t, "the goroutine waits", func() bool { return waitsIn(c.in) })
						p.Interrupt()
					}
					if err := receive(t, "the call's end", got); !errors.Is(err, ErrInterrupted) {
						t.Errorf("got %v, want %v", err, ErrInterrupted)
					}
					eventually(t, "it is closed", func() bool { return r.OpenFDs() == 0 })
				})
			}
		}
	}
}

// A login goroutine that was interrupted sends nothing more, even when the socket would take it: a kick that comes
// between the greeting and the credentials holds them back.
func TestParkWritesNothingAfterInterrupt(t *testing.T) {
	bothWays(t, testParkWritesNothingAfterInterrupt)
}

func testParkWritesNothingAfterInterrupt(t *testing.T) {
	r := startRig(t, 1)
	ours, peer := streamPair(t)
	defer unix.Close(peer)
	p := adopt(t, r.Loops()[0], ours)
	p.Interrupt()
	if n, err := p.Write([]byte("a LOGIN x y\r\n")); n != 0 || !errors.Is(err, ErrInterrupted) {
		t.Errorf("Write gives %d, %v; want 0, %v", n, err, ErrInterrupted)
	}
	p.Close()
	if got, err := readAll(peer); len(got) != 0 || err != nil {
		t.Errorf("the peer got %q, %v; want nothing", got, err)
	}
}

// After Close and Detach the number is somebody else's: Interrupt leaves it alone.
func TestParkInterruptAfterTheEndDoesNothing(t *testing.T) {
	bothWays(t, testParkInterruptAfterTheEndDoesNothing)
}

func testParkInterruptAfterTheEndDoesNothing(t *testing.T) {
	r := startRig(t, 1)
	for name, end := range map[string]func(*Park){
		"Close":  func(p *Park) { p.Close() },
		"Detach": func(p *Park) { r.Loops()[0].Close(p.Detach()) },
	} {
		t.Run(name, func(t *testing.T) {
			ours, peer := streamPair(t)
			p := adopt(t, r.Loops()[0], ours)
			end(p)
			unix.Close(peer)
			stranger, other := streamPair(t)
			defer closeAll(stranger, other)
			if stranger != ours {
				t.Fatalf("the stranger got number %d, want %d", stranger, ours)
			}
			p.Interrupt()
			check(t, writeAll(stranger, []byte("x")))
			if n, err := readSome(other, make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("the stranger's socket is harmed: %d, %v", n, err)
			}
		})
	}
}

// Detach hands a socket to its loop with what lies in it: Rewatch reports the bytes that came before.
func TestParkHandsOverPendingBytes(t *testing.T) { bothWays(t, testParkHandsOverPendingBytes) }

func testParkHandsOverPendingBytes(t *testing.T) {
	r := newRig(t, Options{Loops: 1})
	l := r.Loops()[0]
	got := make(chan string, 1)
	var fd int
	kind := l.Register(&script{ready: func(_ Token, rd Ready) {
		if rd&Readable != 0 {
			n, err := unix.Read(fd, l.Buffer())
			if err == nil {
				got <- string(l.Buffer()[:n])
			}
		}
	}})
	r.Start()
	ours, peer := tcpPair(t)
	defer unix.Close(peer)
	p := adopt(t, l, ours)
	check(t, writeAll(peer, []byte("a OK\r\n* 1 EXISTS\r\n")))
	check(t, p.WaitRead())
	if n := must(p.Read(make([]byte, 6))); n != 6 {
		t.Fatalf("read %d bytes, want 6", n)
	}
	on(t, l, func() {}) // the event for the Park is used up
	on(t, l, func() {
		fd = p.Detach()
		check(t, l.Rewatch(fd, MakeToken(kind, 1, 1)))
	})
	if got := receive(t, "the loop's read", got); got != "* 1 EXISTS\r\n" {
		t.Errorf("the loop read %q, want the rest", got)
	}
	p.Interrupt()
	if r.OpenFDs() != 1 {
		t.Errorf("%d session sockets are open, want 1", r.OpenFDs())
	}
	on(t, l, func() { l.Close(fd) })
}

// An event for a Park that is gone wakes nobody else's goroutine, and the table forgets.
func TestParkTableForgets(t *testing.T) {
	r := startRig(t, 1)
	l := r.Loops()[0]
	l.parks.last = 1<<32 - 3 // the key wraps, and 0 and those in use are left out
	var parks []*Park
	keys := map[uint32]bool{}
	for range 4 {
		ours, peer := streamPair(t)
		defer unix.Close(peer)
		p := adopt(t, l, ours)
		if parks = append(parks, p); keys[p.key] || p.key == 0 {
			t.Errorf("key %d was handed out twice, or is 0", p.key)
		}
		keys[p.key] = true
	}
	parks[0].Close()
	on(t, l, func() { l.parks.Ready(MakeToken(l.parks.kind, parks[0].key, 0), Readable) })
	for _, p := range parks {
		p.Close()
	}
	if n := len(l.parks.byKey); n != 0 {
		t.Errorf("%d Parks are remembered", n)
	}
}

// On an error Adopt has closed the descriptor.
func TestAdoptErrors(t *testing.T) {
	file := func() int { return must(unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)) } // epoll_ctl(2): EPERM
	socket := func() int { return must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)) }
	for _, c := range []struct {
		name string
		fd   func() int
		stop bool
		want error
	}{
		{"not a socket", file, false, unix.EPERM},
		{"after Stop", socket, true, os.ErrClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRig(t, 1)
			if c.stop {
				r.Stop()
			}
			fd := c.fd()
			if _, err := r.Loops()[0].Adopt(fd); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if isOpen(fd) {
				t.Error("the descriptor is still open")
			}
		})
	}
}

// SECURITY 32: descriptor numbers are closed and reused all the time while others interrupt late, twice and after the
// end. No socket ever carries another one's bytes, and none that was not interrupted is harmed.
func TestNoByteReachesAStranger(t *testing.T) { bothWays(t, testNoByteReachesAStranger) }

func testNoByteReachesAStranger(t *testing.T) {
	const workers, rounds = 8, 400
	r := startRig(t, 2)
	kicks := make(chan *Park, 64)
	var kickers, wg sync.WaitGroup
	for range 3 {
		kickers.Add(1)
		go func() { // ended by the closing of kicks
			defer kickers.Done()
			for p := range kicks {
				p.Interrupt()
				p.Interrupt()
			}
		}()
	}
	for w := range workers {
		wg.Add(1)
		go func() { // ends after its rounds
			defer wg.Done()
			for n := range rounds {
				if !carry(t, r.Loops()[n%2], byte('a'+w), n%2 == 0, kicks) {
					return
				}
			}
		}()
	}
	wg.Wait()
	close(kicks)
	kickers.Wait()
	r.bugs.want(t, 0)
}

// carry sends a worker's mark through a Park of its own and looks at what arrives.
func carry(t *testing.T, l *Loop, mark byte, kicked bool, kicks chan<- *Park) bool {
	a, b, err := pairOf()
	if err != nil {
		t.Error(err)
		return false
	}
	p, err := l.Adopt(a)
	if err != nil {
		t.Error(err)
		return false
	}
	q, err := l.Adopt(b)
	if err != nil {
		t.Error(err)
		return false
	}
	if kicked {
		kicks <- p
	}
	const size = 3000
	_, wrote := p.Write(bytes.Repeat([]byte{mark}, size))
	p.Close()
	if kicked {
		kicks <- p
	}
	var got bytes.Buffer
	buf, read := make([]byte, 512), error(nil)
	for n := 1; n > 0 && read == nil; got.Write(buf[:n]) {
		n, read = q.Read(buf)
	}
	q.Close()
	if wrong := len(bytes.Trim(got.Bytes(), string(mark))); wrong > 0 {
		t.Errorf("%d of %d bytes are somebody else's", wrong, got.Len())
	}
	if !kicked && (wrote != nil || read != nil || got.Len() != size) {
		t.Errorf("a socket nobody interrupted: wrote %v, read %v, %d of %d bytes", wrote, read, got.Len(), size)
	}
	if kicked && wrote != nil && !errors.Is(wrote, ErrInterrupted) {
		t.Errorf("an interrupted write says %v, want %v", wrote, ErrInterrupted)
	}
	return !t.Failed()
}

func BenchmarkParkPingPong(b *testing.B) {
	e := must(New(Options{Loops: 1}))
	e.Start()
	defer e.Stop()
	ours, peer := streamPair(b)
	defer unix.Close(peer)
	p := must(e.Loops()[0].Adopt(ours))
	defer p.Close()
	go func() { // ended by the shutdown of the socket
		var c [1]byte
		for {
			if n, _ := readSome(peer, c[:]); n != 1 {
				return
			}
			unix.SendmsgN(peer, c[:], nil, nil, unix.MSG_NOSIGNAL)
		}
	}()
	c := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		p.Write(c)
		if n, err := p.Read(c); n != 1 {
			b.Fatal(n, err)
		}
	}
	p.Interrupt()
}

// Lane conn reads in one goroutine and writes in another: neither may take the other's wake-ups.
func TestParkReadsAndWritesAtOnce(t *testing.T) {
	r := startRig(t, 1)
	ours, peer := tcpPair(t)
	defer unix.Close(peer)
	p := adopt(t, r.Loops()[0], ours)
	defer p.Close()
	check(t, p.Keep())
	sent := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{2}).Read(sent)
	done := make(chan error, 3)
	go func() { // ends when everything is written
		_, err := p.Write(sent)
		done <- err
	}()
	go func() { // ends when everything has come back
		got, buf := make([]byte, 0, len(sent)), make([]byte, 32<<10)
		for len(got) < len(sent) {
			n, err := p.Read(buf)
			if n == 0 || err != nil {
				done <- errors.Join(err, io.ErrUnexpectedEOF)
				return
			}
			got = append(got, buf[:n]...)
		}
		if !bytes.Equal(got, sent) {
			done <- errors.New("bytes differ")
			return
		}
		done <- nil
	}()
	go func() { // ends with the stream: an echo
		buf := make([]byte, 64<<10)
		for n := 0; n < len(sent); {
			m, err := readSome(peer, buf)
			if m <= 0 || writeAll(peer, buf[:m]) != nil {
				done <- errors.Join(err, io.ErrUnexpectedEOF)
				return
			}
			n += m
		}
		done <- nil
	}()
	for range cap(done) {
		select {
		case err := <-done:
			check(t, err)
		case <-time.After(patience):
			t.Fatal("a direction hangs")
		}
	}
}

// A watched descriptor goes to a goroutine, which its handler tells what it hears, and back or not.
func TestLend(t *testing.T) {
	r := newRig(t, Options{Loops: 1})
	l := r.Loops()[0]
	var p *Park // the loop's
	readable := make(chan struct{}, 64)
	k := l.Register(&script{ready: func(_ Token, what Ready) {
		if p != nil {
			p.Notice(what)
		}
		if what&Readable != 0 {
			readable <- struct{}{}
		}
	}})
	r.Start()
	ours, peer := tcpPair(t)
	defer unix.Close(peer)
	l.engine.fds.opened(1)
	on(t, l, func() {
		check(t, l.Watch(ours, MakeToken(k, 1, 0)))
		var err error
		p, err = l.Lend(ours)
		check(t, err)
	})
	p.SetDeadline(time.Now().Add(patience))
	check(t, writeAll(peer, []byte("hello")))
	buf := make([]byte, 5)
	if n, err := p.Read(buf); n != 5 || err != nil {
		t.Fatalf("read %d: %v", n, err)
	}
	check(t, writeAll(peer, []byte("more")))
	check(t, p.WaitRead())
	receive(t, "the handler to hear of it", readable)
	forget := func() {
		for len(readable) > 0 {
			<-readable
		}
	}
	on(t, l, func() { // both writes may have been one event
		forget()
		check(t, l.Rewatch(p.Detach(), MakeToken(k, 1, 0)))
	})
	receive(t, "the loop to hear again of what is there", readable)
	on(t, l, func() {
		var err error
		p, err = l.Lend(ours)
		check(t, err)
		check(t, p.Keep())
	})
	on(t, l, forget) // what was reported before
	p.SetDeadline(time.Now().Add(patience))
	if n, err := p.Read(buf); n != 4 || err != nil {
		t.Fatalf("read %d: %v", n, err)
	}
	check(t, writeAll(peer, []byte("again")))
	if n, err := p.Read(buf); n != 5 || err != nil {
		t.Fatalf("read %d: %v", n, err)
	}
	on(t, l, func() {})
	if len(readable) > 0 {
		t.Error("the handler still hears of what the Park keeps")
	}
	check(t, p.Close())
}

// A wait for input is not ended by room for output, which every connection has at first.
func TestParkIsWokenByWhatItWaitsFor(t *testing.T) {
	p := newPark(nil, -1)
	for _, c := range []struct {
		r             Ready
		reads, writes int
	}{{Writable, 0, 1}, {Readable, 1, 0}, {Readable | HangUp, 1, 0}, {Gone, 1, 1}, {Resumed, 0, 0}} {
		p.signal(c.r)
		p.signal(c.r)
		if r, w := len(p.ways[reading].wake), len(p.ways[writing].wake); r != c.reads || w != c.writes {
			t.Errorf("%v wakes %d readers and %d writers, want %d and %d", c.r, r, w, c.reads, c.writes)
		}
		for i := range p.ways {
			if len(p.ways[i].wake) > 0 {
				<-p.ways[i].wake
			}
		}
	}
}
