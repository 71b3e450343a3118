package bridge

import (
	"io"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
)

var spliced = [2]Lane{LaneSplice, LaneSplice}

// full tells whether a Unix socket that takes no byte more refuses splice(2) too. Before Linux 6.5 it does not: what is spliced
// goes to the end of the last buffer, whatever SO_SNDBUF says. TCP, which the bridge has, was never so.
func full(t *testing.T) bool {
	p := socketpair(t)
	far := &peer{near: p[0]}
	far.fill(t)
	var q [2]int
	if err := unix.Pipe2(q[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Write(q[1], make([]byte, 5000))
	n, _ := splice(q[0], p[0], 5000)
	for _, fd := range append(p[:], q[:]...) {
		unix.Close(fd)
	}
	if n > 0 {
		t.Log("NOT RUN HERE: this kernel lets splice(2) overfill the Unix sockets that the test is about")
	}
	return n == 0
}

// held makes a session whose client has taken nothing yet of a text that is in a pipe.
func (r *rig) held(t *testing.T, loop int) (s *peers, before, text string) {
	t.Helper()
	c, b := r.unix(), r.unix()
	before = strings.Repeat("\x00", c.clog(t))
	text = randomText(50000)
	if _, err := io.WriteString(b, text); err != nil {
		t.Fatal(err)
	}
	s = r.joinLegs(loop, c, b, Join{}) // now, or the first half of text might fill a pipe alone
	r.eventually("all of it in a pipe", func() bool {
		n, _ := s.count()
		return n.ToClient == uint64(len(text))
	})
	if got := s.inPipes(); got != len(text) {
		t.Fatalf("in pipes: got %d bytes, want %d", got, len(text))
	}
	return s, before, text
}

// inPipes is what pipes hold for a session's legs.
func (s *peers) inPipes() (n int) {
	s.r.on(s.loop, func(b *Bridge) {
		x, ok := b.find(s.id)
		for i := 0; ok && i < 2; i++ {
			if p := b.stashes.piped(x.legs[i].stash); p != nil {
				n += p.held
			}
		}
	})
	return n
}

// wantAllEmpty wants nothing in the pipes that loop 0 keeps.
func (r *rig) wantAllEmpty(t *testing.T) {
	t.Helper()
	r.on(0, func(b *Bridge) {
		for _, p := range b.pipes.free {
			if n, err := unix.Read(p.R, make([]byte, 1)); err != unix.EAGAIN {
				t.Errorf("in a pipe that is kept: got %d bytes, %v", n, err)
			}
		}
	})
}

// free is how many empty pipes a loop keeps.
func (r *rig) free(loop int) (n int) {
	r.on(loop, func(b *Bridge) { n = len(b.pipes.free) })
	return n
}

// TestPipeIsAStash: what a slow leg has not taken stays in the pipe, counts as a stash, and goes wherever a stash goes.
func TestPipeIsAStash(t *testing.T) {
	cases := map[string]func(t *testing.T, r *rig, s *peers, all string){
		"taken": func(t *testing.T, r *rig, s *peers, all string) {
			wantNext(t, s.client, all)
			r.eventually("the pipe is free", func() bool { return r.free(0) == 1 && r.stash.InUse() == 0 })
			exchange(t, s.backend, s.client, "and on")
		},
		"end behind it": func(t *testing.T, r *rig, s *peers, all string) {
			s.backend.closeWrite()
			r.eventually("hang-up", s.isHalved)
			wantRest(t, s.client, all)
			s.client.closeWrite()
			r.waitEnd(s.tag, BackendClosed)
			if got := r.free(0); got != 1 {
				t.Errorf("free pipes: got %d, want 1", got)
			}
		},
		"kick": func(t *testing.T, r *rig, s *peers, all string) {
			s.kick(t)
			wantRest(t, s.client, all)
			r.waitEnd(s.tag, Kicked)
			if got := r.free(0); got != 1 {
				t.Errorf("free pipes: got %d, want 1", got)
			}
		},
		"move": func(t *testing.T, r *rig, s *peers, all string) {
			s.mustMove(t)
			if got := r.stash.InUse(); got != 64<<10 || s.inPipes() != 0 || r.free(0) != 1 || r.free(1) != 0 {
				t.Errorf("after the move: %d bytes of stash, %d in pipes, %d and %d pipes free", got, s.inPipes(), r.free(0), r.free(1))
			}
			wantNext(t, s.client, all)
			exchange(t, s.backend, s.client, "and on")
		},
		"the client breaks": func(t *testing.T, r *rig, s *peers, _ string) {
			s.client.Close()
			r.waitEnd(s.tag, ClientReset)
			r.wantAllEmpty(t)
		},
		"the session is ended for its memory": func(t *testing.T, r *rig, s *peers, _ string) {
			r.stash.SetLimit(1)
			r.stuck0(t)
			r.waitEnd(s.tag, StashFull)
			r.wantAllEmpty(t)
		},
	}
	if !full(t) {
		return
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{lanes: spliced})
			s, before, text := r.held(t, 0)
			if got := r.stash.InUse(); got != 64<<10 {
				t.Errorf("stash: got %d bytes, want 64 KiB", got)
			}
			run(t, r, s, before+text)
		})
	}
}

