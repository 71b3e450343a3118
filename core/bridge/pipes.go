package bridge

import (
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
)

const (
	// MaxPipes is how many pipes a process keeps at most (DESIGN 4).
	MaxPipes = 128
	// pipeBytes is what a pipe is asked to hold. It bounds the pages, each of which may hold little: spliceBytes of a TCP
	// stream that came in small segments need more pages than 256 KiB have.
	pipeBytes = 1 << 20
	// minPipeBytes is what a user over his quota of pipe pages must still get for a pipe to be of use.
	minPipeBytes = 256 << 10
	// spliceBytes is what one move takes at most: the budget of one event, and what a Parcel can carry.
	spliceBytes = 256 << 10
	// pipeRetry is how long a loop does without after it was refused a pipe, in nanoseconds.
	pipeRetry = 10e9
)

// Pipes bounds the pipes of all loops together. Any goroutine may use it.
type Pipes struct {
	limit int64
	made  atomic.Int64
}

// NewPipes makes a bound; 0 forbids splicing.
func NewPipes(limit int) *Pipes { return &Pipes{limit: int64(limit)} }

// Open is the number of pipes open now.
func (g *Pipes) Open() int { return int(g.made.Load()) }

func (g *Pipes) reserve() bool {
	if g.made.Add(1) <= g.limit {
		return true
	}
	g.made.Add(-1)
	return false
}

// pipe is a pipe that a move goes through, or that keeps what a leg has not taken.
type pipe struct {
	engine.Pipe
	held int // bytes in it
}

// pipes is one loop's pool. A pipe in it is empty: what a session leaves in one is never met by another.
type pipes struct {
	loop    *engine.Loop
	shared  *Pipes
	free    []*pipe
	retryAt int64  // no pipe is made before; 0: try
	spliced uint64 // bytes that went through, for tests
}

// take is an empty pipe, or nil when none can be had.
func (t *pipes) take() *pipe {
	if n := len(t.free); n > 0 {
		p := t.free[n-1]
		t.free = t.free[:n-1]
		return p
	}
	if t.loop.Now() < t.retryAt || !t.shared.reserve() {
		return nil
	}
	made, err := t.loop.OpenPipe(minPipeBytes, pipeBytes)
	if err != nil {
		t.shared.made.Add(-1)
		t.retryAt = t.loop.Now() + pipeRetry
		return nil
	}
	return &pipe{Pipe: made}
}

// give takes a pipe back. One that is not empty is closed with what it holds; and when there can be no more, a loop keeps one
// at most, so that none starves another.
func (t *pipes) give(p *pipe) {
	if p.held == 0 && (len(t.free) == 0 || t.shared.made.Load() < t.shared.limit) {
		t.free = append(t.free, p)
		return
	}
	t.discard(p)
}

func (t *pipes) discard(p *pipe) {
	t.loop.ClosePipe(p.Pipe)
	t.shared.made.Add(-1)
}

// close ends the pool; pipes that are not in it are discarded by whoever has them.
func (t *pipes) close() {
	for _, p := range t.free {
		t.discard(p)
	}
	t.free = nil
}

// splice moves bytes between a socket and a pipe without copying them; never waits for either (splice(2)). A peer that has
// gone is EPIPE: the signal that comes with it is ignored by the Go runtime.
func splice(from, to, n int) (int, error) {
	for {
		moved, err := unix.Splice(from, nil, to, nil, n, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return max(int(moved), 0), err
		}
	}
}

// fill moves up to n bytes from a socket into p. EAGAIN does not say which end is not ready, but only an empty pipe is
// filled: it is the socket.
func (p *pipe) fill(fd, n int) (int, error) {
	got, err := splice(fd, p.W, n)
	p.held += got
	return got, err
}

// drain moves what p holds to a socket until that takes no more. err is not EAGAIN.
func (p *pipe) drain(fd int) error {
	for p.held > 0 {
		n, err := splice(p.R, fd, p.held)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF // never seen; it would spin
		}
		p.held -= n
	}
	return nil
}

// read empties p into buf, which has room for it all. It does not fail: the bytes are there.
func (p *pipe) read(buf []byte) []byte {
	for p.held > 0 {
		n, err := unix.Read(p.R, buf[len(buf):len(buf)+p.held])
		if err != nil && err != unix.EINTR || n == 0 {
			panic(fmt.Sprintf("bug: reading a pipe that holds %d bytes: %v", p.held, err))
		}
		buf = buf[:len(buf)+max(n, 0)]
		p.held -= max(n, 0)
	}
	return buf
}
