package engine

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// event is one report of the kernel.
type event struct {
	tok   Token
	ready Ready
}

// poller is the part of a loop that differs between epoll and io_uring. Watching is edge-triggered in both directions
// unless it is for a listening socket.
type poller interface {
	watch(fd int, t Token) error       // starts; present readiness is reported as an event
	rewatch(fd int, t Token) error     // the same for one that may be watched already, under another token
	watchAccept(fd int, t Token) error // level-triggered, input only
	unwatch(fd int) error
	// wait sleeps until there is an event, until wake is called or was called since the last wait, or until a time of the
	// loop's clock; it may return early. 0 does not sleep, forever has no end. company says that goroutines are at work
	// beside the loops.
	wait(buf []event, until int64, company bool) (int, error)
	wake() // any goroutine may call it
	owe()  // goroutines have been woken that are to run: as if in company until the loop has given way to them
	// keepProcessor says whether the loop may keep its processor of the scheduler while it sleeps for a moment. Any goroutine may
	// call it.
	keepProcessor(allowed bool)
	close() error
}

// forever is a time that does not come.
const forever = math.MaxInt64

// edge is what every session socket is watched for. RDHUP is asked for so that an end is seen while reading is paused.
const edge = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// epoll implements poller by epoll(7). epoll_ctl(2) may be called from any goroutine. There are two ways to sleep.
//
// In company, the loop's goroutine sleeps on Go's poller, where an epoll lies that holds the loop's own: epoll descriptors
// can be watched like any other. A goroutine in a blocking epoll_wait(2) would keep a thread and a processor of the
// scheduler (GOMAXPROCS) until the runtime's monitor takes it away, and each event, each message and each answer would
// change threads. This way the goroutine that a loop wakes runs next on the same thread, and so does the loop when it is
// woken: 15 % of a login's CPU. Alone, it sleeps in epoll_wait(2), which is a fifth of the system calls for events: 20 % of a
// round trip's CPU (docs/benchmarks.md).
type epoll struct {
	fd      int
	bell    int // eventfd(2) in it, which ends an epoll_wait(2). It is never read: each write is an edge of its own
	buf     [256]unix.EpollEvent
	outer   *os.File // epoll for fd, in Go's poller
	outerFD int
	conn    syscall.RawConn // of outer

	// owned by the loop
	owed    bool            // since owe the loop's goroutine has not slept on Go's poller
	brisk   bool            // the last sleep alone was shorter than briskBelow
	told    int64           // when the scheduler last knew of one, in the loop's time
	nesting unix.EpollEvent // of what happens in fd outer is told this; here since what epoll_ctl(2) is given escapes
	end     int64           // the deadline that outer has, in the loop's time; 0: none, or one in the past
	look    func(uintptr) bool
	room    int // argument of look
	looks   int // calls of look
	n       int // results of look
	err     error

	mayKeep atomic.Bool // as keepProcessor said last: not every sleep has to be one that the scheduler knows of

	woken atomic.Bool // by wake, since the last wait
	alone atomic.Bool // the present or last sleep is in epoll_wait(2), and outer is told of nothing
}

func newEpoll() (_ *epoll, err error) {
	p := &epoll{fd: -1, bell: -1}
	p.look = p.found // once: a function made for each sleep would be garbage
	p.alone.Store(true)
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("creating eventfd: %w", err)
	}
	if err := p.ctl(unix.EPOLL_CTL_ADD, p.bell, unix.EPOLLIN|unix.EPOLLET, 0); err != nil {
		return nil, fmt.Errorf("watching eventfd: %w", err)
	}
	return p, p.open()
}

// open makes the outer epoll.
func (p *epoll) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("creating outer epoll: %w", err)
	}
	if p.outer, p.conn, err = intoGoPoller(fd); err != nil {
		return err
	}
	p.outerFD = fd
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, p.fd, &p.nesting); err != nil {
		return fmt.Errorf("putting an epoll into another: %w", err)
	}
	return nil
}

// nest has the outer epoll told of what happens in the inner one, or not. It was put there while it was empty: adding an
// epoll makes the kernel walk through everything in it, 60 ns each, under a lock of the whole machine, and may fail.
func (p *epoll) nest(in bool) error {
	if p.alone.Load() != in {
		return nil
	}
	p.nesting.Events = 0
	if in {
		p.nesting.Events = unix.EPOLLIN | unix.EPOLLET // what is there is reported
	}
	if err := epollCtl(p.outerFD, unix.EPOLL_CTL_MOD, p.fd, &p.nesting); err != nil {
		return err
	}
	p.alone.Store(!in)
	return nil
}

func (p *epoll) ctl(op, fd int, events uint32, t Token) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(t), Pad: int32(t >> 32)}
	return epollCtl(p.fd, op, fd, &ev)
}

