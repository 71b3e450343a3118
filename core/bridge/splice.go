package bridge

import "golang.org/x/sys/unix"

const (
	// spliceAfter is how many full buffers in a row a direction reads before it splices. Under 16 KiB per move read(2) and
	// write(2) are as fast (DESIGN 4), and most of a mail session is small.
	spliceAfter = 2
	// spliceWorth is what a move must bring for the direction to go on splicing.
	spliceWorth = 16 << 10
	// neverSpliced marks a leg from which the kernel cannot splice.
	neverSpliced = -1
)

// filled notes whether a read has filled its buffer.
func (l *leg) filled(full bool) {
	switch {
	case l.full == neverSpliced:
	case !full:
		l.full = 0
	case l.full < spliceAfter:
		l.full++
	}
}

// viaPipe is the pipe through which leg i should be read, if that is possible and worth it: both descriptors carry
// plaintext, and the direction moves full buffers. While memory is scarce reads are small.
func (b *Bridge) viaPipe(x session, i int) *pipe {
	from, to := &x.legs[i], &x.legs[1-i]
	if from.full < b.spliceAfter || !from.plainIn() || !to.plainOut() || b.o.Stash.scarce() {
		return nil
	}
	return b.pipes.take()
}

// pullPipe splices leg i to the other through p, which is empty and given back unless the other leg takes less than came. A
// short move does not say that the socket is empty: the pipe may have had no page left.
func (b *Bridge) pullPipe(x session, i int, p *pipe) (spent int, more bool) {
	from := &x.legs[i]
	err := p.fillFrom(from)
	if n := p.held; n > 0 {
		if from.tls != 0 {
			if err := b.tlsOf(from).Received(n); err != nil {
				b.pipes.give(p)
				b.violated(x, i, err)
				return n, false
			}
		}
		if n < spliceWorth && b.spliceAfter > 0 {
			from.full = 0
		}
		b.passPipe(x, 1-i, p)
		if from.tls == 0 || err == nil || err == unix.EAGAIN {
			return n, true
		}
		_, more = b.pipeStops(x, i, err) // it would not come again
		return n, more
	}
	b.pipes.give(p)
	return b.pipeStops(x, i, err)
}

// pipeStops acts on what kept splice(2) from moving anything out of leg i: an error, or none at an end.
func (b *Bridge) pipeStops(x session, i int, err error) (spent int, more bool) {
	from := &x.legs[i]
	switch {
	case err == unix.EAGAIN:
		return 0, false
	case from.tls != 0 && (err == nil || err == unix.EINVAL):
		return b.pullKernel(x, i, err != nil)
	case from.tls != 0:
		b.kernelRefuses(x, i, err)
	case err == unix.EINVAL:
		from.full = neverSpliced
		return 0, true
	case err == nil:
		b.inputEnd(x, i)
	default:
		from.flags |= inputEnded
		b.breakLeg(x, i)
	}
	return 0, false
}

// fillFrom moves what leg l has into p. Out of the kernel's TLS one splice(2) brings at most one record. EAGAIN counts only when
// p is empty, else it may be the pipe's.
func (p *pipe) fillFrom(l *leg) error {
	for {
		n, err := p.fill(int(l.fd), spliceBytes-p.held)
		if n == 0 || l.tls == 0 || p.held == spliceBytes {
			return err
		}
	}
}

// passPipe is pass for bytes in a pipe. What leg i does not take stays there and is its stash.
func (b *Bridge) passPipe(x session, i int, p *pipe) {
	l := &x.legs[i]
	if !l.takes() {
		b.pipes.give(p)
		return
	}
	l.moved += uint64(p.held)
	b.pipes.spliced += uint64(p.held)
	x.lastByte = b.loop.Now()
	b.reach(x, LaneSplice)
	switch err := b.drain(x, i, p); {
	case err != nil:
		b.pipes.give(p)
		b.breakLeg(x, i)
	case !l.takes(): // its TLS could not go on
		b.pipes.give(p)
	case p.held == 0:
		b.pipes.give(p)
	case b.reserve(x, p.held):
		l.stash = b.stashes.putPipe(x.id, p)
	default:
		b.pipes.give(p)
		l.flags |= truncated
	}
}

// flushPipe is flush for a stash in a pipe.
func (b *Bridge) flushPipe(x session, i int, p *pipe) {
	before := p.held
	if err := b.drain(x, i, p); err != nil {
		b.breakLeg(x, i)
		return
	}
	if p.held < before {
		x.lastByte = b.loop.Now()
	}
	if p.held == 0 {
		b.flushed(x, i)
	}
}

// drain moves what p holds to leg i as far as that takes it.
func (b *Bridge) drain(x session, i int, p *pipe) error {
	l := &x.legs[i]
	if l.flags&outKernel != 0 && !b.current(x, i) {
		return nil
	}
	before := p.held
	err := p.drain(int(l.fd))
	b.tally(l, before-p.held, recordsOfSplice)
	return err
}

// reach notes that plain legs of the session are spliced now.
func (b *Bridge) reach(x session, lane Lane) {
	before := x.lane()
	for i := range x.legs {
		if l := &x.legs[i]; l.lane == LanePlain {
			l.lane = lane
		}
	}
	b.tellLane(x, before)
}

// tellLane tells the owner if the session's lane is not the one of before.
func (b *Bridge) tellLane(x session, before Lane) {
	if now := x.lane(); now != before && b.o.Moved != nil {
		b.o.Moved(x.tag, now)
	}
}
