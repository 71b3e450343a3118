package scenario

import (
	"context"
	"flag"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/report"
)

var churn = Scenario{Name: "churn", Short: "logins that come and go: what stays behind", Bind: bindChurn}

type churnOptions struct {
	sessions, atOnce int
	duration, settle time.Duration
}

func bindChurn(f *flag.FlagSet) Measure {
	var o churnOptions
	f.IntVar(&o.sessions, "sessions", 1000, "sessions that stay all the time")
	f.IntVar(&o.atOnce, "at-once", 16, "logins in progress")
	f.DurationVar(&o.duration, "for", time.Minute, "how long others come and go")
	f.DurationVar(&o.settle, "settle", 20*time.Second, "time before each look")
	return func(ctx context.Context, env Env) ([]report.Figure, error) { return measureChurn(ctx, env, o) }
}

func measureChurn(ctx context.Context, env Env, o churnOptions) ([]report.Figure, error) {
	const untilTheEnd = 1 << 30 // logins; the time ends them
	if err := rising(env, counts{o.sessions}, 2); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, measureTimeout+o.duration+2*o.settle)
	defer cancel()
	s, err := setUp(ctx, env)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := open(ctx, s, 0, o.sessions, true); err != nil {
		return nil, err
	}
	if err := wait(ctx, o.settle); err != nil {
		return nil, err
	}
	before, err := s.Usage()
	if err != nil {
		return nil, err
	}
	env.Note("%d sessions stay, %d others come and go for %v", o.sessions, o.atOnce, o.duration)
	var r load.Reply
	cpu, err := spent(s, func() (err error) {
		r, err = onAll(s.Clients, func(k int, c *load.Clients) (load.Reply, error) {
			// Each process has numbers of its own, beyond those that stay.
			return c.Login(ctx, load.LoginArgs{Target: s.Target(), First: o.sessions + k*untilTheEnd/len(s.Clients), Count: untilTheEnd / len(s.Clients),
				AtOnce: max(o.atOnce/len(s.Clients), 1), For: o.duration})
		})
		if err != nil {
			return err
		}
		return settled(ctx, s, o.sessions)
	})
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, o.settle); err != nil {
		return nil, err
	}
	after, err := s.Usage()
	return []report.Figure{
		{Name: "CPU per login", Unit: "us", Value: micros(cpu, r.Done)},
		{Name: "logins", Unit: "1/s", Value: perSecond(r.Done, r.Took)},
		{Name: "logins in all", Value: float64(r.Done)},
		{Name: "RSS before", Unit: "MB", Value: megabytes(before.RSSBytes)},
		{Name: "RSS after", Unit: "MB", Value: megabytes(after.RSSBytes)},
		{Name: "descriptors left behind", Value: float64(after.Files - before.Files)},
	}, err
}
