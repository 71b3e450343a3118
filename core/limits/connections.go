package limits

import (
	"net/netip"
	"sync/atomic"
)

// Connections counts the open connections of each address and refuses those above a limit (SPEC 2.1,
// max_sessions_per_ip). Its methods are safe for any goroutine, and take a lock for some ten nanoseconds unless the limit
// is 0.
type Connections struct {
	table     table
	limit     atomic.Int64
	uncounted atomic.Uint64
}

// Hold is one connection's place in the count. It belongs to who acquired it, holds no pointer, and is given back once.
// It stays right whatever becomes of the limit, of the table, or of what is thought to be the client's address. The zero
// Hold is none.
type Hold struct{ key key }

// NewConnections makes a table without entries. Limit 0 means no limit.
func NewConnections(limit int) *Connections {
	return newConnections(limit, newTable(maxEntries, shards))
}

func newConnections(limit int, t table) *Connections {
	c := &Connections{table: t}
	c.limit.Store(int64(limit))
	return c
}

// Acquire counts a connection from a. False means that a has as many as it may, and there is nothing to release. While the
// limit is 0 nobody is refused and nothing counted.
//
// An IPv6 address without room for an entry shares the limit with its /48. When there is room again it gets an entry,
// so that for a while it may have the limit twice.
func (c *Connections) Acquire(a netip.Addr) (Hold, bool) {
	limit := c.limit.Load()
	if limit <= 0 {
		return Hold{}, true
	}
	for k := keyOf(a); k.kind != none; k = k.folded() {
		if found, ok := c.take(k, limit); found {
			if !ok {
				return Hold{}, false
			}
			return Hold{k}, true
		}
	}
	c.uncounted.Add(1)
	return Hold{}, true
}

// take counts one more under k, if k has an entry or there is room for it; ok is whether the limit allowed it.
func (c *Connections) take(k key, limit int64) (found, ok bool) {
	s, h := c.table.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(h, k)
	if e == nil {
		if !c.table.room(s, k.kind) {
			return false, false
		}
		e = s.add(&c.table, h, k)
	}
	if int64(e.n) >= limit {
		return true, false
	}
	e.n++
	return true, true
}

// Release gives a connection's place back.
func (c *Connections) Release(x Hold) {
	if x.key.kind == none {
		return
	}
	s, h := c.table.of(x.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(h, x.key)
	if e == nil {
		panic("bug: a connection's place was given back twice")
	}
	if e.n--; e.n == 0 {
		s.remove(&c.table, e)
	}
}

// SetLimit changes the limit, as a reload does. Connections that are open stay, also above it. Those that came while there
// was no limit are not counted afterwards.
func (c *Connections) SetLimit(limit int) { c.limit.Store(int64(limit)) }

// Stats reads the table's figures. It takes every lock once.
func (c *Connections) Stats() Stats { return c.table.stats() }

// Uncounted is how many connections have been let in because the table had no room for their addresses.
func (c *Connections) Uncounted() uint64 { return c.uncounted.Load() }
