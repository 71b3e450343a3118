package limits

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// clock stands still until it is moved. Any goroutine may use it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// v4 and v6 are the n-th address of a row; of v6 each has a /64 of its own, 65,536 of them a /48.
func v4(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func v6(n int) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], 0x20010db8<<32+uint64(n))
	b[15] = 1
	return netip.AddrFrom16(b)
}

// small is a table of one shard, so that a test knows when it is full.
func small(entries int) table { return newTable(entries, 1) }

// check wants every rule of a shard's array to hold.
func (t *table) check() error {
	for i := range t.shards {
		if err := t.shards[i].check(t); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	return nil
}

func (s *shard) check(t *table) error {
	used, folded := 0, 0
	for i := range s.slots {
		e := &s.slots[i]
		if e.kind == none {
			if *e != (slot{}) {
				return fmt.Errorf("free slot %d holds %+v", i, *e)
			}
			continue
		}
		used++
		if e.kind == site48 {
			folded++
		}
		if s.find(e.key().hash(t.seed), e.key()) != e {
			return fmt.Errorf("slot %d, %+v, is cut off from its home or there twice", i, *e)
		}
	}
	switch {
	case used != s.used || folded != s.folded:
		return fmt.Errorf("%d entries, %d folded, counted as %d and %d", used, folded, s.used, s.folded)
	case used*4 > len(s.slots)*3:
		return fmt.Errorf("%d entries in %d slots", used, len(s.slots))
	case used > t.entries:
		return fmt.Errorf("%d entries, allowed %d", used, t.entries)
	case len(s.slots)&(len(s.slots)-1) != 0:
		return fmt.Errorf("%d slots, not a power of two", len(s.slots))
	}
	return nil
}
