package session

import (
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"mailsplice/core/bridge"
	"mailsplice/core/engine"
	"mailsplice/core/logx"
	"mailsplice/core/metrics"
	"mailsplice/protocols/dialog"
	tlsrecord "mailsplice/tlsx/record"
)

// readBytes is how much is read at once before the join, and so the most that is held for a client that pipelines.
const readBytes = 8 << 10

// lobby is what one loop holds of Sessions. Only its loop uses it.
type lobby struct {
	s      *Sessions
	loop   *engine.Loop
	kind   engine.Kind
	slab   *engine.Slab[record]
	talks  talks
	bridge *bridge.Bridge
	keys   *tlsrecord.Keys // of the leg that was served last: before the join a leg is busy for one event
	sealed []byte          // scratch of seal
}

func newLobby(s *Sessions, l *engine.Loop) *lobby {
	b := &lobby{s: s, loop: l, slab: engine.NewSlab[record](), keys: new(tlsrecord.Keys)}
	b.kind = l.Register(b)
	limits := s.policy.Load().Limits
	b.bridge = bridge.New(l, bridge.Options{Idle: limits.BridgeIdle, HalfClosed: limits.HalfClosed, Stash: s.stash, Pipes: s.pipes,
		Kernel: s.o.Kernel, Ended: b.ended, Moved: b.moved})
	return b
}

// Ready serves a client leg before the join.
func (b *lobby) Ready(t engine.Token, r engine.Ready) {
	rec := b.slab.Of(t)
	if rec == nil {
		return
	}
	tk := b.talks.of(rec.talk)
	switch rec.phase {
	case announcing:
		b.header(t, rec, r)
	case awaiting:
		b.hello(t, rec, r)
	case handshaking:
		tk.shake.noticed(r)
	case preauth:
		b.pump(t, rec, tk)
	case loggingIn:
		b.parked(t, rec, tk, r)
	}
}

// parked deals with news of a client whose login is in progress. Nothing is read; but one that has left cancels it. A
// client that has pipelined commands and then shut its sending direction still waits for answers.
func (b *lobby) parked(t engine.Token, rec *record, tk *talk, r engine.Ready) {
	if !b.flush(t, rec, tk) {
		return
	}
	if r&engine.Gone != 0 || r&engine.HangUp != 0 && tk.in == nil && b.left(t, rec, tk) {
		b.end(t, rec, clientLeft)
		return
	}
	if b.slab.Of(t) == nil {
		return
	}
	// While the backend waits for the client's answer to a challenge, the machine takes input (SPEC 6.1).
	if tk.attempt != nil && tk.attempt.challenged {
		b.pump(t, rec, tk)
	}
}

// left tells whether a client that has shut its sending direction had nothing more to say. On a TLS leg that takes opening
// the next record; its end may come to light that way, and then the session has ended.
func (b *lobby) left(t engine.Token, rec *record, tk *talk) bool {
	if !tk.sealed() {
		return atEnd(int(rec.fd))
	}
	if p, ok := b.receive(t, rec, tk); ok {
		appendTo(&tk.in, p)
		clear(p)
	}
	return false
}

