package engine

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// wake ends the sleep that is and the one that comes next, and a deadline that has passed ends one, too. Neither costs the
// sleep after it. All of it in both ways to sleep.
func TestPollerWakesAndTimesOut(t *testing.T) {
	for _, company := range []bool{true, false} {
		p := newPoller(t)
		woken := make(chan error, 1)
		sleep := func(until int64) { // ends with the wake below
			_, err := p.wait(make([]event, 1), until, company)
			woken <- err
		}
		for _, c := range []struct {
			name string
			do   func()
		}{
			{"before", func() { p.wake(); go sleep(forever) }},
			{"meanwhile", func() { go sleep(forever); p.wake() }},
			{"twice", func() { p.wake(); p.wake(); go sleep(forever) }},
			{"deadline", func() { go sleep(monotonic() + 1e6) }},
			{"deadline passed", func() { go sleep(1) }},
			{"deadline behind one", func() { go sleep(monotonic() + 2e6) }},
		} {
			t.Run(fmt.Sprintf("%s, company %v", c.name, company), func(t *testing.T) {
				c.do()
				check(t, receive(t, "the end of the sleep", woken))
			})
		}
		a, b := streamPair(t)
		defer closeAll(a, b)
		check(t, p.watch(a, 1))
		eventually(t, "an event comes behind them all", func() bool {
			buf := make([]event, 2)
			n, err := p.wait(buf, forever, company)
			check(t, err)
			return slices.ContainsFunc(buf[:n], func(e event) bool { return e.tok == 1 })
		})
	}
}

// However a poller sleeps, and whatever way it slept in before: no wake is lost, and none is needed twice.
func TestPollerLosesNoWake(t *testing.T) {
	const rounds = 5000
	p := newPoller(t)
	var asked, seen atomic.Int64
	done := make(chan error, 1)
	answered := make(chan struct{}, 1)
	go func() { // ends with the last round, or an error
		buf := make([]event, 16)
		for n := uint64(1); seen.Load() < rounds; n++ {
			if _, err := p.wait(buf, forever, n*n%7 < 3); err != nil {
				done <- err
				return
			}
			if a := asked.Load(); a > seen.Load() {
				seen.Store(a)
				answered <- struct{}{}
			}
		}
		done <- nil
	}()
	for range rounds {
		asked.Add(1)
		p.wake()
		receive(t, "the poller to wake up", answered)
	}
	check(t, receive(t, "the last round", done))
}

// However a poller sleeps, and whatever way it slept in before, no event is lost, also one of the time in between.
func TestPollerSeesEveryEdge(t *testing.T) {
	p := newPoller(t)
	a, b := streamPair(t)
	defer closeAll(a, b)
	check(t, p.watch(a, 1))
	heard := make(chan error, 1)
	buf, byteOf := make([]event, 4), make([]byte, 8)
	for n := range uint64(500) {
		if n%2 == 0 {
			check(t, writeAll(b, []byte("x"))) // before the poller changes its way
		}
		go func() { // ends with the event
			for {
				got, err := p.wait(buf, forever, n*n%7 < 3)
				if err != nil || slices.ContainsFunc(buf[:got], func(e event) bool { return e.tok == 1 && e.ready&Readable != 0 }) {
					heard <- err
					return
				}
			}
		}()
		if n%2 == 1 {
			check(t, writeAll(b, []byte("x"))) // perhaps while it sleeps
		}
		check(t, receive(t, "the event", heard))
		if got := must(unix.Read(a, byteOf)); got != 1 {
			t.Fatalf("read %d bytes, want 1", got)
		}
	}
}
