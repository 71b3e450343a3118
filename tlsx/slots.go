package tlsx

import (
	"errors"
	"sync"
	"time"
)

// DefaultWaiting bounds the handshakes that wait for a slot: as many as may be in progress (DESIGN 3.1).
const DefaultWaiting = 4096

var errBusy = errors.New("too many handshakes at once")

// Slots bounds how many handshakes compute at the same time, so that the loops get their turn in a flood of them
// (DESIGN 2). A slot is held only while computing, never while waiting for a peer; therefore a wait for one ends without
// a timer. Any goroutine may use it. A nil *Slots bounds nothing.
type Slots struct {
	mu      sync.Mutex
	free    int
	ring    []*waiter // oldest at head
	head, n int
	now     func() time.Time
}

// waiter is a handshake that waits for a slot.
type waiter struct {
	deadline time.Time
	granted  chan bool // capacity 1
}

// NewSlots has n slots, usually one per CPU, and room for that many waiting.
func NewSlots(n, waiting int) *Slots {
	return &Slots{free: max(n, 1), ring: make([]*waiter, max(waiting, 1)), now: time.Now}
}

// acquire waits for a slot, first come first served. It fails when too many wait, and when the deadline has passed by the
// time it is the caller's turn: its peer has given up, and those behind it have not.
func (s *Slots) acquire(deadline time.Time) error {
	if s == nil {
		return nil
	}
	w, err := s.enter(deadline)
	if err == nil && w != nil && !<-w.granted {
		err = errBusy
	}
	return err
}

// enter takes a free slot, the waiter being nil then, or queues.
func (s *Slots) enter(deadline time.Time) (*waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free > 0 {
		s.free--
		return nil, nil
	}
	if s.n == len(s.ring) {
		if !s.late(s.ring[s.head]) {
			return nil, errBusy
		}
		s.pop().granted <- false
	}
	w := &waiter{deadline: deadline, granted: make(chan bool, 1)}
	s.ring[(s.head+s.n)%len(s.ring)] = w
	s.n++
	return w, nil
}

// release passes the slot on to the oldest waiter that is still in time.
func (s *Slots) release() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.n > 0 {
		w := s.pop()
		late := s.late(w)
		w.granted <- !late
		if !late {
			return
		}
	}
	s.free++
}

func (s *Slots) late(w *waiter) bool { return !w.deadline.IsZero() && s.now().After(w.deadline) }

func (s *Slots) pop() *waiter {
	w := s.ring[s.head]
	s.ring[s.head] = nil
	s.head = (s.head + 1) % len(s.ring)
	s.n--
	return w
}
