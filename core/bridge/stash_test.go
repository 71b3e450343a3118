package bridge

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStashClasses(t *testing.T) {
	cases := []struct{ n, want int }{
		{1, 1 << 10}, {1024, 1 << 10}, {1025, 2 << 10}, {16 << 10, 16 << 10}, {64<<10 - 1, 64 << 10}, {64 << 10, 64 << 10},
		{64<<10 + 1, 128 << 10}, {MaxTailBytes, MaxTailBytes},
	}
	for _, c := range cases {
		if got := classBytes(classOf(c.n)); got != c.want {
			t.Errorf("buffer for %d bytes: got %d, want %d", c.n, got, c.want)
		}
	}
	if got := classOf(maxStashBytes); got != stashClasses-1 {
		t.Errorf("class of the longest tail: got %d, want %d", got, stashClasses-1)
	}
}

func TestBudget(t *testing.T) {
	g := NewBudget(8 << 10)
	steps := []struct {
		n      int64
		ok     bool
		used   int64
		scarce bool
	}{
		{4 << 10, true, 4 << 10, false},
		{2 << 10, true, 6 << 10, true},
		{4 << 10, false, 6 << 10, true},
		{2 << 10, true, 8 << 10, true},
		{1, false, 8 << 10, true},
	}
	for i, s := range steps {
		if got := g.reserve(s.n); got != s.ok || g.InUse() != s.used || g.scarce() != s.scarce {
			t.Errorf("step %d: got %v, %d in use, scarce %v; want %+v", i, got, g.InUse(), g.scarce(), s)
		}
	}
	g.release(8 << 10)
	if g.InUse() != 0 || g.scarce() {
		t.Errorf("emptied: got %d in use, scarce %v", g.InUse(), g.scarce())
	}
}

// put reserves like keep does.
func (t *stashes) reserveAndPut(owner ID, n int) handle {
	t.budget.reserve(int64(classBytes(classOf(n))))
	return t.put(owner, make([]byte, n))
}

func TestLargestStash(t *testing.T) {
	s := newStashes(NewBudget(1<<30), nil)
	wantLargest := func(class int, want ID) {
		t.Helper()
		if got, _ := s.largest(class); got != want {
			t.Errorf("largest from class %d: got %d, want %d", class, got, want)
		}
	}
	wantLargest(0, 0)
	small, a, b, c := s.reserveAndPut(1, 100), s.reserveAndPut(2, 60<<10), s.reserveAndPut(3, 64<<10), s.reserveAndPut(4, 50<<10)
	wantLargest(0, 2)
	wantLargest(6, 2)
	wantLargest(7, 0)
	s.remove(b) // amid the list
	wantLargest(0, 2)
	s.remove(a) // its head
	wantLargest(0, 4)
	d := s.reserveAndPut(5, 64<<10)
	s.remove(d) // its tail
	wantLargest(0, 4)
	s.remove(c)
	wantLargest(0, 1)
	wantLargest(1, 0)
	s.remove(small)
	wantLargest(0, 0)
	if got := s.budget.InUse(); got != 0 {
		t.Errorf("in use: got %d, want 0", got)
	}
}

func TestStashBufferIsClearedAndReused(t *testing.T) {
	s := newStashes(NewBudget(1<<30), nil)
	s.budget.reserve(2048)
	h := s.put(1, []byte(strings.Repeat("secret ", 200)))
	s.consume(h, 7)
	if got := string(s.bytes(h)); got != strings.Repeat("secret ", 199) {
		t.Errorf("after consuming: got %d bytes", len(got))
	}
	old := s.slots[h].buf
	s.remove(h)
	for i, c := range old {
		if c != 0 {
			t.Fatalf("byte %d of a buffer given back: got %q, want 0", i, c)
		}
	}
	s.budget.reserve(2048)
	again := s.put(2, make([]byte, 1500))
	if &s.slots[again].buf[0] != &old[0] || again != h {
		t.Error("the buffer or its handle was not used again")
	}
	s.remove(again)
}

func TestSpareBuffersAreBounded(t *testing.T) {
	s := newStashes(NewBudget(1<<30), nil)
	var all []handle
	for range 40 {
		all = append(all, s.reserveAndPut(1, 64<<10))
	}
	for _, h := range all {
		s.remove(h)
	}
	if s.spared != spareBytes || len(s.spare[6]) != spareBytes/(64<<10) {
		t.Errorf("kept for reuse: got %d bytes in %d buffers, want %d", s.spared, len(s.spare[6]), spareBytes)
	}
}

// stuck is a session whose client takes nothing and which pins n bytes.
func (r *rig) stuck(loop, n int) *peers {
	c := r.unix()
	c.clog(r.t)
	return r.joinLegs(loop, c, r.unix(), Join{ToClient: make([]byte, n)})
}

