package bridge

import (
	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
)

// recordBytes is what is read at once while memory for stashes is short: one TLS record.
const recordBytes = 16 << 10

// watcher serves one leg of every session.
type watcher struct {
	b   *Bridge
	leg int
}

// Ready moves what can be moved, then looks whether something has ended.
func (w *watcher) Ready(t engine.Token, r engine.Ready) {
	x, ok := w.b.find(makeID(t.Index(), t.Gen()))
	if !ok {
		return
	}
	l := &x.legs[w.leg]
	if r&engine.Resumed != 0 {
		l.flags &^= queued
	}
	w.b.noteHangUp(x, l, r)
	if r&engine.Writable != 0 {
		w.b.flush(x, w.leg)
	}
	if r&engine.Readable != 0 {
		w.b.relay(x, w.leg)
	}
	w.b.settle(x)
}

// noteHangUp remembers what the kernel reports only once. A peer that has hung up while its bytes wait for the other leg
// makes the session half-closed, or a silent death would last for Options.Idle.
func (b *Bridge) noteHangUp(x session, l *leg, r engine.Ready) {
	if r&(engine.HangUp|engine.Gone) == 0 {
		return
	}
	l.flags |= hungUp
	if r&engine.Gone != 0 {
		l.flags |= gone
	}
	b.halve(x)
}

// relay reads leg i and writes to the other until there is nothing to read, the other takes no more, or the budget of
// one event is spent.
//
// A read that does not fill the buffer has emptied the socket (epoll(7)), unless an end is behind it. TCP urgent data
// also cuts reads short; a peer that sends some, which mail never does, waits for its own next segment.
func (b *Bridge) relay(x session, i int) {
	from, to := &x.legs[i], &x.legs[1-i]
	if from.flags&queued != 0 {
		return
	}
	for spent := 0; from.open() && to.takes() && to.stash == 0 && !x.doomed() && !x.condemned(); {
		if spent >= engine.BudgetBytes {
			b.later(x, i)
			return
		}
		n, more := b.pull(x, i)
		if !more {
			return
		}
		spent += n
	}
}

// pull reads leg i once and passes on what there was. spent is what was read, more whether the socket may hold more.
func (b *Bridge) pull(x session, i int) (spent int, more bool) {
	b.promote(x, i)
	if p := b.viaPipe(x, i); p != nil {
		return b.pullPipe(x, i, p)
	}
	switch from := &x.legs[i]; {
	case from.plainIn() && from.tls != 0:
		return b.pullKernel(x, i, false)
	case from.tls != 0:
		return b.pullRecords(x, i)
	}
	return b.pullPlain(x, i)
}

func (b *Bridge) pullPlain(x session, i int) (spent int, more bool) {
	from := &x.legs[i]
	buf := b.loop.Buffer()[:b.readSize(&x.legs[1-i])]
	n, err := engine.Receive(int(from.fd), buf)
	switch {
	case err == unix.EINTR:
		return 0, true
	case err == unix.EAGAIN:
		return 0, false
	case err != nil:
		from.flags |= inputEnded
		b.breakLeg(x, i)
		return 0, false
	case n == 0:
		b.inputEnd(x, i)
		return 0, false
	}
	from.filled(n == len(buf))
	b.deliver(x, 1-i, &batch{moved: n, plain: buf[:n]})
	return n, n == len(buf) || from.flags&hungUp != 0
}

// readSize is how much is read at once for a leg. A stash is at most as large as the read that it is the rest of.
func (b *Bridge) readSize(to *leg) int {
	switch {
	case b.o.Stash.scarce():
		return recordBytes
	case !to.plainOut():
		return plainReadBytes
	}
	return engine.BufferBytes
}

// later has leg i read again after the other work of this turn.
func (b *Bridge) later(x session, i int) {
	if l := &x.legs[i]; l.flags&queued == 0 {
		l.flags |= queued
		b.loop.Later(b.token(x.id, i), engine.Readable)
	}
}

// pass writes plaintext p to leg i and stashes what it does not take. The leg has no stash. p is the caller's again
// afterwards.
func (b *Bridge) pass(x session, i int, p []byte) {
	l := &x.legs[i]
	if len(p) == 0 || !l.takes() {
		return
	}
	// Clipped: sealing may use a byte behind what it is given, and this one is the caller's.
	b.deliver(x, i, &batch{moved: len(p), plain: p[:len(p):len(p)]})
}

// push sends p on leg i as it is and stashes what it does not take. The leg has no stash.
func (b *Bridge) push(x session, i int, p []byte) { b.pushBy(x, i, p, engine.Transmit) }

func (b *Bridge) pushBy(x session, i int, p []byte, transmit func(fd int, p []byte) (int, error)) {
	l := &x.legs[i]
	n, err := send(int(l.fd), p, transmit)
	b.tally(l, n, recordsOfSend)
	switch {
	case err != nil:
		b.breakLeg(x, i)
	case n < len(p):
		b.keep(x, i, p[n:])
	}
}

// flush goes on with the stash of leg i. When it is gone the other leg is read again, in its turn: an edge that came
// while it was paused is not reported twice.
func (b *Bridge) flush(x session, i int) {
	l := &x.legs[i]
	if l.stash == 0 || l.flags&outKernel != 0 && !b.current(x, i) {
		return
	}
	if p := b.stashes.piped(l.stash); p != nil {
		b.flushPipe(x, i, p)
		return
	}
	rest := b.stashes.bytes(l.stash)
	n, err := send(int(l.fd), rest, engine.Transmit)
	b.tally(l, n, recordsOfSend)
	if err != nil {
		b.breakLeg(x, i)
		return
	}
	if n > 0 {
		x.lastByte = b.loop.Now()
	}
	if n < len(rest) {
		b.stashes.consume(l.stash, n)
		return
	}
	b.flushed(x, i)
}

// flushed goes on when the stash of leg i is empty.
func (b *Bridge) flushed(x session, i int) {
	b.drop(x, i)
	b.answer(x, i)
	b.later(x, 1-i)
}

// send writes what the socket takes now by transmit. A short write means that it is full, and that EPOLLOUT will be reported
// (epoll(7)). err is not EAGAIN.
func send(fd int, p []byte, transmit func(fd int, p []byte) (int, error)) (int, error) {
	for {
		n, err := transmit(fd, p)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
}
