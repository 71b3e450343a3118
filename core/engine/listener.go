package engine

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// acceptBatch bounds the connections taken per wake-up, so that a flood of newcomers does not stall sessions.
	acceptBatch = 16
	// acceptPause is how long a loop leaves a listener alone when the kernel is out of memory or files.
	acceptPause = 100e6
	// watchers bounds the loops that watch one listening socket: each newcomer wakes them all, and one that stands still must
	// not keep newcomers waiting.
	watchers = 2
	// lastCalls bounds the queued connections that are still taken while a listener closes.
	lastCalls = backlog
)

// ListenOptions describe one listening address.
type ListenOptions struct {
	Addr netip.AddrPort
	// FD is an inherited listening socket to use instead of binding; 0: none.
	FD int
	// ReusePort lets several processes share the port (socket(7) SO_REUSEPORT).
	ReusePort bool
	// V6Only keeps an IPv6 wildcard off IPv4.
	V6Only bool
	// Accept takes every connection, on the loop that it is placed on. It owns the descriptor and owes Loop.Settle and
	// Loop.Leave.
	Accept func(*Loop, Accepted)
	// TurnAway words the refusal for a newcomer there is no descriptor for; it is sent as far as the socket takes it. Any
	// loop calls it; nil: nothing is said.
	TurnAway func() []byte
	// Refused is told of each newcomer that was turned away. Any loop calls it.
	Refused func()
}

// Accepted is a new connection: non-blocking, tuned, not yet watched.
type Accepted struct {
	FD            int
	Client, Local netip.AddrPort
}

// Listener is one listening socket, watched by one or two loops.
type Listener struct {
	o      ListenOptions
	e      *Engine
	loops  []*Loop // that watch it
	fd     int
	addr   netip.AddrPort
	left   atomic.Int32 // loops that still watch it
	closed atomic.Bool
	done   chan struct{}
}

// Listen starts accepting, once the engine has started. The error names the address.
func (e *Engine) Listen(o ListenOptions) (*Listener, error) {
	fd, err := o.FD, error(nil)
	if fd > 0 {
		err = inherit(fd, o.Addr)
	} else {
		fd, err = listen(o)
	}
	if err != nil {
		return nil, err
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("asking the address of %v: %w", o.Addr, err)
	}
	TuneSocket(fd)
	ln := &Listener{o: o, e: e, loops: e.watching(), fd: fd, addr: addrPort(sa), done: make(chan struct{})}
	ln.left.Store(int32(len(ln.loops)))
	for _, l := range ln.loops {
		l.Post(&openAccept{l, ln})
	}
	return ln, nil
}

// watching chooses the loops of a new listener, other ones each time.
func (e *Engine) watching() (list []*Loop) {
	first := int(e.listened.Add(1))
	for i := range min(watchers, len(e.loops)) {
		list = append(list, e.loops[(first+i)%len(e.loops)])
	}
	return list
}

// Bind makes a listening socket for the address of o, to be given to Listen as its FD: newcomers queue meanwhile. The error
// names the address.
func Bind(o ListenOptions) (fd int, err error) { return listen(o) }

// Addr is the bound address, with the port the kernel chose when 0 was asked for.
func (ln *Listener) Addr() netip.AddrPort { return ln.addr }

// FD is the listening socket, to be passed to another process; the Listener keeps it.
func (ln *Listener) FD() int { return ln.fd }

// Close stops accepting. Connections that the kernel had queued are still taken, since closing would reset them. It
// returns at once; Done tells when the socket is closed.
func (ln *Listener) Close() {
	if ln.closed.Swap(true) {
		return
	}
	for _, l := range ln.loops {
		l.Post(&closeAccept{l, ln})
	}
}

// Done is closed when no loop watches the socket any more and it is closed.
func (ln *Listener) Done() <-chan struct{} { return ln.done }

// leave is called once by each loop; the last one takes what the kernel has queued, if it has an acceptor to do so, and
// closes the socket. Only the last one does, so that no connection comes between the two.
func (ln *Listener) leave(a *acceptor) {
	if ln.left.Add(-1) > 0 {
		return
	}
	defer close(ln.done)
	defer unix.Close(ln.fd)
	if a != nil {
		a.takeQueued(ln)
	}
}

// acceptor is one loop's handler for all listeners.
type acceptor struct {
	loop      *Loop
	kind      Kind
	listeners map[uint32]*watched
	last      uint32
}

// watched is one listener as a loop sees it.
type watched struct {
	ln     *Listener
	paused bool
	timer  TimerID
}

func newAcceptor(l *Loop) *acceptor {
	a := &acceptor{loop: l, listeners: map[uint32]*watched{}}
	a.kind = l.Register(a)
	return a
}

type openAccept struct {
	loop *Loop
	ln   *Listener
}

