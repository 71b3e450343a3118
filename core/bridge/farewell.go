package bridge

import (
	"mailsplice/tlsx/ktls"
	"mailsplice/tlsx/record"
)

// drainPoll is how often it is looked whether the kernel has given its last records to TCP, in nanoseconds. It does so
// when TCP has room, a moment after that is reported.
const drainPoll = 50e6

// alertBytes is the size of an alert: its level and what it says.
const alertBytes = 2

// farewell ends what the kernel seals on a socket: alerts, then FIN once all records are with TCP, since SHUT_WR would cut
// off what is not (package ktls).
type farewell struct {
	cipher   record.Cipher
	overhead int    // of a record, in bytes
	account  uint64 // kernelLeg.account and the plaintext
	words    [4]byte
	owed     uint8
}

// farewellOf is what is left to be done for leg l when its stash is gone.
func (b *Bridge) farewellOf(l *leg) farewell {
	e := b.sealedOf(l)
	return farewell{cipher: e.Cipher(), overhead: e.Overhead(), account: e.account + l.moved, words: e.words, owed: e.owed}
}

// last goes on and tells how much TCP has not got yet. It is called again when the socket has room, and after a while.
func (f *farewell) last(fd int) (leftBytes uint64, err error) {
	for f.owed > 0 {
		sent, err := ktls.Send(fd, record.TypeAlert, f.words[:alertBytes])
		if err != nil {
			return 0, err
		}
		if !sent {
			break
		}
		f.owed -= alertBytes
		f.account += alertBytes
		copy(f.words[:], f.words[alertBytes:])
	}
	records, err := ktls.Seq(fd, ktls.TX, f.cipher)
	if err != nil {
		return 0, err
	}
	written, _, err := ktls.Written(fd) // too little: it is asked again
	return uint64(f.owed) + f.account + records*uint64(f.overhead) - written, err
}

// notifyKernel is notify for a leg whose sending key is in the kernel.
func (b *Bridge) notifyKernel(x session, i int) bool {
	l, e := &x.legs[i], b.sealedOf(&x.legs[i])
	if !e.OutClosed() && x.legs[1-i].flags&(unclean|broken) == 0 {
		e.say(e.CloseAlerts(nil))
	}
	f := b.farewellOf(l)
	left, err := f.last(int(l.fd))
	e.account, e.words, e.owed = f.account-l.moved, f.words, f.owed
	if err != nil {
		b.breakLeg(x, i)
		return false
	}
	if left > 0 {
		x.timer = b.loop.Arm(x.timer, b.loop.Now()+drainPoll, b.token(x.id, i))
		l.flags |= draining
		return false
	}
	l.flags &^= draining
	return true
}

// stillDraining looks again at legs whose last records the kernel had not given to TCP. It tells whether the session is
// still there and waits for that.
func (b *Bridge) stillDraining(x session) bool {
	if (x.legs[client].flags|x.legs[backend].flags)&draining == 0 {
		return false
	}
	b.settle(x)
	_, ok := b.find(x.id)
	return ok && (x.legs[client].flags|x.legs[backend].flags)&draining != 0
}

// partKernel is part for a leg whose sending key is in the kernel and which is not shut yet.
func (b *Bridge) partKernel(l, other *leg) {
	e := b.sealedOf(l)
	if !e.OutClosed() && other.flags&(unclean|broken) == 0 {
		e.say(e.CloseAlerts(nil))
	}
	f := b.farewellOf(l)
	b.loop.RetireAfter(int(l.fd), b.stashes.bytes(l.stash), f.last)
}
