package limits

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// hold acquires n times and wants all of them.
func hold(t *testing.T, c *Connections, a netip.Addr, n int) (list []Hold) {
	t.Helper()
	for i := range n {
		x, ok := c.Acquire(a)
		if !ok {
			t.Fatalf("%v: got connection %d refused, want it", a, i+1)
		}
		list = append(list, x)
	}
	return list
}

// full acquires once more and wants a refusal.
func full(t *testing.T, c *Connections, a netip.Addr) {
	t.Helper()
	if x, ok := c.Acquire(a); ok || x != (Hold{}) {
		t.Errorf("%v: got %v, %v, want a refusal", a, x, ok)
	}
}

func TestConnectionsOfOneAddress(t *testing.T) {
	tests := []struct {
		name, a, b string
		same       bool // b shares a's limit
	}{
		{"IPv4", "192.0.2.1", "192.0.2.1", true},
		{"another IPv4", "192.0.2.1", "192.0.2.2", false},
		{"mapped", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"/64", "2001:db8::1", "2001:db8::2", true},
		{"another /64", "2001:db8::1", "2001:db8:0:1::1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := NewConnections(3)
			list := hold(t, c, addr(tt.a), 3)
			full(t, c, addr(tt.a))
			if tt.same {
				full(t, c, addr(tt.b))
			} else {
				hold(t, c, addr(tt.b), 3)
			}
			c.Release(list[1])
			hold(t, c, addr(tt.a), 1)
			full(t, c, addr(tt.a))
		})
	}
}

func TestReleasedAddressesAreForgotten(t *testing.T) {
	c := NewConnections(2)
	for _, x := range append(hold(t, c, v4(1), 2), hold(t, c, v6(1), 2)...) {
		c.Release(x)
	}
	if got := c.Stats(); got.Entries != 0 || got.Folded != 0 {
		t.Errorf("got %+v, want nothing", got)
	}
}

func TestNoLimit(t *testing.T) {
	c := NewConnections(0)
	for _, x := range hold(t, c, v4(1), 1000) {
		if x != (Hold{}) {
			t.Fatalf("got %v, want nothing held", x)
		}
		c.Release(x)
	}
	if got := c.Stats(); got.Entries != 0 || got.Bytes > 32<<10 {
		t.Errorf("got %+v, want no entry and hardly any memory", got)
	}
}

func TestNoAddress(t *testing.T) {
	c := NewConnections(1)
	hold(t, c, netip.Addr{}, 5)
	if got := c.Uncounted(); got != 5 {
		t.Errorf("got %d uncounted, want 5", got)
	}
}

func TestSetLimit(t *testing.T) {
	c := NewConnections(2)
	list := hold(t, c, v4(1), 2)
	c.SetLimit(3)
	list = append(list, hold(t, c, v4(1), 1)...)
	full(t, c, v4(1))
	c.SetLimit(1)
	full(t, c, v4(1))
	c.Release(list[0])
	c.Release(list[1])
	full(t, c, v4(1))
	c.SetLimit(0) // what is held meanwhile is not counted, and what was held is given back all the same
	loose := hold(t, c, v4(1), 10)
	c.Release(list[2])
	c.SetLimit(1)
	x := hold(t, c, v4(1), 1)
	for _, l := range loose {
		c.Release(l)
	}
	full(t, c, v4(1))
	c.Release(x[0])
	if got := c.Stats().Entries; got != 0 {
		t.Errorf("got %d entries, want none", got)
	}
}

func TestReleasingTwiceIsABug(t *testing.T) {
	c := NewConnections(2)
	x := hold(t, c, v4(1), 1)[0]
	c.Release(x)
	defer func() {
		if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "bug: ") {
			t.Errorf("got %q, want a bug", got)
		}
	}()
	c.Release(x)
}

// Sixteen entries: fifteen for anybody, one more for a /48.
func TestFullTable(t *testing.T) {
	c := newConnections(3, small(16))
	for n := range 15 {
		hold(t, c, v4(n), 1)
	}
	list := hold(t, c, v6(0), 2) // these three are of one /48
	list = append(list, hold(t, c, v6(1), 1)...)
	full(t, c, v6(2))
	if got := c.Stats(); got.Entries != 16 || got.Folded != 1 {
		t.Errorf("got %+v, want 16 entries, one of them folded", got)
	}
	hold(t, c, v4(3), 2) // who has an entry keeps its limit
	full(t, c, v4(3))
	hold(t, c, v4(100), 10) // who finds no room is not held up
	hold(t, c, v6(1<<16), 10)
	if got := c.Uncounted(); got != 20 {
		t.Errorf("got %d uncounted, want 20", got)
	}
	c.Release(list[1])
	hold(t, c, v6(2), 1)
	full(t, c, v6(3))
}

