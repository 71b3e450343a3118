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
	rewatch(fd int, t Token) error     // the same for a watched descriptor, under another token
	watchAccept(fd int, t Token) error // level-triggered, input only
	unwatch(fd int) error
	// wait sleeps until there is an event, until wake is called or was called since the last wait, or until a time of the
	// loop's clock; it may return early. 0 does not sleep, forever has no end.
	wait(buf []event, until int64) (int, error)
	wake() // any goroutine may call it
	close() error
}

// forever is a time that does not come.
const forever = math.MaxInt64

// edge is what every session socket is watched for. RDHUP is asked for so that an end is seen while reading is paused.
const edge = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// epoll implements poller by epoll(7). epoll_ctl(2) may be called from any goroutine.
//
// A loop's goroutine sleeps on Go's poller, in which the epoll descriptor itself lies: epoll descriptors can be watched like
// any other. A goroutine in a blocking epoll_wait(2) would keep a thread and a processor of the scheduler (GOMAXPROCS)
// until the runtime's monitor takes it away, and each event, each message and each answer would change threads. This way
// the goroutine that a loop wakes runs next on the same thread, and so does the loop when it is woken. Measured: 15 % of a
// login's CPU (docs/benchmarks.md).
type epoll struct {
	fd   int
	buf  [256]unix.EpollEvent
	file *os.File // of fd, for its place in Go's poller
	conn syscall.RawConn

	// owned by the loop
	end  int64 // the deadline that file has, in the loop's time; 0: none, or one in the past
	look func(uintptr) bool
	room int // argument of look
	n    int // results of look
	err  error

	woken atomic.Bool // by wake, since the last wait
}

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // what makes os.NewFile put it into Go's poller
		unix.Close(fd)
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	p := &epoll{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if err := p.file.SetReadDeadline(time.Time{}); err != nil { // it is not there
		p.file.Close()
		return nil, fmt.Errorf("watching epoll: %w", err)
	}
	if p.conn, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, fmt.Errorf("watching epoll: %w", err)
	}
	p.look = p.found // once: a function made for each sleep would be garbage
	return p, nil
}

func (p *epoll) ctl(op, fd int, events uint32, t Token) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(t), Pad: int32(t >> 32)}
	return unix.EpollCtl(p.fd, op, fd, &ev)
}

func (p *epoll) watch(fd int, t Token) error   { return p.ctl(unix.EPOLL_CTL_ADD, fd, edge, t) }
func (p *epoll) rewatch(fd int, t Token) error { return p.ctl(unix.EPOLL_CTL_MOD, fd, edge, t) }
func (p *epoll) unwatch(fd int) error          { return p.ctl(unix.EPOLL_CTL_DEL, fd, 0, 0) }
func (p *epoll) close() error                  { return p.file.Close() }

func (p *epoll) watchAccept(fd int, t Token) error {
	return p.ctl(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, t)
}

func (p *epoll) wait(buf []event, until int64) (n int, err error) {
	room := min(len(buf), len(p.buf))
	if until == 0 {
		n, err = p.poll(room)
	} else {
		n, err = p.sleep(room, until)
	}
	if err != nil {
		return 0, fmt.Errorf("waiting for events: %w", err)
	}
	for i, ev := range p.buf[:n] {
		buf[i] = event{tok: Token(uint32(ev.Fd)) | Token(uint32(ev.Pad))<<32, ready: readiness(ev.Events)}
	}
	return n, nil
}

// poll asks without waiting, so that the scheduler need not be told.
func (p *epoll) poll(room int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.buf[0])), uintptr(room), 0, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, errno
}

// sleep waits on Go's poller. The deadline is set before woken is looked at: a wake that comes later moves it.
func (p *epoll) sleep(room int, until int64) (n int, err error) {
	p.endBy(until)
	if p.woken.Swap(false) {
		p.end = 0
		return p.poll(room)
	}
	p.room, p.n, p.err = room, 0, nil
	failed := p.conn.Read(p.look)
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
		p.file.SetReadDeadline(time.Time{})
		return
	}
	p.end = until
	p.file.SetReadDeadline(time.Now().Add(time.Duration(until - now)))
}

// longAgo is a deadline that has passed: setting it makes the sleeping goroutine ready without a system call.
var longAgo = time.Unix(1, 0)

func (p *epoll) wake() {
	if !p.woken.Swap(true) {
		p.file.SetReadDeadline(longAgo)
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
