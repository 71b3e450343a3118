package route

import "time"

// kind says what the store answered.
type kind uint8

const (
	mapped     kind = iota + 1 // a declared destination
	absent                     // nothing, or an empty destination
	undeclared                 // a destination that is not declared (SPEC 4.2: the default one serves)
	failed                     // nothing known: the store failed and there was no earlier answer
)

// entry is one remembered answer. It never changes once it is in the cache.
type entry struct {
	destination *string       // mapped only
	stored      time.Duration // when, on the Router's clock
	epoch       uint32        // of the Router when it was stored
	kind        kind
	stale       bool // an expired answer put back because the store failed
}

// result reads an entry by the present settings.
func (s *settings) result(e *entry) (Result, error) {
	if e.kind == mapped {
		return Result{Destination: *e.destination, Stale: e.stale}, nil
	}
	if e.kind == failed && s.onError == FallbackUnavailable {
		return Result{}, ErrUnavailable
	}
	return Result{Destination: s.fallback, Default: true, Stale: e.stale}, nil
}

// life is how long an entry answers; afterwards it is a stale answer. While the store's notices do not arrive nothing
// answers for longer than negative_ttl (SPEC 4.2).
func (s *settings) life(e *entry, broken bool) time.Duration {
	switch {
	case e.stale, e.kind == failed:
		return s.onErrorTTL
	case e.kind == absent:
		return s.negative
	case broken:
		return min(s.positive, s.negative)
	}
	return s.positive
}

// answers tells whether an entry may still be given out.
func (r *Router) answers(s *settings, e *entry) bool {
	return e.epoch == r.epoch.Load() && r.clock()-e.stored < s.life(e, r.broken.Load())
}

// fresh finds an entry that may answer, or nil. It takes no lock and does not block.
func (r *Router) fresh(s *settings, account string) *entry {
	if e := r.cache.get(account); e != nil && r.answers(s, e) {
		return e
	}
	return nil
}

// known finds an earlier answer of the store, however old or doubtful, that was not forgotten. The caller holds mu.
func (r *Router) known(account string) (entry, bool) {
	e := r.cache.peek(account)
	if e == nil || e.epoch < r.forgotten || e.kind == failed {
		return entry{}, false
	}
	return *e, true
}

// keep turns what the store said into an entry and remembers it. The caller holds mu.
func (r *Router) keep(account string, said answer) *entry {
	e := entry{kind: said.kind}
	switch said.kind {
	case mapped:
		e.destination = said.declared
	case failed:
		if old, ok := r.known(account); ok {
			r.stats.stale.Add(1)
			e, e.stale = old, true
		}
	}
	e.epoch = r.epoch.Load()
	e.stored = r.clock()
	return r.cache.set(account, e)
}
