package engine

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInterrupted is returned by a Park's calls after somebody called Interrupt.
var ErrInterrupted = errors.New("interrupted")

// Park is a socket in the hands of one goroutine: how a login talks to a backend in blocking style. The Park owns the
// descriptor until Close or Detach. Read, Write, the waits, Close and Detach belong to that goroutine, and after Keep or Pair
// to two, of which one only reads and the other only writes; Interrupt may be called by anybody at any time.
type Park struct {
	loop *Loop
	key  uint32
	ways [2]way // reading, writing

	mu          sync.Mutex
	fd          int // -1 after Close and Detach
	interrupted bool
	spot        *spot // where the goroutine waits, which alone changes it; nil: the loop watches and tells

	deadline time.Time // of the waits; zero: none
}

// way is one direction's waiting.
type way struct {
	wake  chan struct{} // capacity 1: a wake-up that comes before the wait is not lost
	timer *time.Timer
}

const (
	reading = iota
	writing
)

func newPark(l *Loop, fd int) *Park {
	p := &Park{loop: l, fd: fd}
	for i := range p.ways {
		p.ways[i].wake = make(chan struct{}, 1)
	}
	return p
}

// Adopt takes a non-blocking socket and lends it to the calling goroutine. The loop does not watch it before Keep, or until
// it goes on itself, by Detach and Rewatch. On an error fd is closed. Any goroutine may call it.
func (l *Loop) Adopt(fd int) (*Park, error) { return l.adopt(fd, l.engine.spots.take()) }

// adopt is Adopt with a spot, or without one by the loop.
func (l *Loop) adopt(fd int, s *spot) (*Park, error) {
	l.engine.fds.opened(1)
	p := newPark(l, fd)
	watch := l.poll.watch
	if s != nil {
		p.spot, watch = s, s.watch
	}
	if err := l.parks.add(p, watch); err != nil {
		l.Close(fd)
		if s != nil {
			l.engine.spots.give(s)
		}
		return nil, fmt.Errorf("adopting socket: %w", err)
	}
	return p, nil
}

// Lend gives a descriptor that the loop watches to a goroutine, for a dialogue in blocking style. Its handler goes on being
// told of it, and passes that on by Notice until it goes on itself, by Detach: with a read, since what was reported meanwhile
// is not reported again, and with Rewatch if that was an end. On an error nothing has changed.
func (l *Loop) Lend(fd int) (*Park, error) {
	p := newPark(l, fd)
	if err := l.parks.add(p, nil); err != nil {
		return nil, fmt.Errorf("lending socket: %w", err)
	}
	return p, nil
}

// Notice tells a Park of Lend what its descriptor is ready for. Only the loop calls it.
func (p *Park) Notice(r Ready) {
	p.loop.poll.owe()
	p.signal(r)
}

// Keep has the loop watch the socket for the Park alone: from now on two goroutines may use it, one that reads and one that
// writes. The descriptor of Lend is not to come back to the handler.
func (p *Park) Keep() error {
	if err := p.loop.parks.keep(p); err != nil {
		return fmt.Errorf("keeping socket: %w", err)
	}
	p.mu.Lock()
	s := p.spot
	p.spot = nil
	p.mu.Unlock()
	if s != nil {
		s.unwatch(p.fd)
		p.loop.engine.spots.give(s)
	}
	return nil
}

// Pair makes two connected sockets: an end for the loop, which watches it next, and one for a goroutine.
func (l *Loop) Pair() (end int, p *Park, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	l.engine.fds.opened(1)
	if p, err = l.adopt(fds[1], nil); err != nil {
		l.Close(fds[0])
		return -1, nil, err
	}
	return fds[0], p, nil
}

// FD is the descriptor, for socket options. It stays owned by the Park.
func (p *Park) FD() int { return p.fd }

// SetDeadline bounds the calls that start afterwards; they fail with os.ErrDeadlineExceeded. Zero lifts the bound.
func (p *Park) SetDeadline(t time.Time) { p.deadline = t }

// Read reads at least one byte, waiting as needed. io.EOF is left to the caller: n is 0 and err nil at the end of input.
func (p *Park) Read(b []byte) (int, error) {
	n, err := p.perform(reading, call{verb: toReceive, p: b})
	if err != nil {
		return 0, p.blame("reading", err)
	}
	return n, p.cut()
}

// Write writes all of b, waiting as needed.
func (p *Park) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := p.perform(writing, call{verb: toTransmit, p: b[done:]})
		if err != nil {
			return done, p.blame("writing", err)
		}
		done += n
	}
	return done, nil
}

// WaitWrite waits until the socket can be written or has failed: the end of a non-blocking connect(2).
func (p *Park) WaitWrite() error { return p.waitFor(writing, unix.POLLOUT) }

// WaitRead waits until there is something, an end or an error, to be read.
func (p *Park) WaitRead() error { return p.waitFor(reading, unix.POLLIN) }

// WaitGone waits until both directions are shut, by the peer or otherwise. Only the reading goroutine may call it.
func (p *Park) WaitGone() error { return p.waitFor(reading, 0) }

// CloseWrite ends the output; input goes on.
func (p *Park) CloseWrite() error {
	if err := Shut(p.fd, unix.SHUT_WR); err != nil {
		return p.blame("shutting", err)
	}
	return nil
}

func (p *Park) waitFor(dir int, what int16) error {
	if _, err := p.perform(dir, call{verb: toPoll, events: what}); err != nil {
		return p.blame("polling", err)
	}
	return p.cut()
}