func (m *openAccept) Drop() { m.ln.leave(nil) }
func (m *openAccept) Deliver() {
	a := m.loop.accept
	a.last++
	t := MakeToken(a.kind, a.last, 0)
	if err := m.loop.poll.watchAccept(m.ln.fd, t); err != nil {
		m.loop.engine.bug("watching a listener", err)
		m.ln.leave(nil)
		return
	}
	a.listeners[a.last] = &watched{ln: m.ln}
}

type closeAccept struct {
	loop *Loop
	ln   *Listener
}

func (m *closeAccept) Drop() {} // leaveAll was there before
func (m *closeAccept) Deliver() {
	for key, w := range m.loop.accept.listeners {
		if w.ln == m.ln {
			m.loop.accept.drop(key, w)
			m.ln.leave(m.loop.accept)
		}
	}
}

// drop takes the listener off this loop, which then owes its leave.
func (a *acceptor) drop(key uint32, w *watched) {
	if !w.paused {
		a.loop.poll.unwatch(w.ln.fd)
	}
	a.loop.Disarm(w.timer)
	delete(a.listeners, key)
}

// leaveAll is for the loop's end: a listener that nobody has closed is closed with its last loop.
func (a *acceptor) leaveAll() {
	for key, w := range a.listeners {
		a.drop(key, w)
		w.ln.leave(nil)
	}
}

// takeQueued accepts the connections that wait on a listener that is about to be closed, which would reset them.
func (a *acceptor) takeQueued(ln *Listener) {
	for range lastCalls {
		switch a.one(ln) {
		case nil, unix.ECONNABORTED, unix.EINTR:
		default:
			return
		}
	}
}

// Ready accepts a batch. The watch is level-triggered: what is left wakes a loop again.
func (a *acceptor) Ready(t Token, _ Ready) {
	w := a.listeners[t.Index()]
	if w == nil {
		return
	}
	for range acceptBatch {
		switch err := a.one(w.ln); err {
		case nil, unix.ECONNABORTED, unix.EINTR:
		case unix.EMFILE, unix.ENFILE:
			if !a.loop.engine.turnAwayWithSpare(w.ln) {
				a.pause(t, w)
				return
			}
		case unix.EAGAIN:
			return
		default: // ENOBUFS, ENOMEM, or a network error of one newcomer: accept(2) says to try again
			a.pause(t, w)
			return
		}
	}
}

// one accepts one connection and places it.
func (a *acceptor) one(ln *Listener) error {
	fd, sa, err := syscall.Accept4(ln.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) // x/sys/unix asks the socket twice
	if err != nil {
		return err
	}
	e := a.loop.engine
	if e.missing.Load() {
		e.refillSpare()
	}
	if !e.fds.room() {
		turnAway(fd, ln)
		return nil
	}
	e.fds.opened(1)
	e.fds.pending.Add(1)
	c := Accepted{FD: fd, Client: addrPort(sa), Local: ln.addr}
	if ln.addr.Addr().IsUnspecified() {
		if local, err := syscall.Getsockname(fd); err == nil {
			c.Local = addrPort(local)
		}
	}
	l := e.place()
	l.load.Add(1)
	if l == a.loop {
		ln.o.Accept(l, c)
	} else {
		l.Post(&placed{l, ln, c})
	}
	return nil
}

// placed carries a newcomer to the loop that has fewer sessions.
type placed struct {
	loop *Loop
	ln   *Listener
	c    Accepted
}

func (m *placed) Deliver() { m.ln.o.Accept(m.loop, m.c) }
func (m *placed) Drop() {
	m.loop.Close(m.c.FD)
	m.loop.Settle()
	m.loop.Leave()
}

// pause leaves a listener alone for a moment, since a level-triggered watch would spin.
func (a *acceptor) pause(t Token, w *watched) {
	if w.timer = a.loop.Arm(0, a.loop.now+acceptPause, t); w.timer == 0 {
		return
	}
	w.paused = a.loop.poll.unwatch(w.ln.fd) == nil
}

// Due watches a paused listener again.
func (a *acceptor) Due(t Token) int64 {
	w := a.listeners[t.Index()]
	if w == nil {
		return 0
	}
	if err := a.loop.poll.watchAccept(w.ln.fd, t); err != nil {
		return a.loop.now + acceptPause
	}
	w.paused, w.timer = false, 0
	return 0
}

// Failed has nothing to drop: a newcomer's record belongs to another handler.
func (a *acceptor) Failed(Token, any) {}

// turnAway refuses a newcomer in the listener's words and forgets it. The socket is new, so the words fit its buffer.
func turnAway(fd int, ln *Listener) {
	if ln.o.TurnAway != nil {
		send(fd, ln.o.TurnAway(), TransmitLast)
	}
	Shut(fd, unix.SHUT_WR)
	closeFD(fd)
	if ln.o.Refused != nil {
		ln.o.Refused()
	}
}
