package scenario

import (
	"context"
	"flag"
	"fmt"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

var flood = Scenario{Name: "flood", Short: "round trips of joined sessions during a flood of handshakes", Bind: bindFlood}

type floodOptions struct {
	keys     words
	sessions int
	every    time.Duration
	duration time.Duration
	atOnce   int
}

func bindFlood(f *flag.FlagSet) Measure {
	o := floodOptions{keys: words{[]string{string(stage.ECDSA), string(stage.RSA)}, []string{string(stage.ECDSA), string(stage.RSA)}}}
	f.Var(&o.keys, "keys", "kinds of key that the proxy has, one after the other")
	f.IntVar(&o.sessions, "sessions", 200, "joined sessions that do round trips")
	f.DurationVar(&o.every, "every", 200*time.Millisecond, "time between two round trips of a session")
	f.DurationVar(&o.duration, "for", 10*time.Second, "how long to measure, without the flood and with it")
	f.IntVar(&o.atOnce, "at-once", 256, "handshakes in progress")
	return func(ctx context.Context, env Env) ([]report.Figure, error) { return measureFlood(ctx, env, o) }
}

func measureFlood(ctx context.Context, env Env, o floodOptions) (list []report.Figure, err error) {
	if !env.ClientTLS {
		return nil, fmt.Errorf("%w: there are no handshakes on a plain client leg", ErrCannot)
	}
	for _, key := range o.keys.list {
		env.Key = stage.Key(key)
		figures, err := floodVariant(ctx, env, o, key+": ")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		list = append(list, figures...)
	}
	return list, nil
}

func floodVariant(ctx context.Context, env Env, o floodOptions, name string) ([]report.Figure, error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout+2*o.duration)
	defer cancel()
	env.Clients = 2 // one with the sessions, one that floods
	s, err := setUp(ctx, env)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	quiet, enemy := s.Clients[0], s.Clients[1]
	if _, err := completed(quiet.Open(ctx, load.OpenArgs{Target: s.Target(), Count: o.sessions, AtOnce: 32})); err != nil {
		return nil, err
	}
	pings := load.PingArgs{Sessions: o.sessions, Every: o.every, For: o.duration}
	env.Note("%s%d sessions, a round trip each every %v, for %v", name, o.sessions, o.every, o.duration)
	before, err := completed(quiet.Ping(ctx, pings))
	if err != nil {
		return nil, err
	}
	env.Note("%sthe same with %d handshakes at once", name, o.atOnce)
	during, attack, err := pingUnderFlood(ctx, quiet, enemy, pings,
		load.FloodArgs{Target: s.Target(), First: o.sessions, AtOnce: o.atOnce, For: o.duration})
	if err != nil {
		return nil, err
	}
	list := append(latencies(name+"calm ", before.Latency), latencies(name+"flood ", during.Latency)...)
	return append(list,
		report.Figure{Name: name + "p99 in the flood, times calm", Value: float64(during.Latency.Quantile(.99)) / float64(before.Latency.Quantile(.99))},
		report.Figure{Name: name + "handshakes", Unit: "1/s", Value: perSecond(attack.Done, attack.Took)},
		report.Figure{Name: name + "handshakes turned away", Unit: "1/s", Value: perSecond(attack.Failed, attack.Took)}), nil
}

// pingUnderFlood does both at the same time. A proxy may turn floods away, so only round trips must not fail.
func pingUnderFlood(ctx context.Context, quiet, enemy *load.Clients, p load.PingArgs, f load.FloodArgs) (during, attack load.Reply, err error) {
	type outcome struct {
		reply load.Reply
		err   error
	}
	flooded := make(chan outcome, 1)
	go func() { // ends with the call
		r, err := enemy.Flood(ctx, f)
		flooded <- outcome{r, err}
	}()
	during, err = completed(quiet.Ping(ctx, p))
	o := <-flooded
	if err == nil {
		err = o.err
	}
	return during, o.reply, err
}
