package session

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"mailsplice/core/dial"
	"mailsplice/core/engine"
	"mailsplice/core/health"
	"mailsplice/core/logx"
	"mailsplice/core/metrics"
	"mailsplice/core/route"
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/proxyproto"
	"mailsplice/tlsx"
)

// maxRounds bounds how often one login starts over because its account was moved meanwhile.
const maxRounds = 3

// attempt is one login from its command to its verdict. Its goroutine is started by begin and ends by posting to the
// loop; Sessions.Close waits for it.
type attempt struct {
	// immutable after begin
	lobby    *lobby
	tok      engine.Token
	listener *Listener
	login    *dialog.Login
	account  route.Account
	ticket   ticket
	number   uint64
	client   netip.AddrPort
	local    netip.AddrPort
	session  string
	ttl      int
	tls      bool
	leg      tlsx.Facts          // of the client's leg; zero in the clear
	header   *proxyproto.Inbound // what a PROXY header said beyond addresses; nil: nothing
	ctx      context.Context
	cancel   context.CancelFunc

	// owned by the loop
	challenged bool // the backend has asked something that the client is to answer

	// owned by the goroutine, or by the loop between two of them
	rounds int

	answers chan []byte // capacity 1: the client's answer to a challenge

	mu   sync.Mutex
	sock interrupter // guarded by mu; the backend socket while there is one
	cut  bool        // guarded by mu
}

// interrupter is the part of a socket that others may use.
type interrupter interface{ Interrupt() }

// hold makes sock what interrupt ends. It reports false when that has come first.
func (a *attempt) hold(sock interrupter) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sock = sock
	return !a.cut
}

// interrupt ends the attempt's goroutine soon, wherever it waits. Anybody may call it.
func (a *attempt) interrupt() {
	a.cancel()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cut = true
	if a.sock != nil {
		a.sock.Interrupt()
	}
}

// answer hands the client's answer to a challenge to the goroutine. The loop calls it once per challenge.
func (a *attempt) answer(p []byte) {
	a.challenged = false
	select {
	case a.answers <- append([]byte{}, p...):
	default:
	}
}

// begin starts a login that the client's machine has completed. It always returns false or what deciding at once
// returned: input waits for the verdict.
func (b *lobby) begin(t engine.Token, rec *record, tk *talk, l *dialog.Login) bool {
	rec.phase, rec.deadline = loggingIn, 0
	a := &attempt{lobby: b, tok: t, listener: b.s.listener(rec.listener), login: l, number: rec.number, answers: make(chan []byte, 1)}
	a.ctx, a.cancel = context.WithCancel(b.s.ctx)
	tk.attempt = a
	if tk.sealed() {
		b.keep(tk.tls)
	}
	if an := l.Announced; an != nil && rec.trusted == 1 {
		b.believe(rec, an)
		if an.Client.IsValid() && !b.count(rec) {
			b.tell(t, rec, dialog.Busy)
			return false
		}
	}
	a.client, a.local = rec.client.addrPort(), rec.local.addrPort()
	a.tls, a.header = rec.suites[0] != 0, tk.header
	if tk.tls != nil {
		a.leg = tk.tls.facts
	}
	a.describe(b.s, l.Announced)
	if v, err := a.file(rec); err != nil {
		a.report(&outcome{verdict: v, err: err, phase: PhaseResolve})
		return b.decided(t, rec, tk, v)
	}
	if !b.s.crew.start(a.run) {
		return b.decided(t, rec, tk, unavailable)
	}
	return false
}

// believe takes the client's address from a trusted peer (SPEC 3).
func (b *lobby) believe(rec *record, an *dialog.Announced) {
	if an.Client.IsValid() {
		rec.client = endpointOf(an.Client)
	}
	if an.Local.IsValid() {
		rec.local = endpointOf(an.Local)
	}
}

// describe settles what the backend will be told about the client (SPEC 5.3).
func (a *attempt) describe(s *Sessions, an *dialog.Announced) {
	a.session, a.ttl = s.id(a.number), s.policy.Load().Limits.ProxyTTL
	if in := a.header; in != nil {
		a.session = cmp.Or(in.Session, a.session)
		if in.TLSSeen {
			a.tls = in.TLS
		}
	}
	if an != nil {
		if an.Session != "" {
			a.session = an.Session
		}
		if an.TTLSeen {
			a.ttl = an.TTL
		}
		if an.TransportSeen {
			a.tls = an.TLS
		}
	}
	a.ttl--
}

// file reads the account and enters the registry. An error comes with the verdict that decides the login already.
func (a *attempt) file(rec *record) (*dialog.Verdict, error) {
	s := a.lobby.s
	if a.ttl <= 0 {
		s.say(s.storms.loops, slog.LevelError, "login refused: forwarding loop", logx.Session, s.id(a.number), logx.Listener, a.listener.Name, logx.Client, a.client)
		return unavailable, errLoop
	}
	if a.login.Identifier != "" {
		acct, err := s.policy.Load().Router.Account(a.login.Identifier)
		if err != nil {
			return &dialog.Verdict{Outcome: dialog.Refused}, err
		}
		a.account = acct
	}
	rec.master = flag(a.account.Master)
	if _, held := s.holds.of(a.account.Registry); held && !a.account.Master {
		return unavailable, errHeld
	}
	place := place{tok: a.tok, loop: a.lobby.loop.ID(), protocol: rec.protocol, master: a.account.Master,
		short: a.account.Lookup != a.account.Registry}
	t, _, err := s.registry.enter(a.account.Registry, place)
	if err != nil {
		s.say(s.storms.notFiled, slog.LevelError, "login not filed", logx.Session, s.id(a.number), logx.Err, err)
		return unavailable, err
	}
	a.ticket, rec.ticket = t, t
	return nil, nil
}

