package session

import (
	"context"
	"log/slog"
	"time"

	"mailsplice/core/bridge"
	"mailsplice/core/engine"
	"mailsplice/core/logx"
	"mailsplice/core/metrics"
	"mailsplice/protocols/dialog"
)

// decision carries the outcome of an attempt to the loop.
type decision struct {
	a   *attempt
	out outcome
}

// Drop gives up what the outcome holds: the loop has stopped.
func (m *decision) Drop() {
	m.out.close()
	m.a.login.Wipe()
	m.a.cancel()
}

// Deliver decides, unless the session has ended meanwhile.
func (m *decision) Deliver() {
	b := m.a.lobby
	rec := b.slab.Of(m.a.tok)
	if rec == nil || b.talks.of(rec.talk).attempt != m.a {
		m.Drop()
		return
	}
	defer m.out.close() // whatever became of it, even a panic: after a join there is nothing left in it
	b.shielded(m.a.tok, func() { b.decide(m.a.tok, rec, m) })
}

// question carries a backend's challenge to the client (SPEC 6.1).
type question struct {
	a         *attempt
	challenge []byte
}

// Drop does nothing: the attempt ends by its own deadline.
func (q *question) Drop() {}

// Deliver has the client's machine word the challenge; its answer comes by a Relay action.
func (q *question) Deliver() {
	b := q.a.lobby
	rec := b.slab.Of(q.a.tok)
	if rec == nil {
		return
	}
	tk := b.talks.of(rec.talk)
	if tk.attempt != q.a {
		return
	}
	q.a.challenged = true
	b.shielded(q.a.tok, func() {
		tk.machine.Tell(dialog.Event{Kind: dialog.Relayed, Bytes: q.challenge})
		if b.act(q.a.tok, rec, tk) {
			b.pump(q.a.tok, rec, tk)
		}
	})
}

// decide acts on the outcome of an attempt: join, start over, or tell the client.
func (b *lobby) decide(t engine.Token, rec *record, m *decision) {
	a, out := m.a, &m.out
	accepted := out.verdict.Outcome == dialog.Accepted
	if accepted && !b.s.registry.join(a.ticket, out.gen, out.dest.index) {
		out.close()
		if a.rounds < maxRounds && b.s.crew.start(a.run) {
			return
		}
		out.verdict, accepted = unavailable, false
	}
	a.report(out)
	tk := b.talks.of(rec.talk)
	if accepted {
		b.s.delays.Succeeded(a.client.Addr())
		b.join(t, rec, tk, out)
		return
	}
	if b.delayed(t, rec, tk, out) {
		return
	}
	if b.decided(t, rec, tk, out.verdict) {
		b.pump(t, rec, tk)
	}
}

// delayed holds a backend's refusal back: failed logins slow an address down, without a thread or a goroutine (SPEC 12).
func (b *lobby) delayed(t engine.Token, rec *record, tk *talk, out *outcome) bool {
	a := tk.attempt
	if out.verdict.Outcome != dialog.Refused || out.verdict.NotOffered || out.err != nil || a.listener.Protocol.PassesThrough() {
		return false
	}
	d := b.s.delays.Failed(a.client.Addr())
	if most := b.s.o.MaxLoginDelay; most > 0 {
		d = min(d, most)
	}
	if d <= 0 {
		return false
	}
	a.login.Wipe()
	if tk.sealed() { // there will be no join
		b.takeBack(tk.tls)
	}
	tk.refused = out.verdict
	rec.deadline = b.loop.Now() + int64(d)
	rec.timer = b.loop.Arm(rec.timer, rec.deadline, t)
	return true
}

// late gives the client a refusal whose time has come.
func (b *lobby) late(t engine.Token, rec *record) {
	tk := b.talks.of(rec.talk)
	v := tk.refused
	tk.refused = nil
	if v != nil && b.decided(t, rec, tk, v) {
		b.pump(t, rec, tk)
	}
}

