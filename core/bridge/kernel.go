package bridge

import (
	"golang.org/x/sys/unix"

	"mailsplice/tlsx/ktls"
	"mailsplice/tlsx/record"
)

// kernelAfter is how much a direction must have moved for its keys to go into the kernel (DESIGN 3.10): most of a mail
// session never gets there.
const kernelAfter = 1 << 20

// sealedLeg is where a leg stands in TLS. With a direction in the kernel the Leg still says what control records mean and
// which key comes next; the kernel has the numbers of the records.
type sealedLeg struct {
	*record.Leg
	*kernelLeg
}

// kernelLeg is what a leg of flag outKernel needs besides. Few have it: it is not in the slab.
type kernelLeg struct {
	account uint64 // what TCP was given, less the plaintext taken for the leg, less the kernel's records' overhead
	words   [4]byte
	owed    uint8 // bytes of words: alerts to be sent by the kernel, behind the stash
}

// say has alerts sent behind what waits for the leg.
func (e *kernelLeg) say(alerts []byte) { e.owed = uint8(copy(e.words[:], alerts)) }

// sealedOf is where leg l, which is in TLS, stands. Of one without outKernel the second half is empty, and not kept.
func (b *Bridge) sealedOf(l *leg) sealedLeg {
	k := b.kernel[l.tls]
	if k == nil {
		k = new(kernelLeg)
		if l.flags&outKernel != 0 {
			b.kernel[l.tls] = k
		}
	}
	return sealedLeg{b.sealed.Live(l.tls), k}
}

// plainIn and plainOut tell whether reading the descriptor gives plaintext, and whether it takes plaintext.
func (l *leg) plainIn() bool  { return l.tls == 0 || l.flags&inKernel != 0 }
func (l *leg) plainOut() bool { return l.tls == 0 || l.flags&outKernel != 0 }

// promote puts the keys of the direction from leg i into the kernel when it has moved enough and the kernel can do both of
// its ends: else bytes would be copied through user space all the same. Each end goes in as soon as nothing of it is
// under way in user space.
func (b *Bridge) promote(x session, i int) {
	from, to := &x.legs[i], &x.legs[1-i]
	if to.moved < b.kernelAfter || from.flags&stays != 0 || from.plainIn() && to.plainOut() {
		return
	}
	if !b.able(from, ktls.RX) || !b.able(to, ktls.TX) {
		from.flags |= stays
		return
	}
	before := x.lane()
	if !to.plainOut() && to.takes() && to.stash == 0 {
		b.installOut(from, to)
	}
	if !from.plainIn() && from.open() && from.raw == 0 && from.flags&stays == 0 {
		b.installIn(from, to)
	}
	b.tellLane(x, before)
}

// able tells whether the key of one direction of leg l can go into the kernel, or there is none.
func (b *Bridge) able(l *leg, d ktls.Direction) bool {
	if l.tls == 0 {
		return true
	}
	h := b.tlsOf(l).In() // one suite for both
	defer h.Wipe()
	return b.o.Kernel.Can(d, &h)
}

// installOut puts the sending key of to into the kernel. Invariant: nothing sealed waits for the leg.
func (b *Bridge) installOut(from, to *leg) {
	h := b.tlsOf(to).Out()
	defer h.Wipe()
	written, exact, err := ktls.Written(int(to.fd))
	if err == nil && !exact {
		return // in a quieter moment
	}
	if err == nil {
		err = b.install(to, ktls.TX, &h)
	}
	if err != nil {
		from.flags |= stays
		return
	}
	to.flags |= outKernel
	e := b.sealedOf(to)
	e.account = written - to.moved - h.Seq()*uint64(e.Overhead())
}

// installIn puts the receiving key of l into the kernel. Invariant: no byte of a record has been read and not opened.
func (b *Bridge) installIn(l, to *leg) {
	h := b.tlsOf(l).In()
	defer h.Wipe()
	if b.install(l, ktls.RX, &h) != nil {
		l.flags |= stays
		return
	}
	l.flags |= inKernel
	b.tlsOf(l).SetSeqIn(h.Seq() - to.moved) // see hollow
}

