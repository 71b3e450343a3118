package session

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of POST /connections/delay and hold (SPEC 8).
const (
	MaxDelay = 300 * time.Second
	MaxHold  = 24 * time.Hour
	// maxHolds bounds the accounts that are delayed or held at once.
	maxHolds = 100_000
	// holdGlance is how often a login that is being delayed looks whether it still is.
	holdGlance = time.Second
)

// ErrTooManyHolds is returned when a hundred thousand accounts are delayed or held already.
var ErrTooManyHolds = errors.New("too many accounts are delayed or held")

// holds are the accounts whose logins an administrator keeps waiting or away. Any goroutine may use it; while there are
// none it costs a login one atomic load.
type holds struct {
	n  atomic.Int64 // len(by)
	mu sync.Mutex
	by map[string]hold // guarded by mu, by the account as the registry files it
}

// hold is what is asked for one account. A time that has passed asks for nothing.
type hold struct {
	delayed time.Time // logins wait until then
	held    time.Time // logins get the temporary error until then
}

func (h hold) over(now time.Time) bool { return !h.delayed.After(now) && !h.held.After(now) }

// change edits an account's hold.
func (h *holds) change(account string, edit func(*hold)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	x, known := h.by[account]
	edit(&x)
	if x.over(now) {
		delete(h.by, account)
		h.n.Store(int64(len(h.by)))
		return nil
	}
	if !known && len(h.by) >= maxHolds {
		h.sweep(now)
		if len(h.by) >= maxHolds {
			return ErrTooManyHolds
		}
	}
	if h.by == nil {
		h.by = map[string]hold{}
	}
	h.by[account] = x
	h.n.Store(int64(len(h.by)))
	return nil
}

func (h *holds) sweep(now time.Time) {
	for account, x := range h.by {
		if x.over(now) {
			delete(h.by, account)
		}
	}
}

// of is what is asked for an account now: how long a login waits, and whether it is turned away.
func (h *holds) of(account string) (wait time.Duration, held bool) {
	if h.n.Load() == 0 {
		return 0, false
	}
	h.mu.Lock()
	x := h.by[account]
	h.mu.Unlock()
	now := time.Now()
	return x.delayed.Sub(now), x.held.After(now)
}

// Delay makes new logins of an account, as the registry files it, wait: they look the mapping up afterwards. It returns the
// time that is in force, which is at most MaxDelay; 0 removes an earlier delay.
func (s *Sessions) Delay(account string, d time.Duration) (time.Duration, error) {
	d = max(0, min(d, MaxDelay))
	return d, s.holds.change(account, func(h *hold) { h.delayed = time.Now().Add(d) })
}

// Hold answers an account's logins, but for those of master users, with the temporary error, for MaxHold at most: nobody
// changes a mailbox whose final copy is being made. 0 removes an earlier hold.
func (s *Sessions) Hold(account string, d time.Duration) (time.Duration, error) {
	d = max(0, min(d, MaxHold))
	return d, s.holds.change(account, func(h *hold) { h.held = time.Now().Add(d) })
}

// waitOut holds the attempt's goroutine until its account is delayed no more. False: it was interrupted.
func (a *attempt) waitOut() bool {
	for {
		wait, _ := a.lobby.s.holds.of(a.account.Registry)
		if wait <= 0 {
			return true
		}
		if !a.pause(min(wait, holdGlance)) {
			return false
		}
	}
}
