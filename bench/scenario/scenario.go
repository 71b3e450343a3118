package scenario

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

// Scenario is one thing to measure.
type Scenario struct {
	Name, Short string
	// Bind declares the scenario's flags and returns what measures one proxy once; it is called after they are parsed.
	Bind func(f *flag.FlagSet) Measure
}

// Measure measures the proxy of env once.
type Measure func(ctx context.Context, env Env) ([]report.Figure, error)

// Env is what all scenarios share: the stage to set up, and where to say what is going on.
type Env struct {
	stage.Options
	Note func(format string, args ...any)
}

// ErrCannot is returned for a proxy that has no way to do what the scenario measures.
var ErrCannot = stage.ErrCannot

// All is every scenario, in the order of the package's comment.
func All() []Scenario {
	return []Scenario{idle, ping, login, bulk, flood, preauth, wave, churn, cutover}
}

// measureTimeout bounds one measurement beyond what its flags ask for.
const measureTimeout = 15 * time.Minute

// counts is a flag with whole numbers, separated by commas.
type counts []int

func (c *counts) String() string {
	words := make([]string, len(*c))
	for i, n := range *c {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

func (c *counts) Set(text string) error {
	*c = nil
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return fmt.Errorf("found %q, allowed numbers above 0 with commas between", text)
		}
		*c = append(*c, n)
	}
	return nil
}

// words is a flag with words of a closed set, separated by commas.
type words struct {
	list    []string
	allowed []string
}

func (w *words) String() string { return strings.Join(w.list, ",") }

func (w *words) Set(text string) error {
	w.list = strings.Split(text, ",")
	for _, word := range w.list {
		if !slices.Contains(w.allowed, word) {
			return fmt.Errorf("found %q, allowed %s", word, strings.Join(w.allowed, ", "))
		}
	}
	return nil
}

// share is the part of n numbers that goes to process k of several: the first of them, and how many.
func share(n, processes, k int) (first, count int) {
	first = n * k / processes
	return first, n*(k+1)/processes - first
}

// onAll makes all client processes do something at the same time, and adds up what they say. A failure of any part is an
// error.
func onAll(clients []*load.Clients, do func(k int, c *load.Clients) (load.Reply, error)) (sum load.Reply, err error) {
	replies, errs := make([]load.Reply, len(clients)), make([]error, len(clients))
	var wg sync.WaitGroup
	for k, c := range clients {
		wg.Go(func() { replies[k], errs[k] = do(k, c) }) // ends with the call
	}
	wg.Wait()
	for _, r := range replies {
		sum.Merge(r)
	}
	if err := errors.Join(errs...); err != nil {
		return sum, err
	}
	return sum, complete(sum)
}

var errFailures = errors.New("the load met failures")

func complete(r load.Reply) error {
	if r.Failed > 0 {
		return fmt.Errorf("%w: %d beside %d successes, the first: %s", errFailures, r.Failed, r.Done, r.Error)
	}
	return nil
}

// completed is complete for a call's results.
func completed(r load.Reply, err error) (load.Reply, error) {
	if err != nil {
		return r, err
	}
	return r, complete(r)
}

// open logs in sessions from number first on, and waits until the backends have so many in all: one that has ended may be counted
// for a moment longer.
func open(ctx context.Context, s *stage.Stage, first, count int, idle bool) (load.Reply, error) {
	const atOnce = 64 // of all processes together
	r, err := onAll(s.Clients, func(k int, c *load.Clients) (load.Reply, error) {
		begin, n := share(count, len(s.Clients), k)
		return c.Open(ctx, load.OpenArgs{Target: s.Target(), First: first + begin, Count: n, AtOnce: max(atOnce/len(s.Clients), 1), Idle: idle})
	})
	if err != nil {
		return r, err
	}
	return r, settled(ctx, s, first+count)
}

// settled waits until the backends have so many sessions.
func settled(ctx context.Context, s *stage.Stage, want int) error {
	const pause, tries = 50 * time.Millisecond, 200
	joined := 0
	for range tries {
		var err error
		if joined, err = s.Joined(ctx); err != nil || joined == want {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
	return fmt.Errorf("the backends still have %d sessions, want %d", joined, want)
}

// wait pauses unless ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// spent is the CPU time that the proxy uses during do.
func spent(s *stage.Stage, do func() error) (time.Duration, error) {
	before, err := s.CPU()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := s.CPU()
	return after - before, err
}

// micros is a duration in microseconds, for each of n.
func micros(d time.Duration, n int) float64 {
	return float64(d) / float64(time.Microsecond) / float64(n)
}

// perSecond is how many a second.
func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

// megabytes is bytes in units of 2^20.
func megabytes(n int64) float64 { return float64(n) / (1 << 20) }
