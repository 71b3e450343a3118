package health

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Many goroutines at once: never two probes in flight, changes alternate and begin with down, and one verdict at the end
// leaves the destination up.
func TestConcurrently(t *testing.T) {
	var ticks, probing atomic.Int64
	var downs, ups int // written by Changed, which is never called twice at once
	b := New(Options{
		Limits:  Limits{Threshold: 3, MinClients: 2, Cooldown: 50},
		Now:     func() time.Time { return time.Unix(0, ticks.Add(1)) },
		Changed: func(c Change) { count(t, c, &downs, &ups) },
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 3000 {
				visit(t, b, &probing, g, i)
			}
		})
	}
	wg.Wait()
	b.Reset()
	if downs == 0 || downs != ups {
		t.Errorf("got %d times down and %d times up, want as many, and some", downs, ups)
	}
	if s := b.Snapshot(); s != (Snapshot{}) {
		t.Errorf("got %+v after a reset, want nothing", s)
	}
}

func count(t *testing.T, c Change, downs, ups *int) {
	if c.Down {
		*downs++
	} else {
		*ups++
	}
	if *downs-*ups != 0 && *downs-*ups != 1 {
		t.Errorf("got %d times down, %d times up: out of order", *downs, *ups)
	}
}

// visit is one login. Only a verdict of an older login or a reset would end a probe's turn early, and this test has neither:
// whoever is not a probe fails or abandons.
func visit(t *testing.T, b *Breaker, probing *atomic.Int64, g, i int) {
	p, ok := b.Allow()
	if !ok {
		b.Snapshot()
		return
	}
	defer p.Abandon()
	switch {
	case p.Probe():
		if n := probing.Add(1); n != 1 {
			t.Errorf("got %d probes at once", n)
		}
		runtime.Gosched()
		probing.Add(-1) // before the report that lets the next one in
		if i%3 != 0 {
			p.Succeeded()
		}
	case i%7 != 0:
		p.Failed(netip.AddrFrom4([4]byte{192, 0, 2, byte(g)}), Level(i%2))
	}
}
