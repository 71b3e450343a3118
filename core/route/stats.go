package route

import (
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2/stats"
)

// stripes of the hit counter: enough that loops on different CPUs seldom meet on one cache line.
const stripes = 16

// striped counts without making one cache line travel between CPUs: it is raised at every cache hit.
type striped [stripes]struct {
	n atomic.Uint64
	_ [56]byte // the rest of a 64-byte cache line
}

func (s *striped) add() { s[rand.Uint32()%stripes].n.Add(1) }

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
	evictions  evictions
}

// evictions records what the cache throws out for space, and nothing else: hits and misses are ours to count, since a
// stale entry is a miss.
type evictions struct {
	stats.NoopRecorder
	n atomic.Uint64
}

// RecordEviction is called by the cache.
func (e *evictions) RecordEviction(uint32) { e.n.Add(1) }

// Stats reads the counters.
func (r *Router) Stats() Stats {
	return Stats{
		Hits:         r.stats.hits.sum(),
		Misses:       r.stats.misses.Load(),
		Entries:      r.cache.EstimatedSize(),
		Evictions:    r.stats.evictions.n.Load(),
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
