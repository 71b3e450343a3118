package session

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"mailsplice/core/bridge"
	"mailsplice/core/dial"
	"mailsplice/core/health"
	"mailsplice/core/logx"
	"mailsplice/core/metrics"
	"mailsplice/core/route"
)

// Policy is what a reload of the configuration replaces (SPEC 8). Sessions in progress are not touched by that: a login
// goes on as it began, and the next one goes by the new policy.
type Policy struct {
	// Destinations are all that are declared. Those of an earlier Policy that are missing take no more logins.
	Destinations []*Destination
	// PassThrough names the destination of SMTP and LMTP listeners (SPEC 2.6).
	PassThrough string
	Router      *route.Router
	Limits      Limits
	// KickOnChange: sessions elsewhere end when an invalidation changes an account's destination (SPEC 2.5, on_change).
	KickOnChange bool
	Redactor     *logx.Redactor
	// Health says when a destination is down (SPEC 7).
	Health health.Limits
}

// Destination is one configured backend. Immutable.
type Destination struct {
	Name               string
	Hosts              []string
	Sources            *dial.Sources // nil: the kernel chooses
	Legs               map[Protocol]Leg
	HideAuthErrors     bool
	AllowPlaintextAuth bool // SPEC 2.4: credentials on a plain leg
}

// Limits are the times and counts of SPEC 2.1 that rule sessions.
type Limits struct {
	MaxPreauth     int
	SessionsPerIP  int // max_sessions_per_ip; 0: no limit
	BackendTimeout time.Duration
	ConnectRetries int
	ProxyTTL       int
	BridgeIdle     time.Duration
	HalfClosed     time.Duration
	StashBytes     int64
}

// home is a destination with all that outlives its configuration. Homes are never removed: sessions refer to them by index.
type home struct {
	// immutable
	name                string
	index               uint16
	wrongServiceWarning *logx.Throttle
	noXClientWarning    *logx.Throttle
	ownListenerWarning  *logx.Throttle
	downWarning, upNote *logx.Throttle // a destination may come and go with every few logins

	breaker *health.Breaker

	declared         atomic.Pointer[Destination] // nil: not declared any more
	inFlight         atomic.Int64
	joined           [protocols][bridge.Lanes]atomic.Int64
	logins           [protocols]atomic.Pointer[metrics.Logins] // where a listener has the protocol
	untrustedWarning [protocols]sync.Once
}

// policy is a Policy in force.
type policy struct {
	Policy
	byName   map[string]*home // declared ones
	fallback string           // the default destination when it came into force
}

// maxHomes bounds the names that destinations have had since the start; the last number means none (noDest).
const maxHomes = noDest

// Apply puts p in force. On an error nothing has changed.
func (s *Sessions) Apply(p Policy) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	homes := *s.homes.Load()
	next := &policy{Policy: p, byName: map[string]*home{}}
	known := map[string]*home{}
	for _, h := range homes {
		known[h.name] = h
	}
	for _, d := range p.Destinations {
		h := known[d.Name]
		if h == nil {
			h = s.newHome(d.Name, uint16(len(homes)), p.Health)
			homes = append(homes[:len(homes):len(homes)], h)
		}
		next.byName[d.Name] = h
	}
	if len(homes) >= maxHomes {
		return fmt.Errorf("applying configuration: more than %d names of destinations since the start", maxHomes)
	}
	if p.Router == nil {
		return errors.New("applying configuration: no router")
	}
	next.fallback = p.Router.Default().Destination
	s.swap(next, homes)
	return nil
}

// newHome is a destination that has never been declared before.
func (s *Sessions) newHome(name string, index uint16, limits health.Limits) *home {
	h := &home{name: name, index: index, wrongServiceWarning: logx.Every(stormEvery), noXClientWarning: logx.Every(stormEvery),
		ownListenerWarning: logx.Every(stormEvery), downWarning: logx.Every(stormEvery), upNote: logx.Every(stormEvery)}
	h.breaker = health.New(health.Options{Limits: limits, Changed: func(c health.Change) {
		if c.Down {
			s.say(h.downWarning, slog.LevelWarn, "destination is down", logx.Destination, name, "failures", c.Failures, "sources", c.Sources, "host_level", c.HostLevel)
		} else {
			s.say(h.upNote, slog.LevelInfo, "destination is up again", logx.Destination, name, logx.Duration, c.DownFor.Round(time.Millisecond))
		}
	}})
	s.o.Metrics.Destination(name, metrics.Health{
		Down:     h.breaker.Down,
		Failures: func() int { return h.breaker.Snapshot().Failures },
	})
	return h
}

// swap makes the new policy the one in force.
func (s *Sessions) swap(next *policy, homes []*home) {
	old := s.policy.Load()
	for _, d := range next.Destinations {
		next.byName[d.Name].declared.Store(d)
	}
	for _, h := range homes {
		if next.byName[h.name] == nil { // one that stays is never without, not even for a moment: logins look at it
			h.declared.Store(nil)
		}
		h.breaker.SetLimits(next.Health)
	}
	s.connections.SetLimit(next.Limits.SessionsPerIP)
	s.homes.Store(&homes)
	s.policy.Store(next)
	s.stash.SetLimit(next.Limits.StashBytes)
	for _, b := range s.lobbies {
		b.loop.Do(func() { b.bridge.SetTimes(next.Limits.BridgeIdle, next.Limits.HalfClosed) })
	}
	s.listenersMu.RLock()
	for _, ln := range s.listeners {
		s.count(ln.Protocol)
	}
	s.listenersMu.RUnlock()
	if old == nil || old.Router != next.Router {
		next.Router.OnInvalidate(s.invalidated, s.invalidatedAll)
	}
	if old != nil && old.sendsElsewhere(next) { // logins under way look again
		s.invalidatedAll()
	}
}

// sendsElsewhere tells whether any account may have another destination under next.
func (p *policy) sendsElsewhere(next *policy) bool {
	return p.Router != next.Router || p.fallback != next.fallback || !maps.Equal(p.byName, next.byName)
}

// count asks for the counters of a protocol at every destination.
func (s *Sessions) count(p Protocol) {
	name := p.String()
	for _, h := range *s.homes.Load() {
		if h.logins[p].Load() != nil {
			continue
		}
		h.logins[p].Store(s.o.Metrics.Logins(name, h.name))
		for lane := range bridge.Lanes {
			n := &h.joined[p][lane]
			s.o.Metrics.Sessions(name, h.name, lane.String(), func() float64 { return float64(n.Load()) })
		}
	}
}

// home is the destination of a session.
func (s *Sessions) home(index uint16) *home { return (*s.homes.Load())[index] }

// homeOf finds a destination by name, declared or not: sessions may live there still.
func (s *Sessions) homeOf(name string) *home {
	for _, h := range *s.homes.Load() {
		if h.name == name {
			return h
		}
	}
	return nil
}
