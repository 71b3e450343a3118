package proxy

import (
	"context"
	"errors"
	"fmt"

	"mailsplice/core/admin"
	"mailsplice/core/route"
	"mailsplice/core/session"
	"mailsplice/core/store/file"
)

// mappings shows the router to the admin API.
type mappings struct{ p *Proxy }

func (m *mappings) Normalize(identifier string) (stored, account string) {
	a := m.p.router.Load().Normalize(identifier)
	return a.Lookup, a.Registry
}

func (m *mappings) Declared(destination string) bool { return m.p.declared(destination) }
func (m *mappings) Writable() bool                   { return m.p.router.Load().Writable() }

func (m *mappings) Peek(ctx context.Context, identifier string) (admin.Mapping, error) {
	x, err := m.p.router.Load().Peek(ctx, identifier)
	return admin.Mapping{Normalized: x.Normalized, Destination: x.Destination, Default: !x.Found, Cached: x.Cached}, err
}

func (m *mappings) Put(ctx context.Context, identifier, destination string) error {
	return judged(m.p.router.Load().Put(ctx, identifier, destination))
}

func (m *mappings) Delete(ctx context.Context, identifier string) (bool, error) {
	existed, err := m.p.router.Load().Delete(ctx, identifier)
	return existed, judged(err)
}

func (m *mappings) Reload(ctx context.Context) (admin.Reload, error) {
	c, err := m.p.router.Load().Reload(ctx)
	switch {
	case errors.Is(err, route.ErrNoReload):
		return admin.Reload{}, nil
	case err != nil && errors.As(err, new(file.Problem)):
		return admin.Reload{}, admin.Problems(sectionProblems(err))
	case err != nil:
		return admin.Reload{}, err
	}
	return admin.Reload{Reloaded: true, Added: c.Added, Changed: c.Changed, Removed: c.Removed}, nil
}

func (m *mappings) Invalidate(identifier string) { m.p.router.Load().Invalidate(identifier) }
func (m *mappings) InvalidateAll()               { m.p.router.Load().InvalidateAll() }

// judged translates errors that are the caller's or the configuration's fault.
func judged(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, route.ErrReadOnly):
		return fmt.Errorf("%w: %w", admin.ErrReadOnly, err)
	case errors.Is(err, route.ErrIdentifier), errors.Is(err, route.ErrUndeclared), errors.Is(err, file.ErrIdentifier):
		return fmt.Errorf("%w: %w", admin.ErrInvalid, err)
	}
	return err
}

// kicker shows the sessions to the admin API.
type kicker struct{ sessions *session.Sessions }

func (k kicker) Kick(by admin.Kick) int               { return k.sessions.Kick(kickOptions(by)) }
func (k kicker) Select(by admin.Kick) admin.Selection { return k.sessions.Select(kickOptions(by)) }

func kickOptions(by admin.Kick) session.KickOptions {
	return session.KickOptions{Account: by.Account, Destination: by.Destination, SpareMaster: by.SpareMasters}
}
