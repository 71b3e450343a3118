package route

import (
	"container/list"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// BenchmarkHit measures a cache hit in 1, 2 and 8 goroutines: among a thousand accounts, which the CPU's caches hold, and
// among a hundred thousand and a million, where memory sets the pace.
func BenchmarkHit(b *testing.B) {
	for _, accounts := range []int{1_000, 100_000, 1_000_000} {
		r, names := warm(b, accounts)
		for _, n := range []int{1, 2, 8} {
			b.Run(fmt.Sprintf("accounts=%d/goroutines=%d", accounts, n), func(b *testing.B) {
				b.ReportAllocs()
				var wg sync.WaitGroup
				for g := range n {
					wg.Go(func() { hit(b, r, names[g*accounts/n:], b.N/n) })
				}
				wg.Wait()
			})
		}
	}
}

// hit resolves n accounts, beginning with the first name.
func hit(b *testing.B, r *Router, names []string, n int) {
	for i, k := 0, 0; i < n; i++ {
		if _, ok := r.ResolveCached(names[k]); !ok {
			b.Error("miss")
			return
		}
		if k++; k == len(names) {
			k = 0
		}
	}
}

// warm makes a router that has the accounts in its cache.
func warm(b *testing.B, accounts int) (*Router, []string) {
	r, err := New(Options{
		Store: constant("new"), Destinations: []string{"new"}, Default: "new", CacheMaxEntries: 2 * accounts,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Close)
	names := make([]string, accounts)
	for i := range names {
		names[i] = fmt.Sprintf("somebody.%d@mail.example.org", i)
		if _, err := r.Resolve(context.Background(), names[i]); err != nil {
			b.Fatal(err)
		}
	}
	return r, names
}

// BenchmarkMiss measures a look-up that goes through a flight to a store in memory.
func BenchmarkMiss(b *testing.B) {
	r, err := New(Options{Store: constant("new"), Destinations: []string{"new"}, Default: "new", CacheMaxEntries: 1 << 16})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	for i := range b.N {
		if _, err := r.Resolve(context.Background(), fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
	}
}

// constant answers everything alike.
type constant string

func (c constant) Lookup(context.Context, string) (string, bool, error) { return string(c), true, nil }

// BenchmarkMemory measures what a million entries cost, their 30-byte names included, as the garbage collector sees it.
func BenchmarkMemory(b *testing.B) {
	const accounts = 1_000_000
	for range b.N {
		before := liveBytes()
		r, err := New(Options{Store: constant("new"), Destinations: []string{"new"}, Default: "new", CacheMaxEntries: 2 * accounts})
		if err != nil {
			b.Fatal(err)
		}
		for i := range accounts {
			if _, err := r.Resolve(context.Background(), fmt.Sprintf("somebody.%07d@mail.example", i)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(liveBytes()-before)/float64(r.Stats().Entries), "B/entry")
		r.Close()
	}
}

func liveBytes() uint64 {
	runtime.GC()
	runtime.GC() // the first may have been under way already
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkHitRate compares the cache's hit rate with that of a plain LRU of the same size, on logins whose accounts are
// Zipf distributed over ten times as many accounts as the cache holds, and on the same with a scan of accounts that log
// in once (a night's backup run, a password guesser) between any two of them.
func BenchmarkHitRate(b *testing.B) {
	const size, accounts, logins = 100_000, 1_000_000, 2_000_000
	for _, skew := range []float64{1.01, 1.2} {
		for _, scan := range []bool{false, true} {
			b.Run(fmt.Sprintf("zipf=%.2f/scan=%v", skew, scan), func(b *testing.B) {
				for range b.N {
					z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), skew, 1, accounts-1)
					once := uint64(accounts)
					trace(b, size, logins, func(i int) uint64 {
						if scan && i%2 == 1 {
							once++
							return once
						}
						return z.Uint64()
					})
				}
			})
		}
	}
}

// trace runs the logins through a Router and a plain LRU and reports both hit rates.
func trace(b *testing.B, size, logins int, account func(i int) uint64) {
	r, err := New(Options{Store: constant("new"), Destinations: []string{"new"}, Default: "new", CacheMaxEntries: size})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	plain := &lru{size: size, at: map[uint64]*list.Element{}, order: list.New()}
	hits := 0
	for i := range logins {
		n := account(i)
		if plain.touch(n) {
			hits++
		}
		if _, err := r.Resolve(context.Background(), fmt.Sprint(n)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64(r.Stats().Hits)/float64(logins), "hit%")
	b.ReportMetric(100*float64(hits)/float64(logins), "lru-hit%")
}

// lru is the yardstick: the least recently used goes first.
type lru struct {
	size  int
	at    map[uint64]*list.Element
	order *list.List
}

// touch tells whether n was there, and puts it in front.
func (c *lru) touch(n uint64) bool {
	if e, ok := c.at[n]; ok {
		c.order.MoveToFront(e)
		return true
	}
	c.at[n] = c.order.PushFront(n)
	if c.order.Len() > c.size {
		delete(c.at, c.order.Remove(c.order.Back()).(uint64))
	}
	return false
}