func TestStashLimitEndsTheLargest(t *testing.T) {
	r := newRig(t, rigOptions{stashBytes: 100 << 10})
	small, large, third := r.stuck(0, 10<<10), r.stuck(0, 40<<10), r.unix()
	elsewhere := r.stuck(1, 10<<10)
	alive := r.join(0)
	if got := r.stash.InUse(); got != (16+64+16)<<10 {
		t.Fatalf("stashes: got %d bytes, want 96 KiB", got)
	}
	third.clog(t)
	next := r.joinLegs(0, third, r.unix(), Join{ToClient: make([]byte, 12<<10)})
	if rep := r.waitEnd(large.tag, StashFull); rep.ToClient != 40<<10 {
		t.Errorf("report: got %+v", rep)
	}
	if got := r.stash.InUse(); got != 3*16<<10 {
		t.Errorf("stashes afterwards: got %d bytes, want 48 KiB", got)
	}
	for _, s := range []*peers{small, next, elsewhere} {
		if _, ok := s.count(); !ok {
			t.Errorf("session %d was ended too", s.tag)
		}
	}
	exchange(t, alive.client, alive.backend, "a NOOP\r\n")
	wantRest(t, large.backend, "") // it lost nothing
}

// Over TCP the client of an ended session sees that its stream is not complete.
func TestStashLimitResetsTheTruncated(t *testing.T) {
	r := newRig(t, rigOptions{stashBytes: 16 << 10})
	c := r.tcp()
	c.clog(t)
	large := r.joinLegs(0, c, r.tcp(), Join{ToClient: make([]byte, 12<<10)})
	r.stuck(0, 9<<10)
	r.waitEnd(large.tag, StashFull)
	large.client.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, large.client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("client: got %v, want a reset", err)
	}
	wantRest(t, large.backend, "")
}

// What needs more than any other session pins ends itself; and so does the loop's only one.
func TestStashLimitEndsTheNewest(t *testing.T) {
	r := newRig(t, rigOptions{stashBytes: 32 << 10})
	small := r.stuck(0, 10<<10)
	elsewhere := r.stuck(1, 16<<10)
	c := r.unix()
	before := c.clog(t)
	s := r.joinLegs(0, c, r.unix(), Join{})
	io.WriteString(small.backend, strings.Repeat("y", 16<<10)) // must not end up in the loop's buffer, amid the x
	io.WriteString(s.backend, strings.Repeat("x", 20<<10))
	// The budget is scarce, so 16 KiB are read: as much as the others pin, of which the loop's own is the victim.
	r.waitEnd(small.tag, StashFull)
	small.client.Close()
	small.backend.Close()
	got := make([]byte, before)
	if _, err := io.ReadFull(s.client, got); err != nil {
		t.Fatal(err)
	}
	wantNext(t, s.client, strings.Repeat("x", 20<<10))
	if _, ok := elsewhere.count(); !ok {
		t.Error("another loop's session was ended")
	}

	tight := newRig(t, rigOptions{stashBytes: 8 << 10})
	one := tight.stuck(0, 1<<10)
	c = tight.unix()
	c.clog(t)
	two := tight.joinLegs(0, c, tight.unix(), Join{})
	io.WriteString(two.backend, strings.Repeat("x", 20<<10))
	tight.waitEnd(two.tag, StashFull)
	if _, ok := one.count(); !ok {
		t.Error("the smaller session was ended")
	}
}

// With many floods and slow readers the budget holds at every moment, and who is ended is told so.
func TestStashLimitUnderFlood(t *testing.T) {
	const limit = 512 << 10
	r := newRig(t, rigOptions{stashBytes: limit})
	alive := r.join(0)
	flooded := make(chan struct{}, 40)
	var all []*peers
	for i := range 40 {
		s := r.joinLegs(i%2, r.unix(), r.unix(), Join{})
		all = append(all, s)
		done := make(chan struct{})
		go flood(s.backend, 64<<10, done) // ends when the session or the test closes it
		go forward(done, flooded)
	}
	r.eventually("victims", func() bool {
		if got := r.stash.InUse(); got > limit {
			t.Errorf("stashes: got %d bytes, limit %d", got, limit)
		}
		exchange(t, alive.client, alive.backend, "a NOOP\r\n")
		return len(r.ended) > 0 && r.stash.InUse() > limit/2
	})
	for _, s := range all {
		s.client.Close()
		s.backend.Close()
	}
	for range all {
		<-flooded
	}
	full := 0
	for range all {
		if e := <-r.ended; e.Reason == StashFull {
			full++
		}
	}
	if full == 0 || full == len(all) {
		t.Errorf("ended for their memory: got %d of %d", full, len(all))
	}
}

func forward(done chan struct{}, to chan<- struct{}) { <-done; to <- struct{}{} }
