package route

import (
	"context"
	"fmt"
)

// Peek tells what an identifier, normalised but not cut, is mapped to. It asks the store unless the cache knows, fills
// no cache and counts nothing (SPEC 8). A failing store is an error, even where a login would get a stale answer.
func (r *Router) Peek(ctx context.Context, identifier string) (Mapping, error) {
	s := r.settings.Load()
	m := Mapping{Normalized: s.account(identifier).Lookup}
	e := r.cache.peek(m.Normalized)
	m.Cached = e != nil && r.answers(s, e)
	var said answer
	switch {
	case m.Cached && !e.stale && e.kind == mapped:
		said = answer{kind: mapped, destination: *e.destination}
	case m.Cached && !e.stale && e.kind == absent:
		said = answer{kind: absent}
	default:
		said = r.ask(ctx, s, m.Normalized)
	}
	switch said.kind {
	case failed:
		return Mapping{}, fmt.Errorf("looking up mapping: %w", said.err)
	case absent:
		m.Destination = s.fallback
	default:
		m.Destination, m.Found = said.destination, true
	}
	return m, nil
}

// Writable tells whether Put and Delete can work.
func (r *Router) Writable() bool {
	_, ok := r.writer()
	return ok
}

func (r *Router) writer() (Writer, bool) {
	w, ok := r.store.(Writer)
	if l, limited := r.store.(Limited); limited && !l.Writable() {
		return nil, false
	}
	return w, ok
}

// Put maps an identifier, normalised but not cut, to a declared destination and invalidates it. The invalidation comes
// after the write and also when the write failed, since it may have happened all the same.
func (r *Router) Put(ctx context.Context, identifier, destination string) error {
	w, ok := r.writer()
	if !ok {
		return fmt.Errorf("writing mapping: %w", ErrReadOnly)
	}
	s := r.settings.Load()
	lookup := s.account(identifier).Lookup
	if err := checkIdentifier(lookup); err != nil {
		return fmt.Errorf("writing mapping: %w", err)
	}
	if _, ok := s.declared[destination]; !ok {
		return fmt.Errorf("writing mapping to %q: %w", destination, ErrUndeclared)
	}
	err := w.Put(ctx, lookup, destination)
	r.Invalidate(lookup)
	if err != nil {
		return fmt.Errorf("writing mapping: %w", err)
	}
	return nil
}

// Delete removes the mapping of an identifier, normalised but not cut, invalidates it as Put does, and tells whether
// there was one.
func (r *Router) Delete(ctx context.Context, identifier string) (existed bool, err error) {
	w, ok := r.writer()
	if !ok {
		return false, fmt.Errorf("removing mapping: %w", ErrReadOnly)
	}
	lookup := r.settings.Load().account(identifier).Lookup
	existed, err = w.Delete(ctx, lookup)
	r.Invalidate(lookup)
	if err != nil {
		return false, fmt.Errorf("removing mapping: %w", err)
	}
	return existed, nil
}

// Reload has the store read its source again and invalidates exactly what changed (SPEC 4.2). ErrNoReload: it cannot.
func (r *Router) Reload(ctx context.Context) (Changes, error) {
	rl, ok := r.store.(Reloader)
	if !ok {
		return Changes{}, fmt.Errorf("reloading mappings: %w", ErrNoReload)
	}
	added, changed, removed, err := rl.Reload(ctx)
	for _, list := range [][]string{added, changed, removed} {
		for _, identifier := range list {
			r.Invalidate(identifier)
		}
	}
	if err != nil {
		return Changes{}, fmt.Errorf("reloading mappings: %w", err)
	}
	return Changes{Added: len(added), Changed: len(changed), Removed: len(removed)}, nil
}
