package route

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Router resolves accounts. It is safe for concurrent use.
type Router struct {
	// immutable after New
	store Store
	// instant: store is an Instant.
	instant bool
	clock   func() time.Duration
	log     *slog.Logger
	cache   *cache
	// ctx is the parent of every store call; Close ends it.
	ctx    context.Context
	cancel context.CancelFunc

	settings atomic.Pointer[settings]
	// epoch is raised under mu; an entry of an older one does not answer.
	epoch atomic.Uint32
	// broken: the store's notices do not arrive.
	broken atomic.Bool

	mu      sync.Mutex
	flights map[string]*flight // guarded by mu; at most one for each account
	closed  bool               // guarded by mu
	// forgotten is the epoch of the last InvalidateAll, guarded by mu: what is older does not exist.
	forgotten uint32
	flying    sync.WaitGroup // raised under mu
	lookups   atomic.Int64   // flights under way, disowned ones included

	hooks atomic.Pointer[[]hook]
	stats counters
	// storeErrors and strangers let one log line a second through (SPEC 4.2).
	storeErrors, strangers throttle
}

// New makes a Router. Close gives back what it holds.
func New(o Options) (*Router, error) {
	if o.Store == nil {
		return nil, fmt.Errorf("making router: %w", errNoStore)
	}
	s, err := newSettings(o)
	if err != nil {
		return nil, fmt.Errorf("making router: %w", err)
	}
	r := &Router{store: o.Store, clock: o.Clock, log: o.Logger, flights: map[string]*flight{}}
	if r.clock == nil {
		r.clock = monotonic()
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	_, r.instant = o.Store.(Instant)
	r.settings.Store(s)
	// Entries carry their own expiry, since they must outlive it as stale answers (SPEC 4.2); the cache only evicts.
	r.cache = newCache(orDefault(o.CacheMaxEntries, defaultMaxEntries))
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if n, ok := o.Store.(Notifier); ok {
		n.Notify(r.changed)
	}
	if w, ok := o.Store.(Watcher); ok {
		w.Watch(r.lost, r.back)
	}
	return r, nil
}

// Reconfigure changes everything about a Router but its store, the size of its cache and its clock (SPEC 8, reload). Cached
// answers stay, unless identifiers are looked up in another form from now on. On an error nothing has changed.
func (r *Router) Reconfigure(o Options) error {
	next, err := newSettings(o)
	if err != nil {
		return fmt.Errorf("changing router: %w", err)
	}
	old := r.settings.Swap(next)
	if old.normalize != next.normalize || old.domain != next.domain || !slices.Equal(old.separators, next.separators) {
		r.InvalidateAll()
	}
	return nil
}

// Close ends the store calls under way and waits for them. Waiting and later resolutions that miss the cache fail.
func (r *Router) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.flying.Wait()
}

// Default is the result for a login that names no account (SPEC 4.1).
func (r *Router) Default() Result {
	return Result{Destination: r.settings.Load().fallback, Default: true}
}
