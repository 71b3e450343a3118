package health

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Limits are the keys of SPEC 2.1 that rule a Breaker.
type Limits struct {
	// Threshold is host_down_threshold: so many failures in a row. 0: never down, though failures are counted and shown.
	Threshold int
	// MinClients is host_down_min_clients: a streak without a host-level failure must span so many clients. 0: no demand.
	MinClients int
	// Cooldown is host_down_cooldown.
	Cooldown time.Duration
}

// Level tells whose fault a failure can be (SPEC 7).
type Level uint8

// The levels.
const (
	ClientLevel Level = iota // TLS, greeting, early close, verdict timeout: maybe one client's
	HostLevel                // resolving, connecting, the overall timeout of an attempt: the destination's
)

// Options make a Breaker.
type Options struct {
	Limits Limits
	// Changed, unless nil, is called when the destination went down or came up, in order, by the goroutine whose report
	// did it. It may call Allow and Snapshot, but must not report, reset or set limits.
	Changed func(Change)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Change is one transition.
type Change struct {
	Down bool
	// Failures, Sources and HostLevel describe the streak that took the destination down, or that has ended now.
	Failures  int
	Sources   int
	HostLevel bool
	// DownFor is how long it was down; zero when it went down.
	DownFor time.Duration
}

// maxSources bounds the addresses that are told apart in one streak, unless MinClients asks for more: 16 KiB of keys.
const maxSources = 1024

// The bits of Breaker.word. What is above them is the epoch.
const (
	wordDown  = 1 << iota // logins are turned away
	wordDirty             // there is a streak
	wordEpoch             // one epoch
)

// Breaker is the health of one destination. Its methods are safe for any goroutine and hold a lock for well under a
// microsecond; Allow and Succeeded of a healthy destination are one atomic load.
type Breaker struct {
	// immutable after New
	now     func() time.Time
	changed func(Change)

	// word says in one load what the fast paths need. It is written under mu. The epoch begins anew when the destination
	// comes up and at Reset: failures of logins that began before no longer count.
	word atomic.Uint64

	order sync.Mutex // taken before mu by whatever may cause a Change, and held while it is told

	// guarded by mu
	mu        sync.Mutex
	limits    Limits
	failures  int
	hostLevel bool // the streak holds a host-level failure
	sources   map[source]struct{}
	since     time.Time // went down; while down
	until     time.Time // end of the cooldown; while down
	probe     uint64    // number of the login that probes now; 0: none
	probes    uint64    // numbers given out
}

// New makes a Breaker for a destination that is up.
func New(o Options) *Breaker {
	b := &Breaker{limits: o.Limits, now: o.Now, changed: o.Changed}
	if b.now == nil {
		b.now = time.Now
	}
	if b.changed == nil {
		b.changed = func(Change) {}
	}
	return b
}

// Pass is leave for one login to use the destination. Exactly one of its methods counts, the first; of Succeeded and
// Failed at most one may be called. Copies are the same pass.
type Pass struct {
	b     *Breaker
	epoch uint64
	probe uint64 // 0: not a probe
}

// Allow tells whether a login may use the destination now. False means the temporary error, at once.
func (b *Breaker) Allow() (Pass, bool) {
	if w := b.word.Load(); w&wordDown == 0 {
		return Pass{b: b, epoch: w / wordEpoch}, true
	}
	return b.allowProbe()
}

// allowProbe is Allow of a destination that is down, or was a moment ago.
func (b *Breaker) allowProbe() (Pass, bool) {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.word.Load()
	p := Pass{b: b, epoch: w / wordEpoch}
	if w&wordDown == 0 {
		return p, true
	}
	if b.probe != 0 || now.Before(b.until) {
		return Pass{}, false
	}
	b.probes++
	b.probe = b.probes
	p.probe = b.probe
	return p, true
}

// Probe tells whether this login is the one that finds out if the destination is back.
func (p Pass) Probe() bool { return p.probe != 0 }

// Succeeded reports that the backend gave a verdict: accepted, refused or temporarily unavailable.
func (p Pass) Succeeded() {
	if p.b.word.Load()&(wordDown|wordDirty) == 0 {
		return
	}
	p.b.clear(verdict)
}

// Failed reports, once per login and after its last retry, that the backend gave no verdict. The client is the address
// that the login came from: the one that a trusted peer announced, if it did.
func (p Pass) Failed(client netip.Addr, l Level) {
	b := p.b
	now := b.now()
	b.order.Lock()
	defer b.order.Unlock()
	if c, went := b.fail(p, sourceOf(client), l, now); went {
		b.changed(c)
	}
}

// Abandon gives the pass back without a report: the login was canceled, or failed for a reason that is not the backend's.
// After a report it does nothing, so that it can be deferred.
func (p Pass) Abandon() {
	if p.probe == 0 {
		return
	}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if p.b.probe == p.probe {
		p.b.probe = 0
	}
}

// fail counts one failure and returns the transition it caused.
func (b *Breaker) fail(p Pass, from source, l Level, now time.Time) (Change, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.word.Load()
	if p.epoch != w/wordEpoch {
		return Change{}, false
	}
	b.failures++
	b.hostLevel = b.hostLevel || l == HostLevel
	b.note(from)
	if w&wordDown != 0 {
		if p.probe != 0 && p.probe == b.probe {
			b.probe, b.until = 0, now.Add(b.limits.Cooldown)
		}
		return Change{}, false
	}
	if !b.condemned() {
		b.word.Store(w | wordDirty)
		return Change{}, false
	}
	b.since, b.until = now, now.Add(b.limits.Cooldown)
	b.word.Store(w | wordDirty | wordDown)
	return Change{Down: true, Failures: b.failures, Sources: len(b.sources), HostLevel: b.hostLevel}, true
}

// condemned is the condition of SPEC 7.
func (b *Breaker) condemned() bool {
	l := b.limits
	return l.Threshold > 0 && b.failures >= l.Threshold && (b.hostLevel || len(b.sources) >= l.MinClients)
}

// note adds an address to the streak's.
func (b *Breaker) note(s source) {
	if len(b.sources) >= max(maxSources, b.limits.MinClients) {
		return
	}
	if b.sources == nil {
		b.sources = make(map[source]struct{})
	}
	b.sources[s] = struct{}{}
}

// cause is why a streak ends.
type cause uint8

const (
	verdict cause = iota // logins in progress may still report failures that begin a new streak
	reset                // what they report is about the past
)

// clear ends the streak, and the time down with it.
func (b *Breaker) clear(why cause) {
	now := b.now()
	b.order.Lock()
	defer b.order.Unlock()
	if c, came := b.forget(why, now); came {
		b.changed(c)
	}
}

func (b *Breaker) forget(why cause, now time.Time) (Change, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.word.Load()
	down := w&wordDown != 0
	c := Change{Failures: b.failures, Sources: len(b.sources), HostLevel: b.hostLevel}
	if down {
		c.DownFor = now.Sub(b.since)
	}
	w &^= wordDown | wordDirty
	if down || why == reset {
		w += wordEpoch
	}
	b.failures, b.hostLevel, b.sources, b.probe = 0, false, nil, 0
	b.since, b.until = time.Time{}, time.Time{}
	b.word.Store(w)
	return c, down
}

// Reset clears the health state, as POST /destinations/reset does (SPEC 8). Failures of logins that are in progress do
// not count any more.
func (b *Breaker) Reset() { b.clear(reset) }

// SetLimits changes the limits, as a reload does. They apply from the next report on; a cooldown that has begun keeps its
// end. Threshold 0 brings a destination up that is down.
func (b *Breaker) SetLimits(l Limits) {
	b.mu.Lock()
	b.limits = l
	off := l.Threshold == 0 && b.word.Load()&wordDown != 0
	b.mu.Unlock()
	if off {
		b.Reset()
	}
}
