package limits

import (
	"net/netip"
	"testing"
	"unsafe"
)

func TestKeys(t *testing.T) {
	tests := []struct {
		name, a, b string
		same       bool
		folded     bool // the same when folded
	}{
		{"one IPv4", "192.0.2.1", "192.0.2.1", true, false},
		{"neighbours", "192.0.2.1", "192.0.2.2", false, false},
		{"mapped", "192.0.2.1", "::ffff:192.0.2.1", true, false},
		{"mapped neighbours", "::ffff:192.0.2.1", "::ffff:192.0.2.2", false, false},
		{"one /64", "2001:db8::1", "2001:db8::ffff:1:2:3", true, true},
		{"zones", "fe80::1%eth0", "fe80::2%eth1", true, true},
		{"two /64 of a /48", "2001:db8:1:1::1", "2001:db8:1:2::1", false, true},
		{"last /64 of a /48", "2001:db8:1:0::1", "2001:db8:1:ffff::1", false, true},
		{"two /48", "2001:db8:1:1::1", "2001:db8:2:1::1", false, false},
		{"IPv4 like an upper half", "0.0.0.1", "0:0:0:1::1", false, false},
		{"nothing like everything", "0.0.0.0", "::", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := keyOf(addr(tt.a)), keyOf(addr(tt.b))
			if got := a == b; got != tt.same {
				t.Errorf("got %v and %v, want the same: %v", a, b, tt.same)
			}
			fa, fb := a.folded(), b.folded()
			if got := fa.kind != none && fa == fb; got != tt.folded {
				t.Errorf("folded: got %v and %v, want the same: %v", fa, fb, tt.folded)
			}
			if fa == a || fa.folded() != (key{}) {
				t.Errorf("got %v folded to %v and %v, want each once", a, fa, fa.folded())
			}
		})
	}
	if got := keyOf(netip.Addr{}); got != (key{}) {
		t.Errorf("got %v for no address, want no key", got)
	}
}

func TestSizes(t *testing.T) {
	tests := []struct {
		name      string
		got, want uintptr
	}{
		{"slot", unsafe.Sizeof(slot{}), 16},
		{"shard, a cache line", unsafe.Sizeof(shard{}), 64},
		{"hold", unsafe.Sizeof(Hold{}), 16},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("got %d bytes, want %d", tt.got, tt.want)
			}
		})
	}
}

// tableAgainstMap plays bytes against one shard and a map: below 128 a key is added or found, above it removed.
func tableAgainstMap(t *testing.T, data []byte) {
	if len(data) > 2048 {
		return
	}
	tb, model := small(maxEntries), map[key]uint32{}
	s := &tb.shards[0]
	for i, op := range data {
		k := key{uint64(op % 128), host4}
		if op%3 == 0 {
			k.kind = site48
		}
		h := k.hash(tb.seed)
		e := s.find(h, k)
		n, known := model[k]
		if (e != nil) != known || known && e.n != n {
			t.Fatalf("step %d of %x: got %v, want %d, known: %v", i, data, e, n, known)
		}
		switch {
		case op >= 128 && known:
			s.remove(&tb, e)
			delete(model, k)
		case op < 128 && known:
			e.n++
			model[k]++
		case op < 128:
			s.add(&tb, h, k).n = uint32(i)
			model[k] = uint32(i)
		}
		if s.used != len(model) {
			t.Fatalf("step %d of %x: got %d entries, want %d", i, data, s.used, len(model))
		}
		if err := tb.check(); err != nil {
			t.Fatalf("step %d of %x: %v", i, data, err)
		}
	}
}

func FuzzTable(f *testing.F) {
	all := make([]byte, 256) // everything in, everything out
	for i := range all {
		all[i] = byte(i)
	}
	f.Add(all)
	f.Add([]byte{1, 1, 2, 3, 129, 1, 130, 131, 1})
	f.Fuzz(tableAgainstMap)
}

// A table gives its memory back when its entries go.
func TestTableShrinks(t *testing.T) {
	tb := newTable(maxEntries, shards)
	keys := make([]key, 100_000)
	for i := range keys {
		keys[i] = keyOf(v6(i))
		s, h := tb.of(keys[i])
		s.add(&tb, h, keys[i])
	}
	full := tb.stats()
	for _, k := range keys[100:] {
		s, h := tb.of(k)
		s.remove(&tb, s.find(h, k))
	}
	if got := tb.stats(); got.Entries != 100 || got.Bytes > full.Bytes/10 {
		t.Errorf("got %+v after %+v, want 100 entries in a tenth of the memory", got, full)
	}
	if err := tb.check(); err != nil {
		t.Error(err)
	}
}

// The bound of DESIGN 5, as filled to the brim by addresses of both families.
func TestTableIsBounded(t *testing.T) {
	c := NewConnections(1)
	for n := range 520_000 {
		c.Acquire(v4(n))
		c.Acquire(v6(n))
	}
	for n := range 75_000 {
		c.Acquire(v6(n << 16)) // a /48 each
	}
	got := c.Stats()
	if got.Entries > maxEntries || got.Bytes > 64*maxEntries {
		t.Errorf("got %+v, want at most %d entries of 64 bytes", got, maxEntries)
	}
	if got.Entries < maxEntries*98/100 || got.Folded < maxEntries/foldShare*9/10 {
		t.Errorf("got %+v, want the table as good as full, with its share of /48", got)
	}
	if err := c.table.check(); err != nil {
		t.Error(err)
	}
}
