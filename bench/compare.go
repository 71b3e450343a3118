package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mailsplice/bench/report"
	"mailsplice/bench/scenario"
	"mailsplice/bench/stage"
)

// comparison is one line of what `bench compare` does.
type comparison struct {
	name string // of its files
	args string
}

// comparisons are in the order of a run. Every scenario is in it; "conn" are those of mailsplice's lane conn (DESIGN 3.11). Sizes
// are for two CPUs; for more, give the line to bench itself with other flags.
var comparisons = []comparison{
	{"login-tls", "login -logins 1500 -warm-up 200"},
	{"ping-tls", "ping -sessions 500 -for 4s"},
	{"bulk-tls", "bulk -mib 1024"},
	{"idle-tls", "idle -sessions 1000,4000 -settle 45s"},
	{"login-plain", "login -logins 3000 -warm-up 200 -client-leg plain -backend-leg plain"},
	{"ping-plain", "ping -sessions 500 -for 4s -client-leg plain -backend-leg plain"},
	{"bulk-plain", "bulk -mib 2048 -client-leg plain -backend-leg plain"},
	{"idle-plain", "idle -sessions 1000,4000 -settle 45s -client-leg plain -backend-leg plain"},
	{"ping-conn", "ping -sessions 500 -for 4s -suite tls12-cbc"},
	{"bulk-conn", "bulk -mib 512 -suite tls12-cbc"},
	{"preauth-tls", "preauth -connections 1000,4000 -settle 20s"},
	{"wave-tls", "wave -sessions 4000 -settle 10s"},
	{"churn-tls", "churn -sessions 500 -for 20s"},
	{"flood-tls", "flood -keys ecdsa"},
	{"cutover-tls", "cutover -accounts 500"},
}

// charted are the ends of the names of figures that go into a picture.
var charted = []string{"CPU per login", "CPU per round trip", "CPU per GB", "PSS per session", // login, churn; ping; bulk; idle
	"PSS per silent connection", "PSS per greeted connection", "CPU per line", "p99 in the flood, times calm", "CPU per account"}

// compareOptions are the flags of `bench compare`.
type compareOptions struct {
	only           list
	proxies        list
	repeat         int
	dir            string
	binary, config string
}

func parseCompare(args []string, notes io.Writer) (o compareOptions, err error) {
	var names []string
	for _, c := range comparisons {
		names = append(names, c.name)
	}
	o.only = list{names, names}
	o.proxies = list{slices.DeleteFunc(proxyNames(), func(n string) bool { return n == "direct" }), proxyNames()}
	f := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	f.SetOutput(notes)
	f.Var(&o.only, "only", "which of them")
	f.Var(&o.proxies, "proxies", "what to measure")
	f.IntVar(&o.repeat, "repeat", 3, "runs of each proxy in each; they take turns")
	f.StringVar(&o.dir, "out", "build/bench", "directory for results (JSON) and charts (SVG)")
	f.StringVar(&o.binary, "binary", "", "mailsplice to measure; empty: built from this source")
	f.StringVar(&o.config, "config", "", "file with TOML tables to put behind mailsplice's configuration")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, nil
}

// compare runs the comparisons, one after the other. One that fails does not keep the next from running.
func compare(ctx context.Context, args []string, out, notes io.Writer) error {
	o, err := parseCompare(args, notes)
	if err != nil {
		return usageError{err}
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	if o.binary == "" && slices.Contains(o.proxies.words, subject) {
		dir, err := os.MkdirTemp("", "mailsplice-bench-build-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if o.binary, err = stage.BuildMailsplice(ctx, dir); err != nil {
			return err
		}
	}
	var failures []error
	for _, c := range comparisons {
		if !slices.Contains(o.only.words, c.name) || ctx.Err() != nil {
			continue
		}
		if err := o.one(ctx, c, out, notes); err != nil {
			fmt.Fprintf(notes, "bench %s: %v\n", c.name, err)
			failures = append(failures, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(append(failures, context.Cause(ctx))...)
}

// one runs a comparison as if somebody had typed it.
func (o compareOptions) one(ctx context.Context, c comparison, out, notes io.Writer) error {
	args := append(strings.Fields(c.args), "-repeat", fmt.Sprint(o.repeat), "-proxies", o.proxies.String())
	if o.config != "" {
		args = append(args, "-config", o.config)
	}
	said := slices.Clone(args)
	args = append(args, "-json", filepath.Join(o.dir, c.name+".json"), "-binary", o.binary)
	cmd, err := parse(scenarioNamed(args[0]), args, notes)
	if err != nil {
		return err
	}
	cmd.args = said // how to repeat it; where the files went does not matter
	fmt.Fprintf(out, "\n## %s\n\n    go run ./bench %s\n\n", c.name, strings.Join(said, " "))
	if err := cmd.run(ctx, out); err != nil {
		return err
	}
	return chart(cmd.jsonPath)
}

func scenarioNamed(name string) scenario.Scenario {
	all := scenario.All()
	return all[slices.IndexFunc(all, func(s scenario.Scenario) bool { return s.Name == name })]
}

// chart draws the picture beside a result.
func chart(path string) error {
	r, err := report.ReadFile(path)
	if err != nil {
		return err
	}
	return r.WriteChart(strings.TrimSuffix(path, ".json")+".svg", subject, charted...)
}

// show prints the tables of stored results, and draws their pictures again.
func show(args []string, out, notes io.Writer) error {
	f := flag.NewFlagSet("bench show", flag.ContinueOnError)
	f.SetOutput(notes)
	all := f.Bool("all", false, "every figure, not only those to compare")
	if err := f.Parse(args); err != nil {
		return usageError{err}
	}
	if f.NArg() == 0 {
		return usageError{errors.New("show: which files?")}
	}
	for _, path := range f.Args() {
		r, err := report.ReadFile(path)
		if err != nil {
			return err
		}
		if !*all {
			r = r.Only(charted...)
		}
		fmt.Fprintf(out, "\n    go run ./%s\n\n%s\n\n", strings.Join(r.Command, " "), r.Machine)
		if err := r.Table(out, subject); err != nil {
			return err
		}
		if err := chart(path); err != nil {
			return err
		}
	}
	return nil
}
