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

// entry is one remembered answer.
type entry struct {
	destination string        // mapped only
	expires     time.Duration // on the Router's clock; afterwards it is a stale answer
	epoch       uint32
	kind        kind
	stale       bool // an expired answer put back because the store failed
}

// result reads an entry by the present settings.
func (s *settings) result(e entry) (Result, error) {
	if e.kind == mapped {
		return Result{Destination: e.destination, Stale: e.stale}, nil
	}
	if e.kind == failed && s.onError == FallbackUnavailable {
		return Result{}, ErrUnavailable
	}
	return Result{Destination: s.fallback, Default: true, Stale: e.stale}, nil
}

// fresh finds an entry that may answer. It takes no lock and does not block.
func (r *Router) fresh(account string) (entry, bool) {
	e, ok := r.cache.GetIfPresent(account)
	if !ok || e.epoch != r.epoch.Load() || e.expires <= r.clock() {
		return entry{}, false
	}
	return e, true
}

// known finds an earlier answer of the store, however old. The caller holds mu.
func (r *Router) known(account string) (entry, bool) {
	e, ok := r.cache.GetEntryQuietly(account)
	if !ok || e.Value.epoch != r.epoch.Load() || e.Value.kind == failed {
		return entry{}, false
	}
	return e.Value, true
}

// keep turns what the store said into an entry and remembers it. The caller holds mu.
func (r *Router) keep(s *settings, account string, said answer) entry {
	e := entry{kind: said.kind}
	ttl := s.negative
	switch said.kind {
	case mapped:
		e.destination, ttl = said.destination, s.positive
	case undeclared:
		ttl = s.positive
	case failed:
		ttl = s.onErrorTTL
		if old, ok := r.known(account); ok {
			r.stats.stale.Add(1)
			e, e.stale = old, true
		}
	}
	e.epoch = r.epoch.Load()
	e.expires = r.clock() + ttl
	r.cache.Set(account, e)
	return e
}
