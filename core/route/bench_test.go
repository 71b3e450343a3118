package route

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

// BenchmarkHit measures a cache hit in 1, 2 and 8 goroutines: among a thousand accounts, which the CPU's caches hold, and
// among a hundred thousand, where memory sets the pace.
func BenchmarkHit(b *testing.B) {
	for _, accounts := range []int{1_000, 100_000} {
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
