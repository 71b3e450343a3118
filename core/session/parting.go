package session

import (
	"mailsplice/core/engine"
	"mailsplice/core/logx"
	"mailsplice/protocols/dialog"
)

// wordless is why a session ends that an event ends before there is anybody to word a farewell, or a way to say it.
var wordless = map[dialog.EventKind]dialog.Reason{dialog.Expire: dialog.Timeout, dialog.Drain: dialog.Draining, dialog.Kicked: dialog.KickedOut}

// tell gives the machine an event that ends the dialogue, and sees to it that it does.
func (b *lobby) tell(t engine.Token, rec *record, kind dialog.EventKind) {
	if rec.phase < preauth {
		b.end(t, rec, wordless[kind].String())
		return
	}
	tk := b.talks.of(rec.talk)
	tk.machine.Tell(dialog.Event{Kind: kind})
	if b.act(t, rec, tk) {
		b.end(t, rec, "bug")
	}
}

// Failed drops the session that a panic happened on.
func (b *lobby) Failed(t engine.Token, _ any) {
	if rec := b.slab.Of(t); rec != nil {
		b.end(t, rec, "bug")
	}
}

// end ends a session that has not joined: what is owed to the client is still sent, then both sides close politely.
func (b *lobby) end(t engine.Token, rec *record, reason string) {
	ln := b.s.listener(rec.listener)
	tk := b.talks.of(rec.talk)
	switch {
	case tk == nil:
		b.loop.Retire(int(rec.fd), nil)
	case tk.shake != nil: // its goroutine owns the descriptor
		tk.shake.park.Interrupt()
	default:
		if tk.attempt != nil {
			tk.attempt.interrupt()
			if tk.refused == nil { // else it was reported
				tk.attempt.canceled(reason)
			}
		}
		b.loop.Retire(int(rec.fd), b.lastWords(tk))
	}
	if b.s.o.Log.Enabled(b.s.ctx, -4) {
		b.s.o.Log.Debug("connection ended before login", logx.Session, b.s.id(rec.number), logx.Listener, ln.Name,
			logx.Client, rec.client.addrPort(), logx.Reason, reason)
	}
	if tk != nil {
		defer b.dropTalk(rec.talk, tk) // last: the machine may be what has failed
	}
	b.s.registry.leave(rec.ticket)
	b.s.connections.Release(rec.hold)
	b.unadmit(ln)
	b.loop.Disarm(rec.timer)
	b.slab.Free(t.Index())
	b.loop.Settle()
	b.loop.Leave()
}

// dropTalk gives the dialogue's memory back, zeroed.
func (b *lobby) dropTalk(handle uint32, tk *talk) {
	b.talks.drop(handle)
	release(&tk.in)
	release(&tk.out)
	if tk.tls != nil {
		tk.tls.leg.Wipe()
		tk.tls.dropKeys()
		b.keys.Drop() // they may be the same leg's, and another has to expand its own anyway
		release(&tk.tls.raw)
	}
	if tk.machine != nil {
		tk.machine.Release()
	}
}

// kick ends sessions chosen on another goroutine; tokens of sessions that have ended meanwhile are ignored.
func (b *lobby) kick(toks []engine.Token) {
	for _, t := range toks {
		rec := b.slab.Of(t)
		switch {
		case rec == nil:
		case rec.phase == joined:
			b.bridge.Kick(rec.bridge)
		default:
			b.shielded(t, func() { b.tell(t, rec, dialog.Kicked) })
		}
	}
}

// drain gives every connection that is not joined its farewell. One that is shaking hands gets it afterwards: its end of
// the handshake may be done already.
func (b *lobby) drain() {
	b.part(func(rec *record) bool {
		if rec.phase != handshaking {
			return true
		}
		b.talks.of(rec.talk).shake.parts = true
		return false
	})
}

// drainNow is drain that waits for no handshake.
func (b *lobby) drainNow() { b.part(func(*record) bool { return true }) }

// part ends the connections that are not joined and that now says.
func (b *lobby) part(now func(*record) bool) {
	b.slab.Each(func(index, gen uint32, rec *record) {
		if rec.phase != joined && now(rec) {
			t := engine.MakeToken(b.kind, index, gen)
			b.shielded(t, func() { b.tell(t, rec, dialog.Drain) })
		}
	})
}

// kickAll ends what is left when the grace is over.
func (b *lobby) kickAll() {
	b.drainNow()
	b.slab.Each(func(_, _ uint32, rec *record) { b.bridge.Kick(rec.bridge) })
}
