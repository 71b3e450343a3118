package route

import (
	"sync"
	"sync/atomic"
)

const (
	// tagBits of the hash are in a node, so that a reader seldom reads the name of another account.
	tagBits = 24
	// firstBuckets is the size of a shard's first table.
	firstBuckets = 4
)

// node is one entry, 64 bytes and its name. What a reader sees of it never changes but for how often it was asked for.
type node struct {
	account    string
	entry      entry
	prev, next *node         // in its queue; guarded by the shard's mu
	bits       atomic.Uint32 // tag, asked, settled
}

// The parts of node.bits, from below.
const (
	settledBit = 1 << 0 // it is in the queue of those that have proved themselves
	askedShift = 1
	maxAsked   = 3
	askedMask  = maxAsked << askedShift
	tagShift   = 32 - tagBits
)

// touch notes that a login has asked. An account that is asked for all the time is not written to.
func (n *node) touch() {
	if b := n.bits.Load(); b&askedMask != askedMask {
		n.bits.CompareAndSwap(b, b+1<<askedShift) // who loses against another has seen one note
	}
}

// asked is how often somebody has, up to maxAsked.
func (n *node) asked() uint32 { return n.bits.Load() & askedMask >> askedShift }

// settle puts n among those that have proved themselves, with asked notes left.
func (n *node) settle(asked uint32) {
	for b := n.bits.Load(); ; b = n.bits.Load() {
		if n.bits.CompareAndSwap(b, b&^askedMask|settledBit|asked<<askedShift) {
			return
		}
	}
}

// shard is a part of a cache. Readers need its table only.
type shard struct {
	table atomic.Pointer[table]
	_     [56]byte // what follows is written to: not in the cache line that every reader reads

	// immutable after init
	cache *cache
	room  int

	mu      sync.Mutex
	newer   queue  // guarded by mu, as all below
	settled queue  // of those that have proved themselves
	gone    []gone // a power of two; nil until there is one
}

func (s *shard) init(c *cache, room int) {
	s.cache, s.room = c, room
	s.empty()
}

// empty begins with nothing. The caller holds mu, or is alone.
func (s *shard) empty() {
	t := make(table, firstBuckets)
	s.table.Store(&t)
	s.newer, s.settled, s.gone = queue{}, queue{}, nil
}

func (s *shard) find(k key) *node { return s.table.Load().find(k) }

func (s *shard) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count()
}

// count is how many entries there are. The caller holds mu.
func (s *shard) count() int { return s.newer.len + s.settled.len }

func (s *shard) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.empty()
}

func (s *shard) remove(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.find(k); n != nil {
		s.table.Load().remove(k, n)
		s.queueOf(n).remove(n)
	}
}

// set files an entry. An account that is there keeps its place and what is known of its use.
func (s *shard) set(k key, e entry) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.find(k); old != nil {
		n := &node{account: old.account, entry: e}
		n.bits.Store(old.bits.Load())
		s.queueOf(old).replace(old, n)
		s.table.Load().replace(k, old, n)
		return &n.entry
	}
	s.makeRoom()
	n := &node{account: k.account, entry: e}
	n.bits.Store(k.tag() << tagShift)
	if s.remembers(k) {
		n.settle(0)
	}
	for s.count() >= perBucketFull*len(*s.table.Load()) || !s.table.Load().insert(k, n) {
		s.grow()
	}
	s.queueOf(n).push(n)
	return &n.entry
}

// grow makes a table of twice the size, or more if a bucket cannot count, which takes hundreds of hashes that agree: their seed is
// random. The caller holds mu.
func (s *shard) grow() {
	old := *s.table.Load()
	for size := 2 * len(old); ; size *= 2 {
		if t, ok := old.copy(size, s.cache.key); ok {
			s.table.Store(&t)
			return
		}
	}
}

func (s *shard) queueOf(n *node) *queue {
	if n.bits.Load()&settledBit != 0 {
		return &s.settled
	}
	return &s.newer
}
