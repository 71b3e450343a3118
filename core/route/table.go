package route

import (
	"math/bits"
	"sync/atomic"
)

const (
	// perBucket nodes and their marks fill a cache line of 64 bytes.
	perBucket = 7
	// perBucketFull is how many nodes for each bucket a table takes before it doubles.
	perBucketFull = 5
	// maxPassed is as far as a bucket counts. No sound table comes near it.
	maxPassed = 255

	lows  = 0x0001010101010101
	highs = lows << 7
)

// table is a hash table whose readers take no lock. A node is in the bucket that its hash says or, if that is full, in
// the next one with room. Nodes never move, and a table that grows is a new one; so that a reader sees each account as it was
// at some moment of the reading. All but find belongs to whoever holds the shard's mu.
type table []bucket

// bucket is written in this order: a node before its mark, and the other way about when it goes.
type bucket struct {
	// marks has a byte for each node: 0 for none, else eight bits of its hash, of which the highest is set. The highest byte counts
	// the nodes that belong here or further in front and are further behind.
	marks atomic.Uint64
	nodes [perBucket]atomic.Pointer[node]
}

// mark is what the bucket says of an account.
func (k key) mark() uint64 { return 0x80 | k.hash>>(64-7) }

// home is where an account's search begins. The lowest bits of the hash chose the shard.
func (t table) home(k key) int { return int(k.hash>>8) & (len(t) - 1) }

func (t table) behind(i int) int { return (i + 1) & (len(t) - 1) }

func (t table) find(k key) *node {
	tag, sought := k.tag(), k.mark()*lows
	for i, left := t.home(k), len(t); left > 0; i, left = t.behind(i), left-1 {
		b := &t[i]
		marks := b.marks.Load()
		differ := marks ^ sought
		// A byte that is 0 gets its highest bit here, and now and then one above such a byte.
		for same := (differ - lows) &^ differ & highs; same != 0; same &= same - 1 {
			n := b.nodes[bits.TrailingZeros64(same)/8].Load()
			if n != nil && n.bits.Load()>>tagShift == tag && n.account == k.account {
				return n
			}
		}
		if marks>>56 == 0 {
			break
		}
	}
	return nil
}

// insert files a node that is not there. It reports false when a bucket cannot count it.
func (t table) insert(k key, n *node) bool {
	i := t.home(k)
	for ; ; i = t.behind(i) {
		if free := t[i].free(); free < perBucket {
			t[i].nodes[free].Store(n)
			t[i].marks.Store(t[i].marks.Load() | k.mark()<<(8*free))
			return true
		}
		if !t[i].pass(1) {
			break
		}
	}
	for j := t.home(k); j != i; j = t.behind(j) {
		t[j].pass(-1)
	}
	return false
}

// copy makes a table of another size with the same nodes, unless a bucket cannot count those that do not fit.
func (t table) copy(size int, hashed func(account string) key) (table, bool) {
	other := make(table, size)
	for i := range t {
		for at := range perBucket {
			if n := t[i].nodes[at].Load(); n != nil && !other.insert(hashed(n.account), n) {
				return nil, false
			}
		}
	}
	return other, true
}

// free is the first place without a node, perBucket if there is none.
func (b *bucket) free() int {
	return bits.TrailingZeros64(^b.marks.Load()&highs|1<<56) / 8
}

// pass counts one node more, or one fewer, that is further behind.
func (b *bucket) pass(more int) bool {
	marks := b.marks.Load()
	if more > 0 && marks>>56 == maxPassed {
		return false
	}
	b.marks.Store(marks + uint64(more)<<56)
	return true
}

// replace puts n where old is.
func (t table) replace(k key, old, n *node) {
	b, at := t.locate(k, old, 0)
	b.nodes[at].Store(n)
}

// remove takes a node out that is there.
func (t table) remove(k key, n *node) {
	b, at := t.locate(k, n, -1)
	b.marks.Store(b.marks.Load() &^ (0xff << (8 * at)))
	b.nodes[at].Store(nil)
}

// locate finds where n is, and has the buckets in front count passed more.
func (t table) locate(k key, n *node, passed int) (b *bucket, at int) {
	for i := t.home(k); ; i = t.behind(i) {
		for at := range perBucket {
			if t[i].nodes[at].Load() == n {
				return &t[i], at
			}
		}
		t[i].pass(passed)
	}
}
