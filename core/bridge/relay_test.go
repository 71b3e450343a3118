package bridge

import (
	"hash"
	"hash/crc32"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
)

func TestJoinMovesBothWays(t *testing.T) {
	overPlainKinds(t, func(t *testing.T, r *rig, leg func() *peer) {
		s := r.joinLegs(1, leg(), leg(), Join{ToBackend: []byte("tail of the client\r\n"), ToClient: []byte("tail of the backend\r\n")})
		wantNext(t, s.backend, "tail of the client\r\n")
		wantNext(t, s.client, "tail of the backend\r\n")
		for range 50 {
			exchange(t, s.client, s.backend, "a NOOP\r\n")
			exchange(t, s.backend, s.client, "a OK done\r\n")
		}
		if got, _ := s.count(); got.ToBackend != 20+50*8 || got.ToClient != 21+50*11 {
			t.Errorf("counters: got %+v, want %d and %d", got, 20+50*8, 21+50*11)
		}
	})
}

func wantNext(t *testing.T, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v; want %q", got, err, text)
	}
	c.SetReadDeadline(time.Time{})
}

// stream is one direction of a session under load.
type stream struct {
	from, to   *peer
	size       int64
	seed       uint64
	sent, got  hash.Hash32
	n          int64
	sendE, rcE error
}

func newStream(from, to *peer, size int64, seed uint64) *stream {
	table := crc32.MakeTable(crc32.Castagnoli)
	return &stream{from: from, to: to, size: size, seed: seed, sent: crc32.New(table), got: crc32.New(table)}
}

// send writes chunks of 1 byte to 100 KiB and then FIN.
func (s *stream) send(done *sync.WaitGroup) {
	defer done.Done()
	rng := mrand.New(mrand.NewPCG(s.seed, 2))
	block := []byte(randomText(200 << 10))
	for left := s.size; left > 0; {
		n := min(left, 1+rng.Int64N(100<<10))
		at := rng.IntN(100 << 10)
		p := block[at : at+int(n)]
		s.sent.Write(p)
		if _, s.sendE = s.from.Write(p); s.sendE != nil {
			return
		}
		left -= n
	}
	s.sendE = s.from.closeWrite()
}

// receive reads a few bytes to 32 KiB at a time: slower than the sender, so that the bridge must stash.
func (s *stream) receive(done *sync.WaitGroup) {
	defer done.Done()
	rng := mrand.New(mrand.NewPCG(s.seed, 3))
	buf := make([]byte, 32<<10)
	for {
		n, err := s.to.Read(buf[:1+rng.IntN(len(buf))])
		s.got.Write(buf[:n])
		s.n += int64(n)
		if err != nil {
			if err != io.EOF {
				s.rcE = err
			}
			return
		}
	}
}

func (s *stream) check(t *testing.T, what string) {
	t.Helper()
	if s.sendE != nil || s.rcE != nil {
		t.Errorf("%s: sending %v, receiving %v", what, s.sendE, s.rcE)
	}
	if s.n != s.size || s.sent.Sum32() != s.got.Sum32() {
		t.Errorf("%s: got %d bytes, checksum %08x; want %d, %08x", what, s.n, s.got.Sum32(), s.size, s.sent.Sum32())
	}
}

// load runs both directions of sessions to their end. Nothing is read before hold is closed; nil: at once.
func load(sessions []*peers, size int64, hold <-chan struct{}) (streams []*stream, done *sync.WaitGroup) {
	done = &sync.WaitGroup{}
	for i, s := range sessions {
		seed := uint64(i) * 2
		streams = append(streams, newStream(s.client, s.backend, size, seed), newStream(s.backend, s.client, size, seed+1))
	}
	for _, st := range streams {
		done.Add(2)
		go st.send(done) // ends with its size
		go func() {      // ends with the peer's FIN
			if hold != nil {
				<-hold
			}
			st.receive(done)
		}()
	}
	return streams, done
}

// bulkBytes is how much a bulk test moves each way: as much as usual, 1 GiB for a soak, 1 MiB where the CPU is emulated.
func bulkBytes(usual int64) int64 {
	switch {
	case os.Getenv("MAILSPLICE_SOAK") == "1":
		return 1 << 30
	case emulated:
		return 1 << 20
	}
	return usual
}

func TestBulkBothWays(t *testing.T) { overLanes(t, bulkBothWays) }

