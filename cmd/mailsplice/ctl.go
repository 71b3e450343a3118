package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

func newCtl() *cobra.Command {
	f := &ctlFlags{}
	c := &cobra.Command{
		Use:   "ctl",
		Short: "Ask or tell a running proxy by its admin API",
		Long: "Address and token of the admin API come from the configuration: -c FILE, else $MAILSPLICE_CONFIG, else $PROXY_CONFIG.\n" +
			"$MAILSPLICE_ADMIN_TOKEN and $PROXY_ADMIN_TOKEN win over the file's token. The proxy's certificate must be the configured\n" +
			"default certificate, or be vouched for by --ca. With several --admin addresses every proxy is asked; those that fail are\n" +
			"named, and the exit code is 1 then.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("ctl needs a command; 'mailsplice ctl --help' lists them")
		},
	}
	p := c.PersistentFlags()
	p.StringVarP(&f.file, "config", "c", "", "configuration file")
	p.StringSliceVar(&f.admin, "admin", nil, "admin API to ask in place of the configured one: HOST:PORT, or HOST for the configured port; may be repeated")
	p.StringVar(&f.ca, "ca", "", "PEM file of certificates that vouch for the proxy's, or of that itself")
	p.BoolVar(&f.json, "json", false, "print what the API answers")
	c.AddCommand(f.statusCommand(), f.destinationsCommand(), f.sessionsCommand(), f.kickCommand(), f.holdCommand(), f.delayCommand(),
		f.routeCommand(), f.mapCommand(), f.unmapCommand(), f.exportCommand(), f.reloadCommand(), f.topCommand())
	return c
}

// show prints an answer for people.
type show func(w io.Writer, raw json.RawMessage) error

// answer is what one proxy said.
type answer struct {
	at  endpoint
	raw json.RawMessage
	err error
}

// one is the usual subcommand: one call to every proxy.
func (f *ctlFlags) one(cmd *cobra.Command, k call, s show) error {
	return f.every(cmd, func(ctx context.Context, c *client) (json.RawMessage, error) { return c.ask(ctx, k) }, s)
}

// every asks all proxies at the same time and prints the answers in their order.
func (f *ctlFlags) every(cmd *cobra.Command, ask func(context.Context, *client) (json.RawMessage, error), s show) error {
	a, err := f.open()
	if err != nil {
		return err
	}
	ctx, cancel := interruptible()
	defer cancel()
	answers := make([]answer, len(a.proxies))
	var wg sync.WaitGroup
	for i, at := range a.proxies {
		wg.Go(func() { // as many as there are addresses on the command line; ends with its call
			c := newClient(at, a)
			defer c.close()
			raw, err := ask(ctx, c)
			answers[i] = answer{at, raw, err}
		})
	}
	wg.Wait()
	return f.report(cmd, answers, s)
}

// interruptible ends at a signal, so that what is open is closed.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
}

// report prints all answers, and every failure on the error output.
func (f *ctlFlags) report(cmd *cobra.Command, answers []answer, s show) error {
	out, failed := cmd.OutOrStdout(), 0
	var err error
	for _, a := range answers {
		if a.err == nil && !f.json {
			if len(answers) > 1 {
				fmt.Fprintf(out, "== %s\n", a.at.name)
			}
			a.err = s(out, a.raw)
		}
		if a.err != nil {
			failed++
			fmt.Fprintln(cmd.ErrOrStderr(), a.err)
		}
	}
	if f.json {
		err = printJSON(out, answers)
	}
	if failed > 0 {
		return failures(failed, len(answers))
	}
	return err
}

// failures is the end of a command that has named the proxies that failed.
func failures(failed, of int) error {
	switch {
	case failed > 0 && of > 1:
		return &exitError{exitFailed, fmt.Errorf("%d of %d proxies failed", failed, of)}
	case failed > 0:
		return &exitError{code: exitFailed}
	}
	return nil
}

// printJSON prints the answer of one proxy as it is, or those of several with their addresses.
func printJSON(w io.Writer, answers []answer) error {
	if len(answers) == 1 {
		if answers[0].err != nil {
			return nil
		}
		_, err := fmt.Fprintf(w, "%s\n", answers[0].raw)
		return err
	}
	type said struct {
		Admin  string          `json:"admin"`
		Answer json.RawMessage `json:"answer,omitempty"`
		Error  string          `json:"error,omitempty"`
	}
	var all struct {
		Proxies []said `json:"proxies"`
	}
	for _, a := range answers {
		x := said{Admin: a.at.name, Answer: a.raw}
		if a.err != nil {
			x.Error = a.err.Error()
		}
		all.Proxies = append(all.Proxies, x)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(all)
}
