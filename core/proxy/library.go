package proxy

import (
	"bytes"
	"log/slog"
	"time"

	"mailsplice/core/logx"
)

// LibraryLog takes what libraries write to the standard logger of package log, which is one for the whole process: each
// line becomes a line of the proxy's log, at most one a second.
func (p *Proxy) LibraryLog() *LibraryLog {
	return &LibraryLog{log: p.logger, every: logx.Every(time.Second)}
}

// LibraryLog is an io.Writer for log.SetOutput.
type LibraryLog struct {
	log   *slog.Logger
	every *logx.Throttle
}

// Write logs one line. It never fails.
func (l *LibraryLog) Write(line []byte) (int, error) {
	if l.every.Allow(time.Now()) {
		l.log.Warn("message of a library", "text", string(bytes.TrimSpace(line)), logx.Count, 1+l.every.Suppressed())
	}
	return len(line), nil
}
