package engine

import (
	"math"

	"golang.org/x/sys/unix"
)

// The bounds of a polite end. A peer gets 10 s without progress to take its last bytes, and after our FIN 2 s or 64 KiB
// until its own end is seen: closing with unread input would send RST, which eats the farewell on the way (DESIGN 2).
const (
	retireDrain   = 10e9
	retireLinger  = 2e9
	retireDiscard = 64 << 10
	retirePoll    = 50e6 // for what no event tells
)

// retiree is one socket on its way out.
type retiree struct {
	fd int

	rest      []byte                                // still to be sent; the retirer's own copy
	last      func(fd int) (left uint64, err error) // what comes between rest and our FIN; nil: nothing
	left      uint64                                // by last, the least so far
	deaf      bool                                  // what it sends cannot be read away
	finished  bool                                  // our FIN is sent
	discarded int
	deadline  int64
	timer     TimerID
}

// retirer closes sockets so that the peer gets everything that was meant for it. Its size is bounded by descriptors.
type retirer struct {
	loop *Loop
	kind Kind
	list map[uint32]*retiree
	last uint32
}

func newRetirer(l *Loop) *retirer {
	r := &retirer{loop: l, list: map[uint32]*retiree{}}
	r.kind = l.Register(r)
	return r
}

// Retire closes a watched descriptor politely: what is left of rest is sent, then FIN, then input is discarded until
// its end, 64 KiB or 2 s, then it is closed. The loop owns fd from now on; rest is copied.
func (l *Loop) Retire(fd int, rest []byte) { l.RetireAfter(fd, rest, nil) }

// RetireAfter is Retire for a socket with something else to be done on it before FIN. last is called once rest is sent, and
// again whenever the socket may have room and at least every 50 ms, until it says that nothing is left or fails, which closes
// the socket. As long as less and less is left the peer gets more time. last must not call the loop.
func (l *Loop) RetireAfter(fd int, rest []byte, last func(fd int) (leftBytes uint64, err error)) {
	r := l.retired
	c := &retiree{fd: fd, rest: rest, last: last, left: math.MaxUint64, deadline: l.now + retireDrain}
	if r.advance(c) { // often so: the peer has left already
		l.Close(fd)
		return
	}
	c.rest = append([]byte(nil), c.rest...)
	r.last++
	for r.list[r.last] != nil || r.last == 0 {
		r.last++
	}
	r.list[r.last] = c
	t := MakeToken(r.kind, r.last, 0)
	if l.poll.rewatch(fd, t) == nil {
		c.timer = l.Arm(0, r.due(c), t)
	}
	if c.timer == 0 {
		r.close(t.Index(), c)
	}
}

// send writes what the socket takes now by transmit. err is not EAGAIN.
func send(fd int, p []byte, transmit func(fd int, p []byte) (int, error)) (n int, err error) {
	for n < len(p) {
		m, err := transmit(fd, p[n:])
		switch err {
		case nil:
			n += m
		case unix.EINTR:
		case unix.EAGAIN:
			return n, nil
		default:
			return n, err
		}
	}
	return n, nil
}

// Ready goes on with what the socket allows.
func (r *retirer) Ready(t Token, ready Ready) {
	c := r.list[t.Index()]
	if c == nil {
		return
	}
	draining := !c.finished
	if r.advance(c) || c.deaf && c.finished && ready&(HangUp|Gone) != 0 {
		r.close(t.Index(), c)
	} else if draining && (c.finished || c.polled()) {
		c.timer = r.loop.Arm(c.timer, r.due(c), t)
	}
}

// polled tells that something is left to be done that no event tells of.
func (c *retiree) polled() bool { return c.last != nil && len(c.rest) == 0 }

// due is when to look at c again whatever happens.
func (r *retirer) due(c *retiree) int64 {
	if c.polled() {
		return min(c.deadline, r.loop.now+retirePoll)
	}
	return c.deadline
}

// Due goes on with what is polled and closes a socket whose peer took too long.
func (r *retirer) Due(t Token) int64 {
	c := r.list[t.Index()]
	if c == nil {
		return 0
	}
	if c.deadline <= r.loop.now || c.polled() && r.advance(c) {
		c.timer = 0
		r.close(t.Index(), c)
		return 0
	}
	return r.due(c)
}

// Failed closes at once.
func (r *retirer) Failed(t Token, _ any) {
	if c := r.list[t.Index()]; c != nil {
		r.close(t.Index(), c)
	}
}

// advance does what the socket allows now, and reports whether that was the last of it: the socket is to be closed.
func (r *retirer) advance(c *retiree) (over bool) {
	if !c.finished {
		transmit := TransmitLast
		if c.last != nil {
			transmit = Transmit
		}
		n, err := send(c.fd, c.rest, transmit)
		if n > 0 {
			c.deadline = r.loop.now + retireDrain
		}
		c.rest = c.rest[n:]
		if err != nil {
			return true
		}
		if len(c.rest) > 0 {
			return r.discard(c)
		}
		done, err := r.finishUp(c)
		if err != nil {
			return true
		}
		if !done {
			return r.discard(c)
		}
		Shut(c.fd, unix.SHUT_WR)
		c.rest, c.finished, c.deadline = nil, true, r.loop.now+retireLinger
	}
	return r.discard(c)
}

// finishUp does what comes before FIN and tells whether that is done.
func (r *retirer) finishUp(c *retiree) (done bool, err error) {
	if c.last == nil {
		return true, nil
	}
	left, err := c.last(c.fd)
	if left < c.left {
		c.left, c.deadline = left, r.loop.now+retireDrain
	}
	if left > 0 || err != nil {
		return false, err
	}
	c.last = nil
	return true, nil
}

// discard reads input away and reports whether that has come to its end. While bytes are still owed an end of input does
// not end the socket: the peer may have shut only its sending direction.
func (r *retirer) discard(c *retiree) (over bool) {
	for c.discarded < retireDiscard {
		n, err := drainRead(c.fd, r.loop.buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false
		case err == unix.EBADMSG, err == unix.EINVAL, err == unix.EMSGSIZE, err == unix.EKEYEXPIRED:
			c.deaf = true // kernel TLS has refused a record; the peer gets its 2 s to read what it was told
			return false
		case err != nil:
			return true
		case n == 0:
			return c.finished
		}
		c.discarded += n
	}
	return c.finished
}

// drainRead is read(2) with room for a control message, without which a socket with kernel TLS refuses to give a record that
// is no data (Documentation/networking/tls.rst).
func drainRead(fd int, p []byte) (int, error) {
	var control [32]byte
	n, _, _, _, err := unix.Recvmsg(fd, p, control[:], 0)
	return n, err
}

func (r *retirer) close(key uint32, c *retiree) {
	r.loop.Disarm(c.timer)
	delete(r.list, key)
	r.loop.Close(c.fd)
}

// closeAll is for the loop's end: nobody is left to wait for peers.
func (r *retirer) closeAll() {
	for key, c := range r.list {
		r.close(key, c)
	}
}

// Send writes what the socket takes now and returns how much that was; fewer than len(p) bytes means it is full. err is
// never EAGAIN, and SIGPIPE is not raised.
func Send(fd int, p []byte) (int, error) { return send(fd, p, Transmit) }
