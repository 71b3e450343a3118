package engine

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sleeping is how a poller is made to sleep.
type sleeping int

const (
	inCompany   sleeping = iota
	alone                // in a system call that the scheduler knows of
	untoldAlone          // in one that it does not know of
	sleepings
)

func (w sleeping) String() string { return []string{"in company", "alone", "alone, untold"}[w] }

// sleep waits in that way.
func (w sleeping) sleep(p *epoll, buf []event, until int64) (int, error) {
	p.brisk, p.told = w == untoldAlone, monotonic()
	p.keepProcessor(w == untoldAlone)
	return p.wait(buf, until, w == inCompany)
}

// wake ends the sleep that is and the one that comes next, and a deadline that has passed ends one, too. Neither costs the
// sleep after it. All of it in every way to sleep.
func TestPollerWakesAndTimesOut(t *testing.T) {
	for w := range sleepings {
		p := newPoller(t)
		woken := make(chan error, 1)
		sleep := func(until int64) { // ends with the wake below
			_, err := w.sleep(p, make([]event, 1), until)
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
			t.Run(fmt.Sprintf("%s, %v", c.name, w), func(t *testing.T) {
				c.do()
				check(t, receive(t, "the end of the sleep", woken))
			})
		}
		a, b := streamPair(t)
		defer closeAll(a, b)
		check(t, p.watch(a, 1))
		eventually(t, "an event comes behind them all", func() bool {
			buf := make([]event, 2)
			n, err := w.sleep(p, buf, forever)
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
			if _, err := sleeping(n*n%7%uint64(sleepings)).sleep(p, buf, forever); err != nil {
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
				got, err := sleeping(n*n%7%uint64(sleepings)).sleep(p, buf, forever)
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

// A loop that sleeps untold holds up no collection: the signal of preemption ends its epoll_wait(2), and the scheduler asks again if
// the signal came a moment too early.
func TestFactCollectionInterruptsUntoldSleep(t *testing.T) {
	p := newPoller(t)
	var over atomic.Bool
	slept := make(chan error, 1)
	go func() { // ends when over, which the bell tells
		for !over.Load() {
			if _, err := p.ask(1, int(10*patience/time.Millisecond)); err != nil && err != unix.EINTR {
				slept <- err
				return
			}
		}
		slept <- nil
	}()
	collected := make(chan error, 1)
	go func() { // ends with the collections
		for range 20 {
			runtime.GC()
		}
		collected <- nil
	}()
	check(t, receive(t, "twenty collections", collected))
	over.Store(true)
	p.ring()
	check(t, receive(t, "the end of the sleep", slept))
}

// A loop whose sleeps are short stops telling the scheduler, where it may, and tells it again when one is long.
func TestBriskLoopSleepsUntold(t *testing.T) {
	p := newPoller(t)
	a, b := streamPair(t)
	defer closeAll(a, b)
	check(t, p.watch(a, 1))
	buf := make([]event, 4)
	// tells has it sleep briskly once and reports whether the scheduler was told.
	tells := func() bool {
		eventually(t, "a short sleep makes it brisk", func() bool {
			check(t, writeAll(b, []byte("x")))
			must(p.wait(buf, forever, false))
			return p.brisk
		})
		p.told = monotonic()
		told := p.told
		check(t, writeAll(b, []byte("x")))
		must(p.wait(buf, forever, false))
		return p.told != told
	}
	if !tells() {
		t.Error("it slept untold where it may not")
	}
	p.keepProcessor(true)
	eventually(t, "it sleeps untold where it may", func() bool { return !tells() })
	eventually(t, "it is brisk", func() bool { tells(); return p.brisk })
	must(p.wait(buf, monotonic()+2e6, false))
	if p.brisk {
		t.Error("it is brisk behind a sleep in which nothing came")
	}
}

// What a loop does for goroutines that wait makes it give way to them: at the next sleep that is one, not when an event is there at once.
func TestLoopGivesWay(t *testing.T) {
	l := must(newLoop(startRig(t, 1).Engine, 0))
	defer l.poll.close()
	poll := l.poll.(*epoll)
	ours, peer := streamPair(t)
	defer unix.Close(peer)
	p := must(l.adopt(ours, nil))
	defer p.Close()
	buf := make([]event, 4)
	for _, c := range []struct {
		name string
		do   func()
		want bool
	}{
		{"an event for a Park", func() { l.parks.Ready(MakeToken(l.parks.kind, p.key, 0), Readable) }, true},
		{"an event for nobody", func() { l.parks.Ready(MakeToken(l.parks.kind, p.key+1, 0), Readable) }, false},
		{"a notice", func() { p.Notice(Readable) }, true},
		{"a message", func() { l.Do(func() {}); l.receive() }, true},
		{"no message", func() { l.receive() }, false},
		{"an event at once", func() {
			l.poll.owe()
			check(t, writeAll(peer, []byte("x")))
			must(l.poll.wait(buf, forever, false))
		}, true},
		{"a sleep", func() { l.poll.owe(); must(l.poll.wait(buf, monotonic()+2e6, false)) }, false},
	} {
		for poll.owed { // one that is woken is over at once
			must(l.poll.wait(buf, monotonic()+1e6, false))
		}
		if c.do(); poll.owed != c.want {
			t.Errorf("%s: got %v, want %v", c.name, poll.owed, c.want)
		}
	}
}
