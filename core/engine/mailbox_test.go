package engine

import (
	"sync"
	"sync/atomic"
	"testing"
)

// letter counts what became of it.
type letter struct {
	delivered, dropped *atomic.Int64
	seen               atomic.Bool
}

func (m *letter) Deliver() { m.count(m.delivered) }
func (m *letter) Drop()    { m.count(m.dropped) }
func (m *letter) count(n *atomic.Int64) {
	if m.seen.Swap(true) {
		panic("bug: a message was handed out twice")
	}
	n.Add(1)
}

// newMailbox counts its rings.
func newMailbox() (b *mailbox, rings *int) {
	rings = new(int)
	return &mailbox{wake: func() { *rings++ }}, rings
}

func TestMailboxRingsOnlyForASleeper(t *testing.T) {
	b, rings := newMailbox()
	defer b.stop()
	want := func(what string, n int) {
		t.Helper()
		if *rings != n {
			t.Errorf("%s: %d rings, want %d", what, *rings, n)
		}
		*rings = 0
	}
	post := func(n int) {
		for range n {
			b.post(task(func() {}))
		}
	}
	for round := range 3 {
		if !b.rest() {
			t.Fatalf("round %d: no rest with an empty queue", round)
		}
		post(1000)
		want("asleep", 1)
		if b.rest() {
			t.Error("rest with a full queue")
		}
		q := b.take()
		if len(q) != 1000 {
			t.Errorf("round %d: took %d messages, want 1000", round, len(q))
		}
		post(1) // between take and done
		b.done(q)
		post(1)
		want("awake", 0)
		if got := len(b.take()); got != 2 {
			t.Errorf("round %d: took %d messages, want 2", round, got)
		}
	}
	if !b.rest() || b.take() != nil {
		t.Error("an empty mailbox yields something")
	}
	post(1)
	want("awake again without a message", 0)
}

// done keeps no message alive and no huge slice.
func TestMailboxForgetsWhatWasTaken(t *testing.T) {
	b, _ := newMailbox()
	defer b.stop()
	for range 5000 {
		b.post(task(func() {}))
	}
	q := b.take()
	b.done(q)
	for i, m := range q {
		if m != nil {
			t.Fatalf("message %d is still held", i)
		}
	}
	if b.spare != nil {
		t.Errorf("a slice for %d messages is kept", cap(b.spare))
	}
}

// Many goroutines post while the loop runs and is stopped under them: each message is delivered or dropped, once.
func TestMailboxHandsOutEachMessageOnce(t *testing.T) {
	r := startRig(t, 2)
	var delivered, dropped atomic.Int64
	const posters, each = 8, 2000
	var wg sync.WaitGroup
	for i := range posters {
		wg.Add(1)
		go func() { // ends after its messages
			defer wg.Done()
			for range each {
				r.Loops()[i%2].Post(&letter{delivered: &delivered, dropped: &dropped})
			}
		}()
	}
	eventually(t, "some are delivered", func() bool { return delivered.Load() > 100 })
	r.Stop()
	wg.Wait()
	if got := delivered.Load() + dropped.Load(); got != posters*each {
		t.Errorf("%d delivered and %d dropped of %d", delivered.Load(), dropped.Load(), posters*each)
	}
	r.bugs.want(t, 0)
}

func TestMailboxKeepsTheOrderOfEachSender(t *testing.T) {
	r := startRig(t, 1)
	const senders, each = 4, 3000
	var last [senders]int // owned by the loop
	var wg sync.WaitGroup
	for s := range senders {
		wg.Add(1)
		go func() { // ends after its messages
			defer wg.Done()
			for n := range each {
				r.Loops()[0].Do(func() {
					if last[s] != n {
						t.Errorf("sender %d: message %d came after %d", s, n, last[s]-1)
					}
					last[s] = n + 1
				})
			}
		}()
	}
	wg.Wait()
	if got := ask(t, r.Loops()[0], func() [senders]int { return last }); got != [senders]int{each, each, each, each} {
		t.Errorf("delivered %v, want %d each", got, each)
	}
}

func TestPostAfterStopDropsAtOnce(t *testing.T) {
	r := startRig(t, 1)
	r.Stop()
	var delivered, dropped atomic.Int64
	r.Loops()[0].Post(&letter{delivered: &delivered, dropped: &dropped})
	r.Loops()[0].Do(func() { t.Error("a function ran after Stop") })
	if dropped.Load() != 1 || delivered.Load() != 0 {
		t.Errorf("delivered %d, dropped %d; want 0 and 1", delivered.Load(), dropped.Load())
	}
}

func BenchmarkPostRoundTrip(b *testing.B) {
	e := must(New(Options{Loops: 1}))
	e.Start()
	defer e.Stop()
	back := make(chan struct{}, 1)
	answer := task(func() { back <- struct{}{} })
	b.ReportAllocs()
	for b.Loop() {
		e.Loops()[0].Post(answer)
		<-back
	}
}

// A wake comes under the lock that stop takes: later the poller may be closed, and its descriptors somebody else's (SECURITY 32).
func TestMailboxWakesUnderItsLock(t *testing.T) {
	woken := 0
	var b mailbox
	b.wake = func() {
		woken++
		if b.mu.TryLock() {
			b.mu.Unlock()
			t.Error("woken outside the lock")
		}
	}
	if !b.rest() {
		t.Fatal("an empty mailbox lets nobody sleep")
	}
	for range 2 {
		b.post(task(func() {}))
	}
	if woken != 1 {
		t.Errorf("woken %d times, want once", woken)
	}
	b.stop()
}