var unavailable = &dialog.Verdict{Outcome: dialog.Unavailable}

// outcome is what one round of a login came to.
type outcome struct {
	verdict *dialog.Verdict
	dest    *home       // nil: none was found
	sock    *backendLeg // accepted only
	gen     uint32      // of the account, when the round began
	err     error
	phase   Phase
}

// run is the attempt's goroutine. It ends by posting its outcome to the loop, which owns it from then on.
func (a *attempt) run() {
	defer func() {
		if cause := recover(); cause != nil {
			a.lobby.s.bug("logging in", cause)
			a.lobby.loop.Post(&decision{a, outcome{verdict: unavailable}})
		}
	}()
	out := outcome{verdict: unavailable, err: engine.ErrInterrupted, phase: PhaseResolve}
	if a.waitOut() {
		out = a.round()
	}
	for ; a.rounds < maxRounds && a.moved(&out); out = a.round() {
		out.close()
	}
	a.lobby.loop.Post(&decision{a, out})
}

// moved tells whether the account went to another destination while the round was under way. If it was touched but
// stays where it was, the outcome is good under the new generation.
func (a *attempt) moved(out *outcome) bool {
	if out.dest == nil || a.ctx.Err() != nil {
		return false
	}
	gen := a.lobby.s.registry.generation(a.ticket)
	if gen == out.gen {
		return false
	}
	dest, err := a.resolve()
	if err != nil || dest != out.dest {
		return true
	}
	out.gen = gen
	return false
}

// round resolves the account and logs in there, with the retries of SPEC 2.1.
func (a *attempt) round() outcome {
	a.rounds++
	out := outcome{verdict: unavailable, gen: a.lobby.s.registry.generation(a.ticket)}
	start := time.Now()
	out.dest, out.err = a.resolve()
	a.lobby.s.o.Metrics.Phase(metrics.PhaseLookup, time.Since(start))
	if out.err != nil {
		out.phase = PhaseResolve
		return out
	}
	a.lobby.s.registry.aim(a.ticket, out.dest.index)
	defer out.dest.inFlight.Add(-1)
	if out.dest.inFlight.Add(1) > maxLoginsPerDestination {
		out.err, out.phase = errTooManyLogins, PhaseConnect
		return out
	}
	pass, ok := out.dest.breaker.Allow()
	if !ok {
		out.err, out.phase = errDown, PhaseConnect
		return out
	}
	defer pass.Abandon() // canceled, or not the backend's fault
	a.attend(&out)
	if level, told := a.health(&out); told {
		pass.Failed(a.client.Addr(), level)
	} else if out.err == nil {
		pass.Succeeded()
	}
	return out
}

// health classes a failure for the breaker (SPEC 7); told is false for what says nothing about the backend.
func (a *attempt) health(out *outcome) (level health.Level, told bool) {
	f := (*Failure)(nil)
	if a.ctx.Err() != nil || !errors.As(out.err, &f) {
		return 0, false
	}
	for _, ours := range []error{errWrongService, errUnfitLeg, errNoAnswer, errNoDestination, engine.ErrInterrupted, dial.ErrOwnListener} {
		if errors.Is(f, ours) {
			return 0, false
		}
	}
	if f.HostLevel {
		return health.HostLevel, true
	}
	return health.ClientLevel, true
}

// attend tries until the backend has given a verdict or no retry is left.
func (a *attempt) attend(out *outcome) {
	for try := 0; ; try++ {
		verdict, leg, err := a.visit(out.dest)
		if err == nil {
			out.verdict, out.sock = verdict, leg
			return
		}
		f := (*Failure)(nil)
		if !errors.As(err, &f) {
			f = &Failure{Phase: PhaseRelay, Err: err}
		}
		out.err, out.phase = f, f.Phase
		if !f.Retryable || try >= a.lobby.s.policy.Load().Limits.ConnectRetries || !a.pause(retryAfter) {
			return
		}
	}
}

// retryAfter is the time between two attempts to reach a backend (SPEC 2.1, backend_connect_retries).
const retryAfter = 200 * time.Millisecond

// pause waits, and returns false when the attempt is interrupted meanwhile.
func (a *attempt) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.ctx.Done():
		return false
	}
}

// resolve finds the account's destination; a login without an identifier goes to the default one (SPEC 4.1).
func (a *attempt) resolve() (*home, error) {
	p := a.lobby.s.policy.Load()
	name := p.PassThrough
	switch {
	case a.listener.Protocol.PassesThrough():
	case a.login.Identifier == "":
		name = p.Router.Default().Destination
	default:
		res, err := p.Router.Resolve(a.ctx, a.account.Lookup)
		if err != nil && p != a.lobby.s.policy.Load() { // a reload has closed this router
			return a.resolve()
		}
		if err != nil {
			return nil, err
		}
		name = res.Destination
		if res.Default && !res.Stale {
			a.lobby.s.unmapped.note(a.account.Lookup)
		}
	}
	if d := p.byName[name]; d != nil {
		return d, nil
	}
	return nil, errNoDestination
}

// close gives up what an outcome holds.
func (o *outcome) close() {
	if o.sock != nil {
		o.sock.close()
		o.sock = nil
	}
}