// decided ends an attempt without a join: the client is told and may try again (SPEC 3). True: its input may be read.
func (b *lobby) decided(t engine.Token, rec *record, tk *talk, v *dialog.Verdict) bool {
	a := tk.attempt
	tk.attempt = nil
	if tk.sealed() {
		b.takeBack(tk.tls)
	}
	a.login.Wipe()
	a.cancel()
	b.s.registry.leave(rec.ticket)
	rec.ticket, rec.master, rec.phase = ticket{}, 0, preauth
	rec.deadline = b.loop.Now() + int64(a.listener.PreauthTimeout)
	rec.timer = b.loop.Arm(rec.timer, rec.deadline, t)
	tk.machine.Tell(dialog.Event{Kind: dialog.Decided, Verdict: v})
	return b.act(t, rec, tk)
}

// join words the answer for the client and gives both legs to the bridge.
func (b *lobby) join(t engine.Token, rec *record, tk *talk, out *outcome) {
	a := tk.attempt
	tk.attempt = nil
	a.login.Wipe()
	a.cancel()
	if tk.sealed() && tk.out != nil {
		b.end(t, rec, clientStuck)
		return
	}
	answer := tk.out // of a plain leg: what it has not taken yet
	tk.out = nil
	defer release(&answer)
	tk.machine.Tell(dialog.Event{Kind: dialog.Decided, Verdict: out.verdict})
	x := tk.machine.Next()
	for ; x.Kind == dialog.Write; x = tk.machine.Next() {
		appendTo(&answer, x.Bytes)
	}
	if x.Kind == dialog.Close { // it has aborted what the backend accepted
		if b.write(t, rec, tk, pendingBytes(answer)) {
			b.end(t, rec, x.Reason.String())
		}
		return
	}
	backend, err := b.backendEnd(out.sock)
	if err != nil {
		b.s.say(b.s.storms.notJoined, slog.LevelError, "session not joined", logx.Session, b.s.id(rec.number), logx.Err, err)
		b.end(t, rec, noResources)
		return
	}
	rec.suites[1] = out.sock.suite
	appendTo(&answer, pendingBytes(out.sock.tail))
	b.bridged(t, rec, tk, out.dest, bridge.Join{Client: tk.clientEnd(rec), Backend: backend, ToClient: pendingBytes(answer)})
}

// bridged makes the session a joined one. The answer and the backend's tail come first, and in the other direction what
// the client has pipelined.
func (b *lobby) bridged(t engine.Token, rec *record, tk *talk, d *home, j bridge.Join) {
	rec.phase, rec.dest, rec.fd, rec.deadline = joined, d.index, -1, 0
	rec.lane = max(j.Client.Lane, j.Backend.Lane)
	b.loop.Disarm(rec.timer)
	rec.timer = 0
	d.joined[rec.protocol][rec.lane].Add(1)
	b.s.listener(rec.listener).preauth.Add(-1)
	b.s.preauth.Add(-1)
	b.loop.Settle()
	j.ToBackend, j.Tag = pendingBytes(tk.in), uint64(t)
	id, err := b.bridge.Join(j)
	b.dropTalk(rec.talk, tk)
	rec.talk = 0
	if err != nil {
		b.s.say(b.s.storms.notJoined, slog.LevelError, "session not joined", logx.Session, b.s.id(rec.number), logx.Err, err)
		b.ended(uint64(t), bridge.Report{})
		return
	}
	rec.bridge = id
}

// clientEnd is the client's leg for the bridge.
func (tk *talk) clientEnd(rec *record) bridge.Leg {
	switch fd := int(rec.fd); {
	case tk.tls == nil:
		return bridge.Leg{FD: fd, Lane: bridge.LanePlain}
	case tk.carried:
		return bridge.Leg{FD: fd, Lane: bridge.LaneConn}
	default:
		keys := tk.tls.keys
		tk.tls.keys = nil
		return bridge.Leg{FD: fd, Lane: bridge.LaneRecord, TLS: &tk.tls.leg, Raw: tk.tls.unopened(), Keys: keys}
	}
}

