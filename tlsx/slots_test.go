package tlsx

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// SECURITY 33: no more compute at once than there are slots.
func TestSlotsBound(t *testing.T) {
	s := NewSlots(SlotsOptions{Usual: 2, Waiting: 100})
	var computing, most atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				if err := s.acquire(time.Now().Add(patience)); err != nil {
					t.Error(err)
					return
				}
				n := computing.Add(1)
				for {
					if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
						break
					}
				}
				runtime.Gosched() // whoever else may compute now does
				computing.Add(-1)
				s.release()
			}
		})
	}
	wg.Wait()
	if got := most.Load(); got > 2 || got < 1 {
		t.Errorf("got %d at once, want at most 2", got)
	}
	if s.busy != 0 || s.n != 0 {
		t.Errorf("got %d busy and %d waiting, want none", s.busy, s.n)
	}
}

// queue lets someone wait in s until then; wait tells how that ended.
func queue(t *testing.T, s *Slots, until time.Time) (wait func() error) {
	t.Helper()
	w, err := s.enter(until)
	if err != nil || w == nil {
		t.Fatalf("got %v, %v, want to wait", w, err)
	}
	return func() error {
		select {
		case ok := <-w.granted:
			if !ok {
				return errBusy
			}
			return nil
		default:
			return errors.New("still waiting")
		}
	}
}

func TestSlotsServeInTurnAndDropTheLate(t *testing.T) {
	now := time.Now()
	s := NewSlots(SlotsOptions{Usual: 1, Waiting: 3})
	s.now = func() time.Time { return now }
	if err := s.acquire(now); err != nil {
		t.Fatal(err)
	}
	late := queue(t, s, now.Add(time.Second))
	first := queue(t, s, now.Add(time.Minute))
	second := queue(t, s, time.Time{}) // without a deadline
	if _, err := s.enter(now.Add(time.Minute)); !errors.Is(err, errBusy) {
		t.Errorf("one too many, all in time: got %v, want refused", err)
	}
	now = now.Add(2 * time.Second)
	third := queue(t, s, now.Add(time.Minute)) // in the place of the late one
	if err := late(); !errors.Is(err, errBusy) {
		t.Errorf("the oldest past its deadline: got %v, want dropped", err)
	}
	for i, wait := range []func() error{first, second, third} {
		if err := wait(); err == nil {
			t.Errorf("%d had its turn too early", i)
		}
		s.release()
		if err := wait(); err != nil {
			t.Errorf("%d: got %v, want its turn", i, err)
		}
	}
	s.release()
	if s.busy != 0 {
		t.Errorf("got %d busy, want none", s.busy)
	}
}

func TestSlotsSkipTheLateOnRelease(t *testing.T) {
	now := time.Now()
	s := NewSlots(SlotsOptions{Usual: 1, Waiting: 3})
	s.now = func() time.Time { return now }
	s.acquire(now)
	late, inTime := queue(t, s, now.Add(time.Second)), queue(t, s, now.Add(time.Minute))
	now = now.Add(2 * time.Second)
	s.release()
	if err := late(); !errors.Is(err, errBusy) {
		t.Errorf("late: got %v, want dropped", err)
	}
	if err := inTime(); err != nil {
		t.Errorf("in time: got %v, want its turn", err)
	}
}

// When the oldest has waited for long there are more, up to the most, until nobody waits that long.
func TestSlotsGrow(t *testing.T) {
	now := time.Now()
	s := NewSlots(SlotsOptions{Usual: 1, Most: 3, Waiting: 10})
	s.now = func() time.Time { return now }
	s.acquire(time.Time{})
	var waits []func() error
	for range 5 {
		waits = append(waits, queue(t, s, time.Time{}))
	}
	turns := func(want int) {
		t.Helper()
		for i, wait := range waits {
			if got := wait() == nil; got != (i < want) {
				t.Errorf("%d has its turn: %v, want those before %d", i, got, want)
			}
		}
		waits = waits[want:]
	}
	now = now.Add(impatience)
	young := queue(t, s, time.Time{})
	turns(0)
	if s.Hurried() {
		t.Error("hurried before anybody has waited for long")
	}
	now = now.Add(time.Millisecond)
	queue(t, s, time.Time{})
	turns(2) // three compute
	if !s.Hurried() || s.Hurried() {
		t.Error("want hurried, and once")
	}
	s.release()
	turns(1)
	for range 2 {
		s.release()
		turns(1)
	}
	s.release()
	s.release()
	if err := young(); err == nil {
		t.Error("one that has not waited for long had its turn beside another")
	}
	s.release()
	if err := young(); err != nil {
		t.Errorf("got %v, want its turn: nobody computes", err)
	}
	if !s.Hurried() || s.busy != 1 {
		t.Errorf("got %d busy, want 1", s.busy)
	}
}

// On one CPU there are never more, but that somebody waits is told.
func TestSlotsHurriedOnOneCPU(t *testing.T) {
	now := time.Now()
	s := SlotsFor(1)
	s.now = func() time.Time { return now }
	s.acquire(time.Time{})
	first, second := queue(t, s, time.Time{}), queue(t, s, time.Time{})
	now = now.Add(impatience + 1)
	s.release()
	if err := first(); err != nil || second() == nil || !s.Hurried() {
		t.Errorf("got %v, and %d busy; want the first, one, and hurried", err, s.busy)
	}
	if (*Slots)(nil).Hurried() {
		t.Error("no bound: got hurried")
	}
}

func TestSlotsFor(t *testing.T) {
	for _, c := range []struct{ cpus, usual, most int }{{1, 1, 1}, {2, 1, 2}, {3, 2, 3}, {16, 8, 16}} {
		if s := SlotsFor(c.cpus); s.usual != c.usual || s.most != c.most || len(s.ring) != DefaultWaiting {
			t.Errorf("%d CPUs: got %d and %d slots, room for %d", c.cpus, s.usual, s.most, len(s.ring))
		}
	}
	if s := NewSlots(SlotsOptions{}); s.usual != 1 || s.most != 1 || len(s.ring) != 1 {
		t.Errorf("nothing said: got %+v", s)
	}
}

// A handshake whose peer keeps it waiting holds no slot; one that computes does, and gives it back however it ends.
func TestHandshakesShareSlots(t *testing.T) {
	slots := NewSlots(SlotsOptions{Usual: 1, Waiting: 1})
	server := newServer(t, func(o *ServerOptions) { o.Slots = slots })
	client := newClient(t, func(o *ClientOptions) { o.Slots = slots })
	waiting, idle := connect(t)
	stuck := begin(server, waiting)
	for range 3 {
		ours, conn, _, _ := accept(t, server, clientConfig())
		exchange(t, ours, conn)
		ours, conn, _ = dial(t, client, backend(t))
		exchange(t, ours, conn)
	}
	idle.Close()
	checkCause(t, <-stuck, CauseClosed)
	if slots.busy != 0 {
		t.Fatalf("got %d busy slots, want none", slots.busy)
	}

	slots.acquire(time.Time{})
	queue(t, slots, time.Time{})
	ours, _ := connect(t)
	taken, err := client.Handshake(ours, time.Now().Add(patience))
	checkCause(t, result{taken, err}, CauseBusy)
}