func bulkBothWays(t *testing.T, o rigOptions) {
	size := bulkBytes(64 << 20)
	r := newRig(t, o)
	s := r.join(0)
	for _, p := range []*peer{s.client, s.backend} {
		p.below.(*net.TCPConn).SetReadBuffer(64 << 10)
		unix.SetsockoptInt(p.near, unix.SOL_SOCKET, unix.SO_SNDBUF, 64<<10)
	}
	hold := make(chan struct{})
	streams, done := load([]*peers{s}, size, hold)
	r.eventually("stash", func() bool { return r.stash.InUse() > 0 })
	close(hold)
	ended := make(chan struct{})
	go closeAfter(done, ended) // ends with the streams
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-tick.C:
			if got, most := r.stash.InUse(), 2*o.mostStash(); got > most {
				t.Errorf("stashes: got %d bytes, want at most %d", got, most)
			}
		}
	}
	streams[0].check(t, "upload")
	streams[1].check(t, "download")
	e := <-r.ended
	if e.ToBackend != uint64(size) || e.ToClient != uint64(size) || e.Reason != ClientClosed && e.Reason != BackendClosed {
		t.Errorf("report: got %+v, want %d bytes each way, closed", e, size)
	}
}

func closeAfter(wg *sync.WaitGroup, done chan struct{}) { wg.Wait(); close(done) }

// flood writes until the connection is closed.
func flood(c net.Conn, chunkBytes int, done chan struct{}) {
	defer close(done)
	p := make([]byte, chunkBytes)
	for {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}

func TestReaderThatNeverReads(t *testing.T) { overLanes(t, readerThatNeverReads) }

func readerThatNeverReads(t *testing.T, o rigOptions) {
	r := newRig(t, o)
	stuck, other := r.join(0), r.join(0)
	flooded := make(chan struct{})
	go flood(stuck.backend, 64<<10, flooded) // ends when the backend is closed below
	r.eventually("stash", func() bool { return r.stash.InUse() > 0 })
	for last := uint64(0); ; { // until nothing moves any more
		for range 200 {
			exchange(t, other.client, other.backend, "a NOOP\r\n")
			exchange(t, other.backend, other.client, "a OK\r\n")
		}
		c, _ := stuck.count()
		if c.ToClient == last && r.stash.InUse() > 0 {
			break
		}
		last = c.ToClient
	}
	if got, most := r.stash.InUse(), o.mostStash(); got > most {
		t.Errorf("stash: got %d bytes, want at most %d", got, most)
	}
	exchange(t, stuck.client, stuck.backend, "the other way still goes\r\n")
	stuck.backend.below.Close()
	<-flooded
}

func TestRelayAllocatesNothing(t *testing.T) {
	r := newRig(t, rigOptions{})
	s := r.join(0)
	ping, buf := []byte("a NOOP\r\n"), make([]byte, 8)
	round := func() {
		s.client.Write(ping)
		io.ReadFull(s.backend, buf)
		s.backend.Write(ping)
		io.ReadFull(s.client, buf)
	}
	if got := testing.AllocsPerRun(300, round); got != 0 {
		t.Errorf("allocations per round trip: got %v, want 0", got)
	}
}

// A slow reader's chunks go through a stash, whose buffer is used again.
func TestStashAllocatesNothing(t *testing.T) {
	r := newRig(t, rigOptions{})
	s := r.joinLegs(0, r.unix(), r.unix(), Join{})
	buf, flooded := make([]byte, 1<<20), make(chan struct{})
	go flood(s.backend, 1<<20, flooded) // ends when the leg is closed below
	round := func() { io.ReadFull(s.client, buf) }
	if got := testing.AllocsPerRun(50, round); got != 0 {
		t.Errorf("allocations per MiB: got %v, want 0", got)
	}
	r.eventually("stash", func() bool { return r.stash.InUse() > 0 })
	s.backend.Close()
	<-flooded
}

// One event moves its budget and no more, and further events do not give the leg a second one in the same turn.
func TestBudgetPerEvent(t *testing.T) {
	r := newRig(t, rigOptions{})
	s := r.joinLegs(0, r.unix(), r.unix(), Join{})
	exchange(t, s.client, s.backend, "x")
	s.onRawLegs(func(b *Bridge, w *watcher, far [2]int) {
		p := make([]byte, 32<<10)
		queued := 0
		for {
			n, err := unix.Write(far[client], p)
			if err != nil {
				break
			}
			queued += n
		}
		if queued < engine.BudgetBytes+1 {
			t.Errorf("the kernel queues %d bytes only", queued)
			return
		}
		tok := b.token(s.id, client)
		for range 3 {
			w.Ready(tok, engine.Readable)
			if c, _ := b.Count(s.id); c.ToBackend != 1+engine.BudgetBytes {
				t.Errorf("moved by one event: got %d, want %d", c.ToBackend-1, engine.BudgetBytes)
			}
		}
		w.Ready(tok, engine.Readable|engine.Resumed)
		if c, _ := b.Count(s.id); c.ToBackend != uint64(1+min(queued, 2*engine.BudgetBytes)) {
			t.Errorf("moved in the next turn: got %d in all, want %d", c.ToBackend-1, min(queued, 2*engine.BudgetBytes))
		}
	})
}
