package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mailsplice/core/bridge"
	"mailsplice/core/dial"
	"mailsplice/core/engine"
	"mailsplice/core/limits"
	"mailsplice/core/metrics"
	"mailsplice/tlsx"
	"mailsplice/tlsx/ktls"
)

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

// Options make Sessions.
type Options struct {
	Engine  *engine.Engine // not yet started
	Dialer  *dial.Dialer
	Log     *slog.Logger
	Metrics *metrics.Set
	// MaxLoginDelay bounds how long a refusal is held back; 0: the 15 s of SPEC 12. Tests are in more of a hurry.
	MaxLoginDelay time.Duration
	// Kernel says what the kernel may do of TLS; nil: nothing.
	Kernel *ktls.Support
	// Policy is in force until Apply.
	Policy Policy
}

// maxLoginsPerDestination bounds logins in flight at one destination; above it they get the temporary error (DESIGN 5).
const maxLoginsPerDestination = 1024

// Sessions is every session of the process.
type Sessions struct {
	// immutable after New
	o        Options
	lobbies  []*lobby
	stash    *bridge.Budget
	pipes    *bridge.Pipes
	prefix   string // of session ids; random, so that ids of two processes differ
	registry *registry
	holds    holds
	unmapped unmapped
	storms   storms

	connections *limits.Connections // by client address
	delays      *limits.Delays
	ctx         context.Context // ends when Close is called: look-ups and dials of logins in flight
	cancel      context.CancelFunc
	movers      mover

	crew    crew           // does logins and handshakes, which end by posting to a loop
	ferries sync.WaitGroup // of lane conn; they end with their sessions

	applying sync.Mutex // held by Apply
	policy   atomic.Pointer[policy]
	homes    atomic.Pointer[[]*home] // by index

	listenersMu sync.RWMutex
	listeners   []*Listener      // by index; entries stay for the sessions that refer to them
	gates       map[string]*gate // by the listener's name

	number     atomic.Uint64
	preauth    atomic.Int64
	handshakes atomic.Int64 // of clients, in progress
	draining   atomic.Bool

	takeoversFailed atomic.Int64
	bytes           [protocols]*metrics.Bytes
}

// New registers with every loop of the engine.
func New(o Options) (*Sessions, error) {
	s := &Sessions{o: o, stash: bridge.NewBudget(o.Policy.Limits.StashBytes), storms: newStorms(), pipes: bridge.NewPipes(bridge.MaxPipes), registry: newRegistry(),
		connections: limits.NewConnections(o.Policy.Limits.SessionsPerIP), delays: limits.NewDelays(time.Now), gates: map[string]*gate{}}
	s.crew.company = o.Engine.Company
	s.homes.Store(new([]*home))
	for p := range protocols {
		if p > 0 {
			s.bytes[p] = o.Metrics.Bytes(p.String())
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var random [6]byte
	rand.Read(random[:])
	s.prefix = hex.EncodeToString(random[:])
	s.movers.s = s
	if err := s.Apply(o.Policy); err != nil {
		s.cancel()
		s.registry.close()
		return nil, err
	}
	for _, l := range o.Engine.Loops() {
		s.lobbies = append(s.lobbies, newLobby(s, l))
	}
	return s, nil
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
	for _, d := range *s.homes.Load() {
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
func (s *Sessions) Kick(o KickOptions) int { return s.kick(s.choose(o)) }

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
	if s.registry.bump(account) && s.policy.Load().KickOnChange {
		s.movers.add(account)
	}
}

func (s *Sessions) invalidatedAll() {
	s.registry.bumpAll()
	if s.policy.Load().KickOnChange {
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
		b.loop.Do(b.drainNow)
	}
	s.cancel()
	s.crew.close()
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
