package route

import (
	"context"
	"fmt"
	"strings"
)

// maxRounds bounds how often one login looks up again because its account was invalidated meanwhile.
const maxRounds = 8

// flight is one look-up that any number of logins wait for.
type flight struct {
	// done is closed when the flight has settled or was disowned; guarded by mu until then, read-only afterwards.
	done     chan struct{}
	entry    *entry
	disowned bool // an invalidation came first: look up again
}

// answer is what the store said about an account.
type answer struct {
	kind        kind
	destination string  // what the store named
	declared    *string // mapped only: the same, shared by all entries
	err         error   // failed only
}

// ResolveCached answers from the cache. It neither blocks nor asks the store, so an event loop may call it. A hit counts;
// otherwise nothing is counted and Resolve is to be asked.
func (r *Router) ResolveCached(account string) (Result, bool) {
	s := r.settings.Load()
	e := r.fresh(s, account)
	if e == nil {
		return Result{}, false
	}
	res, err := s.result(e)
	if err != nil {
		return Result{}, false
	}
	r.stats.hits.add()
	return res, true
}

// Resolve finds the destination of Account.Lookup in the cache, else in the store. It fails with ErrUnavailable, or when
// ctx ends; the look-up then goes on for the others and the cache.
func (r *Router) Resolve(ctx context.Context, account string) (Result, error) {
	if e := r.fresh(r.settings.Load(), account); e != nil {
		r.stats.hits.add()
		return r.result(e)
	}
	r.stats.misses.Add(1)
	for range maxRounds {
		f, e, err := r.board(account)
		if err != nil {
			return Result{}, fmt.Errorf("resolving account: %w", err)
		}
		if f == nil {
			return r.result(e)
		}
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("resolving account: %w", context.Cause(ctx))
		case <-f.done:
		}
		if !f.disowned {
			return r.result(f.entry)
		}
	}
	return Result{}, fmt.Errorf("resolving account: it keeps changing: %w", ErrUnavailable)
}

func (r *Router) result(e *entry) (Result, error) {
	res, err := r.settings.Load().result(e)
	if err != nil {
		return Result{}, fmt.Errorf("resolving account: %w", err)
	}
	return res, nil
}

// board finds the account's flight or starts one. The nil flight comes with an entry: the cache was filled meanwhile, or
// no flight may start and an old answer has to do.
func (r *Router) board(account string) (*flight, *entry, error) {
	f, start, e, err := r.find(account)
	switch {
	case start == nil:
	case r.instant:
		start()
	default:
		go start() // the look-up timeout ends it, Close ends it early and waits for it
	}
	return f, e, err
}

// find is board without starting: start is nil when there is nothing to start.
func (r *Router) find(account string) (f *flight, start func(), e *entry, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flights[account]; f != nil {
		return f, nil, nil, nil
	}
	s := r.settings.Load()
	if e := r.fresh(s, account); e != nil {
		return nil, nil, e, nil
	}
	if r.closed || r.lookups.Load() >= s.maxLookups {
		// Never the default destination: being busy says nothing about the account.
		if e, ok := r.known(account); ok {
			e.stale = true
			return nil, nil, &e, nil
		}
		return nil, nil, nil, fmt.Errorf("too many look-ups: %w", ErrUnavailable)
	}
	f = &flight{done: make(chan struct{})}
	account = strings.Clone(account) // the caller's may be a piece of something large
	r.flights[account] = f
	r.lookups.Add(1)
	r.flying.Add(1)
	return f, func() { r.fly(s, account, f) }, nil, nil
}

// fly asks the store and settles the flight.
func (r *Router) fly(s *settings, account string, f *flight) {
	defer r.flying.Done()
	r.stats.lookups.Add(1)
	said := r.ask(r.ctx, s, account)
	r.report(said)
	r.lookups.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case f.disowned:
		return
	case said.kind == failed && r.ctx.Err() != nil:
		r.disown(account) // Close made it fail, which is no reason for the default destination
		return
	}
	delete(r.flights, account)
	f.entry = r.keep(account, said)
	close(f.done)
}

// disown takes the account's flight out of the sky: its waiters look up again. The caller holds mu.
func (r *Router) disown(account string) {
	if f := r.flights[account]; f != nil {
		delete(r.flights, account)
		f.disowned = true
		close(f.done)
	}
}

// ask looks the account up, in its second form too if the first is absent. Each store call has its own timeout.
func (r *Router) ask(ctx context.Context, s *settings, account string) answer {
	said := r.call(ctx, s, account)
	if said.kind != absent {
		return said
	}
	if second, ok := s.second(account); ok {
		return r.call(ctx, s, second)
	}
	return said
}

// call makes one store call and judges its answer. A store that panics has failed; the process goes on (SPEC 12).
func (r *Router) call(ctx context.Context, s *settings, identifier string) (said answer) {
	defer func() {
		if p := recover(); p != nil {
			said = answer{kind: failed, err: fmt.Errorf("bug: store panicked: %v", p)}
		}
	}()
	if !r.instant {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.lookupTimeout)
		defer cancel()
	}
	destination, found, err := r.store.Lookup(ctx, identifier)
	switch {
	case err != nil:
		return answer{kind: failed, err: err}
	case !found || destination == "":
		return answer{kind: absent}
	}
	if name, ok := s.declared[destination]; ok {
		return answer{kind: mapped, destination: destination, declared: name}
	}
	return answer{kind: undeclared, destination: destination}
}
