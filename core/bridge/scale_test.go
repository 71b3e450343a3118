package bridge

import (
	"io"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
	"mailsplice/tlsx/record"
)

// The plain part of the budget of DESIGN 4.
func TestRecordSize(t *testing.T) {
	if got := unsafe.Sizeof(state{}); got > 120 {
		t.Errorf("state: got %d bytes, want at most 120", got)
	}
	if got := 2*unsafe.Sizeof(record.Leg{}) + unsafe.Sizeof(state{}); got > 440 {
		t.Errorf("state of a session with TLS on both legs: got %d bytes, want at most 440", got)
	}
}

// Five thousand sessions in a row, each one's backend leg being the next one's client leg, so that a session costs two
// descriptors only and one byte visits them all.
func TestManyIdleSessions(t *testing.T) {
	const sessions = 5000
	r := newRig(t, rigOptions{})
	goroutines := runtime.NumGoroutine()
	heap := liveHeap()
	first, last := r.unix(), r.unix()
	client := first.near
	for i := range sessions {
		p := [2]int{last.near, -1}
		if i < sessions-1 {
			p = socketpair(t)
		}
		r.on(i%2, func(b *Bridge) {
			watchAll(b.loop, client, p[0])
			if _, err := b.Join(Join{Client: Leg{FD: client}, Backend: Leg{FD: p[0]}, Tag: uint64(i)}); err != nil {
				t.Error(err)
			}
		})
		client = p[1]
	}
	exchange(t, first, last, "there and ")
	exchange(t, last, first, "back again")
	mapped := r.bridges[0].MappedBytes() + r.bridges[1].MappedBytes()
	grown := int64(liveHeap()) - int64(heap)
	t.Logf("%d idle sessions: record %d bytes, mapped %d, Go heap %d bytes a session", sessions, unsafe.Sizeof(state{}),
		mapped/sessions, grown/sessions)
	if got := runtime.NumGoroutine(); got > goroutines {
		t.Errorf("goroutines: got %d, were %d", got, goroutines)
	}
	if grown/sessions > 100 {
		t.Errorf("Go heap: got %d bytes a session, want it not to grow with sessions", grown/sessions)
	}
	first.Close() // its end goes through all of them, and back
	last.Close()
	for range sessions {
		select {
		case <-r.ended:
		case <-time.After(patience):
			t.Fatal("sessions left")
		}
	}
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkPingPong(b *testing.B) {
	r := newRig(b, rigOptions{})
	s := r.join(0)
	ping, pong, buf := []byte("a NOOP\r\n"), []byte("a OKAY\r\n"), make([]byte, 8)
	b.ReportAllocs()
	for b.Loop() {
		s.client.Write(ping)
		io.ReadFull(s.backend, buf)
		s.backend.Write(pong)
		io.ReadFull(s.client, buf)
	}
}

func BenchmarkBulk(b *testing.B) {
	for name, leg := range map[string]func(*rig) *peer{"tcp": (*rig).tcp, "unix": (*rig).unix} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, rigOptions{})
			s := r.joinLegs(0, leg(r), leg(r), Join{})
			flooded := make(chan struct{})
			go flood(s.backend, 256<<10, flooded) // ends when the leg is closed below
			buf := make([]byte, 256<<10)
			cpu := cpuTime(b)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				io.ReadFull(s.client, buf)
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/float64(len(buf)), "cpu-ns/B")
			s.client.Close()
			s.backend.Close()
			<-flooded
		})
	}
}

// cpuTime is what the process, far ends included, has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A chunk from one socket pair to another by direct calls of the handler.
func BenchmarkRelayChunk(b *testing.B) {
	r := newRig(b, rigOptions{})
	s := r.joinLegs(0, r.unix(), r.unix(), Join{})
	s.onRawLegs(func(br *Bridge, w *watcher, far [2]int) {
		p := make([]byte, 4096)
		b.SetBytes(int64(len(p)))
		b.ReportAllocs()
		for b.Loop() {
			unix.Write(far[client], p)
			w.Ready(br.token(s.id, client), engine.Readable)
			unix.Read(far[backend], p)
		}
	})
}

// onRawLegs lends the session other legs, whose far ends are bare descriptors, and runs f on the loop, which therefore
// serves no event meanwhile. w is the client leg's watcher.
func (s *peers) onRawLegs(f func(b *Bridge, w *watcher, far [2]int)) {
	s.r.on(s.loop, func(b *Bridge) {
		x, _ := b.find(s.id)
		var own [2]int32
		var far [2]int
		for i := range x.legs {
			p := socketpair(s.r.t)
			for _, fd := range p {
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20) // as much as the kernel allows
				defer unix.Close(fd)
			}
			own[i], x.legs[i].fd, far[i] = x.legs[i].fd, int32(p[0]), p[1]
		}
		f(b, &watcher{b, client}, far)
		x.legs[client].fd, x.legs[backend].fd = own[client], own[backend]
	})
}
