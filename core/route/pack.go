package route

import "strings"

const (
	// packedNodes lie in one piece of 2 KiB, which stays in memory as long as any of them does.
	packedNodes = 32
	// maxPacked bounds the entries of a shard that is packed, and so for how long logins wait for it: some 20 ms. Caches of more
	// than two million entries have larger ones, which stay as they are.
	maxPacked = 1 << 15
)

// Pack moves what is cached together. An entry comes with its login, among the hundred kilobytes that a login leaves to the
// collector, and so entries end up one or two to a page that could go back to the kernel. In quiet times they are worth moving: half
// a second for a million of them, in which logins that miss wait for one shard at a time, 10 ms. What the cache throws out
// afterwards stays in memory as long as others in its piece do, until the next Pack: at worst as much again as all entries take.
func (r *Router) Pack() { r.cache.pack() }

func (c *cache) pack() {
	for i := range c.shards {
		c.shards[i].pack()
	}
}

func (s *shard) pack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count() > maxPacked {
		return
	}
	for _, q := range []*queue{&s.newer, &s.settled} {
		for old := q.oldest; old != nil; {
			old = s.packFrom(q, old)
		}
	}
}

// packFrom replaces nodes from old on, and returns the next one. They are neighbours in the queue: likely to go together. The
// caller holds mu.
func (s *shard) packFrom(q *queue, old *node) *node {
	piece := make([]node, 0, packedNodes)
	var names strings.Builder
	for n := old; n != nil && len(piece) < packedNodes; n = n.prev {
		piece = piece[:len(piece)+1]
		names.WriteString(n.account)
	}
	all := names.String()
	for i := range piece {
		n, next := &piece[i], old.prev
		n.account, all = all[:len(old.account)], all[len(old.account):]
		n.entry = old.entry
		n.bits.Store(old.bits.Load())
		q.replace(old, n)
		s.table.Load().replace(s.cache.key(n.account), old, n)
		old = next
	}
	return old
}
