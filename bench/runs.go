package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"mailsplice/bench/measure"
	"mailsplice/bench/report"
	"mailsplice/bench/scenario"
	"mailsplice/bench/stage"
	"mailsplice/bench/suite"
)

// subject is the proxy that ratios are of.
const subject = "mailsplice"

// command is a scenario with its flags.
type command struct {
	scenario scenario.Scenario
	measure  scenario.Measure
	flags    *flag.FlagSet
	args     []string
	notes    io.Writer

	proxies                        list
	clientLeg, backendLeg, key     choice
	suite, curve, logLevel         choice
	repeat, clients, backends      int
	processes                      int
	binary, jsonPath, configSuffix string
}

// parse reads the flags behind the scenario's name.
func parse(s scenario.Scenario, args []string, notes io.Writer) (*command, error) {
	f := flag.NewFlagSet("bench "+s.Name, flag.ContinueOnError)
	f.SetOutput(notes)
	c := &command{scenario: s, flags: f, args: args, notes: notes,
		proxies:    list{[]string{subject, "naive"}, proxyNames()},
		clientLeg:  choice{"tls", []string{"tls", "plain"}},
		backendLeg: choice{"tls", []string{"tls", "plain"}},
		key:        choice{string(stage.ECDSA), []string{string(stage.ECDSA), string(stage.RSA)}},
		suite:      choice{string(suite.TLS13GCM), suite.Kinds()},
		curve:      choice{"x25519", []string{"x25519", "mlkem"}},
		logLevel:   choice{"info", []string{"debug", "info", "warn", "error"}},
	}
	f.Var(&c.proxies, "proxies", "what to measure: "+strings.Join(proxyNames(), ", ")+" (no proxy at all)")
	f.Var(&c.clientLeg, "client-leg", "between clients and proxy: tls (implicit) or plain")
	f.Var(&c.backendLeg, "backend-leg", "between proxy and backends: tls (implicit) or plain")
	f.Var(&c.key, "key", "key of the proxy's certificate: ecdsa (P-256) or rsa (2048 bits); scenarios with -keys ignore it")
	f.Var(&c.suite, "suite", "the only version and suite that clients and backends speak on legs with TLS: tls13-gcm, tls12-gcm or tls12-cbc")
	f.Var(&c.curve, "curve", "key exchange that clients offer: x25519 or mlkem (X25519MLKEM768)")
	f.Var(&c.logLevel, "log-level", "of mailsplice, whose log goes to a file")
	f.IntVar(&c.repeat, "repeat", 1, "runs of each proxy; tables show the median and the spread")
	f.IntVar(&c.clients, "clients", 1, "processes with clients")
	f.IntVar(&c.backends, "backends", 1, "processes with backends; accounts are spread over them")
	f.IntVar(&c.processes, "processes", 1, "processes of mailsplice, which share its port (server.reuse_port)")
	f.StringVar(&c.binary, "binary", "", "mailsplice to measure; empty: built from this source")
	f.StringVar(&c.jsonPath, "json", "", "file for the result")
	f.StringVar(&c.configSuffix, "config", "", "file with TOML tables to put behind mailsplice's configuration")
	c.measure = s.Bind(f)
	if err := f.Parse(args[1:]); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if min(c.repeat, c.clients, c.backends, c.processes) < 1 {
		return nil, errors.New("-repeat, -clients, -backends and -processes must be at least 1")
	}
	return c, c.fits()
}

// fits refuses flags that contradict one another: a result must not claim what its flags kept from happening.
func (c *command) fits() error {
	k := suite.Kind(c.suite.value)
	switch {
	case k != suite.TLS13GCM && c.clientLeg.value != "tls" && c.backendLeg.value != "tls":
		return fmt.Errorf("-suite %s needs a leg with TLS", c.suite.value)
	case k.TLS12() && c.curve.value == "mlkem":
		return fmt.Errorf("-curve mlkem needs TLS 1.3, found -suite %s", c.suite.value)
	}
	return nil
}

// run measures everything, and writes table and result. What has been measured is kept when something fails later.
func (c *command) run(ctx context.Context, out io.Writer) error {
	r, failure := c.result(ctx)
	if r == nil {
		return failure
	}
	if len(r.Runs) > 0 || failure == nil {
		if err := r.Table(out, subject); err != nil {
			return err
		}
	}
	if c.jsonPath != "" {
		return errors.Join(failure, r.WriteFile(c.jsonPath))
	}
	return failure
}

// result is what has been measured, also when something failed later; nil when nothing could begin.
func (c *command) result(ctx context.Context) (*report.Result, error) {
	began := time.Now()
	r := &report.Result{Scenario: c.scenario.Name, Command: append([]string{"bench"}, c.args...), Began: began.UTC().Truncate(time.Second),
		Machine: measure.ReadMachine(), Versions: map[string]string{}, Settings: map[string]string{}, Skipped: map[string]string{},
		Remarks: map[string]string{}}
	c.flags.VisitAll(func(f *flag.Flag) {
		if f.Name != "binary" && f.Name != "json" { // where files are says nothing about what was measured
			r.Settings[f.Name] = f.Value.String()
		}
	})
	starters, cleanup, err := c.starters(ctx, r)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	if r.Machine.Congestion == "bbr" {
		c.note("TCP's congestion control is bbr here, whose timers cost every proxy CPU time (docs/benchmarks.md)")
	}
	failure := c.measureAll(ctx, starters, r)
	r.Took = time.Since(began).Round(time.Second).String()
	return r, failure
}

// measureAll takes turns, so that a machine that changes its pace hits all proxies alike.
func (c *command) measureAll(ctx context.Context, starters []stage.Starter, r *report.Result) error {
	for repeat := 1; repeat <= c.repeat; repeat++ {
		for _, s := range starters {
			c.note("%s, run %d of %d", s.Name(), repeat, c.repeat)
			figures, err := c.measure(ctx, c.env(s))
			if errors.Is(err, scenario.ErrCannot) {
				c.skip(r, s.Name(), err)
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name(), err)
			}
			r.Runs = append(r.Runs, report.Run{Proxy: s.Name(), Repeat: repeat, Figures: figures})
		}
	}
	return nil
}

func (c *command) env(s stage.Starter) scenario.Env {
	return scenario.Env{Note: c.note, Options: stage.Options{Proxy: s, Key: stage.Key(c.key.value), ClientTLS: c.clientLeg.value == "tls",
		BackendTLS: c.backendLeg.value == "tls", Backends: c.backends, Clients: c.clients, Processes: c.processes, Curve: c.curve.value, LogLevel: c.logLevel.value,
		Suite: suite.Kind(c.suite.value)}}
}

func (c *command) note(format string, args ...any) {
	fmt.Fprintf(c.notes, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// choice is a flag with one word of a closed set.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }

func (c *choice) Set(text string) error {
	if !slices.Contains(c.allowed, text) {
		return fmt.Errorf("found %q, allowed %s", text, strings.Join(c.allowed, ", "))
	}
	c.value = text
	return nil
}

// list is a flag with several of them, separated by commas.
type list struct{ words, allowed []string }

func (l *list) String() string { return strings.Join(l.words, ",") }

func (l *list) Set(text string) error {
	l.words = strings.Split(text, ",")
	for _, w := range l.words {
		if !slices.Contains(l.allowed, w) {
			return fmt.Errorf("found %q, allowed %s", w, strings.Join(l.allowed, ", "))
		}
	}
	return nil
}
