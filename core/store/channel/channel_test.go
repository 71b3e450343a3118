package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errReset = errors.New("connection reset")

// ending is how one Listen goes.
type ending struct {
	up   bool
	last time.Duration // until err
	err  error
}

var (
	refused = ending{false, 0, errReset}
	lacking = ending{false, 0, fmt.Errorf("RESP2 only: %w", ErrNone)}
	brief   = ending{true, time.Second, errReset}
	steady  = ending{true, time.Hour, errReset}
)

// played is a channel whose Listen follows a script and then works for ever.
type played struct {
	mu     sync.Mutex
	script []ending
	said   []string
	starts []time.Time
}

func (p *played) say(word string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, word)
}

func (p *played) listen(ctx context.Context, up func()) error {
	e := ending{up: true, last: 1000 * time.Hour}
	p.mu.Lock()
	p.starts = append(p.starts, time.Now())
	if len(p.script) > 0 {
		e, p.script = p.script[0], p.script[1:]
	}
	p.mu.Unlock()
	if e.up {
		up()
	}
	timer := time.NewTimer(e.last)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return e.err
	}
}

// play runs a script for so long and closes the channel.
func play(script []ending, long time.Duration) (p *played, log string) {
	var b bytes.Buffer
	p = &played{script: script}
	c := Open(Options{Source: "test", Listen: p.listen, Lost: func() { p.say("lost") }, Back: func() { p.say("back") },
		Logger: slog.New(slog.NewTextHandler(&b, nil))})
	time.Sleep(long) // of a bubble
	synctest.Wait()
	c.Close()
	return p, b.String()
}

func TestStates(t *testing.T) {
	for _, c := range []struct {
		name   string
		script []ending
		long   time.Duration
		want   string
		lines  int // of the log
	}{
		{"works", nil, time.Hour, "lost back", 1},
		{"not at first", []ending{refused, refused}, time.Hour, "lost back", 2},
		{"breaks", []ending{steady}, 2 * time.Hour, "lost back lost back", 3},
		{"flaps", []ending{brief, brief}, time.Hour, "lost back lost back lost back", 5},
		{"comes back late", []ending{steady, refused, refused, refused}, 2 * time.Hour, "lost back lost back", 3},
		{"none", slices.Repeat([]ending{lacking}, 100), time.Hour, "lost back", 1},
		{"none, then upgraded", []ending{lacking, lacking}, time.Hour, "lost back lost back", 2},
		{"none, then down, then none", []ending{lacking, refused, lacking, lacking}, 150 * time.Second, "lost back lost back", 3},
		{"works, then none", []ending{steady, lacking, lacking}, time.Hour + 2*time.Minute - time.Second, "lost back lost back", 3},
		{"down for long", slices.Repeat([]ending{refused}, 10_000), 200 * time.Second, "lost", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, log := play(c.script, c.long)
				if got := strings.Join(p.said, " "); got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
				if got := strings.Count(log, "\n"); got != c.lines {
					t.Errorf("got %d lines, want %d:\n%s", got, c.lines, log)
				}
			})
		})
	}
}

// Pauses grow from a tenth of a second to five seconds, and are short again after a time that went well.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := play(append(slices.Repeat([]ending{refused}, 12), steady, refused), 3*time.Hour)
		if len(p.starts) != 15 {
			t.Fatalf("got %d attempts, want 15", len(p.starts))
		}
		pause, was := firstPause, p.starts[0]
		for i, at := range p.starts[1:13] {
			if got := at.Sub(was); got < pause/2 || got > pause {
				t.Errorf("pause %d: got %v, want %v to %v", i, got, pause/2, pause)
			}
			pause, was = min(2*pause, longestPause), at
		}
		if got := p.starts[13].Sub(was) - time.Hour; got > firstPause {
			t.Errorf("after an hour that went well: got %v, want at most %v", got, firstPause)
		}
	})
}

// Close ends a Listen that waits, and one that pauses.
func TestClose(t *testing.T) {
	for _, script := range [][]ending{nil, {refused}, {lacking}} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := play(script, 10*time.Millisecond)
			n := len(p.said)
			time.Sleep(time.Hour) // of a bubble
			if len(p.said) != n || len(p.starts) != 1 {
				t.Errorf("something went on after Close: %v, %d attempts", p.said, len(p.starts))
			}
		})
	}
}
