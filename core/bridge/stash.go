package bridge

import (
	"math/bits"
	"sync/atomic"
)

// Stash buffers come in sizes of powers of two. A pool that hands out whatever it has, as bytebufferpool does, would pin
// a full read's buffer for a rest of a few bytes, and what is pinned is what Budget counts.
const (
	minStashBytes = 1 << 10
	stashClasses  = 10 // up to maxStashBytes
	// maxStashBytes is a tail of MaxTailBytes in records, and an alert.
	maxStashBytes = MaxTailBytes + MaxTailBytes/64
	// spareBytes bounds the buffers that a loop keeps for reuse; they are outside the budget.
	spareBytes = 1 << 20
)

// Budget bounds the memory of all stashes of all loops together (SPEC 2.1 stash_limit). Any goroutine may use it.
type Budget struct {
	limit atomic.Int64
	used  atomic.Int64
}

// NewBudget makes a budget of limitBytes.
func NewBudget(limitBytes int64) *Budget {
	g := &Budget{}
	g.SetLimit(limitBytes)
	return g
}

// SetLimit changes the limit. What is in use beyond it drains as it would have.
func (g *Budget) SetLimit(limitBytes int64) { g.limit.Store(limitBytes) }

// InUse is the size in bytes of all buffers that hold a stash now.
func (g *Budget) InUse() int64 { return g.used.Load() }

// scarce tells that three quarters are used: reads are small from here on.
func (g *Budget) scarce() bool {
	limit := g.limit.Load()
	return g.used.Load() >= limit-limit/4
}

func (g *Budget) reserve(n int64) bool {
	if g.used.Add(n) <= g.limit.Load() {
		return true
	}
	g.used.Add(-n)
	return false
}

func (g *Budget) release(n int64) { g.used.Add(-n) }

// handle names a stash of one loop; 0 is none.
type handle uint32

// slot is one stash. Slots of one class in use form a list, oldest first; free ones are chained by next.
type slot struct {
	buf        []byte // cap is the size of its class, len what was put in
	off        int    // what was taken out
	pipe       *pipe  // where the bytes are instead, as long as buf is nil
	owner      ID
	next, prev handle
	class      int8
}

// stashes is one loop's table of stashes. Its length is the largest number in use at once, at most one per leg.
type stashes struct {
	budget *Budget
	pipes  *pipes
	slots  []slot // 0 is not used
	free   handle
	oldest [stashClasses]handle
	newest [stashClasses]handle
	spare  [stashClasses][][]byte
	spared int // bytes in spare
}

func newStashes(g *Budget, p *pipes) stashes {
	return stashes{budget: g, pipes: p, slots: make([]slot, 1)}
}

// classOf is the smallest class that holds n bytes.
func classOf(n int) int { return max(0, bits.Len(uint(n-1))-bits.Len(minStashBytes-1)) }

func classBytes(class int) int { return minStashBytes << class }

// put copies p, whose class's size is reserved already, into a new stash.
func (t *stashes) put(owner ID, p []byte) handle {
	class := classOf(len(p))
	return t.add(slot{buf: append(t.buffer(class), p...), owner: owner, class: int8(class)})
}

// putPipe makes a stash of what is in a pipe. What its bytes need as a buffer is reserved already.
func (t *stashes) putPipe(owner ID, p *pipe) handle {
	return t.add(slot{pipe: p, owner: owner, class: int8(classOf(p.held))})
}

// add gives a stash its place.
func (t *stashes) add(s slot) handle {
	h := t.free
	if h != 0 {
		t.free = t.slots[h].next
	} else {
		h = handle(len(t.slots))
		t.slots = append(t.slots, slot{})
	}
	s.prev = t.newest[s.class]
	t.slots[h] = s
	t.newest[s.class] = h
	if s.prev != 0 {
		t.slots[s.prev].next = h
	} else {
		t.oldest[s.class] = h
	}
	return h
}

// buffer takes an empty buffer of a class, a spare one if there is any.
func (t *stashes) buffer(class int) []byte {
	s := t.spare[class]
	if len(s) == 0 {
		return make([]byte, 0, classBytes(class))
	}
	p := s[len(s)-1]
	t.spare[class] = s[:len(s)-1]
	t.spared -= cap(p)
	return p
}

