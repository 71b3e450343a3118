package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// BufferBytes is the size of a loop's one read buffer: four full TLS records, and the size at which a plain relay's
	// cost per byte stops falling.
	BufferBytes = 64 << 10
	// BudgetBytes is what one event may move before its handler lets others run and comes back by Later.
	BudgetBytes = 256 << 10
	// maxKinds bounds the handlers of a loop.
	maxKinds = 16
)

// Loop is one event loop: a goroutine, a poller, and everything that it owns.
type Loop struct {
	// immutable after New
	engine *Engine
	id     int
	poll   poller

	// owned by the loop
	handlers [maxKinds]Handler
	kinds    int
	now      int64
	buf      []byte
	later    []event
	laterAlt []event
	wheel    *wheel
	retired  *retirer
	accept   *acceptor

	box   mailbox
	parks parkTable

	load   atomic.Int64 // sessions placed here
	lagMax atomic.Int64 // longest turn since LagSeconds was asked, in nanoseconds
	stop   atomic.Bool
	done   chan struct{}
}

func newLoop(e *Engine, id int) (*Loop, error) {
	p, err := newEpoll()
	if err != nil {
		return nil, err
	}
	now := monotonic()
	l := &Loop{engine: e, id: id, poll: p, now: now, wheel: newWheel(now), buf: make([]byte, BufferBytes),
		box: mailbox{wake: p.wake}, done: make(chan struct{})}
	l.parks.init(l)
	l.Register(nobody{}) // kind 0, so that a zero token is harmless
	l.parks.kind = l.Register(&l.parks)
	l.retired = newRetirer(l)
	return l, nil
}

// started is a moment in both ways to tell the time: time.Since needs no system call, and unix.ClockGettime always does.
var started, startedAt = time.Now(), clockMonotonic()

func clockMonotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("bug: clock_gettime: " + err.Error())
	}
	return ts.Nano()
}

// monotonic is CLOCK_MONOTONIC in nanoseconds, the time base of every deadline, to within the microsecond that lay between
// the two readings above.
func monotonic() int64 { return startedAt + int64(time.Since(started)) }

// Register adds a handler and returns the kind its tokens carry. It is called before the engine starts.
func (l *Loop) Register(h Handler) Kind {
	if l.kinds == maxKinds {
		panic("bug: too many handlers on a loop")
	}
	l.handlers[l.kinds] = h
	l.kinds++
	return Kind(l.kinds - 1)
}

// Company tells the loops how many goroutines more, or fewer, are at work in exchange with them: it decides how they sleep (epoll).
// Nothing but speed depends on it. Any goroutine may call it.
func (e *Engine) Company(more int) {
	e.company.Add(int32(more))
	if more > 0 {
		e.visits.Add(uint64(more))
	}
}

// ID is the loop's number, from 0.
func (l *Loop) ID() int { return l.id }

// Now is CLOCK_MONOTONIC in nanoseconds, read once per turn of the loop.
func (l *Loop) Now() int64 { return l.now }

// Buffer is the loop's read buffer. A handler may use it until it returns.
func (l *Loop) Buffer() []byte { return l.buf }

// Watch hands fd, non-blocking, to the loop under t. Present readiness is reported as an event.
func (l *Loop) Watch(fd int, t Token) error {
	if err := l.poll.watch(fd, t); err != nil {
		return fmt.Errorf("watching descriptor: %w", err)
	}
	return nil
}

// Rewatch is Watch for a descriptor that the loop may watch already, under another token.
func (l *Loop) Rewatch(fd int, t Token) error {
	if err := l.poll.rewatch(fd, t); err != nil {
		return fmt.Errorf("watching descriptor anew: %w", err)
	}
	return nil
}

// Unwatch takes fd out of the loop, to be handed to another one. Closing needs no Unwatch.
func (l *Loop) Unwatch(fd int) error {
	if err := l.poll.unwatch(fd); err != nil {
		return fmt.Errorf("unwatching descriptor: %w", err)
	}
	return nil
}

// Close closes a descriptor that the loop owns, at once. Use Retire where the peer may still have something to read.
func (l *Loop) Close(fd int) {
	closeFD(fd)
	l.engine.fds.closed(1)
}

// Later has the handler of t called again with r and Resumed, after the other work of this turn.
func (l *Loop) Later(t Token, r Ready) { l.later = append(l.later, event{t, r | Resumed}) }

// Arm sets a deadline for t, or moves that of id when it is not 0. Deadlines are up to 134 ms late, never early. It
// returns 0 only when memory is short.
func (l *Loop) Arm(id TimerID, at int64, t Token) TimerID { return l.wheel.arm(id, at, t) }

// Disarm drops a deadline; 0 is ignored.
func (l *Loop) Disarm(id TimerID) { l.wheel.disarm(id) }

// Post queues a message. Any goroutine may call it; it never blocks. When the loop has stopped the message is dropped.
func (l *Loop) Post(m Message) { l.box.post(m) }