// stuck0 has another session of loop 0 need a stash.
func (r *rig) stuck0(t *testing.T) {
	c, b := r.unix(), r.unix()
	c.clog(t)
	r.far = append(r.far, c, b)
	r.on(0, func(br *Bridge) {
		watchAll(br.loop, c.near, b.near)
		if _, err := br.Join(Join{Client: c.leg(), Backend: b.leg(), ToClient: make([]byte, 1000)}); err == nil {
			t.Error("joined with a stash although there is no memory for any")
		}
	})
}

// TestSpliceWaitsForFullBuffers: small moves are read and written, large ones are spliced, and back again; the lane that
// was reached once stays.
func TestSpliceWaitsForFullBuffers(t *testing.T) {
	r := newRig(t, rigOptions{wary: true})
	s := r.join(0)
	moved := func() (n uint64) {
		r.on(0, func(b *Bridge) { n = b.pipes.spliced })
		return n
	}
	for range 20 {
		exchange(t, s.client, s.backend, randomText(1000))
	}
	if got := moved(); got != 0 || s.lane() != LanePlain {
		t.Errorf("spliced %d small bytes, lane %v", got, s.lane())
	}
	text := randomText(8 << 20)
	sent := make(chan struct{})
	go func() { defer close(sent); io.WriteString(s.client, text) }() // ends when the backend has read all
	wantNext(t, s.backend, text)
	<-sent
	if got := moved(); got == 0 || got > uint64(len(text)-2*engine.BufferBytes) || s.lane() != LaneSplice {
		t.Errorf("spliced %d of %d bytes, lane %v", got, len(text), s.lane())
	}
	exchange(t, s.client, s.backend, "settles")
	before := moved()
	for range 20 {
		exchange(t, s.client, s.backend, randomText(1000))
	}
	if got := moved() - before; got != 0 || s.lane() != LaneSplice {
		t.Errorf("spliced %d small bytes, lane %v", got, s.lane())
	}
	if got := r.reached[LaneSplice].Load(); got != 1 {
		t.Errorf("told of lane %v %d times, want once", LaneSplice, got)
	}
	s.mustMove(t)
	if s.lane() != LaneSplice {
		t.Errorf("after a move: lane %v", s.lane())
	}
}

func (s *peers) lane() (lane Lane) {
	s.r.on(s.loop, func(b *Bridge) { lane, _ = b.Lane(s.id) })
	return lane
}

// TestNoPipeLeft: with every pipe at a slow client the others go on, by reading and writing.
func TestNoPipeLeft(t *testing.T) {
	if !full(t) {
		return
	}
	r := newRig(t, rigOptions{lanes: spliced, pipes: 2})
	s1, before1, text1 := r.held(t, 0)
	s2, _, _ := r.held(t, 0)
	if got := r.pipes.Open(); got != 2 {
		t.Fatalf("pipes: got %d, want 2", got)
	}
	s := r.joinLegs(0, r.unix(), r.unix(), Join{})
	exchange(t, s.backend, s.client, randomText(100000))
	if s.lane() != LanePlain {
		t.Errorf("lane without a pipe: got %v", s.lane())
	}
	s2.client.Close() // its pipe, which is not empty, makes room for another
	r.waitEnd(s2.tag, ClientReset)
	wantNext(t, s1.client, before1+text1)
	exchange(t, s.backend, s.client, randomText(100000))
	if s.lane() != LaneSplice {
		t.Errorf("lane with a pipe: got %v", s.lane())
	}
	if got := r.pipes.Open(); got > 2 {
		t.Errorf("pipes: got %d, want at most 2", got)
	}
}

// TestRefusedPipe: what the kernel or the limit of descriptors refuses is asked for again only after a while.
func TestRefusedPipe(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.on(0, func(b *Bridge) {
		hold := b.pipes.take()
		if hold == nil {
			t.Error("no pipe to begin with")
			return
		}
		b.pipes.retryAt = b.loop.Now() + 1
		if p := b.pipes.take(); p != nil {
			t.Error("made a pipe too early")
		}
		b.pipes.give(hold)
		if p := b.pipes.take(); p != hold {
			t.Error("a free pipe was not used while none may be made")
		}
		b.pipes.retryAt = b.loop.Now()
		other := b.pipes.take()
		if other == nil {
			t.Error("no pipe although it is time")
			return
		}
		b.pipes.give(other)
		b.pipes.give(hold)
	})
}