// bytes is what is left of a stash, good until it changes; nil for handle 0. What is in a pipe is read out of it: whoever
// can do with the pipe asks for that first.
func (t *stashes) bytes(h handle) []byte {
	s := &t.slots[h]
	if s.pipe != nil {
		s.buf = s.pipe.read(t.buffer(int(s.class)))
		t.pipes.give(s.pipe)
		s.pipe = nil
	}
	return s.buf[s.off:]
}

// piped is the pipe that a stash is in, if it is.
func (t *stashes) piped(h handle) *pipe { return t.slots[h].pipe }

// consume takes n bytes out. The buffer keeps its size until the stash is gone.
func (t *stashes) consume(h handle, n int) { t.slots[h].off += n }

// remove gives a stash up. Its buffer held mail, so it is cleared before anybody else gets it.
func (t *stashes) remove(h handle) {
	s := t.slots[h]
	class := int(s.class)
	if s.prev != 0 {
		t.slots[s.prev].next = s.next
	} else {
		t.oldest[class] = s.next
	}
	if s.next != 0 {
		t.slots[s.next].prev = s.prev
	} else {
		t.newest[class] = s.prev
	}
	t.slots[h] = slot{next: t.free}
	t.free = h
	t.budget.release(int64(classBytes(class)))
	if s.pipe != nil {
		t.pipes.give(s.pipe)
		return
	}
	clear(s.buf)
	if t.spared+cap(s.buf) <= spareBytes {
		t.spare[class] = append(t.spare[class], s.buf[:0])
		t.spared += cap(s.buf)
	}
}

// largest is the owner of the oldest stash among those of the largest class, if that is not below the given one.
func (t *stashes) largest(class int) (ID, bool) {
	for c := stashClasses - 1; c >= class; c-- {
		if h := t.oldest[c]; h != 0 {
			return t.slots[h].owner, true
		}
	}
	return 0, false
}

// keep stashes p for leg i.
func (b *Bridge) keep(x session, i int, p []byte) {
	if b.reserve(x, len(p)) {
		x.legs[i].stash = b.stashes.put(x.id, p)
	} else {
		x.legs[i].flags |= truncated
	}
}

// keepRaw keeps what was read from leg i and cannot be opened yet.
func (b *Bridge) keepRaw(x session, i int, p []byte) {
	switch {
	case len(p) == 0:
	case b.reserve(x, len(p)):
		x.legs[i].raw = b.stashes.put(x.id, p)
	default:
		x.legs[1-i].flags |= truncated
	}
}

// reserve makes room for n bytes. When the budget is used up, the session of this loop that pins the largest stash is
// doomed for it, or this one when no other pins as much: then there is no room.
func (b *Bridge) reserve(x session, n int) bool {
	class := classOf(n)
	for !b.o.Stash.reserve(int64(classBytes(class))) {
		owner, ok := b.stashes.largest(class)
		if !ok {
			owner = x.id
		}
		victim, _ := b.find(owner)
		b.doom(victim)
		if owner == x.id {
			return false
		}
	}
	return true
}

// doom frees a session's stashes at once; the session itself ends in its turn, since the caller is amid another one and
// has bytes in the loop's buffer, into which Loop.Retire would read.
func (b *Bridge) doom(x session) {
	x.reason = StashFull
	for i := range x.legs {
		if x.legs[i].stash != 0 || x.legs[1-i].raw != 0 {
			x.legs[i].flags |= truncated
		}
		b.drop(x, i)
	}
	for i := range x.legs {
		b.dropRaw(x, i)
	}
	b.loop.Later(b.token(x.id, client), 0)
}

// drop gives up what leg i has not taken.
func (b *Bridge) drop(x session, i int) {
	b.release(x.legs[i].stash)
	x.legs[i].stash = 0
}

// dropRaw gives up what was read from leg i and not opened.
func (b *Bridge) dropRaw(x session, i int) {
	b.release(x.legs[i].raw)
	x.legs[i].raw = 0
}

func (b *Bridge) release(h handle) {
	if h != 0 {
		b.stashes.remove(h)
	}
}