// Do posts a function, which is simply not called when the loop has stopped: for work that owns nothing.
func (l *Loop) Do(f func()) { l.box.post(task(f)) }

type task func()

func (f task) Deliver() { f() }
func (f task) Drop()    {}

// Pause stops the loop between two events and returns when it stands still; it goes on when resume is called. Any other
// goroutine may call it. ok is false when the loop has stopped for good.
func (l *Loop) Pause() (resume func(), ok bool) {
	p := &pause{loop: l, stands: make(chan bool, 1), resume: make(chan struct{})}
	l.Post(p)
	if !<-p.stands {
		return func() {}, false
	}
	return sync.OnceFunc(func() { close(p.resume) }), true
}

type pause struct {
	loop   *Loop
	stands chan bool
	resume chan struct{}
}

func (p *pause) Drop() { p.stands <- false }
func (p *pause) Deliver() {
	p.stands <- true
	<-p.resume
	p.loop.now = monotonic() // deadlines counted from before the pause would be early, and it is no lag
}

// Load is the number of sessions placed on the loop. Any goroutine may ask.
func (l *Loop) Load() int { return int(l.load.Load()) }

// LagSeconds is the longest turn since it was last asked: how late an event may have been. Any goroutine may ask.
func (l *Loop) LagSeconds() float64 { return float64(l.lagMax.Swap(0)) / 1e9 }

// run is the loop's goroutine. Engine.Stop ends it.
func (l *Loop) run() {
	defer close(l.done)
	events := make([]event, 256)
	for !l.stop.Load() {
		n, err := l.poll.wait(events, l.until(), l.engine.company.Load() > 0)
		if err != nil {
			panic("bug: " + err.Error()) // EBADF or EINVAL: the poller itself is broken
		}
		l.now = monotonic()
		l.receive()
		l.serve(events[:n])
		l.again()
		l.wheel.advance(l.now, l.fire)
		l.measure()
	}
	l.finish()
}

// until is how long the poller may sleep.
func (l *Loop) until() int64 {
	if len(l.later) > 0 || !l.box.rest() {
		return 0
	}
	w := l.wheel.wait(l.now)
	if w < 0 {
		return forever
	}
	return l.now + max(w, 1)
}

func (l *Loop) measure() {
	turn := monotonic() - l.now
	if turn > l.lagMax.Load() {
		l.lagMax.Store(turn)
	}
}

// again serves the ready list as it stood before; what is put on it meanwhile waits for the next turn, so that new
// events come in between.
func (l *Loop) again() {
	list := l.later
	l.later = l.laterAlt[:0]
	l.serve(list)
	l.laterAlt = list
}

// serve dispatches events one by one. A panic costs the record it happened on.
func (l *Loop) serve(events []event) {
	for i := 0; i < len(events); {
		i += l.dispatch(events[i:])
	}
}

// dispatch serves events until one panics, and returns how many were used up.
func (l *Loop) dispatch(events []event) (n int) {
	defer func() {
		if cause := recover(); cause != nil {
			l.failed(events[n-1].tok, cause)
		}
	}()
	for n < len(events) {
		ev := &events[n]
		n++
		if h := l.handlers[ev.tok.Kind()&(maxKinds-1)]; h != nil {
			h.Ready(ev.tok, ev.ready)
		}
	}
	return n
}

func (l *Loop) failed(t Token, cause any) {
	defer func() {
		if again := recover(); again != nil {
			l.engine.bug("dropping a failed record", again)
		}
	}()
	l.engine.bug("serving an event", cause)
	if h := l.handlers[t.Kind()&(maxKinds-1)]; h != nil {
		h.Failed(t, cause)
	}
}

// fire serves one deadline.
func (l *Loop) fire(t Token) (next int64) {
	defer func() {
		if cause := recover(); cause != nil {
			next = 0
			l.failed(t, cause)
		}
	}()
	return l.handlers[t.Kind()&(maxKinds-1)].Due(t)
}

// nobody is the handler of kind 0.
type nobody struct{}

func (nobody) Ready(Token, Ready) {}
func (nobody) Due(Token) int64    { return 0 }
func (nobody) Failed(Token, any)  {}

// receive hands out what was posted.
func (l *Loop) receive() {
	q := l.box.take()
	if len(q) > 0 {
		l.poll.owe() // as a rule somebody waits for what comes of it
	}
	for _, m := range q {
		l.deliver(m)
	}
	l.box.done(q)
}

// deliver hands out one message; its sender answers for what a panic in it leaves behind.
func (l *Loop) deliver(m Message) {
	defer func() {
		if cause := recover(); cause != nil {
			l.engine.bug("delivering a message", cause)
		}
	}()
	m.Deliver()
}

// finish gives back what the loop itself holds. Records of handlers are theirs to end before Stop.
func (l *Loop) finish() {
	l.accept.leaveAll()
	l.retired.closeAll()
	l.parks.interruptAll()
	l.box.stop()
	l.poll.close()
	l.wheel.nodes.Close()
}