// TestScarceMemoryIsNotSpliced: a stash is at most as large as the read that it is the rest of, and reads are small then.
func TestScarceMemoryIsNotSpliced(t *testing.T) {
	r := newRig(t, rigOptions{lanes: spliced, stashBytes: 64 << 10})
	exchange(t, r.join(1).client, r.far[1], "spliced")
	r.stuck(0, 50000)
	s := r.join(0)
	exchange(t, s.client, s.backend, randomText(50000))
	if s.lane() != LanePlain {
		t.Errorf("lane: got %v", s.lane())
	}
}

// TestSpliceAllocatesNothing is for moves that fit and for ones that stay in the pipe.
func TestSpliceAllocatesNothing(t *testing.T) {
	r := newRig(t, rigOptions{lanes: spliced})
	s := r.joinLegs(0, r.unix(), r.unix(), Join{})
	buf, flooded := make([]byte, 1<<20), make(chan struct{})
	go flood(s.backend, 1<<20, flooded) // ends when the leg is closed below
	round := func() { io.ReadFull(s.client, buf) }
	if got := testing.AllocsPerRun(50, round); got > 1 {
		t.Errorf("allocations per MiB: got %v, want none but a goroutine's wait now and then", got)
	}
	r.eventually("stash", func() bool { return r.stash.InUse() > 0 })
	s.backend.Close()
	<-flooded
}

// threadTime is the CPU time of the calling thread.
func threadTime(t testing.TB) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Error(err)
	}
	return time.Duration(ts.Nano())
}

// tcpPair is a bare TCP connection over loopback: near is the bridge's end.
func tcpPair(t testing.TB, r *rig) (near, far int) {
	p := r.tcp()
	raw, err := p.Conn.(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { far, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	p.Conn.Close()
	unix.SetNonblock(far, true)
	return p.near, far
}

// overTCP lends f a function that has the handler move what far[client] has sent to far[backend].
func overTCP(t testing.TB, o rigOptions, f func(move func(), far [2]int)) {
	r := newRig(t, o)
	s := r.joinLegs(0, r.unix(), r.unix(), Join{})
	var near, far [2]int
	for i := range near {
		near[i], far[i] = tcpPair(t, r)
		for _, fd := range []int{near[i], far[i]} {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 2<<20)
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 2<<20)
			defer unix.Close(fd)
		}
	}
	r.on(0, func(b *Bridge) {
		x, _ := b.find(s.id)
		var own [2]int32
		for i := range x.legs {
			own[i], x.legs[i].fd = x.legs[i].fd, int32(near[i])
		}
		w := &watcher{b, client}
		f(func() { w.Ready(b.token(s.id, client), engine.Readable|engine.Resumed) }, far)
		x.legs[client].fd, x.legs[backend].fd = own[client], own[backend]
	})
}

// BenchmarkPlainMove compares the ways of plain legs: CPU time of the loop alone, per byte and as bytes per CPU-second.
func BenchmarkPlainMove(b *testing.B) {
	for _, chunk := range []int{16 << 10, 64 << 10, 256 << 10} {
		for _, lane := range []Lane{LanePlain, LaneSplice} {
			b.Run(lane.String()+" "+strconv.Itoa(chunk>>10)+"K", func(b *testing.B) {
				overTCP(b, rigOptions{lanes: [2]Lane{lane, lane}}, func(move func(), far [2]int) { benchmarkMove(b, chunk, move, far) })
			})
		}
	}
}

func benchmarkMove(b *testing.B, chunk int, move func(), far [2]int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, chunk)
	var cpu time.Duration
	moved := 0
	b.SetBytes(int64(chunk))
	b.ReportAllocs()
	for b.Loop() {
		for sent := 0; sent < chunk; {
			n, err := unix.Write(far[client], buf[sent:])
			if err != nil {
				b.Fatal(err)
			}
			sent += n
		}
		start := threadTime(b)
		move()
		cpu += threadTime(b) - start
		for got := 0; got < chunk; {
			n, err := unix.Read(far[backend], buf)
			if err == unix.EAGAIN {
				start := threadTime(b)
				move()
				cpu += threadTime(b) - start
				continue
			}
			if err != nil || n == 0 {
				b.Fatal(n, err)
			}
			got += n
		}
		moved += chunk
	}
	b.ReportMetric(float64(moved)/1e6/cpu.Seconds(), "MB/cpu-s")
}
