package scenario

import (
	"context"
	"flag"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/report"
)

var preauth = Scenario{Name: "preauth", Short: "connections that have not logged in", Bind: bindPreauth}

type preauthOptions struct {
	kinds  words
	steps  counts
	settle time.Duration
}

func bindPreauth(f *flag.FlagSet) Measure {
	o := preauthOptions{kinds: words{[]string{"silent", "greeted"}, []string{"silent", "greeted"}}, steps: counts{2000, 8500}}
	f.Var(&o.kinds, "kinds", "silent: nothing is sent, not even TLS; greeted: TLS is done (if the leg has it) and the greeting read")
	f.Var(&o.steps, "connections", "numbers of connections at which to look")
	f.DurationVar(&o.settle, "settle", time.Minute, "time from the last connection of a step to the look; no collection is forced")
	return func(ctx context.Context, env Env) (list []report.Figure, err error) {
		for _, kind := range o.kinds.list {
			figures, err := measurePreauth(ctx, env, o, kind)
			if err != nil {
				return nil, err
			}
			list = append(list, figures...)
		}
		return list, nil
	}
}

func measurePreauth(ctx context.Context, env Env, o preauthOptions, kind string) ([]report.Figure, error) {
	if err := rising(env, o.steps, 1); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, measureTimeout+o.settle*time.Duration(len(o.steps)))
	defer cancel()
	s, err := setUp(ctx, env)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	g := growth{what: kind + " connection", prefix: kind + ": ", settle: o.settle, stage: s, note: env.Note}
	if err := g.begin(); err != nil {
		return nil, err
	}
	have := 0
	for _, n := range o.steps {
		env.Note("%s connections up to %d", kind, n)
		if _, err := onAll(s.Clients, func(k int, c *load.Clients) (load.Reply, error) {
			first, count := share(n-have, len(s.Clients), k)
			return c.Preauth(ctx, load.PreauthArgs{Target: s.Target(), First: have + first, Count: count, AtOnce: 32, Silent: kind == "silent"})
		}); err != nil {
			return nil, err
		}
		have = n
		if err := g.step(ctx, n); err != nil {
			return nil, err
		}
	}
	return g.result(2), nil
}