func (b *Bridge) install(l *leg, d ktls.Direction, h *record.Half) error {
	if l.flags&(inKernel|outKernel) == 0 {
		if err := ktls.Attach(int(l.fd)); err != nil {
			return err
		}
	}
	if err := ktls.Install(int(l.fd), d, h); err != nil {
		return err
	}
	l.lane = LaneKTLS
	return nil
}

// restOfRecord is how much may be read of leg i's ciphertext behind what is kept of a record: exactly its rest, when
// the key waits to go into the kernel, else up to limit.
func (b *Bridge) restOfRecord(x session, i int, kept []byte, limit int) int {
	from, to := &x.legs[i], &x.legs[1-i]
	if to.moved < b.kernelAfter || from.flags&stays != 0 || len(kept) == 0 {
		return limit
	}
	got, err := b.tlsOf(from).Open(b.keys.of(from.tls), kept) // changes nothing of a partial record
	if err != nil || got.Kind != record.NeedMore {
		return limit
	}
	return len(kept) + got.Need
}

// refusals are what the kernel says of a record that it does not open, and what user space would have said.
var refusals = map[error]record.Alert{
	unix.EBADMSG:     record.BadRecordMAC,
	unix.EMSGSIZE:    record.RecordOverflow,
	unix.EINVAL:      record.ProtocolVersion,
	unix.EKEYEXPIRED: record.UnexpectedMessage,
}

const (
	refusedRecord = "a record that the kernel refuses"
	noNextKey     = "a change of keys that the kernel cannot follow"
)

// pullKernel reads leg i, whose receiving key is in the kernel: application data, or one control record. Whether there is
// more only a further read can say: a short one may have ended before a control record. broken tells that the kernel has
// said EINVAL already, which means that a control record is next or that the stream is over (DESIGN 3.10).
func (b *Bridge) pullKernel(x session, i int, broken bool) (spent int, more bool) {
	from := &x.legs[i]
	buf := b.loop.Buffer()[:b.readSize(&x.legs[1-i])]
	n, typ, err := ktls.Receive(int(from.fd), buf)
	if err == unix.EAGAIN && broken {
		err = unix.EINVAL
	}
	if err != nil {
		if err == unix.EAGAIN && b.hollow(x, i) {
			return 0, false
		}
		b.kernelRefuses(x, i, err)
		return 0, false
	}
	if n == 0 { // FIN without close_notify, else the leg would not be read any more
		from.flags |= unclean
		b.inputEnd(x, i)
		return 0, false
	}
	more = b.takeKernel(x, i, typ, buf, n)
	return n, !b.hollow(x, i) && more
}

// hollow ends the session if leg i's peer sends record upon record without content, which the kernel reads over: each of them
// is work, and none shows (SECURITY 26). A record of data has a byte at least, so of records without there were as many
// as records exceed bytes since the last look. What is compared is kept in place of the number that the kernel has now.
func (b *Bridge) hollow(x session, i int) bool {
	from, to := &x.legs[i], &x.legs[1-i]
	if !from.open() || !to.takes() { // what nobody takes is not counted
		return false
	}
	t := b.tlsOf(from)
	n, err := ktls.Seq(int(from.fd), ktls.RX, t.Cipher())
	if err != nil {
		return false // reading will say so
	}
	before := t.SeqIn()
	t.SetSeqIn(n - to.moved)
	if int64(n-to.moved-before) <= record.MaxIdle {
		return false
	}
	b.violated(x, i, t.Refuse(record.UnexpectedMessage, "too many records that carry nothing"))
	return true
}

// kernelRefuses acts on an error of reading leg i.
func (b *Bridge) kernelRefuses(x session, i int, err error) {
	from := &x.legs[i]
	if err == unix.EAGAIN {
		return
	}
	if alert, ok := refusals[err]; ok {
		_, _ = unix.GetsockoptInt(int(from.fd), unix.SOL_SOCKET, unix.SO_ERROR) // forgets it, or the alert could not be sent
		b.violated(x, i, b.tlsOf(from).Refuse(alert, refusedRecord))
		return
	}
	from.flags |= inputEnded | unclean
	b.breakLeg(x, i)
}

