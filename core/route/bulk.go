package route

import (
	"context"
	"errors"
	"fmt"
)

// Change is one of many that Apply makes together.
type Change struct {
	// Identifier as an operator wrote it; it is normalised, not cut.
	Identifier string
	// Destination is a declared one; empty removes the mapping.
	Destination string
}

// RefusedChange says which change made Apply refuse all of them.
type RefusedChange struct {
	Index int   // into the changes
	Err   error // ErrIdentifier or ErrUndeclared
}

// Error does not name the identifier.
func (e *RefusedChange) Error() string { return fmt.Sprintf("change %d: %v", e.Index+1, e.Err) }

// Unwrap is the cause.
func (e *RefusedChange) Unwrap() error { return e.Err }

// Apply makes all changes or none of them and invalidates every identifier in them, as Put does (SPEC 8, bulk). The last
// one of an identifier counts. Changes that cannot be made are refused together, each as a *RefusedChange, before any is
// made. It tells how many identifiers it changed or removed.
func (r *Router) Apply(ctx context.Context, changes []Change) (applied int, err error) {
	w, ok := r.writer()
	if !ok {
		return 0, fmt.Errorf("writing mappings: %w", ErrReadOnly)
	}
	bulk, ok := w.(BulkWriter)
	if !ok {
		return 0, fmt.Errorf("writing mappings: %w", ErrNoBulk)
	}
	last, err := r.settings.Load().merge(changes)
	if err != nil {
		return 0, fmt.Errorf("writing mappings: %w", err)
	}
	if len(last) == 0 {
		return 0, nil
	}
	err = bulk.Apply(ctx, last)
	for identifier := range last {
		r.Invalidate(identifier)
	}
	if err != nil {
		return 0, fmt.Errorf("writing mappings: %w", err)
	}
	return len(last), nil
}

// maxRefused bounds how many bad changes are reported.
const maxRefused = 100

// merge is the last change of each identifier, normalised, or what is wrong with the changes.
func (s *settings) merge(changes []Change) (map[string]string, error) {
	last := make(map[string]string, len(changes))
	var refused []error
	for i, c := range changes {
		lookup := s.account(c.Identifier).Lookup
		err := checkIdentifier(lookup)
		if _, ok := s.declared[c.Destination]; err == nil && !ok && c.Destination != "" {
			err = fmt.Errorf("destination %q: %w", c.Destination, ErrUndeclared)
		}
		if err != nil && len(refused) < maxRefused {
			refused = append(refused, &RefusedChange{i, err})
		}
		last[lookup] = c.Destination
	}
	return last, errors.Join(refused...)
}

// Listable tells whether Export can work.
func (r *Router) Listable() bool {
	_, ok := r.lister()
	return ok
}

func (r *Router) lister() (Lister, bool) {
	list, ok := r.store.(Lister)
	if l, limited := r.store.(Limited); limited && !l.Listable() {
		return nil, false
	}
	return list, ok
}

// Export gives every mapping as stored to yield, as Lister promises it, undeclared destinations included (SPEC 8). It
// does not use the cache. It ends with yield's error, or ErrNoList.
func (r *Router) Export(ctx context.Context, yield func(identifier, destination string) error) error {
	list, ok := r.lister()
	if !ok {
		return fmt.Errorf("listing mappings: %w", ErrNoList)
	}
	if err := list.All(ctx, yield); err != nil {
		return fmt.Errorf("listing mappings: %w", err)
	}
	return nil
}
