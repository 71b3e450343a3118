package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// entryOf is an entry that can be told from others.
func entryOf(version int) entry { return entry{kind: absent, stored: time.Duration(version)} }

// sound checks what must always hold of a cache, and gives its accounts.
func sound(t *testing.T, c *cache, room int) map[string]time.Duration {
	t.Helper()
	all := map[string]time.Duration{}
	for i := range c.shards {
		s := &c.shards[i]
		inQueue := 0
		for _, q := range []*queue{&s.newer, &s.settled} {
			n, last := 0, (*node)(nil)
			for at := q.newest; at != nil; at = at.next {
				if at.prev != last || s.queueOf(at) != q || s.find(c.key(at.account)) != at {
					t.Fatalf("%s: not linked, in the wrong queue, or not in the table", at.account)
				}
				all[at.account] = at.entry.stored
				n, last = n+1, at
			}
			if q.oldest != last || q.len != n {
				t.Fatalf("queue of %d nodes ends at %v and says %d", n, q.oldest, q.len)
			}
			inQueue += n
		}
		soundTable(t, c, *s.table.Load(), inQueue)
	}
	if len(all) > room || c.len() != len(all) {
		t.Fatalf("%d entries, %d counted, room for %d", len(all), c.len(), room)
	}
	return all
}

// soundTable: as many nodes as marks, and each bucket has counted right who went by.
func soundTable(t *testing.T, c *cache, tab table, want int) {
	t.Helper()
	nodes, passed := 0, make([]uint64, len(tab))
	for i := range tab {
		for at := range perBucket {
			n, mark := tab[i].nodes[at].Load(), tab[i].marks.Load()>>(8*at)&0xff
			if n == nil != (mark == 0) {
				t.Fatalf("bucket %d has node %v with mark %x", i, n, mark)
			}
			if n == nil {
				continue
			}
			nodes++
			for j := tab.home(c.key(n.account)); j != i; j = tab.behind(j) {
				passed[j]++
			}
		}
	}
	for i := range tab {
		if got := tab[i].marks.Load() >> 56; got != passed[i] {
			t.Fatalf("bucket %d counts %d that went by, want %d", i, got, passed[i])
		}
	}
	if nodes != want {
		t.Fatalf("table has %d nodes, want %d", nodes, want)
	}
}

// play does to a cache and to a map what the bytes say, and compares. What the cache has thrown out it may not have; what it
// has is what was put there last.
func play(t *testing.T, room int, steps []byte) {
	c, model := newCache(room), map[string]time.Duration{}
	for i, step := range steps {
		account := fmt.Sprint(step >> 2)
		switch step & 3 {
		case 0, 1:
			c.set(account, entryOf(i))
			model[account] = time.Duration(i)
		case 2:
			if e := c.get(account); e != nil && e.stored != model[account] {
				t.Fatalf("step %d: %s has version %d, want %d", i, account, e.stored, model[account])
			}
		case 3:
			switch c.remove(account); step {
			case 255:
				c.clear()
				clear(model)
			case 251:
				c.pack()
			}
			delete(model, account)
			if c.peek(account) != nil {
				t.Fatalf("step %d: %s is there after remove", i, account)
			}
		}
	}
	for account, version := range sound(t, c, room) {
		if want, ok := model[account]; !ok || want != version {
			t.Fatalf("%s has version %d, want %d, %v", account, version, want, ok)
		}
	}
	if len(model) <= room && c.evictions.Load() == 0 && c.len() != len(model) {
		t.Fatalf("%d entries, want %d: something is lost", c.len(), len(model))
	}
}

func TestCache(t *testing.T) {
	for _, room := range []int{1, 2, 7, 40, 1000} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			steps := make([]byte, 20_000)
			for i := range steps {
				steps[i] = byte(rand.Uint32())
			}
			play(t, room, steps)
		})
	}
}

func FuzzCache(f *testing.F) {
	f.Add(uint16(3), []byte("\x00\x04\x08\x0c\x02\x02\x10\x14\x03\x00"))
	f.Add(uint16(1), []byte("\x00\x02\x02\x04\x06\x00\xff\x04"))
	f.Fuzz(func(t *testing.T, room uint16, steps []byte) { play(t, int(room%100)+1, steps) })
}

// As many shards as it has, each full: never more than there is room for, and nearly as many.
func TestCacheIsBounded(t *testing.T) {
	for _, room := range []int{1, 511, 1024, 5000, 100_001} {
		c := newCache(room)
		for i := range 2 * room {
			c.set(fmt.Sprint(i), entryOf(i))
		}
		if got := len(sound(t, c, room)); got < room*9/10 {
			t.Errorf("room for %d: %d entries", room, got)
		}
		if got := int(c.evictions.Load()); got != 2*room-c.len() {
			t.Errorf("room for %d: %d evictions, want %d", room, got, 2*room-c.len())
		}
	}
}

