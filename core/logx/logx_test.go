package logx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a writer that holds every write until it is opened.
type gate struct {
	open    chan struct{}
	entered chan struct{} // capacity 1: a write has begun
	mu      sync.Mutex
	b       bytes.Buffer
	err     error
}

func newGate() *gate { return &gate{open: make(chan struct{}), entered: make(chan struct{}, 1)} }

func (g *gate) Write(p []byte) (int, error) {
	select {
	case g.entered <- struct{}{}:
	default:
	}
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, g.err
	}
	return g.b.Write(p)
}

func (g *gate) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.String()
}

func closed(t *testing.T, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestFormats(t *testing.T) {
	tests := []struct {
		name   string
		format Format
		parts  []string
	}{
		{"text", Text, []string{"level=INFO", `msg="session ended"`, "account=al~12", `reason="two words"`}},
		{"json", JSON, []string{`"level":"INFO"`, `"msg":"session ended"`, `"account":"al~12"`, `"reason":"two words"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			l := New(Options{Writer: &b, Format: tt.format})
			l.Logger().Info("session ended", Account, "al~12", Reason, "two words")
			closed(t, l)
			for _, part := range tt.parts {
				if !strings.Contains(b.String(), part) {
					t.Errorf("got %s, want %s in it", &b, part)
				}
			}
		})
	}
}

func TestLevelIsLive(t *testing.T) {
	var b bytes.Buffer
	level := new(slog.LevelVar)
	l := New(Options{Writer: &b, Level: level})
	l.Logger().Debug("one")
	level.Set(slog.LevelDebug)
	l.Logger().Debug("two")
	closed(t, l)
	if got := b.String(); strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Errorf("got %s, want two alone", got)
	}
}

// Line writes what Logger.LogAttrs writes, in both formats, with the logger's own attributes, and nothing below the level.
func TestLine(t *testing.T) {
	moment := regexp.MustCompile(`"?time"?[=:]"?[^ ,"]+`)
	for _, f := range []Format{Text, JSON} {
		var b bytes.Buffer
		l := New(Options{Writer: &b, Format: f})
		with := l.Logger().With(Listener, "imap")
		with.LogAttrs(t.Context(), slog.LevelWarn, "session ended", slog.String(Account, "al~12"), slog.Int(BytesIn, 7))
		Line(t.Context(), with, slog.LevelWarn, "session ended", slog.String(Account, "al~12"), slog.Int(BytesIn, 7))
		Line(t.Context(), with, slog.LevelDebug, "never seen")
		closed(t, l)
		lines := strings.SplitAfter(moment.ReplaceAllString(b.String(), ""), "\n")
		if len(lines) != 3 || lines[0] != lines[1] || lines[2] != "" || !strings.Contains(lines[0], "al~12") {
			t.Errorf("got %q, want the same line twice", lines)
		}
	}
}

func TestForeignTextStaysOnItsLine(t *testing.T) {
	var b bytes.Buffer
	l := New(Options{Writer: &b})
	l.Logger().Info("x", Account, "a\nlevel=ERROR msg=forged\r\n\x1b[2J")
	closed(t, l)
	if got := b.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") {
		t.Errorf("got %q, want one clean line", got)
	}
}

func TestLoggingNeverWaitsForTheWriter(t *testing.T) {
	const limit = 1000
	g := newGate()
	l := New(Options{Writer: g, QueueBytes: limit})
	l.Logger().Info("first")
	<-g.entered // the writer is stuck with it
	for range 100 {
		l.Logger().Info("a line of some length", Reason, strings.Repeat("x", 40)) // would hang here if it waited
	}
	l.queue.mu.Lock()
	waiting := len(l.queue.pending)
	l.queue.mu.Unlock()
	if waiting == 0 || waiting > limit {
		t.Errorf("waiting bytes: got %d, want 1 to %d", waiting, limit)
	}
	dropped := l.Dropped()
	close(g.open)
	closed(t, l)
	text := g.String()
	written := strings.Count(text, "a line of some length")
	if dropped == 0 || int(dropped)+written != 100 {
		t.Errorf("got %d dropped and %d written, want 100 together", dropped, written)
	}
	if want := fmt.Sprintf(`msg="log lines dropped" count=%d`, dropped); !strings.Contains(text, want) {
		t.Errorf("got %s, want %s in it", text, want)
	}
}

func TestDropsAreToldInTheFormat(t *testing.T) {
	g := newGate()
	l := New(Options{Writer: g, Format: JSON, QueueBytes: 1})
	l.Logger().Info("longer than the queue")
	close(g.open)
	closed(t, l)
	var line map[string]any
	if err := json.Unmarshal([]byte(g.String()), &line); err != nil || line["msg"] != "log lines dropped" || line["count"] != 1.0 {
		t.Errorf("got %q, %v, want a JSON line about one dropped line", g, err)
	}
}

func TestFailedWritesCount(t *testing.T) {
	g := newGate()
	g.err = errors.New("disk full")
	l := New(Options{Writer: g})
	close(g.open)
	for range 5 {
		l.Logger().Info("x")
	}
	closed(t, l)
	if got := l.Dropped(); got != 5 {
		t.Errorf("got %d, want 5", got)
	}
}

func TestCloseHasADeadline(t *testing.T) {
	g := newGate()
	l := New(Options{Writer: g})
	l.Logger().Info("x")
	<-g.entered
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("too late"))
	if err := l.Close(ctx); err == nil || err.Error() != "flushing the log: too late" {
		t.Errorf("got %v, want flushing the log: too late", err)
	}
	close(g.open)
	closed(t, l) // again, and the line is not lost
	if !strings.Contains(g.String(), "msg=x") {
		t.Errorf("got %q, want the line", g)
	}
	l.Logger().Info("after the end")
	if got := l.Dropped(); got != 1 {
		t.Errorf("dropped: got %d, want 1", got)
	}
}

func TestAStormsBufferIsGivenBack(t *testing.T) {
	g := newGate()
	q := newQueue(g, 1<<20)
	go q.write() // until close
	q.Write(bytes.Repeat([]byte("x"), 2*keepBytes))
	<-g.entered // with the storm alone, which becomes the spare buffer
	q.Write([]byte("x\n"))
	close(g.open)
	<-g.entered // the second batch was taken, and the spare buffer put in its place
	q.mu.Lock()
	got := cap(q.pending)
	q.mu.Unlock()
	if got > keepBytes {
		t.Errorf("got a spare buffer of %d bytes, want at most %d", got, keepBytes)
	}
	q.close()
	<-q.done
}

func TestManyLoggers(t *testing.T) {
	var b bytes.Buffer
	l := New(Options{Writer: &b})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				l.Logger().Info("x", "i", i, "j", j)
			}
		})
	}
	wg.Wait()
	closed(t, l)
	if got := strings.Count(b.String(), "\n"); got != 1600 {
		t.Errorf("got %d lines, want 1600", got)
	}
}

func TestRedactor(t *testing.T) {
	tests := []struct{ name, account, letters string }{
		{"address", "alice@example.org", "al"},
		{"no domain", "alice", "al"},
		{"two letters and a domain", "al@example.org", "a"},
		{"two letters", "al", "a"},
		{"one letter", "a@example.org", ""},
		{"no local part", "@example.org", ""},
		{"not ASCII", "äöü@example.org", "äö"},
		{"not UTF-8", "\xff\xfe\xfd", "\xff\xfe"},
	}
	r := NewRedactor(Redacted)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			letters, hash, _ := strings.Cut(r.Account(tt.account), "~")
			if letters != tt.letters || len(hash) != 2*hashBytes {
				t.Errorf("got %s and a hash of %d digits, want %s and %d", letters, len(hash), tt.letters, 2*hashBytes)
			}
		})
	}
}

func TestRedactorHashes(t *testing.T) {
	r, other := NewRedactor(Redacted), NewRedactor(Redacted)
	a := r.Account("alice@example.org")
	if got := r.Account("alice@example.org"); got != a {
		t.Errorf("the same account: got %s and %s", a, got)
	}
	if got := r.Account("alice@example.com"); got == a {
		t.Errorf("another account looks the same: %s", got)
	}
	if got := other.Account("alice@example.org"); got == a {
		t.Errorf("another process's hash is the same: %s", got)
	}
}

func TestRedactorEdges(t *testing.T) {
	tests := []struct {
		name          string
		r             *Redactor
		account, want string
	}{
		{"whole", NewRedactor(Whole), "alice@example.org", "alice@example.org"},
		{"nothing to redact", NewRedactor(Redacted), "", ""},
		{"none", nil, "alice@example.org", "~"},
	}
	for _, tt := range tests {
		if got := tt.r.Account(tt.account); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestThrottle(t *testing.T) {
	start := time.Unix(0, 0)
	tests := []struct {
		name  string
		after []time.Duration
		want  string // one letter per event
	}{
		{"the first passes", []time.Duration{0}, "y"},
		{"a storm", []time.Duration{0, 0, 1, 999 * time.Millisecond}, "ynnn"},
		{"the next period", []time.Duration{0, time.Second, time.Second}, "yyn"},
		{"a long silence", []time.Duration{0, time.Hour, time.Hour}, "yyn"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			th, got := Every(time.Second), ""
			for _, d := range tt.after {
				if th.Allow(start.Add(d)) {
					got += "y"
				} else {
					got += "n"
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if n, want := th.Suppressed(), uint64(strings.Count(tt.want, "n")); n != want || th.Suppressed() != 0 {
				t.Errorf("suppressed: got %d, want %d and then 0", n, want)
			}
		})
	}
}

func BenchmarkInfo(b *testing.B) {
	l := New(Options{Writer: io.Discard})
	defer l.Close(context.Background())
	b.ReportAllocs()
	for b.Loop() {
		l.Logger().LogAttrs(context.Background(), slog.LevelInfo, "login", slog.String(Protocol, "imap"),
			slog.String(Destination, "legacy"), slog.Duration(Duration, time.Second), slog.String(Reason, "logout"))
	}
}

func BenchmarkRedact(b *testing.B) {
	r := NewRedactor(Redacted)
	b.ReportAllocs()
	for b.Loop() {
		r.Account("alice@example.org")
	}
}
