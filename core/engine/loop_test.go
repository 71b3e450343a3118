package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// A record that always has work left lets new events, messages and deadlines come in between, and other such records.
func TestLaterStarvesNobody(t *testing.T) {
	r := newRig(t, Options{Loops: 1})
	l := r.Loops()[0]
	ours, peer := streamPair(t)
	defer closeAll(ours, peer)
	const poke = 50 // turn in which an event, a message and a deadline are brought about
	var busy [2]int
	ready, posted, due := -1, -1, -1
	done := make(chan struct{})
	var tok func(i uint32) Token
	kind := l.Register(&script{
		ready: func(tk Token, rd Ready) {
			i := tk.Index()
			if i == 2 {
				if rd&Readable != 0 {
					ready = busy[0]
				}
				return
			}
			if rd != Resumed|Writable {
				t.Errorf("a resumed call says %v, want %v", rd, Resumed|Writable)
			}
			if busy[i]++; busy[i]-busy[1-i] > 1 {
				t.Errorf("two busy records had %v turns", busy)
			}
			if i == 0 && busy[0] == poke {
				check(t, writeAll(peer, []byte("x")))
				l.Do(func() { posted = busy[0] })
				l.Arm(0, l.Now()-1, tok(3))
			}
			if ready >= 0 && posted >= 0 && due >= 0 {
				if i == 1 {
					close(done)
				}
				return
			}
			l.Later(tk, Writable)
		},
		due: func(Token) int64 { due = busy[0]; return 0 },
	})
	tok = func(i uint32) Token { return MakeToken(kind, i, 0) }
	check(t, l.Watch(ours, tok(2)))
	l.Later(tok(0), Writable)
	l.Later(tok(1), Writable)
	r.Start()
	receive(t, "the others' turn", done)
	for what, at := range map[string]int{"event": ready, "message": posted} {
		if at != poke {
			t.Errorf("the %s of turn %d was served in turn %d, want at once", what, poke, at)
		}
	}
}

// What a handler asks for from within a callback happens, in every combination.
func TestHandlersMayPostFromAnywhere(t *testing.T) {
	r := newRig(t, Options{Loops: 2})
	l, other := r.Loops()[0], r.Loops()[1]
	done := make(chan string, 1)
	var path []string
	kind := l.Register(&script{
		ready: func(tok Token, _ Ready) {
			path = append(path, "ready")
			l.Arm(0, l.Now(), tok)
		},
		due: func(Token) int64 {
			path = append(path, "due")
			other.Do(func() {
				l.Do(func() {
					path = append(path, "message")
					l.Do(func() { done <- fmt.Sprint(path) })
				})
			})
			return 0
		},
	})
	r.Start()
	l.Do(func() { l.Later(MakeToken(kind, 1, 1), 0) })
	if got, want := receive(t, "the end of the path", done), "[ready due message]"; got != want {
		t.Errorf("the path was %v, want %v", got, want)
	}
}

// A panic costs the record it happened on: Failed is called with its token, and everybody else goes on.
func TestPanicCostsOneRecord(t *testing.T) {
	boom := errors.New("boom")
	const victim = 1
	for _, c := range []struct {
		name   string
		bugs   int64
		failed bool
		setOff func(l *Loop, kind Kind, peers []int)
	}{
		{"in Ready", 1, true, func(_ *Loop, _ Kind, peers []int) {
			for _, fd := range peers {
				writeAll(fd, []byte("x"))
			}
		}},
		{"in Ready after Later", 1, true, func(l *Loop, kind Kind, _ []int) {
			for i := range uint32(3) {
				l.Later(MakeToken(kind, i, 0), Readable)
			}
		}},
		{"in Due", 1, true, func(l *Loop, kind Kind, _ []int) {
			for i := range uint32(3) {
				l.Arm(0, l.Now(), MakeToken(kind, i, 0))
			}
		}},
		{"in Deliver", 1, false, func(l *Loop, kind Kind, _ []int) {
			for i := range uint32(3) {
				l.Do(func() { l.handlers[kind].(*script).ready(MakeToken(kind, i, 0), Readable) })
			}
		}},
		{"in Failed too", 2, true, func(l *Loop, kind Kind, _ []int) {
			l.handlers[kind].(*script).failed = func(Token, any) { panic("again") }
			for i := range uint32(3) {
				l.Later(MakeToken(kind, i, 0), Readable)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Options{Loops: 1})
			l := r.Loops()[0]
			served := make(chan uint32, 16)
			failed := make(chan Token, 16)
			serve := func(tok Token) {
				if tok.Index() == victim {
					panic(boom)
				}
				served <- tok.Index()
			}
			kind := l.Register(&script{
				ready: func(tok Token, rd Ready) {
					if rd&Readable != 0 {
						serve(tok)
					}
				},
				due: func(tok Token) int64 { serve(tok); return 0 },
				failed: func(tok Token, cause any) {
					if cause != boom {
						t.Errorf("Failed says %v, want %v", cause, boom)
					}
					failed <- tok
				},
			})
			var peers []int
			for i := range uint32(3) {
				ours, peer := streamPair(t)
				defer closeAll(ours, peer)
				peers = append(peers, peer)
				check(t, l.Watch(ours, MakeToken(kind, i, 0)))
			}
			before := doFirst(l, func() { c.setOff(l, kind, peers) })
			r.Start()
			<-before
			got := []uint32{receive(t, "a record", served), receive(t, "another", served)}
			slices.Sort(got)
			if !slices.Equal(got, []uint32{0, 2}) {
				t.Errorf("served %v, want 0 and 2", got)
			}
			if c.failed && c.bugs == 1 {
				if got := receive(t, "Failed", failed); got != MakeToken(kind, victim, 0) {
					t.Errorf("Failed got token %x, want that of record %d", got, victim)
				}
			}
			on(t, l, func() {})
			eventually(t, "the bugs are reported", func() bool { return r.bugs.n.Load() >= c.bugs })
			r.bugs.want(t, c.bugs)
			if n := ask(t, l, func() int { return l.wheel.nodes.Len() }); n != 0 {
				t.Errorf("%d timers are left", n)
			}
		})
	}
}

