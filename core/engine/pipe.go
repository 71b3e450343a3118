package engine

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errNoRoom is an OpenPipe that would take the descriptors of a session.
var errNoRoom = errors.New("no descriptors left for it")

// Pipe is a pipe between two calls of splice(2). Both ends are non-blocking, and no loop watches them.
type Pipe struct {
	R, W int
	// Bytes is what fcntl(2) F_GETPIPE_SZ says. A page of a socket's data takes a page of it, however little is on it.
	Bytes int
}

// OpenPipe makes a pipe of at least minBytes, and of wantBytes if the kernel allows: a user has a quota of pipe pages, above
// which pipes shrink (pipe(7), pipe-user-pages-soft). Its two descriptors are accounted for. It belongs to the loop's
// goroutine, like ClosePipe.
func (l *Loop) OpenPipe(minBytes, wantBytes int) (Pipe, error) {
	d := &l.engine.fds
	if !d.room() {
		return Pipe{}, fmt.Errorf("making a pipe: %w", errNoRoom)
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return Pipe{}, fmt.Errorf("making a pipe: %w", err)
	}
	d.pipes.Add(2)
	p := Pipe{R: fds[0], W: fds[1]}
	for _, n := range []int{wantBytes, minBytes} {
		if _, err := unix.FcntlInt(uintptr(p.W), unix.F_SETPIPE_SZ, n); err == nil {
			break // EPERM: more than this user may have
		}
	}
	var err error
	if p.Bytes, err = unix.FcntlInt(uintptr(p.W), unix.F_GETPIPE_SZ, 0); err == nil && p.Bytes < minBytes {
		err = fmt.Errorf("it holds %d bytes, wanted are %d", p.Bytes, minBytes)
	}
	if err != nil {
		l.ClosePipe(p)
		return Pipe{}, fmt.Errorf("making a pipe: %w", err)
	}
	return p, nil
}

// ClosePipe closes both ends; what is in the pipe is lost.
func (l *Loop) ClosePipe(p Pipe) {
	unix.Close(p.R)
	unix.Close(p.W)
	l.engine.fds.pipes.Add(-2)
}

// PipeFDs is the number of descriptors that pipes have open now. Any goroutine may ask.
func (e *Engine) PipeFDs() int { return int(e.fds.pipes.Load()) }
