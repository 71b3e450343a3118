package bridge

import (
	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
)

// Reason says why a session ended. The set is closed, so that it can label a metric.
type Reason uint8

// The reasons. When one leg's end leads to the other's, the first one counts.
const (
	// ClientClosed and BackendClosed: that peer ended its direction first, and the session ran out cleanly.
	ClientClosed Reason = iota + 1
	BackendClosed
	// ClientReset and BackendReset: that connection broke: reset, timed out, or gone while it was written to.
	ClientReset
	BackendReset
	// Idle: no byte for Options.Idle.
	Idle
	// HalfClosed: one direction had ended, and no byte came for Options.HalfClosed.
	HalfClosed
	// Kicked: Kick was called.
	Kicked
	// StashFull: the budget for stashes was used up and this session held the most, or needed more than any.
	StashFull
	// Bug: serving the session panicked.
	Bug
	// ClientTLS and BackendTLS: that peer broke a rule of TLS and was told so by an alert, or has sent a fatal one.
	ClientTLS
	BackendTLS
)

var reasonNames = [...]string{"none", "client closed", "backend closed", "client reset", "backend reset", "idle",
	"half_closed", "kick", "stash", "bug", "client tls", "backend tls"}

// String is the reason as logs and metrics show it.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// deadline is when the session ends if no further byte comes.
func (b *Bridge) deadline(r *state) int64 {
	if r.halved != 0 {
		return max(r.lastByte, r.halved) + int64(b.o.HalfClosed)
	}
	return r.lastByte + int64(b.o.Idle)
}

// Due ends a session that was silent for too long. Bytes only store their time; the deadline is moved here.
func (w *watcher) Due(t engine.Token) (next int64) {
	x, ok := w.b.find(makeID(t.Index(), t.Gen()))
	if !ok {
		return 0
	}
	waits := w.b.stillDraining(x)
	if x, ok = w.b.find(x.id); !ok {
		return 0
	}
	if at := w.b.deadline(x.state); at > w.b.loop.Now() {
		if waits {
			return min(at, w.b.loop.Now()+drainPoll)
		}
		return at
	}
	if x.halved != 0 {
		w.b.end(x, HalfClosed)
	} else {
		w.b.end(x, Idle)
	}
	return 0
}

// Failed ends the session that a panic happened on. Its streams are in an unknown state, so both legs are reset.
func (w *watcher) Failed(t engine.Token, _ any) {
	x, ok := w.b.find(makeID(t.Index(), t.Gen()))
	if !ok {
		return
	}
	for i := range x.legs {
		x.legs[i].flags |= truncated
	}
	w.b.end(x, Bug)
}

// halve starts the shorter deadline of a session with an ended direction.
func (b *Bridge) halve(x session) {
	if x.halved == 0 {
		x.halved = b.loop.Now()
		x.timer = b.loop.Arm(x.timer, b.deadline(x.state), b.token(x.id, client))
	}
}

// inputEnd notes the end of leg i's input.
func (b *Bridge) inputEnd(x session, i int) {
	x.legs[i].flags |= inputEnded
	x.blame([2]Reason{ClientClosed, BackendClosed}[i])
	b.halve(x)
}

// breakLeg notes that nothing can be written to leg i any more. What it has sent before is still read.
func (b *Bridge) breakLeg(x session, i int) {
	x.legs[i].flags |= broken
	b.drop(x, i)
	x.blame([2]Reason{ClientReset, BackendReset}[i])
	b.halve(x)
}

// settle passes ends of input on and ends the session when it is over or doomed. The record may be gone afterwards.
func (b *Bridge) settle(x session) {
	for i := range x.legs {
		if l, other := &x.legs[i], &x.legs[1-i]; l.takes() && l.flags&gone != 0 && (!l.open() || !other.takes()) {
			b.breakLeg(x, i) // shut in both directions, but not by us; and reading it will not tell
		}
	}
	for i := range x.legs {
		if l := &x.legs[i]; l.takes() && l.stash == 0 && !x.legs[1-i].open() && b.notify(x, i) {
			engine.Shut(int(l.fd), unix.SHUT_WR) // ENOTCONN: it has just broken, which ends the direction as well
			l.flags |= finished
		}
	}
	if x.doomed() || x.condemned() || x.over() {
		b.end(x, x.reason)
	}
}

// end gives the record up first, so that nothing below can meet the session again, then closes its legs and reports.
func (b *Bridge) end(x session, why Reason) {
	if x.doomed() {
		why = StashFull
	}
	r := *x.state
	b.loop.Disarm(r.timer)
	b.records.Free(x.id.index())
	if l := &r.legs[backend]; why == Kicked && l.stash != 0 {
		b.release(l.stash)
		l.stash = 0
		b.detach(l) // it must not say more behind a gap
	}
	report := Report{Reason: why, Counters: b.count(&r)}
	for i := range r.legs {
		l := &r.legs[i]
		report.Unclean[i] = l.flags&unclean != 0
		b.part(l, &r.legs[1-i])
		b.release(l.raw)
		b.detach(l)
	}
	if b.o.Ended != nil {
		b.o.Ended(r.tag, report)
	}
}

// part closes one leg. What is stashed for it is handed to the engine, which delivers it as long as the peer takes it. In
// TLS its end is said as long as the other leg's input was not cut. A leg in TLS is closed at once only behind its FIN:
// close_notify alone leaves that unread, and perhaps more.
func (b *Bridge) part(l, other *leg) {
	fd := int(l.fd)
	switch {
	case l.flags&truncated != 0:
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		b.loop.Close(fd)
	case l.flags&broken != 0, l.flags&finished != 0 && !l.open() && (l.tls == 0 || l.flags&unclean != 0):
		b.loop.Close(fd)
	case l.tls != 0 && l.flags&(outKernel|finished) == outKernel:
		b.partKernel(l, other)
	case l.flags&finished != 0, other.flags&(unclean|broken) != 0:
		b.loop.Retire(fd, b.stashes.bytes(l.stash))
	default:
		b.loop.Retire(fd, b.lastWords(l))
	}
	b.release(l.stash)
}
