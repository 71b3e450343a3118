package scenario

import (
	"context"
	"flag"
	"fmt"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/measure"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

var wave = Scenario{Name: "wave", Short: "a line to all idle sessions at once", Bind: bindWave}

type waveOptions struct {
	sessions int
	settle   time.Duration
	within   time.Duration
}

func bindWave(f *flag.FlagSet) Measure {
	var o waveOptions
	f.IntVar(&o.sessions, "sessions", 5000, "idle sessions")
	f.DurationVar(&o.settle, "settle", 20*time.Second, "time from the last login to the wave, and from the wave to the last look")
	f.DurationVar(&o.within, "within", time.Minute, "time for all sessions to see the line")
	return func(ctx context.Context, env Env) ([]report.Figure, error) { return measureWave(ctx, env, o) }
}

func measureWave(ctx context.Context, env Env, o waveOptions) ([]report.Figure, error) {
	if err := rising(env, counts{o.sessions}, 2); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, measureTimeout+2*o.settle+o.within)
	defer cancel()
	s, err := setUp(ctx, env)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := open(ctx, s, 0, o.sessions, true); err != nil {
		return nil, err
	}
	env.Note("%d sessions, settling for %v", o.sessions, o.settle)
	if err := wait(ctx, o.settle); err != nil {
		return nil, err
	}
	before, err := s.Usage()
	if err != nil {
		return nil, err
	}
	if err := resetPeaks(s); err != nil {
		return nil, err
	}
	var r load.Reply
	cpu, err := spent(s, func() (err error) {
		r, err = roll(ctx, s, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	peak, err := peaks(s)
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, o.settle); err != nil {
		return nil, err
	}
	after, err := s.Usage()
	return append(latencies("delivery ", r.Latency),
		report.Figure{Name: "delivery to the last", Unit: "us", Value: micros(r.Latency.Quantile(1), 1)},
		report.Figure{Name: "CPU per line", Unit: "us", Value: micros(cpu, r.Done)},
		report.Figure{Name: "RSS before", Unit: "MB", Value: megabytes(before.RSSBytes)},
		report.Figure{Name: "RSS at the peak", Unit: "MB", Value: megabytes(peak)},
		report.Figure{Name: "RSS settled", Unit: "MB", Value: megabytes(after.RSSBytes)}), err
}

// roll makes every session wait, and the backends write to all of them.
func roll(ctx context.Context, s *stage.Stage, o waveOptions) (load.Reply, error) {
	pushed := make(chan error, 1)
	go func() { // ends with the calls
		pushed <- push(ctx, s, o.sessions)
	}()
	r, err := onAll(s.Clients, func(_ int, c *load.Clients) (load.Reply, error) {
		return c.Await(ctx, load.AwaitArgs{Within: o.within})
	})
	if e := <-pushed; err == nil {
		err = e
	}
	return r, err
}

func push(ctx context.Context, s *stage.Stage, want int) error {
	sent := 0
	for _, b := range s.Backends {
		n, err := b.Push(ctx, fmt.Sprintf("* OK pushed %d", time.Now().UnixNano()))
		if err != nil {
			return err
		}
		sent += n
	}
	if sent != want {
		return fmt.Errorf("the line went to %d sessions, want %d", sent, want)
	}
	return nil
}

func resetPeaks(s *stage.Stage) error {
	for _, pid := range s.Proxy.Pids() {
		if err := measure.ResetPeak(pid); err != nil {
			return err
		}
	}
	return nil
}

func peaks(s *stage.Stage) (sum int64, err error) {
	for _, pid := range s.Proxy.Pids() {
		n, err := measure.Peak(pid)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
