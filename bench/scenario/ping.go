package scenario

import (
	"context"
	"flag"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/measure"
	"mailsplice/bench/report"
)

var ping = Scenario{Name: "ping", Short: "NOOP round trips on joined sessions", Bind: bindPing}

type pingOptions struct {
	sessions, atOnce int
	warmUp, duration time.Duration
}

func bindPing(f *flag.FlagSet) Measure {
	var o pingOptions
	f.IntVar(&o.sessions, "sessions", 1000, "joined sessions; the round trips go round all of them")
	f.IntVar(&o.atOnce, "at-once", 32, "round trips in progress")
	f.DurationVar(&o.warmUp, "warm-up", 2*time.Second, "round trips before the measured ones")
	f.DurationVar(&o.duration, "for", 10*time.Second, "how long to measure")
	return func(ctx context.Context, env Env) ([]report.Figure, error) { return measurePing(ctx, env, o) }
}

func measurePing(ctx context.Context, env Env, o pingOptions) ([]report.Figure, error) {
	if err := rising(env, counts{o.sessions}, 2); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, measureTimeout+o.warmUp+o.duration)
	defer cancel()
	s, err := setUp(ctx, env)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := open(ctx, s, 0, o.sessions, false); err != nil {
		return nil, err
	}
	env.Note("%d sessions, %d round trips at once for %v", o.sessions, o.atOnce, o.duration)
	round := func(d time.Duration) (load.Reply, error) {
		return onAll(s.Clients, func(k int, c *load.Clients) (load.Reply, error) {
			_, n := share(o.sessions, len(s.Clients), k)
			return c.Ping(ctx, load.PingArgs{Sessions: n, AtOnce: max(o.atOnce/len(s.Clients), 1), For: d})
		})
	}
	if _, err := round(o.warmUp); err != nil {
		return nil, err
	}
	var r load.Reply
	cpu, err := spent(s, func() (err error) {
		r, err = round(o.duration)
		return err
	})
	if err != nil {
		return nil, err
	}
	lanes, err := laneFigures(ctx, s)
	if err != nil {
		return nil, err
	}
	list := append([]report.Figure{
		{Name: "CPU per round trip", Unit: "us", Value: micros(cpu, r.Done)},
		{Name: "round trips", Unit: "1/s", Value: perSecond(r.Done, r.Took)},
	}, latencies("", r.Latency)...)
	return append(list, lanes...), nil
}

// latencies are the quantiles that everybody asks for; prefix begins their names.
func latencies(prefix string, h measure.Histogram) (list []report.Figure) {
	for _, q := range []struct {
		name  string
		share float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}} {
		list = append(list, report.Figure{Name: prefix + q.name, Unit: "us", Value: micros(h.Quantile(q.share), 1)})
	}
	return list
}
