package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mailsplice/core/bridge"
	"mailsplice/core/dial"
	"mailsplice/core/engine"
	"mailsplice/core/logx"
	"mailsplice/core/metrics"
	"mailsplice/core/route"
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
	open     atomic.Int64
	preauth  atomic.Int64
	metrics  *metrics.Listener
	logins   map[string]*metrics.Logins // by destination name, "" among them
}

// TLSMode is how a leg is encrypted.
type TLSMode uint8

// The modes.
const (
	Plain TLSMode = iota
	StartTLS
	ImplicitTLS
)

// Announce is how a leg tells the backend who the client is (SPEC 5).
type Announce uint8

// The ways.
const (
	AnnounceNone Announce = iota
	AnnounceProxy
	AnnounceInProtocol // ID, XCLIENT
)

// Leg is one protocol of a destination.
type Leg struct {
	Port uint16
	Mode TLSMode
	// TLS, unless Mode is Plain, has one policy for each of the destination's hosts, or one for all of them.
	TLS      []*tlsx.ClientConfig
	Announce Announce
}

// Destination is one configured backend. Immutable after New.
type Destination struct {
	Name                string
	Hosts               []string
	Sources             *dial.Sources // nil: the kernel chooses
	Legs                map[Protocol]Leg
	HideAuthErrors      bool
	AllowPlaintextAuth  bool // SPEC 2.4: credentials on a plain leg
	index               uint16
	inFlight            atomic.Int64
	joined              [protocols][bridge.Lanes]atomic.Int64
	untrustedWarning    [protocols]sync.Once
	wrongServiceWarning *logx.Throttle
	noXClientWarning    *logx.Throttle
	ownListenerWarning  *logx.Throttle
}

// Limits are the times and counts of SPEC 2.1 that rule sessions.
type Limits struct {
	MaxPreauth     int
	BackendTimeout time.Duration
	ConnectRetries int
	ProxyTTL       int
	BridgeIdle     time.Duration
	HalfClosed     time.Duration
	StashBytes     int64
}

// Options make Sessions.
type Options struct {
	Engine       *engine.Engine // not yet started
	Destinations []*Destination
	// PassThrough names the destination of SMTP and LMTP listeners (SPEC 2.6).
	PassThrough string
	Router      *route.Router
	Dialer      *dial.Dialer
	Limits      Limits
	// KickOnChange: sessions elsewhere end when an invalidation changes an account's destination (SPEC 2.5, on_change).
	KickOnChange bool
	Log          *slog.Logger
	Redactor     *logx.Redactor
	Metrics      *metrics.Set
}

// maxLoginsPerDestination bounds logins in flight at one destination; above it they get the temporary error (DESIGN 5).
const maxLoginsPerDestination = 1024

// Sessions is every session of the process.
type Sessions struct {
	// immutable after New
	o        Options
	lobbies  []*lobby
	dests    []*Destination
	byName   map[string]*Destination
	stash    *bridge.Budget
	prefix   string // of session ids; random, so that ids of two processes differ
	registry *registry
	ctx      context.Context // ends when Close is called: look-ups and dials of logins in flight
	cancel   context.CancelFunc
	movers   mover

	goroutines sync.WaitGroup // of logins and handshakes
	ferries    sync.WaitGroup // of lane conn; they end with their sessions
	launching  sync.Mutex     // held while a goroutine starts, so that Close waits for every one

	listenersMu sync.RWMutex
	listeners   []*Listener // by index; entries stay for the sessions that refer to them

	number     atomic.Uint64
	preauth    atomic.Int64
	handshakes atomic.Int64 // of clients, in progress
	draining   atomic.Bool

	takeoversFailed atomic.Int64
	bytes           [protocols]*metrics.Bytes
}