// doFirst posts f before the loop runs; the channel is closed when it has run.
func doFirst(l *Loop, f func()) <-chan struct{} {
	done := make(chan struct{})
	l.Do(func() { defer close(done); f() })
	return done
}

// A handler that drops its record in Failed disarms the very timer whose call panicked.
func TestFailedMayDisarmItsTimer(t *testing.T) {
	r := newRig(t, Options{Loops: 1})
	l := r.Loops()[0]
	var id TimerID
	done := make(chan struct{})
	kind := l.Register(&script{
		due:    func(Token) int64 { panic("boom") },
		failed: func(Token, any) { l.Disarm(id); close(done) },
	})
	r.Start()
	on(t, l, func() { id = l.Arm(0, l.Now(), MakeToken(kind, 1, 1)) })
	receive(t, "Failed", done)
	if n := ask(t, l, func() int { return l.wheel.nodes.Len() }); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

// Deadlines come by CLOCK_MONOTONIC, while the loop sleeps and while it is busy.
func TestDeadlineOnARunningLoop(t *testing.T) {
	r := newRig(t, Options{Loops: 1})
	l := r.Loops()[0]
	early := make(chan int64, 2)
	kind := l.Register(&script{due: func(tok Token) int64 { early <- int64(tok.Index())*1e6 - l.Now(); return 0 }})
	r.Start()
	for _, after := range []int64{0, 20e6} {
		on(t, l, func() {
			at := (l.Now() + after) / 1e6
			l.Arm(0, at*1e6, MakeToken(kind, uint32(at), 0))
		})
		if got := receive(t, "the deadline", early); got > 0 && got < 1e9 {
			t.Errorf("a deadline came %v early", time.Duration(got))
		}
	}
}

func TestRegisterIsBounded(t *testing.T) {
	r := newRig(t, Options{Loops: 1})
	defer func() {
		if recover() == nil {
			t.Error("registering without end did not panic")
		}
	}()
	for range maxKinds + 1 {
		r.Loops()[0].Register(&script{})
	}
}

// echo is a handler that sends back what it reads, and counts calls without any lock.
type echo struct {
	l     *Loop
	fds   []int
	calls int
}

func (e *echo) Due(Token) int64   { return 0 }
func (e *echo) Failed(Token, any) {}
func (e *echo) Ready(t Token, r Ready) {
	e.calls++
	fd := e.fds[t.Index()]
	for {
		n, err := unix.Read(fd, e.l.Buffer())
		if err == unix.EAGAIN || n <= 0 {
			return
		}
		unix.Write(fd, e.l.Buffer()[:n])
	}
}

// Pause stops a loop between two events while others go on, loses nothing, and is no lag.
func TestPauseUnderTraffic(t *testing.T) {
	r := newRig(t, Options{Loops: 2})
	l := r.Loops()[0]
	h := &echo{l: l}
	kind := l.Register(h)
	const conns, rounds = 4, 150
	var peers []int
	for i := range conns {
		ours, peer := streamPair(t)
		defer closeAll(ours, peer)
		h.fds, peers = append(h.fds, ours), append(peers, peer)
		check(t, l.Watch(ours, MakeToken(kind, uint32(i), 0)))
	}
	r.Start()
	var wg sync.WaitGroup
	for _, fd := range peers {
		wg.Add(1)
		go func() { // ends after its rounds
			defer wg.Done()
			p := make([]byte, 8)
			for n := range rounds {
				copy(p, fmt.Sprintf("%08d", n))
				sent := string(p)
				if err := writeAll(fd, p); err != nil {
					t.Errorf("writing: %v", err)
					return
				}
				if n, err := readSome(fd, p); err != nil || string(p[:n]) != sent {
					t.Errorf("echo %q, %v; want %q", p[:n], err, sent)
					return
				}
			}
		}()
	}
	traffic := make(chan struct{})
	go func() { wg.Wait(); close(traffic) }() // ends with the traffic
	for over := false; !over; {
		resume, ok := l.Pause()
		if !ok {
			t.Fatal("a running loop could not be paused")
		}
		calls := h.calls // the race detector says whether the loop stands
		on(t, r.Loops()[1], func() {})
		if h.calls != calls {
			t.Error("a paused loop served an event")
		}
		resume()
		resume()
		select {
		case <-traffic:
			over = true
		default:
		}
	}
}

// After a pause the loop's clock is right: a deadline counted from Now is not early by the length of the pause.
func TestPauseDoesNotTurnBackTheClock(t *testing.T) {
	r := startRig(t, 1)
	l := r.Loops()[0]
	resume, _ := l.Pause()
	after := make(chan int64, 1)
	l.Do(func() { after <- l.Now() })
	paused := monotonic()
	eventually(t, "the clock went on", func() bool { return monotonic()-paused > 50e6 })
	resumed := monotonic()
	resume()
	on(t, l, func() {})
	if got := receive(t, "the loop's clock", after); got < resumed {
		t.Errorf("after the pause the loop's clock is %v behind", time.Duration(resumed-got))
	}
	if lag := l.LagSeconds(); lag > 0.05 {
		t.Errorf("a pause counted as %v s of lag", lag)
	}
}

func TestPauseOfAStoppedLoop(t *testing.T) {
	r := startRig(t, 1)
	r.Stop()
	resume, ok := r.Loops()[0].Pause()
	if resume(); ok {
		t.Error("a stopped loop was paused")
	}
}

// LagSeconds is the longest turn, once.
func TestLagIsTheLongestTurn(t *testing.T) {
	r := startRig(t, 1)
	l := r.Loops()[0]
	on(t, l, func() {
		for start := monotonic(); monotonic()-start < 20e6; {
		}
	})
	on(t, l, func() {}) // the turn before has been measured
	if got := l.LagSeconds(); got < 0.02 {
		t.Errorf("lag is %v s after a turn of 20 ms", got)
	}
}

func TestNewRefusesNoLoops(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("an engine without loops was made")
	}
}

