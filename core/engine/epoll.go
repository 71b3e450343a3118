package engine

import (
	"fmt"

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
	watchAccept(fd int, t Token) error // level-triggered, one loop woken per connection
	unwatch(fd int) error
	wait(buf []event, timeoutMillis int) (int, error)
	close() error
}

// edge is what every session socket is watched for. RDHUP is asked for so that an end is seen while reading is paused.
const edge = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// epoll implements poller by epoll(7). epoll_ctl(2) may be called from any goroutine.
type epoll struct {
	fd  int
	buf [256]unix.EpollEvent
}

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	return &epoll{fd: fd}, nil
}

func (p *epoll) ctl(op, fd int, events uint32, t Token) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(t), Pad: int32(t >> 32)}
	return unix.EpollCtl(p.fd, op, fd, &ev)
}

func (p *epoll) watch(fd int, t Token) error   { return p.ctl(unix.EPOLL_CTL_ADD, fd, edge, t) }
func (p *epoll) rewatch(fd int, t Token) error { return p.ctl(unix.EPOLL_CTL_MOD, fd, edge, t) }
func (p *epoll) unwatch(fd int) error          { return p.ctl(unix.EPOLL_CTL_DEL, fd, 0, 0) }
func (p *epoll) close() error                  { return unix.Close(p.fd) }

func (p *epoll) watchAccept(fd int, t Token) error {
	return p.ctl(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, t)
}

func (p *epoll) wait(buf []event, timeoutMillis int) (int, error) {
	n, err := unix.EpollWait(p.fd, p.buf[:min(len(buf), len(p.buf))], timeoutMillis)
	if err == unix.EINTR {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("waiting for events: %w", err)
	}
	for i, ev := range p.buf[:n] {
		buf[i] = event{tok: Token(uint32(ev.Fd)) | Token(uint32(ev.Pad))<<32, ready: readiness(ev.Events)}
	}
	return n, nil
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
