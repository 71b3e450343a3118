package session

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsplice/core/engine"
)

func newTestRegistry(t testing.TB) *registry {
	r := newRegistry()
	t.Cleanup(r.close)
	return r
}

func mustEnter(t testing.TB, r *registry, name string, p place) (ticket, uint32) {
	t.Helper()
	tk, gen, err := r.enter(name, p)
	if err != nil {
		t.Fatal(err)
	}
	return tk, gen
}

// empty asserts that nothing is left in any shard.
func empty(t testing.TB, r *registry) {
	t.Helper()
	for i := range r.shards {
		s := &r.shards[i]
		n := s.names
		names := n.n16.Len() + n.n24.Len() + n.n32.Len() + n.n48.Len() + n.n96.Len() + n.n768.Len()
		if s.accounts.Len()+s.entries.Len()+names+s.index.used != 0 {
			t.Errorf("shard %d: %d accounts, %d entries, %d names, %d in the index", i, s.accounts.Len(), s.entries.Len(), names, s.index.used)
		}
	}
}

func TestNamesOfAllSizes(t *testing.T) {
	r := newTestRegistry(t)
	var tickets []ticket
	var names []string
	for _, n := range []int{0, 1, 15, 16, 17, 24, 25, 32, 33, 48, 49, 96, 97, 512, 767, maxAccountBytes} {
		for _, fill := range []string{"a", "\x00", "\xff"} {
			name := strings.Repeat(fill, n)
			tk, _ := mustEnter(t, r, name, place{})
			tickets, names = append(tickets, tk), append(names, name)
		}
	}
	for i, tk := range tickets {
		if got := r.name(tk); got != names[i] {
			t.Errorf("name of %d bytes: got %q, want %q", len(names[i]), got, names[i])
		}
		want := 1
		if names[i] == "" {
			want = 3 // one account, entered three times
		}
		if got := len(r.sessionsOf(names[i], nil)); got != want {
			t.Errorf("sessions of %d bytes: got %d, want %d", len(names[i]), got, want)
		}
	}
	for _, tk := range tickets {
		r.leave(tk)
	}
	empty(t, r)
}

func TestNameTooLong(t *testing.T) {
	r := newTestRegistry(t)
	if _, _, err := r.enter(strings.Repeat("a", maxAccountBytes+1), place{}); err == nil {
		t.Error("a name over the bound was filed")
	}
	empty(t, r)
}

// Entries of one account leave in any order.
func TestLeave(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0}, {0, 2, 1}, {2, 0, 1}} {
		r := newTestRegistry(t)
		var tickets []ticket
		for i := range 3 {
			tk, _ := mustEnter(t, r, "alice", place{tok: engine.MakeToken(1, uint32(i+1), 1)})
			tickets = append(tickets, tk)
		}
		left := []uint32{1, 2, 3}
		for _, i := range order {
			r.leave(tickets[i])
			r.leave(tickets[i]) // a second time means nothing
			left = slices.DeleteFunc(left, func(n uint32) bool { return n == uint32(i+1) })
			var got []uint32
			for _, p := range r.sessionsOf("alice", nil) {
				got = append(got, p.tok.Index())
			}
			slices.Sort(got)
			if !slices.Equal(got, left) {
				t.Errorf("order %v: got %v, want %v", order, got, left)
			}
		}
		empty(t, r)
	}
}

func TestGenerations(t *testing.T) {
	for _, c := range []struct {
		name  string
		touch func(*registry)
		joins bool
	}{
		{"untouched", func(*registry) {}, true},
		{"another account", func(r *registry) { r.bump("bob") }, true},
		{"bumped", func(r *registry) { r.bump("alice") }, false},
		{"all bumped", (*registry).bumpAll, false},
	} {
		r := newTestRegistry(t)
		tk, gen := mustEnter(t, r, "alice", place{})
		c.touch(r)
		if got := r.join(tk, gen, 1); got != c.joins {
			t.Errorf("%s: join is %v, want %v", c.name, got, c.joins)
		}
		if !r.join(tk, r.generation(tk), 1) {
			t.Errorf("%s: join under the present generation is refused", c.name)
		}
		r.leave(tk)
		if r.join(tk, gen, 1) || r.name(tk) != "" {
			t.Errorf("%s: an entry that has left is still there", c.name)
		}
		empty(t, r)
	}
	r := newTestRegistry(t)
	if r.bump("nobody") {
		t.Error("an account without entries was bumped")
	}
}