// Stop gives everything back whatever state it finds: never started, with listeners open or just closing, paused
// listeners, sockets retiring, logins under way, messages under way.
func TestStopLeavesNothing(t *testing.T) {
	listenOn := func(t *testing.T, r *rig) *Listener {
		return must(r.Listen(ListenOptions{Addr: loopback, Accept: func(l *Loop, c Accepted) {
			l.Close(c.FD)
			l.Settle()
			l.Leave()
		}}))
	}
	for _, c := range []struct {
		name  string
		start bool
		leave func(t *testing.T, r *rig)
	}{
		{"never started", false, func(*testing.T, *rig) {}},
		{"never started, listening", false, func(t *testing.T, r *rig) { listenOn(t, r) }},
		{"never started, listener closed", false, func(t *testing.T, r *rig) { listenOn(t, r).Close() }},
		{"idle", true, func(*testing.T, *rig) {}},
		{"listening", true, func(t *testing.T, r *rig) {
			listenOn(t, r)
			on(t, r.Loops()[0], func() {})
			on(t, r.Loops()[1], func() {})
		}},
		{"about to listen", true, func(t *testing.T, r *rig) { listenOn(t, r) }},
		{"listener closing", true, func(t *testing.T, r *rig) {
			ln := listenOn(t, r)
			on(t, r.Loops()[0], func() {})
			r.Loops()[1].stop.Store(true) // its messages are dropped
			ln.Close()
		}},
		{"listener paused", true, func(t *testing.T, r *rig) {
			listenOn(t, r)
			on(t, r.Loops()[0], func() {
				a := r.Loops()[0].accept
				for key, w := range a.listeners {
					a.pause(MakeToken(a.kind, key, 0), w)
				}
			})
		}},
		{"retiring", true, func(t *testing.T, r *rig) {
			ours, peer := tcpPair(t)
			t.Cleanup(func() { unix.Close(peer) })
			l := r.Loops()[0]
			on(t, l, func() {
				r.fds.opened(1)
				check(t, l.Watch(ours, MakeToken(0, 0, 0)))
				l.Retire(ours, make([]byte, 8<<20))
			})
		}},
		{"login under way", true, func(t *testing.T, r *rig) {
			ours, peer := tcpPair(t)
			p := must(r.Loops()[0].Adopt(ours))
			ended := make(chan error, 1)
			go func() { // ended by Stop
				_, err := p.Read(make([]byte, 1))
				p.Close()
				ended <- err
			}()
			on(t, r.Loops()[0], func() {}) // the first event is used up
			eventually(t, "the login waits", func() bool { return waitsIn("(*Park).Read(") })
			t.Cleanup(func() {
				unix.Close(peer)
				if err := receive(t, "the login's end", ended); !errors.Is(err, ErrInterrupted) {
					t.Errorf("a login at Stop ended with %v, want %v", err, ErrInterrupted)
				}
			})
		}},
		{"newcomer on its way", true, func(t *testing.T, r *rig) {
			ours, peer := tcpPair(t)
			t.Cleanup(func() { unix.Close(peer) })
			r.fds.opened(1)
			r.fds.pending.Add(1)
			l := r.Loops()[0]
			l.stop.Store(true)
			l.Do(func() {})
			<-l.done
			l.Post(&placed{l, &Listener{}, Accepted{FD: ours}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			others := goleak.IgnoreCurrent()
			r := newRig(t, Options{Loops: 2})
			if c.start {
				r.Start()
			}
			c.leave(t, r)
			stopped := make(chan struct{})
			go func() { r.Stop(); r.Stop(); close(stopped) }() // ends with Stop
			receive(t, "Stop", stopped)
			r.bugs.want(t, 0)
			if c.name != "login under way" {
				goleak.VerifyNone(t, others)
			}
		})
	}
}

// Many goroutines use an engine that is stopped under them.
func TestStopUnderFire(t *testing.T) {
	for range 20 {
		r := startRig(t, 2)
		var wg sync.WaitGroup
		var over atomic.Bool
		for i := range 6 {
			wg.Add(1)
			go func() { // ended by over
				defer wg.Done()
				for n := 0; !over.Load(); n++ {
					l := r.Loops()[(i+n)%2]
					switch i % 3 {
					case 0:
						m := make(either)
						l.Post(m)
						<-m
					case 1:
						a, b, err := pairOf()
						if err != nil {
							t.Error(err)
							return
						}
						if p, err := l.Adopt(a); err == nil {
							p.Write([]byte("x"))
							p.Close()
						}
						unix.Close(b)
					case 2:
						if ln, err := r.Listen(ListenOptions{Addr: loopback, Accept: func(*Loop, Accepted) {}}); err == nil {
							ln.Close()
							<-ln.Done()
						}
					}
				}
			}()
		}
		on(t, r.Loops()[0], func() {})
		on(t, r.Loops()[1], func() {})
		r.Stop()
		over.Store(true)
		wg.Wait()
		r.bugs.want(t, 0)
	}
}

// either is closed when it is delivered or dropped.
type either chan struct{}

func (m either) Deliver() { close(m) }
func (m either) Drop()    { close(m) }

// pairOf is streamPair for a goroutine beside the test's own, both ends non-blocking.
func pairOf() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fds[0], fds[1], err
}

// pong writes one byte back for each event; its work is not what is measured.
type pong struct {
	l  *Loop
	fd int
}

func (p *pong) Due(Token) int64   { return 0 }
func (p *pong) Failed(Token, any) {}
func (p *pong) Ready(_ Token, r Ready) {
	if r&Readable == 0 {
		return
	}
	if n, _ := unix.Read(p.fd, p.l.buf[:1]); n == 1 {
		unix.Write(p.fd, p.l.buf[:1])
	}
}

func BenchmarkEventPingPong(b *testing.B) {
	e := must(New(Options{Loops: 1}))
	ours, peer := streamPair(b)
	defer closeAll(ours, peer)
	l := e.Loops()[0]
	kind := l.Register(&pong{l: l, fd: ours})
	check(b, l.Watch(ours, MakeToken(kind, 1, 1)))
	e.Start()
	defer e.Stop()
	var p [1]byte
	b.ReportAllocs()
	for b.Loop() {
		unix.Write(peer, p[:])
		if n, err := readSome(peer, p[:]); n != 1 {
			b.Fatal(n, err)
		}
	}
}

// The same without system calls: dispatch alone.
func BenchmarkDispatch(b *testing.B) {
	e := must(New(Options{Loops: 1}))
	defer e.Stop()
	l := e.Loops()[0]
	n := 0
	kind := l.Register(&script{ready: func(Token, Ready) { n++ }})
	events := make([]event, 256)
	for i := range events {
		events[i] = event{MakeToken(kind, uint32(i), 1), Readable}
	}
	b.ReportAllocs()
	for b.Loop() {
		l.serve(events)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}
