package route

import (
	"math/bits"
	"slices"
)

const (
	// newShare: one part in so many of a shard is for accounts that have yet to prove themselves.
	newShare = 10
	// maxTurns bounds how many nodes one eviction lets go round again, since logins may go on asking for them.
	maxTurns = 64
)

// makeRoom throws out until there is room for one more. The caller holds mu, as for all below.
func (s *shard) makeRoom() {
	for s.count() >= s.room {
		s.evict()
	}
}

// evict throws out one node: the oldest that nobody has asked for since its last turn.
func (s *shard) evict() {
	for turns := 0; ; {
		if s.newer.len > s.room/newShare || s.settled.len == 0 {
			n := s.newer.pop()
			if n.asked() == 0 {
				s.remember(s.cache.key(n.account))
				s.drop(n)
				return
			}
			n.settle(0)
			s.settled.push(n)
			continue
		}
		n := s.settled.pop()
		asked := n.asked()
		if asked == 0 || turns == maxTurns {
			s.drop(n)
			return
		}
		turns++
		n.settle(asked - 1)
		s.settled.push(n)
	}
}

// drop forgets a node that is in no queue any more.
func (s *shard) drop(n *node) {
	s.table.Load().remove(s.cache.key(n.account), n)
	s.cache.evictions.Add(1)
}

// gone is hashes of accounts that were thrown out unproved, the newest first; 0: none.
type gone [4]uint32

// memory is where the hash of k is remembered, and as what. Each place forgets the oldest.
func (s *shard) memory(k key) (*gone, uint32) {
	return &s.gone[k.hash>>8&uint64(len(s.gone)-1)], uint32(k.hash>>32) | 1
}

func (s *shard) remember(k key) {
	if s.gone == nil {
		s.gone = make([]gone, powerOfTwo(s.room/len(gone{})))
	}
	g, hash := s.memory(k)
	copy(g[1:], g[:])
	g[0] = hash
}

// remembers tells whether k was thrown out a while ago, and forgets that.
func (s *shard) remembers(k key) bool {
	if s.gone == nil {
		return false
	}
	g, hash := s.memory(k)
	at := slices.Index(g[:], hash)
	if at < 0 {
		return false
	}
	copy(g[at:], g[at+1:])
	g[len(g)-1] = 0
	return true
}

// powerOfTwo is the next one from n on.
func powerOfTwo(n int) int { return 1 << bits.Len(uint(max(n, 1)-1)) }

// queue is a list of nodes, the newest first.
type queue struct {
	newest, oldest *node
	len            int
}

func (q *queue) push(n *node) {
	n.prev, n.next = nil, q.newest
	if q.newest != nil {
		q.newest.prev = n
	} else {
		q.oldest = n
	}
	q.newest = n
	q.len++
}

// pop takes the oldest out, of which there must be one.
func (q *queue) pop() *node {
	n := q.oldest
	q.remove(n)
	return n
}

func (q *queue) remove(n *node) {
	*q.after(n.prev) = n.next
	*q.before(n.next) = n.prev
	n.prev, n.next = nil, nil
	q.len--
}

// replace puts n where old is.
func (q *queue) replace(old, n *node) {
	n.prev, n.next = old.prev, old.next
	*q.after(n.prev) = n
	*q.before(n.next) = n
	old.prev, old.next = nil, nil
}

// after is where the list says what comes behind n; nil: at its beginning.
func (q *queue) after(n *node) **node {
	if n == nil {
		return &q.newest
	}
	return &n.next
}

// before is where it says what comes in front of n; nil: at its end.
func (q *queue) before(n *node) **node {
	if n == nil {
		return &q.oldest
	}
	return &n.prev
}