func TestEach(t *testing.T) {
	r := newTestRegistry(t)
	for i := range 1000 {
		tk, gen := mustEnter(t, r, fmt.Sprintf("user%d", i/2), place{master: i%2 == 1})
		r.join(tk, gen, uint16(i%4))
	}
	if got := len(r.each(func(p place) bool { return p.dest == 3 && p.joined && p.master })); got != 250 {
		t.Errorf("got %d, want 250", got)
	}
	if got := len(r.accountNames()); got != 500 {
		t.Errorf("accounts: got %d, want 500", got)
	}
}

// Many goroutines at once: a join never happens under a generation from before a bump that has returned.
func TestRegistryRaces(t *testing.T) {
	r := newTestRegistry(t)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Add(1)
		go churn(t, r, uint64(g), &wg) // ends by itself
	}
	wg.Wait()
	empty(t, r)
}

func churn(t *testing.T, r *registry, seed uint64, wg *sync.WaitGroup) {
	defer wg.Done()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		name := fmt.Sprintf("user%d@example.org", rnd.IntN(20))
		tk, gen, err := r.enter(name, place{})
		if err != nil {
			t.Error(err)
			return
		}
		switch rnd.IntN(6) {
		case 0:
			r.bump(name)
			if r.join(tk, gen, 1) {
				t.Error("joined under a generation that is over")
			}
		case 1:
			r.bumpAll()
			if r.join(tk, gen, 1) {
				t.Error("joined under a generation that is over")
			}
		case 2:
			r.sessionsOf(name, nil)
		case 3:
			r.each(func(p place) bool { return p.joined })
		default:
			r.join(tk, r.generation(tk), 1)
		}
		if r.name(tk) != name {
			t.Error("an entry lost its name")
		}
		r.leave(tk)
	}
}

// A million entries are no work for the collector, and a kick finds its sessions among them (DESIGN 6). Times are reported, not
// judged.
func TestMillionEntries(t *testing.T) {
	r := newTestRegistry(t)
	const n = 1_000_000
	account := func(to []byte, i int) []byte { return fmt.Appendf(to[:0], "user%09d@mail.example.org", i) }
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	name := make([]byte, 0, 40)
	for i := range n {
		entry, gen := mustEnter(t, r, string(account(name, i)), place{})
		if !r.join(entry, gen, uint16(i%100)) {
			t.Fatal("a login was not let in")
		}
	}
	start := time.Now()
	runtime.GC()
	cycle := time.Since(start)
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	if grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes, want next to nothing", grown)
	}
	const kicks = 1000
	start = time.Now()
	for i := range kicks {
		id := string(account(name, i*(n/kicks)))
		r.bump(id)
		if got := len(r.sessionsOf(id, nil)); got != 1 {
			t.Fatalf("sessions of %s: got %d, want 1", id, got)
		}
	}
	one := time.Since(start) / kicks
	start = time.Now()
	if got := len(r.each(func(p place) bool { return p.dest == 7 })); got != n/100 {
		t.Errorf("sessions of a destination: got %d, want %d", got, n/100)
	}
	t.Logf("a million entries: the heap grew by %d bytes, a collection takes %v, its last pause %v; a kick finds an account's session in %v, "+
		"a destination's 10,000 in %v", grown, cycle, time.Duration(after.PauseNs[(after.NumGC+255)%256]), one, time.Since(start))
}
