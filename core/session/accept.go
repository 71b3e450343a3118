package session

import (
	"net/netip"
	"time"

	"mailsplice/core/engine"
	"mailsplice/core/limits"
	"mailsplice/core/metrics"
	"mailsplice/protocols/dialog"
)

// accept takes a connection that the engine has placed on this loop.
func (b *lobby) accept(ln *Listener, a engine.Accepted) {
	ln.metrics.Accepted.Inc()
	known := trusted(ln.Trusted, a.Client.Addr())
	if ln.Header == HeaderRequired && !known {
		ln.metrics.Refused(metrics.RefusedProxy)
		b.turnAway(a.FD, nil)
		return
	}
	hold, room := limits.Hold{}, true
	if !known { // a proxy of ours is nobody's address; its clients count once they are announced
		hold, room = b.s.connections.Acquire(a.Client.Addr())
	}
	if !room {
		ln.metrics.Refused(metrics.RefusedAddress)
		b.turnAway(a.FD, ln.turnAway)
		return
	}
	if refused, why, words := b.admit(ln); refused {
		b.s.connections.Release(hold)
		ln.metrics.Refused(why)
		b.turnAway(a.FD, words)
		return
	}
	index, gen, rec, err := b.slab.New()
	if err != nil {
		b.s.connections.Release(hold)
		b.unadmit(ln)
		b.turnAway(a.FD, ln.turnAway)
		return
	}
	t := engine.MakeToken(b.kind, index, gen)
	rec.fd, rec.phase, rec.listener, rec.protocol = int32(a.FD), awaiting, ln.index, ln.Protocol
	rec.hold = hold
	rec.number, rec.since = b.s.number.Add(1), time.Now().UnixNano()
	rec.client, rec.local = endpointOf(a.Client), endpointOf(a.Local)
	rec.trusted = flag(known)
	rec.deadline = b.loop.Now() + int64(ln.PreauthTimeout)
	announced := ln.Header != HeaderOff && known
	if announced {
		b.expectHeader(rec, ln)
	}
	rec.timer = b.loop.Arm(0, rec.deadline, t)
	if err := b.loop.Watch(a.FD, t); err != nil || rec.timer == 0 {
		b.end(t, rec, noResources)
		return
	}
	if !announced && ln.Mode != ImplicitTLS { // else what is there already comes as an event
		b.shielded(t, func() { b.greet(t, rec, ln) })
	}
}

// open starts the dialogue behind a PROXY header, or where one might have been.
func (b *lobby) open(t engine.Token, rec *record, ln *Listener) {
	if ln.Mode == ImplicitTLS {
		rec.phase = awaiting
		b.hello(t, rec, 0)
		return
	}
	if b.greet(t, rec, ln) {
		b.pump(t, rec, b.talks.of(rec.talk))
	}
}

// greet starts the dialogue in the clear. True: input may be read.
func (b *lobby) greet(t engine.Token, rec *record, ln *Listener) bool {
	if rec.talk == 0 {
		rec.talk = b.talks.add(&talk{})
	}
	rec.phase = preauth
	tk := b.talks.of(rec.talk)
	tk.machine = ln.Speaker.Client(rec.facts(false))
	tk.machine.Tell(dialog.Event{Kind: dialog.Begin})
	return b.act(t, rec, tk)
}

// admit counts a newcomer in, or says why not and in which words, if any (SPEC 12).
func (b *lobby) admit(ln *Listener) (refused bool, why metrics.Refusal, words []byte) {
	if b.s.draining.Load() {
		return true, metrics.RefusedDraining, ln.farewell
	}
	if n := ln.open.Add(1); ln.MaxConnections > 0 && n > int64(ln.MaxConnections) {
		ln.open.Add(-1)
		return true, metrics.RefusedListener, ln.turnAway
	}
	if n := b.s.preauth.Add(1); n > int64(b.s.policy.Load().Limits.MaxPreauth) {
		b.s.preauth.Add(-1)
		ln.open.Add(-1)
		return true, metrics.RefusedPreauth, ln.turnAway
	}
	ln.preauth.Add(1)
	ln.sessions.Add(1)
	return false, 0, nil
}

func (b *lobby) unadmit(ln *Listener) {
	ln.open.Add(-1)
	ln.preauth.Add(-1)
	ln.sessions.Add(-1)
	b.s.preauth.Add(-1)
}

// turnAway closes a connection that has no record.
func (b *lobby) turnAway(fd int, words []byte) {
	if err := b.loop.Watch(fd, 0); err != nil {
		b.loop.Close(fd)
	} else {
		b.loop.Retire(fd, words)
	}
	b.loop.Settle()
	b.loop.Leave()
}

// count takes a place for a client that was announced, unless the session has one; false: it has as many as it may.
func (b *lobby) count(rec *record) bool {
	if rec.hold != (limits.Hold{}) {
		return true
	}
	var room bool
	if rec.hold, room = b.s.connections.Acquire(rec.client.addrPort().Addr()); !room {
		b.s.listener(rec.listener).metrics.Refused(metrics.RefusedAddress)
	}
	return room
}

func trusted(list []netip.Prefix, peer netip.Addr) bool {
	for _, p := range list {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}
