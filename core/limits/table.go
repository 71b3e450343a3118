package limits

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"unsafe"
)

// maxEntries bounds a table (DESIGN 5): 32 MiB of slots.
const maxEntries = 1 << 20

const (
	// shards: so many that loops rarely meet, and that the longest pause, a shard's last growth, is that of 4,096 entries.
	shards = 256
	// foldShare: one part in so many of a shard is kept for keys of kind site48.
	foldShare = 16
	// minSlots is the smallest array of a shard that has an entry.
	minSlots = 8
)

// slot is one entry. It holds no pointer, so that the collector does not look at a million of them.
type slot struct {
	prefix uint64
	n      uint32 // Connections: how many are open. Delays: the second from which the level ages
	kind   kind   // none: the slot is free
	level  uint8  // Delays only
}

func (e *slot) key() key { return key{e.prefix, e.kind} }

// table is the shards with what they share.
type table struct {
	// immutable after newTable
	seed    maphash.Seed
	entries int // most entries of a shard
	shards  []shard
	shift   int // of a hash, to choose a shard
}

// shard is a hash table with linear probing. Every entry is reached from its home slot without crossing a free one, and at
// least a quarter of the slots is free.
type shard struct {
	mu sync.Mutex

	// guarded by mu
	slots  []slot // a power of two, or none
	used   int
	folded int    // entries of kind site48
	swept  uint32 // Delays only: the second of the last look for entries that have aged out

	_ [64 - unsafe.Sizeof(sync.Mutex{}) - unsafe.Sizeof([]slot{}) - 2*unsafe.Sizeof(0) - unsafe.Sizeof(uint32(0))]byte // a cache line each
}

// newTable makes a table of n shards, a power of two, for so many entries together.
func newTable(entries, n int) table {
	return table{seed: maphash.MakeSeed(), entries: entries / n, shards: make([]shard, n), shift: 64 - bits.TrailingZeros(uint(n))}
}

// of is the shard of k, and k's hash. The shard is chosen by the upper bits and the slot by the lower ones.
func (t *table) of(k key) (*shard, uint64) {
	h := k.hash(t.seed)
	return &t.shards[h>>t.shift], h
}

// room tells whether the shard may take one more entry of kind k.
func (t *table) room(s *shard, k kind) bool {
	if k == site48 {
		return s.used < t.entries
	}
	return s.used < t.entries-t.entries/foldShare
}

// find is the entry of k, or nil. The pointer is good until the next add, remove or rebuild.
func (s *shard) find(h uint64, k key) *slot {
	if len(s.slots) == 0 {
		return nil
	}
	for i := s.home(h); s.slots[i].kind != none; i = s.after(i) {
		if s.slots[i].key() == k {
			return &s.slots[i]
		}
	}
	return nil
}

func (s *shard) home(h uint64) int  { return int(h) & (len(s.slots) - 1) }
func (s *shard) after(i int) int    { return (i + 1) & (len(s.slots) - 1) }
func (s *shard) full(more int) bool { return (s.used+more)*4 > len(s.slots)*3 }

// add makes the entry of k, which must not have one. It grows the array when it must.
func (s *shard) add(t *table, h uint64, k key) *slot {
	if s.full(1) {
		s.rebuild(t, max(minSlots, 2*len(s.slots)), nil)
	}
	if k.kind == site48 {
		s.folded++
	}
	s.used++
	return s.place(h, slot{prefix: k.prefix, kind: k.kind})
}

// place puts e into the first free slot from its home on.
func (s *shard) place(h uint64, e slot) *slot {
	i := s.home(h)
	for s.slots[i].kind != none {
		i = s.after(i)
	}
	s.slots[i] = e
	return &s.slots[i]
}

// remove frees the slot of e, and moves those behind it that would be cut off from their homes. An array that has become
// three quarters empty is halved.
func (s *shard) remove(t *table, e *slot) {
	if e.kind == site48 {
		s.folded--
	}
	s.used--
	gap := s.index(e)
	for i := s.after(gap); s.slots[i].kind != none; i = s.after(i) {
		home := s.home(s.slots[i].key().hash(t.seed))
		if s.distance(home, i) >= s.distance(gap, i) {
			s.slots[gap], gap = s.slots[i], i
		}
	}
	s.slots[gap] = slot{}
	if s.sparse() {
		s.rebuild(t, len(s.slots)/2, nil)
	}
}

func (s *shard) sparse() bool { return len(s.slots) > minSlots && s.used*4 < len(s.slots) }

func (s *shard) index(e *slot) int {
	return int(uintptr(unsafe.Pointer(e))-uintptr(unsafe.Pointer(&s.slots[0]))) / int(unsafe.Sizeof(slot{}))
}

// distance is how many steps lead from one slot to another, round the end of the array.
func (s *shard) distance(from, to int) int { return (to - from) & (len(s.slots) - 1) }

// rebuild moves the entries, but for those that drop says, to a new array of so many slots.
func (s *shard) rebuild(t *table, slots int, drop func(*slot) bool) {
	old := s.slots
	s.slots, s.used, s.folded = make([]slot, slots), 0, 0
	for i := range old {
		e := &old[i]
		if e.kind == none || drop != nil && drop(e) {
			continue
		}
		s.place(e.key().hash(t.seed), *e)
		s.used++
		if e.kind == site48 {
			s.folded++
		}
	}
}

// Stats are the figures of one table.
type Stats struct {
	Entries int // addresses that are known
	Folded  int // of these the IPv6 /48 that stand for several, because there was no room
	Bytes   int // of memory, free slots included
}

// stats locks one shard after the other.
func (t *table) stats() (sum Stats) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		sum.Entries += s.used
		sum.Folded += s.folded
		sum.Bytes += len(s.slots) * int(unsafe.Sizeof(slot{}))
		s.mu.Unlock()
	}
	sum.Bytes += len(t.shards) * int(unsafe.Sizeof(shard{}))
	return sum
}
