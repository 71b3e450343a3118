package scenario

import (
	"context"
	"flag"
	"fmt"

	"mailsplice/bench/load"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
	"mailsplice/bench/suite"
)

var login = Scenario{Name: "login", Short: "handshake and login: full and resumed, ECDSA and RSA", Bind: bindLogin}

type loginOptions struct {
	keys, modes    words
	logins, warmUp int
	atOnce         int
}

const (
	plainName   = "plain" // the variant without handshakes of clients
	resumedMode = "resumed"
)

// modeName is a mode as rows name it. Of TLS 1.2 mailsplice resumes nothing (DESIGN 3.5), so that rows there say only that
// clients come back and would resume; who did is in a row of its own.
func modeName(mode string, k suite.Kind) string {
	if mode == resumedMode && k.TLS12() {
		return "returning"
	}
	return mode
}

func bindLogin(f *flag.FlagSet) Measure {
	o := loginOptions{
		keys:  words{[]string{string(stage.ECDSA), string(stage.RSA)}, []string{string(stage.ECDSA), string(stage.RSA)}},
		modes: words{[]string{"full", resumedMode}, []string{"full", resumedMode}},
	}
	f.Var(&o.keys, "keys", "kinds of key that the proxy has, one after the other")
	f.Var(&o.modes, "modes", "handshakes of clients: full, resumed")
	f.IntVar(&o.logins, "logins", 3000, "logins to measure, for each key and mode")
	f.IntVar(&o.warmUp, "warm-up", 300, "logins before the measured ones")
	f.IntVar(&o.atOnce, "at-once", 8, "logins in progress")
	return func(ctx context.Context, env Env) ([]report.Figure, error) { return measureLogin(ctx, env, o) }
}

func measureLogin(ctx context.Context, env Env, o loginOptions) (list []report.Figure, err error) {
	if !env.ClientTLS {
		return loginVariant(ctx, env, o, plainName, false)
	}
	for _, key := range o.keys.list {
		for _, mode := range o.modes.list {
			env.Key = stage.Key(key)
			name := key + " " + modeName(mode, env.Suite)
			figures, err := loginVariant(ctx, env, o, name, mode == resumedMode)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			list = append(list, figures...)
		}
	}
	return list, nil
}

func loginVariant(ctx context.Context, env Env, o loginOptions, name string, resume bool) ([]report.Figure, error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	s, err := setUp(ctx, env)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	env.Note("%s: %d logins, %d at once", name, o.logins, o.atOnce)
	logins := func(n int) (load.Reply, error) {
		r, err := onAll(s.Clients, func(k int, c *load.Clients) (load.Reply, error) {
			first, n := share(n, len(s.Clients), k)
			return c.Login(ctx, load.LoginArgs{Target: s.Target(), First: first, Count: n, AtOnce: max(o.atOnce/len(s.Clients), 1), Resume: resume})
		})
		if err != nil {
			return r, err
		}
		return r, settled(ctx, s, 0) // the end of a session is part of its cost
	}
	if _, err := logins(o.warmUp); err != nil {
		return nil, err
	}
	before, err := s.Handshakes(ctx)
	if err != nil {
		return nil, err
	}
	var r load.Reply
	cpu, err := spent(s, func() (err error) {
		r, err = logins(o.logins)
		return err
	})
	if err != nil {
		return nil, err
	}
	after, err := s.Handshakes(ctx)
	if err != nil {
		return nil, err
	}
	return append(handshakeFigures(name, env.Suite, r, after.Since(before)),
		report.Figure{Name: name + ": CPU per login", Unit: "us", Value: micros(cpu, r.Done)},
		report.Figure{Name: name + ": logins", Unit: "1/s", Value: perSecond(r.Done, r.Took)},
		report.Figure{Name: name + ": p50", Unit: "us", Value: micros(r.Latency.Quantile(0.5), 1)},
		report.Figure{Name: name + ": p99", Unit: "us", Value: micros(r.Latency.Quantile(0.99), 1)}), nil
}

// handshakeFigures say what kind of handshakes there were, on legs with TLS: only like can be compared with like.
func handshakeFigures(name string, k suite.Kind, r load.Reply, backend stage.Handshakes) (list []report.Figure) {
	percent := func(what string, n, of int) {
		if of > 0 {
			list = append(list, report.Figure{Name: name + ": " + what, Unit: "%", Value: 100 * float64(n) / float64(of)})
		}
	}
	if name != plainName {
		percent("clients with "+k.String()+", X25519", r.Agreed, r.Done)
		percent("clients that resumed", r.Resumed, r.Done)
	}
	percent("backend handshakes with "+k.String()+", X25519", backend.Agreed, backend.All)
	percent("backend handshakes that resumed", backend.Resumed, backend.All)
	return list
}