// Who is asked for again and again survives a scan of accounts that are asked for once, however long. A plain LRU would lose
// everybody every time: between two look-ups of an account 1,500 others come.
func TestScan(t *testing.T) {
	const room, busy, rounds = 1000, 500, 100
	c, lost := newCache(room), 0
	for round := range rounds {
		for i := range busy {
			account := fmt.Sprint("busy", i)
			if c.get(account) == nil {
				c.set(account, entryOf(i))
				if round >= rounds/2 { // by then all are known to be busy
					lost++
				}
			}
			for j := range 2 {
				c.set(fmt.Sprint("once", round, i, j), entryOf(i))
			}
		}
	}
	if all := busy * rounds / 2; lost > all/50 {
		t.Errorf("%d of %d look-ups missed", lost, all)
	}
}

// Whoever comes back soon after it was thrown out need not prove itself again.
func TestComeback(t *testing.T) {
	c := newCache(20)
	c.set("back", entryOf(0))
	for i := range 20 {
		c.set(fmt.Sprint(i), entryOf(i))
	}
	if c.peek("back") != nil {
		t.Fatal("it was not thrown out")
	}
	c.set("back", entryOf(1))
	if s := &c.shards[0]; s.settled.len != 1 || s.settled.newest.account != "back" {
		t.Errorf("%d have proved themselves", s.settled.len)
	}
}

// Readers find what is there at every moment, while the tables grow and others come and go.
func TestReadersWhileGrowing(t *testing.T) {
	c := newCache(200_000)
	for i := range 100 {
		c.set(fmt.Sprint("there", i), entryOf(i))
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			for i := r; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if e := c.get(fmt.Sprint("there", i%100)); e == nil || int(e.stored)%100 != i%100 {
					t.Errorf("there%d: got %v", i%100, e)
					return
				}
			}
		})
	}
	for i := range 50_000 {
		c.set(fmt.Sprint("passing", i), entryOf(i))
		c.set(fmt.Sprint("there", i%100), entryOf(i))
		if i%10_000 == 0 {
			c.pack()
		}
		if i > 1000 {
			c.remove(fmt.Sprint("passing", i-rand.IntN(1000)))
		}
	}
	close(stop)
	readers.Wait()
	sound(t, c, 200_000)
}

// Packing changes where entries are and nothing else, and readers do not notice.
func TestPack(t *testing.T) {
	const room = 3000
	c := newCache(room)
	for i := range 2 * room {
		c.set(fmt.Sprint(i), entryOf(i))
		c.get(fmt.Sprint(i / 2))
	}
	order := func() (all []string) {
		for i := range c.shards {
			for _, q := range []*queue{&c.shards[i].newer, &c.shards[i].settled} {
				for n := q.newest; n != nil; n = n.next {
					all = append(all, fmt.Sprint(n.account, " ", n.asked(), " ", n.entry.stored))
				}
			}
		}
		return all
	}
	sound(t, c, room)
	before := order()
	c.pack()
	sound(t, c, room)
	if after := order(); !slices.Equal(before, after) || len(after) < room*9/10 {
		t.Errorf("%d entries became %d, or their order changed", len(before), len(after))
	}
}

// A shard so large that logins would wait for it is left alone.
func TestPackIsBounded(t *testing.T) {
	c := newCache(1)
	s := &c.shards[0]
	s.room = 2 * maxPacked
	moved := func() bool {
		before := s.newer.newest
		c.pack()
		return s.newer.newest != before
	}
	for i := range maxPacked {
		c.set(fmt.Sprint(i), entryOf(i))
	}
	if !moved() {
		t.Errorf("%d entries were not packed", s.count())
	}
	c.set("one more", entryOf(0))
	if moved() {
		t.Errorf("%d entries were packed", s.count())
	}
}

// A bucket whose count is full refuses, and what had been counted on the way is taken back.
func TestFullBucket(t *testing.T) {
	c := newCache(1 << 20)
	tab := make(table, 4)
	k := c.key("somebody")
	for i := range perBucket {
		tab[tab.home(k)].nodes[i].Store(&node{})
	}
	tab[tab.home(k)].marks.Store(0x00ffffffffffffff)
	next := &tab[tab.behind(tab.home(k))]
	next.marks.Store(maxPassed<<56 | 0x00ffffffffffffff)
	if tab.insert(k, &node{account: "somebody"}) {
		t.Fatal("it was inserted")
	}
	if got := tab[tab.home(k)].marks.Load() >> 56; got != 0 {
		t.Errorf("the first bucket counts %d, want none", got)
	}
}