// perform makes a call as soon as the socket lets it.
func (p *Park) perform(dir int, c call) (int, error) {
	if p.spot != nil {
		return p.spot.perform(p, c)
	}
	for {
		if n, err := c.try(p.fd); err != unix.EAGAIN {
			return n, err
		}
		if err := p.wait(dir); err != nil {
			return 0, err
		}
	}
}

// wait sleeps until something about the socket changed. It may return early; callers try again.
func (p *Park) wait(dir int) error {
	w := &p.ways[dir]
	if err := p.cut(); err != nil {
		return err
	}
	if p.deadline.IsZero() {
		<-w.wake
		return p.cut()
	}
	d := time.Until(p.deadline)
	if d <= 0 {
		return os.ErrDeadlineExceeded
	}
	if w.timer == nil {
		w.timer = time.NewTimer(d)
	} else {
		w.timer.Reset(d)
	}
	defer w.timer.Stop()
	select {
	case <-w.wake:
		return p.cut()
	case <-w.timer.C:
		return os.ErrDeadlineExceeded
	}
}

// cut tells whether somebody has interrupted.
func (p *Park) cut() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.interrupted {
		return ErrInterrupted
	}
	return nil
}

// blame prefers the interruption to the error that the shutdown made.
func (p *Park) blame(doing string, err error) error {
	if _, ok := err.(unix.Errno); !ok {
		return err // of the wait
	}
	if cut := p.cut(); cut != nil {
		return cut
	}
	return fmt.Errorf("%s socket: %w", doing, err)
}

// Interrupt shuts the socket down and wakes its goroutine, which then closes it. After Detach and Close it does nothing.
func (p *Park) Interrupt() {
	p.mu.Lock()
	if p.fd >= 0 {
		p.interrupted = true
		Shut(p.fd, unix.SHUT_RDWR) // ENOTCONN while connecting: the flag and the wake-up do it
		if p.spot != nil {
			p.spot.interrupt()
		}
	}
	p.mu.Unlock()
	p.signal(Gone)
}

// concerns is what each way waits for.
var concerns = [2]Ready{reading: Readable | HangUp | Gone, writing: Writable | Gone}

// signal wakes whoever waits for r. Nobody else: a wake-up that is not taken ends the next wait for nothing.
func (p *Park) signal(r Ready) {
	for i := range p.ways {
		if r&concerns[i] == 0 {
			continue
		}
		select {
		case p.ways[i].wake <- struct{}{}:
		default:
		}
	}
}

// Close closes the socket. Further calls do nothing.
func (p *Park) Close() error {
	if fd := p.Detach(); fd >= 0 {
		p.loop.Close(fd)
	}
	return nil
}

// Detach gives the descriptor up to the caller, who is the loop (which goes on with Rewatch) or about to hand it there.
// It returns -1 when it was closed or given up before.
func (p *Park) Detach() int {
	p.mu.Lock()
	fd, s := p.fd, p.spot
	p.fd, p.spot = -1, nil
	p.mu.Unlock()
	if fd >= 0 {
		p.loop.parks.remove(p.key)
	}
	if s != nil {
		s.unwatch(fd)
		p.loop.engine.spots.give(s)
	}
	return fd
}

// parkTable finds the Park that an event is for. It is the one table of a loop that other goroutines change.
type parkTable struct {
	kind Kind
	loop *Loop

	mu     sync.Mutex
	byKey  map[uint32]*Park
	last   uint32
	closed bool
}

func (pt *parkTable) init(l *Loop) { pt.loop, pt.byKey = l, map[uint32]*Park{} }

// add files p under a key that no Park of the near past had, so that a late event wakes nobody else's goroutine. watch may
// be nil. It watches under the lock: a loop that stops closes its poller only after interruptAll.
func (pt *parkTable) add(p *Park, watch func(int, Token) error) error {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if pt.closed {
		return os.ErrClosed
	}
	for {
		pt.last++
		if _, taken := pt.byKey[pt.last]; !taken && pt.last != 0 {
			break
		}
	}
	p.key = pt.last
	if watch != nil {
		if err := watch(p.fd, MakeToken(pt.kind, p.key, 0)); err != nil {
			return err
		}
	}
	pt.byKey[p.key] = p
	return nil
}

// keep watches a lent descriptor under the key that it has.
func (pt *parkTable) keep(p *Park) error {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if pt.closed {
		return os.ErrClosed
	}
	return pt.loop.poll.rewatch(p.fd, MakeToken(pt.kind, p.key, 0))
}

func (pt *parkTable) remove(key uint32) {
	pt.mu.Lock()
	delete(pt.byKey, key)
	pt.mu.Unlock()
}

// Ready wakes the goroutine; it finds out by itself what has changed.
func (pt *parkTable) Ready(t Token, r Ready) {
	pt.mu.Lock()
	p := pt.byKey[t.Index()]
	pt.mu.Unlock()
	if p != nil {
		p.Notice(r)
	}
}

func (pt *parkTable) Due(Token) int64   { return 0 }
func (pt *parkTable) Failed(Token, any) {}

// interruptAll ends every login in progress and refuses further ones.
func (pt *parkTable) interruptAll() {
	pt.mu.Lock()
	pt.closed = true
	parks := make([]*Park, 0, len(pt.byKey))
	for _, p := range pt.byKey {
		parks = append(parks, p)
	}
	pt.mu.Unlock()
	for _, p := range parks {
		p.Interrupt()
	}
}