// New registers with every loop of the engine.
func New(o Options) *Sessions {
	s := &Sessions{o: o, byName: map[string]*Destination{}, stash: bridge.NewBudget(o.Limits.StashBytes), registry: newRegistry()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var random [6]byte
	rand.Read(random[:])
	s.prefix = hex.EncodeToString(random[:])
	for i, d := range o.Destinations {
		d.index = uint16(i)
		d.wrongServiceWarning, d.noXClientWarning, d.ownListenerWarning = logx.Every(time.Second), logx.Every(time.Second), logx.Every(time.Second)
		s.dests = append(s.dests, d)
		s.byName[d.Name] = d
	}
	for _, l := range o.Engine.Loops() {
		s.lobbies = append(s.lobbies, newLobby(s, l))
	}
	s.movers.s = s
	o.Router.OnInvalidate(s.invalidated, s.invalidatedAll)
	return s
}

// AddListener prepares a listener and returns what the engine needs for each of its addresses.
func (s *Sessions) AddListener(ln *Listener) engine.ListenOptions {
	if ln.Mode != ImplicitTLS {
		ln.turnAway, ln.farewell = words(ln.Speaker, dialog.Busy), words(ln.Speaker, dialog.Drain)
	}
	ln.metrics = s.o.Metrics.Listener(ln.Name, func() float64 { return float64(ln.preauth.Load()) })
	s.count(ln)
	s.listenersMu.Lock()
	ln.index = uint16(len(s.listeners))
	s.listeners = append(s.listeners, ln)
	s.listenersMu.Unlock()
	return engine.ListenOptions{
		TurnAway: ln.turnAway,
		Refused:  func() { ln.metrics.Refused(metrics.RefusedDescriptors) },
		Accept:   func(l *engine.Loop, a engine.Accepted) { s.lobbies[l.ID()].accept(ln, a) },
	}
}

// count asks for the counters of a listener's protocol.
func (s *Sessions) count(ln *Listener) {
	protocol := ln.Protocol.String()
	if s.bytes[ln.Protocol] == nil {
		s.bytes[ln.Protocol] = s.o.Metrics.Bytes(protocol)
	}
	ln.logins = map[string]*metrics.Logins{"": s.o.Metrics.Logins(protocol, "")}
	for _, d := range s.dests {
		ln.logins[d.Name] = s.o.Metrics.Logins(protocol, d.Name)
		for lane := range bridge.Lanes {
			n := &d.joined[ln.Protocol][lane]
			s.o.Metrics.Sessions(protocol, d.Name, lane.String(), func() float64 { return float64(n.Load()) })
		}
	}
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

func (s *Sessions) listener(index uint16) *Listener {
	s.listenersMu.RLock()
	defer s.listenersMu.RUnlock()
	return s.listeners[index]
}

// id is the session's name in logs and towards backends: 12 hex digits of the process, then a number.
func (s *Sessions) id(number uint64) string {
	return s.prefix + "-" + strconv.FormatUint(number, 36)
}

// Counts are the figures of GET /stats (SPEC 8).
type Counts struct {
	Preauth, Joined, Logins int
	Lanes                   [bridge.Lanes]int // of Joined
	// StashBytes is what slow peers have not taken yet, all sessions together.
	StashBytes int64
}

// Counts reads the figures. Any goroutine may ask.
func (s *Sessions) Counts() Counts {
	c := Counts{Preauth: int(s.preauth.Load()), StashBytes: s.stash.InUse()}
	for _, d := range s.dests {
		for p := range d.joined {
			for lane := range d.joined[p] {
				n := int(d.joined[p][lane].Load())
				c.Joined += n
				c.Lanes[lane] += n
			}
		}
		c.Logins += int(d.inFlight.Load())
	}
	return c
}

// KickOptions choose what Kick ends.
type KickOptions struct {
	// Account, as the registry files it (route.Account.Registry); empty: all accounts of Destination.
	Account string
	// Destination narrows the choice; empty: any.
	Destination string
	// SpareMaster leaves sessions of master users alone.
	SpareMaster bool
}

// Kick ends sessions and logins in progress, and returns how many it reached. They end on their loops, soon after.
func (s *Sessions) Kick(o KickOptions) int {
	dest := -1
	if o.Destination != "" {
		d := s.byName[o.Destination]
		if d == nil {
			return 0
		}
		dest = int(d.index)
	}
	keep := func(p place) bool {
		return (dest < 0 || int(p.dest) == dest) && !(o.SpareMaster && p.master)
	}
	if o.Account == "" {
		if dest < 0 {
			return 0
		}
		return s.kick(s.registry.each(keep))
	}
	s.registry.bump(o.Account)
	list := s.registry.sessionsOf(o.Account, nil)
	n := 0
	for _, p := range list {
		if keep(p) {
			list[n] = p
			n++
		}
	}
	return s.kick(list[:n])
}

// kick posts one message per loop.
func (s *Sessions) kick(list []place) int {
	byLoop := make([][]engine.Token, len(s.lobbies))
	for _, p := range list {
		byLoop[p.loop] = append(byLoop[p.loop], p.tok)
	}
	for i, toks := range byLoop {
		if len(toks) > 0 {
			b := s.lobbies[i]
			b.loop.Do(func() { b.kick(toks) })
		}
	}
	return len(list)
}

// invalidated is called by the router when an account's mapping may have changed.
func (s *Sessions) invalidated(account string) {
	if s.registry.bump(account) && s.o.KickOnChange {
		s.movers.add(account)
	}
}

func (s *Sessions) invalidatedAll() {
	s.registry.bumpAll()
	if s.o.KickOnChange {
		for _, account := range s.registry.accountNames() {
			s.movers.add(account)
		}
	}
}

// Drain ends what is not joined with its farewell, lets joined sessions live for grace, ends them cleanly, and returns
// when all are gone or ctx ends. Listeners are closed before.
func (s *Sessions) Drain(ctx context.Context, grace time.Duration) {
	s.draining.Store(true)
	for _, b := range s.lobbies {
		b.loop.Do(b.drain)
	}
	if !s.wait(ctx, grace) {
		for _, b := range s.lobbies {
			b.loop.Do(b.kickAll)
		}
		s.wait(ctx, math.MaxInt64)
	}
}

// Draining tells whether Drain has been called.
func (s *Sessions) Draining() bool { return s.draining.Load() }

// pollEvery is how often a drain looks whether it is done: the one place where waiting by looking is good enough.
const pollEvery = 20 * time.Millisecond

// wait returns true as soon as there is no session left and no socket is still being closed.
func (s *Sessions) wait(ctx context.Context, atMost time.Duration) bool {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	end := time.NewTimer(atMost)
	defer end.Stop()
	for {
		c := s.Counts()
		if c.Preauth == 0 && c.Joined == 0 && s.o.Engine.OpenFDs() == 0 {
			return true
		}
		select {
		case <-tick.C:
		case <-end.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// Close ends what is not joined yet, handshakes and logins in flight among it, and waits for their goroutines. The engine is stopped
// afterwards.
func (s *Sessions) Close() {
	s.draining.Store(true)
	for _, b := range s.lobbies {
		b.loop.Do(b.drain)
	}
	s.launching.Lock()
	s.cancel()
	s.launching.Unlock()
	s.goroutines.Wait()
	s.movers.wait()
}

// Release gives back what sessions that were not ended hold. It is called once, after Engine.Stop.
func (s *Sessions) Release() {
	for _, b := range s.lobbies {
		b.release()
	}
	s.ferries.Wait()
	s.registry.close()
}
