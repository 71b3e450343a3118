package logx

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// every is how often lines are written at most: a storm of them in few system calls, a single one at once.
const every = 10 * time.Millisecond

// keepBytes is how large a drained buffer may stay; a storm's buffer goes back to the collector.
const keepBytes = 64 << 10

// queue takes whole lines without ever blocking on the writer behind it. Two buffers change places: lines are appended to
// one while the writer goroutine writes the other out.
type queue struct {
	// immutable after newQueue
	out    io.Writer
	limit  int // bytes that may wait in pending
	notice *notice
	wake   chan struct{} // capacity 1
	ending chan struct{} // closed by close
	done   chan struct{} // closed when the writer goroutine has ended

	dropped atomic.Uint64

	mu sync.Mutex
	// guarded by mu
	pending []byte
	closed  bool
}

func newQueue(out io.Writer, limit int) *queue {
	return &queue{out: out, limit: limit, wake: make(chan struct{}, 1), ending: make(chan struct{}), done: make(chan struct{})}
}

// Write takes one formatted line, or drops it. It never fails: a logger has nobody to tell.
func (q *queue) Write(line []byte) (int, error) {
	if !q.push(line) {
		q.dropped.Add(1)
		return len(line), nil
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

func (q *queue) push(line []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.pending)+len(line) > q.limit {
		return false
	}
	q.pending = append(q.pending, line...)
	return true
}

// take exchanges the pending lines for spare. It reports whether the queue was closed before that.
func (q *queue) take(spare []byte) (lines []byte, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, q.pending = q.pending, spare[:0]
	return lines, q.closed
}

func (q *queue) close() {
	q.mu.Lock()
	closed := q.closed
	q.closed = true
	q.mu.Unlock()
	if !closed {
		close(q.ending)
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// write is the writer goroutine. It ends when the queue is closed and empty.
func (q *queue) write() {
	defer close(q.done)
	var spare []byte
	pause := time.NewTimer(0)
	defer pause.Stop()
	for range q.wake {
		select {
		case <-pause.C:
		case <-q.ending:
		}
		lines, closed := q.take(spare)
		if len(lines) > 0 {
			if _, err := q.out.Write(lines); err != nil {
				q.dropped.Add(uint64(bytes.Count(lines, []byte{'\n'})))
			}
		}
		q.notice.tell(q.dropped.Load(), closed)
		if closed {
			return
		}
		if spare = lines; cap(spare) > keepBytes {
			spare = nil
		}
		pause.Reset(every)
	}
}

// notice writes a line about dropped lines past the queue; owned by the writer goroutine.
type notice struct {
	handler slog.Handler
	every   *Throttle
	told    uint64
}

func newNotice(h slog.Handler) *notice { return &notice{handler: h, every: Every(dropNotice)} }

// tell mentions drops that were not mentioned yet, at most once a second unless this is the last chance.
func (n *notice) tell(dropped uint64, last bool) {
	if n == nil || dropped == n.told || !n.handler.Enabled(context.Background(), slog.LevelWarn) {
		return
	}
	now := time.Now()
	if !n.every.Allow(now) && !last {
		return
	}
	r := slog.NewRecord(now, slog.LevelWarn, "log lines dropped", 0)
	r.AddAttrs(slog.Uint64(Count, dropped-n.told))
	n.told = dropped
	_ = n.handler.Handle(context.Background(), r) // it goes to the same writer that may just have failed
}