func (p *epoll) watch(fd int, t Token) error { return p.ctl(unix.EPOLL_CTL_ADD, fd, edge, t) }
func (p *epoll) unwatch(fd int) error        { return p.ctl(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (p *epoll) rewatch(fd int, t Token) error {
	err := p.ctl(unix.EPOLL_CTL_MOD, fd, edge, t)
	if err == unix.ENOENT {
		err = p.watch(fd, t)
	}
	return err
}

func (p *epoll) close() (err error) {
	for _, fd := range []int{p.fd, p.bell} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	if p.outer != nil {
		err = errors.Join(err, p.outer.Close())
	}
	return err
}

func (p *epoll) watchAccept(fd int, t Token) error {
	return p.ctl(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, t)
}

func (p *epoll) wait(buf []event, until int64, company bool) (n int, err error) {
	room := min(len(buf), len(p.buf))
	switch {
	case until == 0:
		n, err = p.poll(room)
	case company || p.owed:
		n, err = p.sleep(room, until)
	default:
		n, err = p.sleepAlone(room, until)
	}
	if err != nil {
		return 0, fmt.Errorf("waiting for events: %w", err)
	}
	for i, ev := range p.buf[:n] {
		buf[i] = event{tok: Token(uint32(ev.Fd)) | Token(uint32(ev.Pad))<<32, ready: readiness(ev.Events)}
	}
	return n, nil
}

// poll asks without waiting.
func (p *epoll) poll(room int) (int, error) {
	n, err := p.ask(room, 0)
	if err == unix.EINTR {
		return 0, nil
	}
	return n, err
}

// ask is epoll_wait(2) without telling the scheduler.
func (p *epoll) ask(room, millis int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.buf[0])), uintptr(room), uintptr(millis), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// A loop whose sleeps are shorter than briskBelow does not tell the scheduler of them. The runtime's monitor would take its
// processor away after 20 us and look again every 20 us meanwhile: 6 % of a round trip's CPU. Goroutines that wait for a
// processor pay for it: they get one when the monitor interrupts the loop (after 10 ms), or once a sleep was long. A
// collection interrupts it, too, by the signal of preemption, which ends epoll_wait(2). Where loops outnumber processors, or
// have the only one, they would pay for each other: there all sleeps are told. A bound of 1 ms would cost as much as the monitor,
// since the kernel sets its clock anew for a timer before the next tick.
const (
	briskBelow = time.Millisecond
	untold     = 10 * time.Millisecond // at once, and in a row
)

// sleepAlone waits in epoll_wait(2). alone is set before woken is looked at: a wake that comes later rings the bell.
func (p *epoll) sleepAlone(room int, until int64) (n int, err error) {
	if err := p.nest(false); err != nil {
		return 0, err
	}
	if p.woken.Swap(false) {
		return p.poll(room)
	}
	began := monotonic()
	if p.brisk && p.mayKeep.Load() && began-p.told < int64(untold) {
		n, err = p.ask(room, min(millis(until), int(untold/time.Millisecond)))
	} else {
		n, err = unix.EpollWait(p.fd, p.buf[:room], millis(until))
		p.told = monotonic()
	}
	p.woken.Store(false)
	p.brisk = n > 0 && monotonic()-began < int64(briskBelow)
	if err == unix.EINTR {
		return 0, nil
	}
	return n, err
}

// millis is the time until then as epoll_wait(2) wants it, rounded up.
func millis(until int64) int {
	if until == forever {
		return -1
	}
	return int(max(until-monotonic(), 0)/1e6) + 1
}

// sleep waits on Go's poller. The deadline is set, and alone is reset, before woken is looked at: a wake that comes later
// moves the deadline.
func (p *epoll) sleep(room int, until int64) (n int, err error) {
	if err := p.nest(true); err != nil {
		return 0, err
	}
	p.endBy(until)
	if p.woken.Swap(false) {
		p.end = 0
		return p.poll(room)
	}
	p.room, p.looks, p.n, p.err = room, 0, 0, nil
	failed := p.conn.Read(p.look)
	if p.looks != 1 || failed != nil { // otherwise it did not sleep
		p.owed = false
	}
	switch {
	case errors.Is(failed, os.ErrDeadlineExceeded):
		p.end = 0
		p.woken.Store(false)
		return p.poll(room)
	case failed != nil:
		return 0, failed
	}
	return p.n, p.err
}

// found tells Go's poller whether there is anything to wake up for.
func (p *epoll) found(uintptr) bool {
	p.looks++
	p.n, p.err = p.poll(p.room)
	return p.n > 0 || p.err != nil
}

// endBy sees to it that the next sleep ends in time. An earlier deadline stays: sleep may return early.
func (p *epoll) endBy(until int64) {
	now := monotonic()
	if p.end > now && p.end <= until {
		return
	}
	if until == forever {
		p.end = forever
		p.outer.SetReadDeadline(time.Time{})
		return
	}
	p.end = until
	p.outer.SetReadDeadline(time.Now().Add(time.Duration(until - now)))
}

// longAgo is a deadline that has passed: setting it makes the sleeping goroutine ready without a system call.
var longAgo = time.Unix(1, 0)

func (p *epoll) owe() { p.owed = true }

func (p *epoll) keepProcessor(allowed bool) { p.mayKeep.Store(allowed) }

func (p *epoll) wake() {
	switch {
	case p.woken.Swap(true):
	case p.alone.Load():
		p.ring()
	default:
		p.outer.SetReadDeadline(longAgo)
	}
}

// ring ends an epoll_wait(2), the present one or the next.
func (p *epoll) ring() {
	one := [8]byte{1}
	for {
		if _, err := unix.Write(p.bell, one[:]); err != unix.EINTR {
			return // its counter has room for 2^64-2 of them (eventfd(2))
		}
	}
}

func readiness(ev uint32) (r Ready) {
	if ev&unix.EPOLLIN != 0 {
		r |= Readable
	}
	if ev&unix.EPOLLOUT != 0 {
		r |= Writable
	}
	if ev&unix.EPOLLRDHUP != 0 {
		r |= Readable | HangUp
	}
	if ev&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r |= Readable | Writable | Gone
	}
	return r
}
