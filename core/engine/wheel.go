package engine

import "math/bits"

// The wheel's grain and size. A grain of 134 ms is far below any configured time, whose smallest useful unit is a
// second; 1,024 slots reach 137 s, and a deadline beyond that is looked at again when the wheel has turned once.
const (
	tickShift  = 27
	wheelSlots = 1024
)

// TimerID names an armed deadline of one loop; 0 is none.
type TimerID uint32

// timer is one node; the lists are doubly linked by index so that a node needs no pointer.
type timer struct {
	at         int64
	tok        Token
	next, prev uint32
	slot       int32 // slot it hangs in, or one of the states below
}

const (
	timerFiring int32 = -1 // its handler is being called
	timerDead   int32 = -2 // disarmed meanwhile
)

// wheel is a hashed timing wheel over pointer-free nodes. A deadline may be up to one tick late, never early.
type wheel struct {
	nodes *Slab[timer]
	heads [wheelSlots]uint32
	busy  [wheelSlots / 64]uint64 // bit set: the slot's list is not empty
	tick  int64                   // last tick that was served
}

func newWheel(now int64) *wheel {
	return &wheel{nodes: NewSlab[timer](), tick: now >> tickShift}
}

// arm sets or moves a deadline. It returns 0 only when no memory is left.
func (w *wheel) arm(id TimerID, at int64, t Token) TimerID {
	if id != 0 {
		n := &w.nodes.cell(uint32(id)).v
		n.at, n.tok = at, t
		if n.slot >= 0 {
			w.unlink(uint32(id), n)
			w.link(uint32(id), n)
		} else {
			n.slot = timerFiring
		}
		return id
	}
	i, _, n, err := w.nodes.New()
	if err != nil {
		return 0
	}
	n.at, n.tok = at, t
	w.link(i, n)
	return TimerID(i)
}

func (w *wheel) disarm(id TimerID) {
	if id == 0 {
		return
	}
	n := &w.nodes.cell(uint32(id)).v
	if n.slot < 0 {
		n.slot = timerDead
		return
	}
	w.unlink(uint32(id), n)
	w.nodes.Free(uint32(id))
}

// link hangs a node into the slot of the tick that ends at or after its deadline, at most one turn ahead.
func (w *wheel) link(i uint32, n *timer) {
	tick := max((n.at-1)>>tickShift+1, w.tick+1) // rounded up; "never" does not overflow
	tick = min(tick, w.tick+wheelSlots-1)
	s := int32(tick % wheelSlots)
	n.slot, n.prev, n.next = s, 0, w.heads[s]
	if n.next != 0 {
		w.nodes.cell(n.next).v.prev = i
	}
	w.heads[s] = i
	w.busy[s/64] |= 1 << (s % 64)
}

func (w *wheel) unlink(i uint32, n *timer) {
	if n.next != 0 {
		w.nodes.cell(n.next).v.prev = n.prev
	}
	if n.prev != 0 {
		w.nodes.cell(n.prev).v.next = n.next
		return
	}
	w.heads[n.slot] = n.next
	if n.next == 0 {
		w.busy[n.slot/64] &^= 1 << (n.slot % 64)
	}
}

// advance serves every deadline up to now. fire returns the next deadline for a token, or 0.
func (w *wheel) advance(now int64, fire func(Token) int64) {
	end := now >> tickShift
	if end-w.tick > wheelSlots {
		w.tick = end - wheelSlots // the loop slept through whole turns: one look at each slot is enough
	}
	for w.tick < end {
		w.tick++
		w.serve(int32(w.tick%wheelSlots), now, fire)
	}
}

// serve empties one slot. A node is taken out before its handler runs, which may arm, disarm and free at will.
func (w *wheel) serve(slot int32, now int64, fire func(Token) int64) {
	i := w.heads[slot]
	w.heads[slot] = 0
	w.busy[slot/64] &^= 1 << (slot % 64)
	for list := i; list != 0; {
		n := &w.nodes.cell(list).v
		n.slot = timerFiring
		list = n.next
	}
	for i != 0 {
		n := &w.nodes.cell(i).v
		next := n.next
		w.serveNode(i, n, now, fire)
		i = next
	}
}

func (w *wheel) serveNode(i uint32, n *timer, now int64, fire func(Token) int64) {
	if n.slot == timerDead {
		w.nodes.Free(i)
		return
	}
	at := n.at
	if at <= now {
		at = fire(n.tok)
	}
	if at == 0 || n.slot == timerDead {
		w.nodes.Free(i)
		return
	}
	n.at = at
	w.link(i, n)
}

// wait is how long until the next slot with a node is due, in nanoseconds; -1 when there is none.
func (w *wheel) wait(now int64) int64 {
	for d := int64(1); d <= wheelSlots; {
		s := (w.tick + d) % wheelSlots
		if rest := w.busy[s/64] >> (s % 64); rest != 0 {
			d += int64(bits.TrailingZeros64(rest))
			return max(0, (w.tick+d)<<tickShift-now)
		}
		d += 64 - s%64
	}
	return -1
}