// backendEnd is the backend's leg for the bridge. g keeps what was read only; on an error everything.
func (b *lobby) backendEnd(g *backendLeg) (bridge.Leg, error) {
	if g.stream == nil {
		return bridge.Leg{FD: g.park.Detach(), Lane: bridge.LanePlain}, nil
	}
	appendTo(&g.raw, g.stream.Unopened())
	leg, keys, conn := g.stream.Detach()
	if conn == nil {
		return bridge.Leg{FD: g.park.Detach(), Lane: bridge.LaneRecord, TLS: &leg, Raw: pendingBytes(g.raw), Keys: keys}, nil
	}
	if err := g.park.Keep(); err != nil {
		return bridge.Leg{}, err
	}
	end, err := b.s.ferry(b.loop, conn, g.park)
	if err != nil {
		return bridge.Leg{}, err
	}
	g.park = nil
	if err := b.loop.Watch(end, 0); err != nil {
		b.loop.Close(end)
		return bridge.Leg{}, err
	}
	return bridge.Leg{FD: end, Lane: bridge.LaneConn}, nil
}

// canceled is report for a login whose client left or was ended before the verdict.
func (a *attempt) canceled(reason string) {
	a.listener.logins.Count(metrics.Canceled)
	a.log(metrics.Canceled, append(a.facts(""), slog.String(logx.Reason, reason)))
}

// facts are the keys of SPEC 10 in every line about a login's result.
func (a *attempt) facts(destination string) []slog.Attr {
	s := a.lobby.s
	line := make([]slog.Attr, 0, 9)
	return append(line, slog.String(logx.Session, s.id(a.number)), slog.String(logx.Listener, a.listener.Name),
		slog.String(logx.Protocol, a.listener.Protocol.String()), slog.String(logx.Client, a.client.String()),
		slog.String(logx.Destination, destination), slog.String(logx.Account, s.policy.Load().Redactor.Account(a.account.Registry)))
}

// log writes the line about a login's result.
func (a *attempt) log(result metrics.Result, line []slog.Attr) {
	logx.Line(context.Background(), a.lobby.s.o.Log, slog.LevelInfo, a.listener.Protocol.deed()+result.String(), line...)
}

// report counts and logs the result of a login: one line each (SPEC 10).
func (a *attempt) report(out *outcome) {
	name, counter, result := "", a.listener.logins, metrics.Unavailable
	if out.dest != nil {
		name, counter = out.dest.name, out.dest.logins[a.listener.Protocol].Load()
	}
	switch out.verdict.Outcome {
	case dialog.Accepted:
		result = metrics.Accepted
	case dialog.Refused:
		result = metrics.Refused
	}
	counter.Count(result)
	line := append(a.facts(name), slog.String(logx.Reason, reason(out)))
	if out.err != nil {
		line = append(line, slog.String(logx.Phase, string(out.phase)), slog.Any(logx.Err, out.err))
	}
	a.log(result, line)
	if out.verdict.ForwardingIgnored && out.dest != nil {
		a.ignored(out.dest, out.verdict.Outcome)
	}
}

// deed begins the message about a session's result.
func (p Protocol) deed() string {
	if p.PassesThrough() {
		return "pass-through "
	}
	return "login "
}

// ignored says that a backend does not take our word for who the client is. A pass-through session goes nowhere then
// (SPEC 3.5).
func (a *attempt) ignored(d *home, o dialog.Outcome) {
	s, p := a.lobby.s, a.listener.Protocol
	if p.PassesThrough() && o == dialog.Unavailable {
		s.say(d.noXClientWarning, slog.LevelError, "backend does not offer or accept XCLIENT: nobody is passed through",
			logx.Destination, d.name, logx.Protocol, p.String())
		return
	}
	d.untrustedWarning[p].Do(func() {
		s.o.Log.Warn("backend does not trust us to announce clients", logx.Destination, d.name, logx.Protocol, p.String())
	})
}

func reason(out *outcome) string {
	switch {
	case out.verdict.NotOffered:
		return "mechanism not offered"
	case out.err != nil:
		return string(out.phase)
	}
	return "verdict"
}

// mover ends sessions that an invalidation has left on the wrong destination (SPEC 2.5, on_change = "kick"). One
// goroutine works at a time; the set of accounts is bounded by the accounts that have sessions.
type mover struct {
	s *Sessions
	q moverQueue
}

// moveTimeout bounds one look-up of the mover; the store's own lookup_timeout is usually shorter.
const moveTimeout = 30 * time.Second