// atEnd tells whether the next read would be the end of input, leaving it in place.
func atEnd(fd int) bool {
	var one [1]byte
	n, _, err := unix.Recvfrom(fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == nil && n == 0
}

// pump goes on with a dialogue: what is owed to the client first, then what it has said, then what it says now.
func (b *lobby) pump(t engine.Token, rec *record, tk *talk) {
	if !b.flush(t, rec, tk) || tk.out != nil {
		return
	}
	if tk.in != nil {
		rest, goOn := b.feed(t, rec, tk, tk.in.B)
		if b.slab.Of(t) == nil {
			return
		}
		keepRest(&tk.in, rest)
		if !goOn {
			return
		}
	}
	for budget := engine.BudgetBytes; budget > 0; {
		p, ok := b.receive(t, rec, tk)
		if !ok {
			return
		}
		budget -= len(p)
		ours := !tk.sealed() // p is the loop's buffer, else the session's own, which may go with it
		rest, goOn := b.feed(t, rec, tk, p)
		alive := b.slab.Of(t) != nil
		if alive {
			appendTo(&tk.in, rest)
		}
		if ours || alive {
			clear(p) // it may have held credentials
		}
		if !goOn {
			return
		}
	}
	b.loop.Later(t, engine.Readable)
}

// feed offers input to the machine, command by command. It returns what is left of p and whether more may be read; not
// when the machine waits, the client does not read its answers, or the session has ended.
func (b *lobby) feed(t engine.Token, rec *record, tk *talk, p []byte) (rest []byte, goOn bool) {
	for len(p) > 0 {
		n := tk.machine.Feed(p)
		p = p[n:]
		if !b.act(t, rec, tk) {
			if tk.goAhead != nil {
				b.upgrade(t, rec, tk, p)
			}
			return p, false
		}
		if tk.out != nil || n == 0 {
			return p, false
		}
	}
	return nil, tk.out == nil
}

// act carries out what the machine wants. False: it waits for an event, or the session has ended.
func (b *lobby) act(t engine.Token, rec *record, tk *talk) bool {
	for {
		switch a := tk.machine.Next(); a.Kind {
		case dialog.None:
			return true
		case dialog.Write:
			if !b.write(t, rec, tk, a.Bytes) {
				return false
			}
		case dialog.StartTLS:
			tk.goAhead = append([]byte(nil), a.Bytes...)
			return false
		case dialog.LoginReady:
			return b.begin(t, rec, tk, a.Login)
		case dialog.Relay:
			tk.attempt.answer(a.Bytes)
			return false
		case dialog.Close:
			b.end(t, rec, a.Reason.String())
			return false
		default:
			panic(fmt.Sprintf("bug: action %d from a client side", a.Kind))
		}
	}
}

// write sends p, or keeps what the socket does not take. False: the client is gone.
func (b *lobby) write(t engine.Token, rec *record, tk *talk, p []byte) bool {
	if tk.sealed() {
		var err error
		if p, err = b.seal(tk, p); err != nil {
			b.end(t, rec, clientBroke)
			return false
		}
	}
	if tk.out == nil {
		n, err := engine.Send(int(rec.fd), p)
		if err != nil {
			b.end(t, rec, clientLeft)
			return false
		}
		p = p[n:]
	}
	appendTo(&tk.out, p)
	return true
}

// flush sends what was kept. False: the client is gone.
func (b *lobby) flush(t engine.Token, rec *record, tk *talk) bool {
	if tk.out == nil {
		return true
	}
	n, err := engine.Send(int(rec.fd), tk.out.B)
	if err != nil {
		b.end(t, rec, clientLeft)
		return false
	}
	keepRest(&tk.out, tk.out.B[n:])
	return true
}

// Due ends a dialogue that took too long. The deadline is absolute, not per byte (SECURITY 19).
func (b *lobby) Due(t engine.Token) int64 {
	rec := b.slab.Of(t)
	if rec == nil || rec.deadline == 0 {
		if rec != nil {
			rec.timer = 0
		}
		return 0
	}
	if rec.deadline > b.loop.Now() {
		return rec.deadline
	}
	rec.timer, rec.deadline = 0, 0
	switch {
	case rec.phase == announcing && b.silent(t, rec):
	case rec.phase == announcing:
		b.s.listener(rec.listener).metrics.Refused(metrics.RefusedProxy)
		b.end(t, rec, badHeader)
	case rec.phase <= preauth:
		b.tell(t, rec, dialog.Expire)
	case rec.phase == loggingIn:
		b.late(t, rec)
	}
	return 0
}

// moved is called by the bridge when a joined session has reached another lane.
func (b *lobby) moved(tag uint64, to bridge.Lane) {
	rec := b.slab.Of(engine.Token(tag))
	if rec == nil {
		return
	}
	n := &b.s.home(rec.dest).joined[rec.protocol]
	n[to].Add(1) // first: a session must never be missing from the sum
	n[rec.lane].Add(-1)
	rec.lane = to
}

// ended is called by the bridge when a joined session is over.
func (b *lobby) ended(tag uint64, r bridge.Report) {
	t := engine.Token(tag)
	rec := b.slab.Of(t)
	if rec == nil {
		return
	}
	ln, d := b.s.listener(rec.listener), b.s.home(rec.dest)
	b.s.bytes[rec.protocol].In.Add(int(r.Counters.ToBackend))
	b.s.bytes[rec.protocol].Out.Add(int(r.Counters.ToClient))
	logx.Line(b.s.ctx, b.s.o.Log, slog.LevelInfo, "session ended", slog.String(logx.Session, b.s.id(rec.number)),
		slog.String(logx.Listener, ln.Name), slog.String(logx.Protocol, rec.protocol.String()),
		slog.String(logx.Client, rec.client.addrPort().String()), slog.String(logx.Destination, d.name),
		slog.String(logx.Account, b.s.policy.Load().Redactor.Account(b.s.registry.name(rec.ticket))),
		slog.Uint64(logx.BytesIn, r.Counters.ToBackend), slog.Uint64(logx.BytesOut, r.Counters.ToClient),
		slog.Duration(logx.Duration, time.Duration(time.Now().UnixNano()-rec.since).Round(time.Millisecond)),
		slog.String(logx.Mode, rec.lane.String()), slog.String(logx.Reason, r.Reason.String()))
	b.s.registry.leave(rec.ticket)
	b.s.connections.Release(rec.hold)
	b.slab.Free(t.Index())
	d.joined[rec.protocol][rec.lane].Add(-1)
	ln.open.Add(-1)
	ln.sessions.Add(-1)
	b.loop.Leave()
}

// release closes what is left when the loop has stopped.
func (b *lobby) release() {
	b.slab.Each(func(_, _ uint32, rec *record) {
		if rec.phase == joined {
			return
		}
		if rec.phase != handshaking { // else its goroutine has closed it
			b.loop.Close(int(rec.fd))
		}
		if rec.talk != 0 {
			b.dropTalk(rec.talk, b.talks.of(rec.talk))
		}
	})
	b.bridge.Close()
	b.slab.Close()
}
