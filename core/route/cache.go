package route

import (
	"hash/maphash"
	"sync/atomic"
)

const (
	// A cache has at most maxShards, of at least shardEntries each: a shard that grows copies its table, of some
	// 16,000 accounts at the default size, while logins that miss wait for it.
	maxShards    = 64
	shardEntries = 512
)

// cache holds a bounded number of entries by account. It is safe for concurrent use. Reading takes no lock and allocates
// nothing: a reader follows atomic pointers to nodes that are replaced and never changed.
//
// Scans do not wash it out. What is new has a tenth of the room to prove itself; an account that is asked for again there,
// or comes back soon after it was thrown out, moves to the rest, where whoever was asked for since its last turn gets another
// (S3-FIFO, Yang and others, SOSP 2023).
//
// Written for this package since the library that was here before, otter, took twice as long for a hit and 163 B instead of 113
// for an entry with a name of 30 bytes (docs/benchmarks.md).
type cache struct {
	// immutable after newCache
	seed   maphash.Seed
	shards []shard // a power of two

	evictions atomic.Uint64
}

// newCache makes a cache of up to limit entries.
func newCache(limit int) *cache {
	n := 1
	for n < maxShards && 2*n*shardEntries <= limit {
		n *= 2
	}
	c := &cache{seed: maphash.MakeSeed(), shards: make([]shard, n)}
	for i := range c.shards {
		room := limit / n
		if i < limit%n {
			room++
		}
		c.shards[i].init(c, room)
	}
	return c
}

// key is an account with its hash.
type key struct {
	account string
	hash    uint64
}

// tag is the part of the hash that a node keeps. It chooses neither shard nor slot.
func (k key) tag() uint32 { return uint32(k.hash >> (64 - tagBits)) }

func (c *cache) key(account string) key { return key{account, maphash.String(c.seed, account)} }

func (c *cache) of(account string) (key, *shard) {
	k := c.key(account)
	return k, &c.shards[k.hash&uint64(len(c.shards)-1)]
}

// get finds an entry, or nil, and notes that it was asked for.
func (c *cache) get(account string) *entry {
	k, s := c.of(account)
	n := s.find(k)
	if n == nil {
		return nil
	}
	n.touch()
	return &n.entry
}

// peek is get for those who are no login.
func (c *cache) peek(account string) *entry {
	k, s := c.of(account)
	if n := s.find(k); n != nil {
		return &n.entry
	}
	return nil
}

// set keeps an entry in place of what was there, and returns what it keeps. The account stays in memory as it is, so it must not
// be a piece of something large.
func (c *cache) set(account string, e entry) *entry {
	k, s := c.of(account)
	return s.set(k, e)
}

func (c *cache) remove(account string) {
	k, s := c.of(account)
	s.remove(k)
}

func (c *cache) clear() {
	for i := range c.shards {
		c.shards[i].clear()
	}
}

func (c *cache) len() (n int) {
	for i := range c.shards {
		n += c.shards[i].len()
	}
	return n
}
