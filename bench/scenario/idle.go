package scenario

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"time"

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
	if err := rising(steps, 2); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, measureTimeout+settle*time.Duration(len(steps)))
	defer cancel()
	s, err := stage.Open(ctx, env.Options)
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
	return g.result(4), nil
}

// rising checks steps: each above the one before, the last within what a process with so many descriptors each can hold.
func rising(steps counts, descriptors int) error {
	limit, err := stage.MaxSessions()
	if err != nil {
		return err
	}
	limit = min(limit*2/descriptors, stage.MaxAccounts)
	if !slices.IsSorted(steps) || len(slices.Compact(slices.Clone(steps))) != len(steps) {
		return fmt.Errorf("steps: found %s, allowed rising numbers", steps.String())
	}
	if top := steps[len(steps)-1]; top > limit {
		return fmt.Errorf("steps: found %d, allowed at most %d here (RLIMIT_NOFILE)", top, limit)
	}
	return nil
}