// An address that was folded and finds room later has two places; each connection gives back its own.
func TestFoldedAndNot(t *testing.T) {
	c := newConnections(1, small(16))
	var others []Hold
	for n := range 15 {
		others = append(others, hold(t, c, v4(n), 1)...)
	}
	folded := hold(t, c, v6(0), 1)[0]
	full(t, c, v6(0))
	c.Release(others[0])
	c.Release(others[1]) // the /48 counts against the room, too
	exact := hold(t, c, v6(0), 1)[0]
	full(t, c, v6(0))
	if folded == exact {
		t.Fatalf("got the same place %v twice", folded)
	}
	c.Release(folded)
	full(t, c, v6(0))
	c.Release(exact)
	hold(t, c, v6(0), 1)
}

// connectionsAgainstModel plays bytes against counts in a map. The first byte says how small the table is, the second the
// first limit.
func connectionsAgainstModel(t *testing.T, data []byte) {
	if len(data) < 2 || len(data) > 1024 {
		return
	}
	entries, limit := 1+int(data[0]%64), int(data[1]%5)
	c, model := newConnections(limit, small(entries)), map[key]int{}
	var held []Hold
	for i, op := range data[2:] {
		switch {
		case op < 160:
			a := v6(int(op%40)<<13 | 1) // eight /64 to a /48
			if op%4 == 0 {
				a = v4(int(op % 40))
			}
			k, want := expect(model, a, limit, entries)
			x, ok := c.Acquire(a)
			if ok != want || ok && x.key != k {
				t.Fatalf("step %d of %x: got %v, %v, want %v, %v", i, data, x, ok, k, want)
			}
			if ok {
				held = append(held, x)
				model[k]++
			}
		case op < 250:
			if len(held) > 0 {
				at := int(op) % len(held)
				c.Release(held[at])
				if model[held[at].key]--; model[held[at].key] == 0 {
					delete(model, held[at].key)
				}
				held[at] = held[len(held)-1]
				held = held[:len(held)-1]
			}
		default:
			limit = int(op - 250)
			c.SetLimit(limit)
		}
		delete(model, key{})
		if got := c.Stats().Entries; got != len(model) {
			t.Fatalf("step %d of %x: got %d entries, want %d", i, data, got, len(model))
		}
		if err := c.table.check(); err != nil {
			t.Fatalf("step %d of %x: %v", i, data, err)
		}
	}
	for _, x := range held {
		c.Release(x)
	}
	if got := c.Stats(); got.Entries != 0 || got.Folded != 0 {
		t.Fatalf("%x: got %+v after every release, want nothing", data, got)
	}
}

// expect is the place that a gets by the rules of the package's documentation, and whether it is let in.
func expect(model map[key]int, a netip.Addr, limit, entries int) (key, bool) {
	if limit == 0 {
		return key{}, true
	}
	k := keyOf(a)
	if _, known := model[k]; known || len(model) < entries-entries/foldShare {
		return k, model[k] < limit
	}
	if k = k.folded(); k.kind == none {
		return key{}, true
	}
	if _, known := model[k]; known || len(model) < entries {
		return k, model[k] < limit
	}
	return key{}, true
}

func FuzzConnections(f *testing.F) {
	f.Add([]byte{15, 2, 0, 4, 8, 12, 16, 20, 1, 2, 3, 5, 200, 201, 1, 2, 3})
	f.Add([]byte{0, 1, 1, 2, 3, 200, 1, 250, 1, 251, 1})
	f.Add([]byte{60, 4, 1, 1, 1, 1, 1, 252, 1, 170, 171, 172, 1})
	f.Fuzz(connectionsAgainstModel)
}

func TestConnectionsAtRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		data := make([]byte, 2+rnd.IntN(300))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		connectionsAgainstModel(t, data)
	}
}

// Many goroutines at once: no address is ever above its limit, and nothing is left at the end.
func TestConnectionsConcurrently(t *testing.T) {
	const limit, addresses = 4, 32
	c := NewConnections(limit)
	var mu sync.Mutex
	open := map[key]int{}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 5))
			for range 4000 {
				x, ok := c.Acquire(v6(rnd.IntN(addresses)))
				if !ok {
					continue
				}
				mu.Lock()
				if open[x.key]++; open[x.key] > limit {
					t.Errorf("got %d connections of %v, allowed %d", open[x.key], x.key, limit)
				}
				mu.Unlock()
				mu.Lock()
				open[x.key]--
				mu.Unlock()
				c.Release(x)
			}
		})
	}
	wg.Wait()
	if got := c.Stats().Entries; got != 0 {
		t.Errorf("got %d entries at the end, want none", got)
	}
}

func TestConnectionsDoNotAllocate(t *testing.T) {
	c := NewConnections(10)
	hold(t, c, v4(1), 1)
	hold(t, c, v6(1), 1)
	got := testing.AllocsPerRun(100, func() {
		x, _ := c.Acquire(v4(1))
		y, _ := c.Acquire(v6(1))
		c.Release(x)
		c.Release(y)
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}
