package admin

import (
	"net/netip"
	"sync"
	"time"
)

// maxAddresses bounds the table of addresses that failed lately: about 1 MB with the default threshold.
const maxAddresses = 4096

// sampled is how many entries are looked at when room is needed: enough to meet an unlocked one unless nearly all are
// locked.
const sampled = 16

// v6Bits is the part of an IPv6 address that stands for one client: hosts choose the rest themselves.
const v6Bits = 64

// lockout counts failures by address.
type lockout struct {
	threshold int           // immutable after newLockout
	duration  time.Duration // immutable after newLockout

	mu      sync.Mutex
	clients map[netip.Addr]*failures // guarded by mu
}

// failures of one address.
type failures struct {
	at    []time.Time // those within duration, oldest first; fewer than the threshold
	until time.Time   // locked out until then; zero: not
}

func newLockout(threshold int, duration time.Duration) *lockout {
	return &lockout{threshold: threshold, duration: duration, clients: make(map[netip.Addr]*failures)}
}

// remaining is how long a is still locked out.
func (l *lockout) remaining(a netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.clients[fold(a)]
	if f == nil || f.until.IsZero() {
		return 0
	}
	return max(0, f.until.Sub(now))
}

// clear forgets the failures of a.
func (l *lockout) clear(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.clients, fold(a))
}

// fail counts a failure and reports whether a is locked out from now on.
func (l *lockout) fail(a netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a = fold(a)
	f := l.clients[a]
	if f == nil {
		l.makeRoom(now)
		f = &failures{}
		l.clients[a] = f
	}
	if now.Before(f.until) {
		return false // a request that passed the gate before another one closed it: the lock is neither new nor longer
	}
	f.until = time.Time{}
	f.forget(now.Add(-l.duration))
	f.at = append(f.at, now)
	if len(f.at) < l.threshold {
		return false
	}
	f.at, f.until = nil, now.Add(l.duration)
	return true
}

// forget drops failures that happened before since.
func (f *failures) forget(since time.Time) {
	n := 0
	for n < len(f.at) && f.at[n].Before(since) {
		n++
	}
	f.at = append(f.at[:0], f.at[n:]...)
}

// last is when the entry last mattered.
func (f *failures) last() time.Time {
	if len(f.at) > 0 {
		return f.at[len(f.at)-1]
	}
	return f.until
}

// makeRoom keeps the table below its bound. It looks at a few entries, at random as the map gives them, and removes those
// that have expired, else the one quiet for longest, a locked one only when all are locked. Whoever can fill the table
// has more addresses than it has entries, so that a better choice would not keep them from guessing.
func (l *lockout) makeRoom(now time.Time) {
	if len(l.clients) < maxAddresses {
		return
	}
	var victim netip.Addr
	var quietest *failures
	seen := 0
	for a, f := range l.clients {
		switch {
		case f.expired(now, l.duration):
			delete(l.clients, a)
		case quietest == nil || f.before(quietest):
			victim, quietest = a, f
		}
		if seen++; seen == sampled {
			break
		}
	}
	if len(l.clients) >= maxAddresses {
		delete(l.clients, victim)
	}
}

func (f *failures) expired(now time.Time, duration time.Duration) bool {
	if f.until.IsZero() {
		return now.Sub(f.last()) > duration
	}
	return !now.Before(f.until)
}

// before reports whether f should go before g.
func (f *failures) before(g *failures) bool {
	if f.until.IsZero() != g.until.IsZero() {
		return f.until.IsZero()
	}
	return f.last().Before(g.last())
}

func fold(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(v6Bits)
	if err != nil {
		return a
	}
	return p.Addr()
}
