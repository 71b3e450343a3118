package route

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// resolving starts n logins for the account in a synctest bubble and gives what became of them.
func resolving(g rig, account string, n int) <-chan string {
	done := make(chan string, n)
	for range n {
		go tell(done, func() string { return g.where(account) })
	}
	synctest.Wait()
	return done
}

func TestOneCallForManyLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		g.store.gate = make(chan struct{})
		done := resolving(g, "alice", 50)
		if got := g.Stats().Lookups; got != 1 {
			t.Errorf("under way: got %d, want 1", got)
		}
		close(g.store.gate)
		for range 50 {
			if got := <-done; got != "new" {
				t.Errorf("got %s, want new", got)
			}
		}
		if got := g.store.count(); got != 1 {
			t.Errorf("store was asked %d times, want once", got)
		}
	})
}

// The store had read the old mapping when the invalidation came: nobody may see it, and the waiters need not wait for it.
func TestInvalidationWins(t *testing.T) {
	for name, invalidate := range map[string]func(rig){
		"one":  func(g rig) { g.Invalidate("alice") },
		"all":  func(g rig) { g.InvalidateAll() },
		"put":  func(g rig) { g.Put(context.Background(), "alice", "third") },
		"news": func(g rig) { g.store.notify([]string{"alice"}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, nil)
			gate := make(chan struct{})
			g.store.gate = gate
			done := resolving(g, "alice", 10)
			g.store.set(func() { g.store.mappings["alice"], g.store.gate = "third", nil })
			invalidate(g)
			for range 10 {
				if got := <-done; got != "third" {
					t.Errorf("%s: got %s, want third", name, got)
				}
			}
			close(gate) // the disowned flight comes home
			synctest.Wait()
			if got := g.where("alice"); got != "third" {
				t.Errorf("%s: the late answer was kept: got %s, want third", name, got)
			}
			if got := g.store.count(); got != 2 {
				t.Errorf("%s: store was asked %d times, want twice", name, got)
			}
		})
	}
}

func TestInvalidatedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		g.store.gate = make(chan struct{})
		done := resolving(g, "alice", 1)
		for range maxRounds {
			g.Invalidate("alice")
			synctest.Wait()
		}
		select {
		case got := <-done:
			if got != "unavailable" {
				t.Errorf("got %s, want unavailable", got)
			}
		default:
			t.Error("still looking up")
		}
		close(g.store.gate)
	})
}

func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		g.store.gate = make(chan struct{})
		ctx, cancel := context.WithCancel(context.Background())
		left := make(chan error, 1)
		go func() { _, err := g.Resolve(ctx, "alice"); left <- err }()
		done := resolving(g, "alice", 1)
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: got %v, want context.Canceled", err)
		}
		close(g.store.gate)
		if got := <-done; got != "new" {
			t.Errorf("who stayed: got %s, want new", got)
		}
	})
}

// Being busy says nothing about an account: its old answer, or none, but never the default destination.
func TestTooManyLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.MaxLookups = 2 })
		g.where("alice")
		g.clock.pass(time.Hour)
		g.store.gate = make(chan struct{})
		first, second := resolving(g, "bob", 3), resolving(g, "carol", 1)
		if got := g.where("dave"); got != "unavailable" {
			t.Errorf("unknown account: got %s, want unavailable", got)
		}
		if got := g.where("alice"); got != "new stale" {
			t.Errorf("known account: got %s, want new stale", got)
		}
		close(g.store.gate)
		for _, done := range []<-chan string{first, second} {
			if got := <-done; got != "legacy default" {
				t.Errorf("got %s, want legacy default", got)
			}
		}
		synctest.Wait()
		if got := g.where("alice"); got != "new" {
			t.Errorf("afterwards: got %s, want new", got)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		g.store.gate = make(chan struct{})
		done := resolving(g, "alice", 3)
		g.Close()
		for range 3 {
			if got := <-done; got != "unavailable" {
				t.Errorf("waiting: got %s, want unavailable", got)
			}
		}
		if got := g.where("bob"); got != "unavailable" {
			t.Errorf("later: got %s, want unavailable", got)
		}
		if got := g.Stats(); got.Lookups != 0 || got.StoreErrors != 0 {
			t.Errorf("got %d under way and %d errors, want none", got.Lookups, got.StoreErrors)
		}
	})
}

// Logins race with moves. A login that begins after a move has returned must see it, or one that came later.
func TestMovesUnderLoad(t *testing.T) {
	const accounts, moves = 4, 3000
	store := &versions{}
	o := optionsFor(store)
	for v := range moves + 1 {
		o.Destinations = append(o.Destinations, fmt.Sprint(v))
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var moved [accounts]atomic.Int64 // the version that the last finished move made
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rand.IntN(accounts)
				least := moved[i].Load()
				res, err := r.Resolve(context.Background(), fmt.Sprint(i))
				if errors.Is(err, ErrUnavailable) {
					continue // it kept changing
				}
				var got int64
				if _, scanErr := fmt.Sscan(res.Destination, &got); err != nil || scanErr != nil || got < least {
					t.Errorf("got %+v, %v; want at least version %d", res, err, least)
					return
				}
			}
		})
	}
	for v := int64(1); v <= moves; v++ {
		i := v % accounts
		store[i].Store(v)
		if v%50 == 0 {
			r.InvalidateAll()
		} else {
			r.Invalidate(fmt.Sprint(i))
		}
		moved[i].Store(v)
	}
	close(stop)
	wg.Wait()
}

// versions maps account i to the version last stored.
type versions [4]atomic.Int64

func (v *versions) Lookup(_ context.Context, identifier string) (string, bool, error) {
	return fmt.Sprint(v[identifier[0]-'0'].Load()), true, nil
}
