package scenario

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

var cutover = Scenario{Name: "cutover", Short: "accounts that move to another backend while connected", Bind: bindCutover}

type cutoverOptions struct {
	accounts, atOnce int
	within           time.Duration
}

func bindCutover(f *flag.FlagSet) Measure {
	var o cutoverOptions
	f.IntVar(&o.accounts, "accounts", 500, "accounts, a connected session each, all on one backend at first")
	f.IntVar(&o.atOnce, "at-once", 4, "calls of the admin API in progress")
	f.DurationVar(&o.within, "within", 5*time.Minute, "time for all of them")
	return func(ctx context.Context, env Env) ([]report.Figure, error) { return measureCutover(ctx, env, o) }
}

func measureCutover(ctx context.Context, env Env, o cutoverOptions) ([]report.Figure, error) {
	if err := rising(env, counts{o.accounts}, 2); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, measureTimeout+o.within)
	defer cancel()
	env.Backends, env.Clients = 2, 1
	env.Destination = func(int) int { return 0 }
	s, err := setUp(ctx, env)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	mover, ok := s.Proxy.(stage.Mover)
	if !ok {
		return nil, fmt.Errorf("%w: no call that moves an account", ErrCannot)
	}
	if _, err := open(ctx, s, 0, o.accounts, true); err != nil {
		return nil, err
	}
	env.Note("moving %d connected accounts, %d at once", o.accounts, o.atOnce)
	var r load.Reply
	var took time.Duration
	cpu, err := spent(s, func() (err error) {
		r, took, err = moveAndFollow(ctx, s, mover, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	if landed := r.Homes[stage.BackendName(1)]; landed != o.accounts {
		return nil, fmt.Errorf("%d of %d accounts came back to the new backend", landed, o.accounts)
	}
	return append([]report.Figure{
		{Name: "CPU per account", Unit: "us", Value: micros(cpu, o.accounts)},
		{Name: "accounts", Unit: "1/s", Value: perSecond(o.accounts, took)},
	}, latencies("from the end to the new login ", r.Latency)...), nil
}

// moveAndFollow moves every account, while the clients wait for their end and come back.
func moveAndFollow(ctx context.Context, s *stage.Stage, m stage.Mover, o cutoverOptions) (r load.Reply, took time.Duration, err error) {
	start := time.Now()
	errs := make([]error, o.atOnce)
	var wg sync.WaitGroup
	for w := range o.atOnce {
		wg.Go(func() { errs[w] = moveShare(ctx, m, w, o) }) // ends with its share of the accounts
	}
	r, err = completed(s.Clients[0].Follow(ctx, load.FollowArgs{Target: s.Target(), Within: o.within}))
	wg.Wait()
	return r, time.Since(start), errors.Join(append(errs, err)...)
}

func moveShare(ctx context.Context, m stage.Mover, w int, o cutoverOptions) error {
	for i := w; i < o.accounts; i += o.atOnce {
		if err := m.Move(ctx, load.Account(i), 0, 1); err != nil {
			return err
		}
	}
	return nil
}
