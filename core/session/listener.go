package session

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"mailsplice/core/engine"
	"mailsplice/core/metrics"
	"mailsplice/protocols/dialog"
	"mailsplice/tlsx"
)

// Listener is one configured entrance. Immutable after Sessions.AddListener.
type Listener struct {
	Name           string
	Protocol       Protocol
	Speaker        Speaker
	Mode           TLSMode
	TLS            *tlsx.ServerConfig // unless Mode is Plain
	MaxConnections int                // 0: no limit
	PreauthTimeout time.Duration
	Header         HeaderMode     // whether peers in Trusted send a PROXY header
	Trusted        []netip.Prefix // peers that may announce a client

	index    uint16
	turnAway []byte // the protocol's words for "too busy"; none where a handshake would be needed for them
	farewell []byte // and for "shutting down"
	*gate
	logins     *metrics.Logins // without a destination
	sessions   atomic.Int64    // that refer to it by index
	superseded time.Time       // guarded by Sessions.listenersMu; zero: in force
}

// gate is what listeners of one name share, one after the other.
type gate struct {
	current atomic.Pointer[Listener]
	open    atomic.Int64
	preauth atomic.Int64
	metrics *metrics.Listener
}

// reuseAfter is how long a listener's number stays taken after its end, so that a connection which is being accepted under
// it cannot meet another one.
const reuseAfter = time.Minute

// AddListener prepares a listener and returns what the engine needs for each of its addresses. It takes the place of an
// earlier one of its name: connections to addresses of either are its own from now on, sessions stay with the old one.
func (s *Sessions) AddListener(ln *Listener) (engine.ListenOptions, error) {
	if ln.Mode != ImplicitTLS {
		ln.turnAway, ln.farewell = words(ln.Speaker, dialog.Busy), words(ln.Speaker, dialog.Drain)
	}
	s.listenersMu.Lock()
	defer s.listenersMu.Unlock()
	g := s.gates[ln.Name]
	if g == nil {
		g = &gate{}
		g.metrics = s.o.Metrics.Listener(ln.Name, func() float64 { return float64(g.preauth.Load()) })
	}
	if err := s.enlist(ln); err != nil {
		return engine.ListenOptions{}, err
	}
	ln.logins = s.o.Metrics.Logins(ln.Protocol.String(), "")
	s.count(ln.Protocol)
	ln.gate = g
	if old := g.current.Swap(ln); old != nil {
		old.superseded = time.Now()
	}
	s.gates[ln.Name] = g
	return engine.ListenOptions{
		TurnAway: func() []byte { return g.current.Load().turnAway },
		Refused:  func() { g.metrics.Refused(metrics.RefusedDescriptors) },
		Accept:   func(l *engine.Loop, a engine.Accepted) { s.lobbies[l.ID()].accept(g.current.Load(), a) },
	}, nil
}

// enlist gives a listener its index, that of one nobody refers to any more if there is any.
func (s *Sessions) enlist(ln *Listener) error {
	for i, old := range s.listeners {
		if !old.superseded.IsZero() && old.sessions.Load() == 0 && time.Since(old.superseded) > reuseAfter {
			ln.index = uint16(i)
			s.listeners[i] = ln
			return nil
		}
	}
	if len(s.listeners) > 1<<16-1 {
		return fmt.Errorf("adding listener %q: too many changes in a minute", ln.Name)
	}
	ln.index = uint16(len(s.listeners))
	s.listeners = append(s.listeners, ln)
	return nil
}

// RemoveListener ends a listener whose addresses are closed: its sessions live on.
func (s *Sessions) RemoveListener(name string) {
	s.listenersMu.Lock()
	defer s.listenersMu.Unlock()
	if g := s.gates[name]; g != nil {
		g.current.Load().superseded = time.Now()
		delete(s.gates, name)
	}
}

func (s *Sessions) listener(index uint16) *Listener {
	s.listenersMu.RLock()
	defer s.listenersMu.RUnlock()
	return s.listeners[index]
}

// words asks a fresh machine for its farewell.
func words(sp Speaker, why dialog.EventKind) (text []byte) {
	m := sp.Client(Facts{})
	m.Tell(dialog.Event{Kind: why})
	for a := m.Next(); a.Kind == dialog.Write; a = m.Next() {
		text = append(text, a.Bytes...)
	}
	m.Release()
	return text
}
