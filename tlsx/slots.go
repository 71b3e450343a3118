package tlsx

import (
	"errors"
	"sync"
	"time"
)

// DefaultWaiting bounds the handshakes that wait for a slot: as many as may be in progress (DESIGN 3.1).
const DefaultWaiting = 4096

var errBusy = errors.New("too many handshakes at once")

// impatience is how long the oldest may have waited for a slot before there are more of them.
const impatience = 500 * time.Millisecond

// Slots bounds how many handshakes compute at the same time, so that the loops get their turn in a flood of them
// (DESIGN 2). A slot is held only while computing, never while waiting for a peer; therefore a wait for one ends without
// a timer. Any goroutine may use it. A nil *Slots bounds nothing.
type Slots struct {
	usual, most int // immutable
	now         func() time.Time

	mu      sync.Mutex
	busy    int
	ring    []*waiter // oldest at head
	head, n int
	hurried bool // somebody has waited for long since Hurried was asked
}

// waiter is a handshake that waits for a slot.
type waiter struct {
	since, deadline time.Time
	granted         chan bool // capacity 1
}

// SlotsOptions say how many handshakes compute at once.
type SlotsOptions struct {
	// Usual is their number, at least 1. Half of the CPUs is enough to use them all, since handshakes are half of the work of a login;
	// and a flood of handshakes that lead to no login leaves the other half to the sessions.
	Usual int
	// Most is what it grows to while the oldest has waited for half a second: RSA handshakes are more than half of a login. It is at
	// least Usual.
	Most int
	// Waiting bounds those that wait, at least 1.
	Waiting int
}

// NewSlots makes them, all free.
func NewSlots(o SlotsOptions) *Slots {
	usual := max(o.Usual, 1)
	return &Slots{usual: usual, most: max(o.Most, usual), ring: make([]*waiter, max(o.Waiting, 1)), now: time.Now}
}

// SlotsFor are those of a machine whose process may use that many CPUs.
func SlotsFor(cpus int) *Slots {
	return NewSlots(SlotsOptions{Usual: (cpus + 1) / 2, Most: cpus, Waiting: DefaultWaiting})
}

// Hurried tells whether somebody had to wait for long since it was asked last.
func (s *Slots) Hurried() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	hurried := s.hurried
	s.hurried = false
	return hurried
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
	if s.n == 0 && s.busy < s.usual {
		s.busy++
		return nil, nil
	}
	now := s.now()
	if s.grant(now); s.n == len(s.ring) {
		return nil, errBusy
	}
	w := &waiter{since: now, deadline: deadline, granted: make(chan bool, 1)}
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
	s.busy--
	if s.n > 0 {
		s.grant(s.now())
	}
}

// grant gives slots that are free to the oldest waiters, and drops those who are late.
func (s *Slots) grant(now time.Time) {
	for s.n > 0 {
		w, slots := s.ring[s.head], s.usual
		if now.Sub(w.since) > impatience {
			s.hurried, slots = true, s.most
		}
		late := w.late(now)
		if !late {
			if s.busy >= slots {
				return
			}
			s.busy++
		}
		s.pop().granted <- !late
	}
}

func (w *waiter) late(now time.Time) bool { return !w.deadline.IsZero() && now.After(w.deadline) }

func (s *Slots) pop() *waiter {
	w := s.ring[s.head]
	s.ring[s.head] = nil
	s.head = (s.head + 1) % len(s.ring)
	s.n--
	return w
}
