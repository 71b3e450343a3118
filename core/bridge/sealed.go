package bridge

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
	"mailsplice/tlsx/record"
)

// readRecords is how many full records are read at once from a sealed leg, or for one. Three of them fit into the stash class
// of 64 KiB, sealed again under any suite; and a read that ends between two records leaves nothing to be kept.
const readRecords = 3

// fullRecord is the size of a record of 16 KiB in the suite of t, as most of a bulk transfer are.
func fullRecord(t *record.Leg) int { return record.FullSize(t.Version(), t.Suite()) }

// plainReadBytes is how much is read at once from a plain leg for a sealed one.
const plainReadBytes = readRecords * record.MaxPlain

// tlsOf is where leg l stands in TLS; nil for a lane in which the descriptor carries plaintext.
func (b *Bridge) tlsOf(l *leg) *record.Leg {
	if l.tls == 0 {
		return nil
	}
	return b.sealed.Live(l.tls)
}

// attach gives leg i the TLS state of l, which is moved, and what was read and not opened yet.
func (b *Bridge) attach(x session, i int, l *Leg) error {
	t, raw := l.TLS, l.Raw
	if t == nil || t.Version() == 0 {
		return fmt.Errorf("leg of the %s: no keys for lane %s", legNames[i], LaneRecord)
	}
	if len(raw) > record.MaxRecord {
		return fmt.Errorf("leg of the %s: %d bytes unopened, allowed %d", legNames[i], len(raw), record.MaxRecord)
	}
	index, _, v, err := b.sealed.New()
	if err != nil {
		return err
	}
	*v = *t
	t.Wipe()
	x.legs[i].tls = index
	if l.Keys != nil {
		b.keys.put(index, l.Keys)
	}
	if len(raw) > 0 {
		b.keepRaw(x, i, raw)
		x.legs[i].flags |= unopened
	}
	return nil
}

// detach wipes the TLS state of a leg.
func (b *Bridge) detach(l *leg) {
	if l.tls == 0 {
		return
	}
	b.keys.forget(l.tls)
	delete(b.kernel, l.tls)
	b.tlsOf(l).Wipe()
	b.sealed.Free(l.tls)
	l.tls = 0
}

// pullRecords reads ciphertext of leg i once, behind what is kept of a partial record, and passes on what whole records
// hold. spent is what was read, more whether the socket may hold more.
func (b *Bridge) pullRecords(x session, i int) (spent int, more bool) {
	from := &x.legs[i]
	kept := b.stashes.bytes(from.raw)
	have := len(kept)
	buf := b.loop.Buffer()
	if from.flags&unopened != 0 {
		from.flags &^= unopened
		copy(buf, kept)
		b.dropRaw(x, i)
		b.open(x, i, buf[:have])
		return have, true
	}
	limit := b.restOfRecord(x, i, kept, b.cipherRead(from, kept))
	n, err := engine.Receive(int(from.fd), buf[have:limit])
	switch {
	case err == unix.EINTR:
		return 0, true
	case err == unix.EAGAIN:
		return 0, false
	case err != nil:
		from.flags |= inputEnded | unclean
		b.breakLeg(x, i)
		return 0, false
	case n == 0: // without close_notify, else the leg would not be read any more
		from.flags |= unclean
		b.dropRaw(x, i)
		b.inputEnd(x, i)
		return 0, false
	}
	copy(buf, kept)
	b.dropRaw(x, i)
	b.open(x, i, buf[:have+n])
	return n, have+n == limit || from.flags&hungUp != 0
}

// cipherRead is up to where the buffer is filled, behind what is kept of a partial record: the end of a record, if those to
// come are full ones.
func (b *Bridge) cipherRead(from *leg, kept []byte) int {
	full := fullRecord(b.tlsOf(from))
	first := full
	if size, known := record.Size(kept); known {
		first = min(size, record.MaxRecord)
	}
	if b.o.Stash.scarce() {
		return max(first, len(kept)+1)
	}
	return max(first, len(kept)+1) + (readRecords-1)*full
}

// open opens every whole record of input, which lies in the loop's buffer, and passes on what they hold. A partial record
// is kept.
func (b *Bridge) open(x session, i int, input []byte) {
	from, to := &x.legs[i], &x.legs[1-i]
	t, keys := b.tlsOf(from), b.keys.of(from.tls)
	batch := batch{}
	for {
		got, err := t.Open(keys, input)
		if err != nil {
			b.deliver(x, 1-i, &batch)
			b.violated(x, i, err)
			return
		}
		switch got.Kind {
		case record.NeedMore:
			b.deliver(x, 1-i, &batch)
			b.keepRaw(x, i, input)
			b.answer(x, i)
			return
		case record.Closed:
			b.deliver(x, 1-i, &batch)
			b.inputEnd(x, i) // what comes behind close_notify is nothing to anybody (RFC 8446 6.1)
			return
		case record.Data:
			b.gather(to, &batch, got.Plain)
		}
		input = input[got.Consumed:]
	}
}

