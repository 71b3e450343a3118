package scenario

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

var idle = Scenario{Name: "idle", Short: "memory and CPU of joined sessions that say nothing", Bind: bindIdle}

func bindIdle(f *flag.FlagSet) Measure {
	steps := counts{2000, 8500}
	f.Var(&steps, "sessions", "numbers of sessions at which to look")
	settle := f.Duration("settle", 3*time.Minute, "time from the last login of a step to the look; no collection is forced")
	return func(ctx context.Context, env Env) ([]report.Figure, error) {
		return measureIdle(ctx, env, steps, *settle)
	}
}

func measureIdle(ctx context.Context, env Env, steps counts, settle time.Duration) ([]report.Figure, error) {
	if err := rising(env, steps, 2); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, measureTimeout+settle*time.Duration(len(steps)))
	defer cancel()
	env.Accounts = max(stage.MaxAccounts, slices.Max(steps)) // each session's is in the mapping
	s, err := setUp(ctx, env)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	g := growth{what: "session", settle: settle, stage: s, note: env.Note}
	if err := g.begin(); err != nil {
		return nil, err
	}
	have := 0
	for _, n := range steps {
		env.Note("logging in up to %d", n)
		cpu, err := spent(s, func() error {
			_, err := open(ctx, s, have, n-have, true)
			return err
		})
		if err != nil {
			return nil, err
		}
		g.add(fmt.Sprintf("CPU per login up to %d", n), "us", micros(cpu, n-have))
		have = n
		if err := g.step(ctx, n); err != nil {
			return nil, err
		}
	}
	env.Note("a NOOP on each of %d", have)
	var answers load.Reply
	cpu, err := spent(s, func() (err error) {
		answers, err = sweep(ctx, s, have)
		return err
	})
	if err != nil {
		return nil, err
	}
	list := append(g.result(4),
		report.Figure{Name: "sessions that answered a NOOP at the end", Value: float64(answers.Done)},
		report.Figure{Name: "CPU to end IDLE, NOOP and idle again", Unit: "us", Value: micros(cpu, answers.Done)})
	lanes, err := laneFigures(ctx, s)
	return append(list, lanes...), err
}

// sweep makes every idle session answer a NOOP, which shows that it is still there.
func sweep(ctx context.Context, s *stage.Stage, want int) (load.Reply, error) {
	const atOnce = 32 // of all processes together
	r, err := onAll(s.Clients, func(_ int, c *load.Clients) (load.Reply, error) {
		return c.Sweep(ctx, load.SweepArgs{AtOnce: max(atOnce/len(s.Clients), 1)})
	})
	if err == nil && r.Done != want {
		err = fmt.Errorf("%d sessions answered a NOOP, want %d", r.Done, want)
	}
	return r, err
}

// rising checks steps: each above the one before, the last within what the processes can hold: so many descriptors each of
// the proxy's, one of the clients' and backends'.
func rising(env Env, steps counts, descriptors int) error {
	limit, err := stage.MaxSessions()
	if err != nil {
		return err
	}
	files := limit * 2 // of a process
	limit = min(files/descriptors*max(env.Processes, 1), files*max(env.Clients, 1), files*max(env.Backends, 1))
	if !slices.IsSorted(steps) || len(slices.Compact(slices.Clone(steps))) != len(steps) {
		return fmt.Errorf("steps: found %s, allowed rising numbers", steps.String())
	}
	if top := steps[len(steps)-1]; top > limit {
		return fmt.Errorf("steps: found %d, allowed at most %d with so many processes (RLIMIT_NOFILE)", top, limit)
	}
	return nil
}
