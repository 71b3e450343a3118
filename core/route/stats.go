package route

import (
	"log/slog"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	// stripes of the hit counter: enough that goroutines which run at the same time seldom meet on one cache line.
	stripes     = 16
	stripesBits = 4
)

// striped counts without making one cache line travel between CPUs: it is raised at every cache hit.
type striped [stripes]struct {
	n atomic.Uint64
	_ [56]byte // the rest of a 64-byte cache line
}

// add counts one, in a stripe that depends on where the goroutine's stack is: what else tells goroutines apart costs more.
func (s *striped) add() {
	var here byte
	page := uint32(uintptr(unsafe.Pointer(&here)) >> 11) // the smallest stack has 2 KiB
	s[page*0x9e3779b1>>(32-stripesBits)].n.Add(1)        // Knuth's multiplicative hash
}

func (s *striped) sum() (n uint64) {
	for i := range s {
		n += s[i].n.Load()
	}
	return n
}

// counters of a Router.
type counters struct {
	hits       striped
	misses     atomic.Uint64
	lookups    atomic.Uint64
	errors     atomic.Uint64
	stale      atomic.Uint64
	undeclared atomic.Uint64
}

// Stats reads the counters.
func (r *Router) Stats() Stats {
	return Stats{
		Hits:         r.stats.hits.sum(),
		Misses:       r.stats.misses.Load(),
		Entries:      r.cache.len(),
		Evictions:    r.cache.evictions.Load(),
		StoreLookups: r.stats.lookups.Load(),
		StoreErrors:  r.stats.errors.Load(),
		StaleAnswers: r.stats.stale.Load(),
		Undeclared:   r.stats.undeclared.Load(),
		Lookups:      int(r.lookups.Load()),
		Broken:       r.broken.Load(),
	}
}

// logEvery: store trouble is logged at most once a second (SPEC 4.2).
const logEvery = time.Second

// throttle lets one event through each logEvery and counts the others.
type throttle struct {
	next   atomic.Int64 // clock reading in nanoseconds; 0: never used
	missed atomic.Uint64
}

// pass tells whether this event may be logged, and how many before it were not.
func (t *throttle) pass(now time.Duration) (missed uint64, ok bool) {
	next := t.next.Load()
	if next != 0 && int64(now) < next || !t.next.CompareAndSwap(next, int64(now+logEvery)) {
		t.missed.Add(1)
		return 0, false
	}
	return t.missed.Swap(0), true
}

// report counts and logs what is wrong with a store's answer.
func (r *Router) report(said answer) {
	switch said.kind {
	case failed:
		if r.ctx.Err() != nil {
			return // Close made it fail
		}
		r.stats.errors.Add(1)
		if missed, ok := r.storeErrors.pass(r.clock()); ok {
			r.log.Warn("mapping store failed", slog.Any("err", said.err), slog.Uint64("unlogged", missed))
		}
	case undeclared:
		r.stats.undeclared.Add(1)
		if missed, ok := r.strangers.pass(r.clock()); ok {
			r.log.Warn("mapping names an undeclared destination, the default one serves",
				slog.String("destination", said.destination), slog.Uint64("unlogged", missed))
		}
	}
}