// takeKernel acts on what the kernel has opened and tells whether the leg may still be read.
func (b *Bridge) takeKernel(x session, i int, typ byte, buf []byte, n int) bool {
	from := &x.legs[i]
	t := b.tlsOf(from)
	before := t.In()
	defer before.Wipe()
	got, err := t.Take(typ, buf[:n])
	switch {
	case err != nil:
		b.violated(x, i, err)
	case got.Kind == record.Closed:
		b.inputEnd(x, i)
	case got.Kind == record.Data:
		from.filled(n == len(buf))
		b.pass(x, 1-i, got.Plain)
	default:
		if after := t.In(); after != before && ktls.Install(int(from.fd), ktls.RX, &after) != nil {
			b.violated(x, i, t.Refuse(record.InternalError, noNextKey))
			break
		}
		b.answer(x, i)
	}
	return from.open()
}

// current brings the sending key of leg i, which is in the kernel, up to date: a KeyUpdate that is owed or due goes before
// further data. False: it cannot yet, or never.
func (b *Bridge) current(x session, i int) bool {
	l := &x.legs[i]
	t := b.tlsOf(l)
	if !t.Owes() && !(t.Due() && b.exhausted(l, t)) {
		return true
	}
	if t.Version() != version13 || !b.o.Kernel.Rekeys(ktls.TX) {
		b.violated(x, i, t.Refuse(record.InternalError, noNextKey))
		return false
	}
	message := record.UpdateMessage()
	sent, err := ktls.Send(int(l.fd), record.TypeHandshake, message[:])
	if err == nil && sent {
		err = b.nextOut(l, len(message))
	}
	if err != nil {
		b.breakLeg(x, i)
		return false
	}
	return sent
}

// version13 is TLS 1.3 as record.Half.Version has it.
const version13 = 0x0304

// exhausted looks at the kernel's own number: the Leg's is the most that it can be.
func (b *Bridge) exhausted(l *leg, t *record.Leg) bool {
	n, err := ktls.Seq(int(l.fd), ktls.TX, t.Cipher())
	if err == nil {
		t.SetSeqOut(n)
	}
	return err == nil && t.Due()
}

// nextOut gives the kernel the key behind a KeyUpdate that it has sealed.
func (b *Bridge) nextOut(l *leg, sent int) error {
	e := b.sealedOf(l)
	records, err := ktls.Seq(int(l.fd), ktls.TX, e.Cipher())
	if err != nil {
		return err
	}
	e.account += uint64(sent) + records*uint64(e.Overhead())
	e.NextOut()
	h := e.Out()
	defer h.Wipe()
	return ktls.Install(int(l.fd), ktls.TX, &h)
}

// Records that the kernel may make of what it takes at once, in excess of full ones: the last one; and of a pipe one for
// every 16 of its pages, since a record has so many pieces at most (MAX_SKB_FRAGS).
const (
	recordsOfSend   = 1
	recordsOfSplice = 1 + pipeBytes/4096/16
)

// tally notes what leg l's socket has taken.
func (b *Bridge) tally(l *leg, n, extra int) {
	if n > 0 && l.flags&outKernel != 0 {
		b.tlsOf(l).Sent(n, n/recordBytes+extra)
	}
}

// fetchNumbers has the Leg know where the kernel stands, for an export.
func (b *Bridge) fetchNumbers(l *leg) error {
	t := b.tlsOf(l)
	for _, d := range []struct {
		flag flag
		way  ktls.Direction
		set  func(uint64)
	}{{inKernel, ktls.RX, t.SetSeqIn}, {outKernel, ktls.TX, t.SetSeqOut}} {
		if l.flags&d.flag == 0 {
			continue
		}
		n, err := ktls.Seq(int(l.fd), d.way, t.Cipher())
		if err != nil {
			return err
		}
		d.set(n)
	}
	return nil
}
