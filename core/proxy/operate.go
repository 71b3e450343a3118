package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailsplice/core/admin"
	"mailsplice/core/config"
	"mailsplice/core/route"
	"mailsplice/core/session"
)

// bulk writes many mappings at once.
type bulk struct{ p *Proxy }

// Apply implements admin.Bulk.
func (b bulk) Apply(ctx context.Context, changes []admin.Change) error {
	list := make([]route.Change, len(changes))
	for i, c := range changes {
		list[i] = route.Change(c)
	}
	_, err := b.p.router.Load().Apply(ctx, list)
	if errors.Is(err, route.ErrNoBulk) {
		return fmt.Errorf("%w: %w", admin.ErrReadOnly, err)
	}
	return judged(err)
}

// listing shows all mappings.
type listing struct{ p *Proxy }

// Each implements admin.Listing.
func (l listing) Each(ctx context.Context, yield func(identifier, destination string) error) error {
	err := l.p.router.Load().Export(ctx, yield)
	if errors.Is(err, route.ErrNoList) {
		return fmt.Errorf("%w: %w", admin.ErrNoList, err)
	}
	return err
}

// connections shows joined sessions.
type connections struct{ sessions *session.Sessions }

// List implements admin.Connections.
func (c connections) List(ctx context.Context, f admin.Filter, limit int) (list []admin.Connection, total int, err error) {
	views, total := c.sessions.List(ctx, session.Filter{Account: f.Account, Destination: f.Destination, Limit: limit})
	for _, v := range views {
		list = append(list, admin.Connection(v))
	}
	return list, total, ctx.Err()
}

// holds keeps logins waiting or out.
type holds struct{ sessions *session.Sessions }

// Delay implements admin.Holds.
func (h holds) Delay(account string, d time.Duration) error {
	_, err := h.sessions.Delay(account, d)
	return busy(err)
}

// Hold implements admin.Holds.
func (h holds) Hold(account string, d time.Duration) error {
	_, err := h.sessions.Hold(account, d)
	return busy(err)
}

func busy(err error) error {
	if errors.Is(err, session.ErrTooManyHolds) {
		return fmt.Errorf("%w: %w", admin.ErrBusy, err)
	}
	return err
}

// homes shows the destinations.
type homes struct{ sessions *session.Sessions }

// Snapshot implements admin.Destinations.
func (h homes) Snapshot() (list []admin.Destination) {
	for _, d := range h.sessions.Destinations() {
		list = append(list, admin.Destination{Name: d.Name, Failures: d.Health.Failures, Sources: d.Health.Sources, HostFail: d.Health.HostLevel,
			Down: d.Health.Down, DownFor: d.Health.DownFor, Sessions: d.Sessions})
	}
	return list
}

// Reset implements admin.Destinations.
func (h homes) Reset(name string) bool { return h.sessions.ResetHealth(name) }

func (p *Proxy) unmapped() (list []admin.Unmapped) {
	for _, u := range p.sessions.Unmapped() {
		list = append(list, admin.Unmapped(u))
	}
	return list
}

// reloadConfig is POST /config/reload. One at a time: a second one would only do the first one's work again.
func (p *Proxy) reloadConfig(context.Context) (restartNeeded []string, err error) {
	restartNeeded, err = p.ReloadFile()
	var problems config.Problems
	switch {
	case err == nil:
		return restartNeeded, nil
	case errors.As(err, &problems):
		var list admin.Problems
		for _, x := range problems {
			list = append(list, x.String())
		}
		return nil, list
	case errors.Is(err, ErrOver):
		return nil, fmt.Errorf("%w: %w", admin.ErrBusy, err)
	}
	return nil, admin.Problems{err.Error()}
}