// batch is what the records of one read hold, on its way to the other leg.
type batch struct {
	moved  int    // bytes of plaintext
	plain  []byte // in the loop's buffer: not sealed yet, or for a leg whose descriptor takes it so
	sealed []byte // in the scratch
	err    error  // of sealing
}

// gather adds p, which lies in the loop's buffer behind what was gathered before. Small records leave as full ones; a full
// one for a sealed leg is sealed at once, where it lies.
func (b *Bridge) gather(to *leg, x *batch, p []byte) {
	x.moved += len(p)
	if !to.plainOut() && len(p) == record.MaxPlain {
		b.sealBatch(to, x)
		x.plain = p
		b.sealBatch(to, x)
		return
	}
	if x.plain == nil {
		x.plain = p
		return
	}
	x.plain = append(x.plain, p...) // moved down over header and tag between two records, in place
}

// sealBatch seals what is in the clear still.
func (b *Bridge) sealBatch(to *leg, x *batch) {
	if len(x.plain) == 0 || x.err != nil {
		return
	}
	if x.sealed == nil {
		x.sealed = b.out[:0]
	}
	x.sealed, x.err = b.tlsOf(to).SealSpare(b.keys.of(to.tls), x.sealed, x.plain)
	x.plain = nil
}

// deliver sends a batch on leg i.
func (b *Bridge) deliver(s session, i int, x *batch) {
	l := &s.legs[i]
	if x.moved == 0 || !l.takes() {
		return
	}
	l.moved += uint64(x.moved)
	s.lastByte = b.loop.Now()
	switch {
	case l.flags&outKernel != 0 && !b.current(s, i):
		if l.takes() {
			b.keep(s, i, x.plain)
		}
		return
	case l.plainOut():
		b.push(s, i, x.plain)
		return
	}
	b.sealBatch(l, x)
	b.keepScratch(x.sealed)
	if x.err != nil {
		b.breakLeg(s, i)
		return
	}
	b.push(s, i, x.sealed)
}

// answer seals the KeyUpdate that leg i's peer has asked for, once nothing waits in front of it: a peer that does not read
// cannot make answers pile up. Data for the leg takes it along.
func (b *Bridge) answer(x session, i int) {
	l := &x.legs[i]
	if l.flags&outKernel != 0 {
		if l.takes() {
			b.current(x, i)
		}
		return
	}
	if t := b.tlsOf(l); t != nil && t.Owes() && l.takes() && l.stash == 0 {
		if out, err := t.Seal(b.keys.of(l.tls), b.out[:0], nil); err == nil {
			b.push(x, i, out)
		} else {
			b.breakLeg(x, i)
		}
	}
}

// maxScratchBytes bounds the scratch that a loop keeps; a tail may need more once.
const maxScratchBytes = 128 << 10

func (b *Bridge) keepScratch(p []byte) {
	if cap(p) <= maxScratchBytes {
		b.out = p[:0]
	}
}

// violated ends the session because of what leg i's peer has done: it gets the alert that says so, or has sent one.
func (b *Bridge) violated(x session, i int, cause error) {
	l := &x.legs[i]
	l.flags |= inputEnded | unclean
	b.dropRaw(x, i)
	x.blame([2]Reason{ClientTLS, BackendTLS}[i])
	b.halve(x)
	l.flags |= condemned
	if !l.takes() {
		return
	}
	if l.flags&outKernel != 0 {
		if alerts := b.tlsOf(l).CloseAlerts(cause); len(alerts) > 0 { // else what is owed already stays
			b.sealedOf(l).say(alerts)
		}
		return
	}
	out, err := b.tlsOf(l).AppendClose(b.keys.of(l.tls), b.out[:0], cause)
	if err != nil || len(out) == 0 {
		return
	}
	if l.stash == 0 {
		b.push(x, i, out)
		return
	}
	behind := slices.Concat(b.stashes.bytes(l.stash), out)
	b.drop(x, i)
	b.keep(x, i, behind)
}

// notify ends what we send on leg i in the words of TLS: close_notify, if the input that it passes on has ended as it
// should; a stream that was cut must not look complete. It reports that nothing is left to be sent.
func (b *Bridge) notify(x session, i int) bool {
	l := &x.legs[i]
	if l.flags&outKernel != 0 {
		return b.notifyKernel(x, i)
	}
	t := b.tlsOf(l)
	if t == nil || t.OutClosed() || x.legs[1-i].flags&(unclean|broken) != 0 {
		return true
	}
	out, err := t.AppendClose(b.keys.of(l.tls), b.out[:0], nil)
	if err != nil { // without numbers left: FIN must do
		return true
	}
	b.pushBy(x, i, out, engine.TransmitLast)
	return l.takes() && l.stash == 0
}

// lastWords is what is still to be sent on a leg that we end ourselves: its stash, and in TLS our close_notify. It is
// valid until the scratch is used again.
func (b *Bridge) lastWords(l *leg) []byte {
	rest := b.stashes.bytes(l.stash)
	t := b.tlsOf(l)
	if t == nil || t.OutClosed() {
		return rest
	}
	out, err := t.AppendClose(b.keys.of(l.tls), append(b.out[:0], rest...), nil)
	b.keepScratch(out)
	if err != nil {
		return rest
	}
	return out
}
