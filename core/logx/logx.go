package logx

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Format is the form of log lines.
type Format uint8

// The formats (SPEC 2.1 log_format).
const (
	Text Format = iota
	JSON
)

// queueBytes is how much formatted text may wait for the writer by default: about 4,000 lines. The writer's own buffer
// can hold as much again.
const queueBytes = 1 << 20

// dropNotice is how often the writer mentions dropped lines at most.
const dropNotice = time.Second

// Options is what New needs.
type Options struct {
	// Writer is where the lines go; only the writer goroutine uses it. Required.
	Writer io.Writer
	// Format is text unless set.
	Format Format
	// Level is consulted for every line, so a *slog.LevelVar changes it live. Nil means info.
	Level slog.Leveler
	// QueueBytes bounds the text that waits for the writer. 0 means 1 MiB.
	QueueBytes int
}

// Log owns the queue and the writer goroutine behind a logger.
type Log struct {
	logger *slog.Logger
	queue  *queue
}

// New starts the writer goroutine, which Close stops.
func New(o Options) *Log {
	limit := o.QueueBytes
	if limit <= 0 {
		limit = queueBytes
	}
	q := newQueue(o.Writer, limit)
	q.notice = newNotice(handler(o.Format, o.Writer, o.Level))
	go q.write() // until Close
	return &Log{logger: slog.New(handler(o.Format, q, o.Level)), queue: q}
}

// Logger is safe for any goroutine, loops included: logging never waits for the writer.
func (l *Log) Logger() *slog.Logger { return l.logger }

// Line is l.LogAttrs for lines that come with every session: it does not look for the caller, which no handler of this package
// prints, and which takes as long to find as the line takes to format.
func Line(ctx context.Context, l *slog.Logger, level slog.Level, message string, attrs ...slog.Attr) {
	h := l.Handler()
	if !h.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, message, 0)
	r.AddAttrs(attrs...)
	_ = h.Handle(ctx, r) // slog drops it as well; the queue counts what is lost
}

// Dropped is how many lines were lost so far because the queue was full or the writer failed.
func (l *Log) Dropped() uint64 { return l.queue.dropped.Load() }

// Close writes what is queued and stops the writer goroutine; lines logged from now on are dropped and counted. It
// returns an error when ctx ends first: the writer is stuck then, and its goroutine ends when the write does.
func (l *Log) Close(ctx context.Context) error {
	l.queue.close()
	select {
	case <-l.queue.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flushing the log: %w", context.Cause(ctx))
	}
}

func handler(f Format, w io.Writer, level slog.Leveler) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	if f == JSON {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}
