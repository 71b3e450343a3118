package engine

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Options describe an engine.
type Options struct {
	// Loops is the number of event loops, at least 1.
	Loops int
	// CPUs is how many the process may use, for an engine that sets GOMAXPROCS; 0 leaves that alone (Adapt).
	CPUs int
	// MaxFDs is the process's limit of open files; 0 asks the kernel.
	MaxFDs int
	// Log gets broken invariants, which must not block: a loop writes to it.
	Log *slog.Logger
}

// Engine is a set of loops.
type Engine struct {
	loops []*Loop
	log   *slog.Logger
	fds   descriptors
	spots spots
	bugs  bugs

	listened atomic.Uint32 // listeners so far
	company  atomic.Int32  // goroutines at work beside the loops
	visits   atomic.Uint64 // how often one began to be
	seen     uint64        // visits at the last Adapt; its caller's
	cpus     int           // of Options; immutable

	started bool // set by Start and Stop, which have one caller

	spareMu sync.Mutex
	spare   int         // a descriptor kept to turn a newcomer away with when there are none left; -1: used up
	missing atomic.Bool // the spare is used up: the next accept that succeeds refills it
}

// New makes the loops; handlers are registered before Start.
func New(o Options) (*Engine, error) {
	if o.Loops < 1 {
		return nil, fmt.Errorf("starting the engine: %d loops, need at least 1", o.Loops)
	}
	if o.MaxFDs == 0 {
		n, err := RaiseFileLimit()
		if err != nil {
			return nil, err
		}
		o.MaxFDs = n
	}
	e := &Engine{log: o.Log, cpus: o.CPUs, spare: -1, bugs: bugs{kinds: map[string]*storm{}}, fds: descriptors{limit: int64(o.MaxFDs)}}
	e.spots.fds = &e.fds
	for i := range o.Loops {
		l, err := newLoop(e, i)
		if err != nil {
			e.abandon()
			return nil, err
		}
		l.accept = newAcceptor(l)
		e.loops = append(e.loops, l)
	}
	if e.cpus > 0 {
		e.provide(e.cpus + o.Loops)
	} else {
		e.provide(runtime.GOMAXPROCS(0))
	}
	e.refillSpare()
	return e, nil
}

// abandon closes loops that never ran.
func (e *Engine) abandon() {
	for _, l := range e.loops {
		l.finish()
		close(l.done)
	}
}

// Loops are the engine's loops; the slice is not to be changed.
func (e *Engine) Loops() []*Loop { return e.loops }

// Start runs the loops, each in a goroutine of its own that Stop ends.
func (e *Engine) Start() {
	e.started = true
	for _, l := range e.loops {
		go l.run()
	}
}

// Stop ends the loops and waits for them, also when they never started. Sessions are ended by their owners before;
// sockets still retiring and listeners are closed. It must not be called while a loop is paused.
func (e *Engine) Stop() {
	if !e.started {
		e.started = true
		e.abandon()
	}
	for _, l := range e.loops {
		l.stop.Store(true)
		l.Do(func() {}) // wakes it
	}
	for _, l := range e.loops {
		<-l.done
	}
	e.spots.close()
	e.spareMu.Lock()
	defer e.spareMu.Unlock()
	if e.spare >= 0 {
		unix.Close(e.spare)
		e.spare = -1
	}
}

// place picks the loop with the fewest sessions.
func (e *Engine) place() *Loop {
	best := e.loops[0]
	for _, l := range e.loops[1:] {
		if l.load.Load() < best.load.Load() {
			best = l
		}
	}
	return best
}

// Settle ends a session's claim to a backend descriptor that is still to come: once, when it has joined or will not.
// Any goroutine may call it.
func (l *Loop) Settle() { l.engine.fds.pending.Add(-1) }

// Leave takes a session off the loop's load, once, when it has ended or moved. Any goroutine may call it.
func (l *Loop) Leave() { l.load.Add(-1) }

// Move adds a session that came from another loop or process. Any goroutine may call it.
func (l *Loop) Move() { l.load.Add(1) }

// Retired is how many sockets are being closed politely.
func (l *Loop) Retired() int { return len(l.retired.list) }

// OpenFDs is the number of session sockets open now. Any goroutine may ask.
func (e *Engine) OpenFDs() int { return int(e.fds.open.Load()) }

// Pending is the number of sessions that may still want a backend socket. Any goroutine may ask.
func (e *Engine) Pending() int { return int(e.fds.pending.Load()) }

// bugEvery is how often a bug is logged: what a peer can do once it can do with every connection.
const bugEvery = time.Second

// bug reports a broken invariant that cost one session, with the stack that led there. `count` tells how many it stands for.
func (e *Engine) bug(doing string, cause any) {
	if count := e.bugs.pass(doing, time.Now()); count > 0 && e.log != nil {
		e.log.Error("bug in event loop", "doing", doing, "err", fmt.Sprint(cause), "stack", string(debug.Stack()), "count", count)
	}
}

// bugs counts broken invariants by what was being done, of which there are few.
type bugs struct {
	mu    sync.Mutex
	kinds map[string]*storm // guarded by mu
}

type storm struct {
	next     time.Time // when the following line may be written
	unlogged int
}

// pass counts one more, and returns how many a line that is due now stands for; 0: none is due.
func (b *bugs) pass(doing string, now time.Time) (count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.kinds[doing]
	if s == nil {
		s = &storm{}
		b.kinds[doing] = s
	}
	s.unlogged++
	if now.Before(s.next) {
		return 0
	}
	count, s.unlogged, s.next = s.unlogged, 0, now.Add(bugEvery)
	return count
}

func (e *Engine) refillSpare() {
	e.spareMu.Lock()
	defer e.spareMu.Unlock()
	if e.spare < 0 {
		if fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			e.spare = fd
		}
	}
	e.missing.Store(e.spare < 0)
}

// turnAwayWithSpare closes the spare descriptor, accepts one newcomer into its place, and refuses it. It tells whether
// there was a spare. Somebody else may get the number first; then the spare is missing until descriptors are free again.
func (e *Engine) turnAwayWithSpare(ln *Listener) bool {
	e.spareMu.Lock()
	fd := e.spare
	if fd >= 0 {
		unix.Close(fd)
		e.spare = -1
		if c, _, err := unix.Accept4(ln.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC); err == nil {
			turnAway(c, ln)
		}
	}
	e.spareMu.Unlock()
	e.refillSpare()
	return fd >= 0
}
