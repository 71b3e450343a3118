package engine

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A loop that watches a login's backend socket is woken for each answer only to wake the goroutine that waits for it, and
// for each that the goroutine had read already. So a Park of Adopt waits by itself, at a spot: an epoll for one socket, in
// Go's poller. Spots are kept for the next logins. There are no more than maxSpots, and none is made when descriptors are
// scarce; logins beyond that are watched by their loop.
const (
	maxSpots     = 128
	maxIdleSpots = 32
)

// call is a system call that does not wait, to be tried again whenever its socket may be ready for it.
type call struct {
	verb   verb
	p      []byte // to receive into, or to transmit
	events int16  // to poll for
}

type verb uint8

const (
	toReceive verb = iota
	toTransmit
	toPoll
)

// try makes the call. EAGAIN: the socket is not ready for it.
func (c *call) try(fd int) (n int, err error) {
	for {
		switch c.verb {
		case toReceive:
			n, err = Receive(fd, c.p)
		case toTransmit:
			n, err = Transmit(fd, c.p)
		default:
			n, err = pollOnce(fd, c.events)
		}
		if err != unix.EINTR {
			return n, err
		}
	}
}

// spot is where one goroutine waits for one socket. It belongs to a Park, or waits to.
type spot struct {
	fd   int             // the epoll
	file *os.File        // of fd, in Go's poller
	conn syscall.RawConn // of file
	look func(uintptr) bool
	end  time.Time // the deadline of file; guarded by the Park's mu

	// the call in progress
	call   call
	socket int
	n      int
	err    error
}

func newSpot() (*spot, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	s := &spot{fd: fd}
	s.look = s.tried // once: a function made for each call would be garbage
	if s.file, s.conn, err = intoGoPoller(fd); err != nil {
		return nil, err
	}
	return s, nil
}

// intoGoPoller has Go's poller watch an epoll, which the file owns from now on. On an error it is closed.
func intoGoPoller(fd int) (*os.File, syscall.RawConn, error) {
	if err := unix.SetNonblock(fd, true); err != nil { // what makes os.NewFile put it into Go's poller
		unix.Close(fd)
		return nil, nil, fmt.Errorf("watching epoll: %w", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	if err := file.SetReadDeadline(time.Time{}); err != nil { // it is not there
		file.Close()
		return nil, nil, fmt.Errorf("watching epoll: %w", err)
	}
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("watching epoll: %w", err)
	}
	return file, conn, nil
}

// watch begins with a socket.
func (s *spot) watch(socket int, _ Token) error {
	return epollCtl(s.fd, unix.EPOLL_CTL_ADD, socket, &unix.EpollEvent{Events: edge})
}

// unwatch ends with a socket. What its last edges still bring about wakes nobody, or the next goroutine once too often.
func (s *spot) unwatch(socket int) { epollCtl(s.fd, unix.EPOLL_CTL_DEL, socket, nil) }

// perform makes a call as soon as the socket lets it. Nobody ever asks the epoll what has happened: each edge of the socket
// wakes the goroutine, which finds out by the call.
func (s *spot) perform(p *Park, c call) (int, error) {
	if err := s.endBy(p); err != nil {
		return 0, err
	}
	s.call, s.socket = c, p.fd
	failed := s.conn.Read(s.look)
	s.call.p = nil
	switch {
	case failed == nil:
		return s.n, s.err
	case errors.Is(failed, os.ErrDeadlineExceeded):
		failed = os.ErrDeadlineExceeded
	}
	if err := p.cut(); err != nil {
		return 0, err
	}
	return 0, failed
}

// tried tells Go's poller whether the call in progress is done.
func (s *spot) tried(uintptr) bool {
	s.n, s.err = s.call.try(s.socket)
	return s.err != unix.EAGAIN
}

// endBy sets the Park's deadline, unless it was interrupted.
func (s *spot) endBy(p *Park) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.interrupted {
		return ErrInterrupted
	}
	if s.end != p.deadline {
		s.end = p.deadline
		return s.file.SetReadDeadline(s.end)
	}
	return nil
}

// interrupt ends the goroutine's call. The Park's mu is held.
func (s *spot) interrupt() {
	s.end = longAgo
	s.file.SetReadDeadline(longAgo)
}

// spots are an engine's. Any goroutine may use them.
type spots struct {
	fds *descriptors // immutable

	mu     sync.Mutex
	idle   []*spot
	inUse  int
	closed bool
}

// take gives a spot, or nil: then the loop has to watch.
func (ss *spots) take() *spot {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if n := len(ss.idle); n > 0 {
		s := ss.idle[n-1]
		ss.idle = ss.idle[:n-1]
		ss.inUse++
		return s
	}
	if ss.closed || ss.inUse == maxSpots || !ss.fds.room() {
		return nil
	}
	s, err := newSpot()
	if err != nil { // the loop needs nothing more
		return nil
	}
	ss.fds.spots.Add(1)
	ss.inUse++
	return s
}

// give takes a spot back whose socket is watched no more, or about to be closed.
func (ss *spots) give(s *spot) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.inUse--
	if ss.closed || len(ss.idle) == maxIdleSpots {
		ss.shut(s)
		return
	}
	ss.idle = append(ss.idle, s)
}

// close closes the idle ones; the others are when they come back.
func (ss *spots) close() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.closed = true
	for _, s := range ss.idle {
		ss.shut(s)
	}
	ss.idle = nil
}

func (ss *spots) shut(s *spot) {
	s.file.Close()
	ss.fds.spots.Add(-1)
}
