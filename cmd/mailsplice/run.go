package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"mailsplice/core/config"
	"mailsplice/core/proxy"
)

func newRun() *cobra.Command {
	var partial bool
	c := &cobra.Command{
		Use:   "run [FILE]",
		Short: "Serve a configuration until SIGTERM or SIGINT",
		Long: "Serves FILE, else $MAILSPLICE_CONFIG, else $PROXY_CONFIG. SIGHUP reads it again. SIGTERM or SIGINT drains: sessions\n" +
			"live up to shutdown_grace. A second signal exits at once.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return serve(cmd, args, partial) },
	}
	partialFlag(c, &partial)
	return c
}

func newCheck() *cobra.Command {
	var partial, probe bool
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration without serving it",
		Long: "Reports every error and warning in FILE, else $MAILSPLICE_CONFIG, else $PROXY_CONFIG. With --probe it also connects to every\n" +
			"leg of every destination as a login would, and shows certificate, capabilities and whether the backend takes the proxy's\n" +
			"word about clients; the exit code is 1 if a leg does not do what the configuration asks of it.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := load(cmd.ErrOrStderr(), args, partial)
			if err != nil {
				return err
			}
			if limit, err := openFiles(); err == nil && proxy.Descriptors(cfg) > limit {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: open file limit is %d, the configuration may need %d\n", limit, proxy.Descriptors(cfg))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", cfg.Path)
			if !probe {
				return nil
			}
			return probeBackends(cfg, cmd.OutOrStdout())
		},
	}
	partialFlag(c, &partial)
	c.Flags().BoolVar(&probe, "probe", false, "also connect to every backend")
	return c
}

// probeBackends is check --probe. A signal ends it.
func probeBackends(cfg *config.Config, out io.Writer) error {
	ctx, cancel := interruptible()
	defer cancel()
	if err := proxy.Probe(ctx, cfg, out); err != nil {
		return &exitError{exitFailed, err}
	}
	return nil
}

func partialFlag(c *cobra.Command, partial *bool) {
	c.Flags().BoolVar(partial, "partial", false, "accept keys whose feature this version does not have yet, and serve the rest")
}

// configPath is the argument, else the environment's (SPEC 2).
func configPath(args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	for _, name := range []string{"MAILSPLICE_CONFIG", "PROXY_CONFIG"} {
		if path := os.Getenv(name); path != "" {
			return path, nil
		}
	}
	return "", errors.New("no configuration file: give one, or set MAILSPLICE_CONFIG")
}

// load reads and checks the configuration. What is wrong and what is doubtful goes to w, a line each.
func load(w io.Writer, args []string, partial bool) (*config.Config, error) {
	path, err := configPath(args)
	if err != nil {
		return nil, err
	}
	cfg, warnings, err := config.Load(path, proxy.LoadOptions())
	for _, p := range warnings {
		fmt.Fprintln(w, "warning:", p)
	}
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	unbuilt := config.Unbuilt(cfg)
	for _, p := range unbuilt {
		fmt.Fprintln(w, p)
	}
	if len(unbuilt) > 0 && !partial {
		return nil, &exitError{code: exitConfig}
	}
	return cfg, nil
}

// serve is run: it returns when the process should end.
func serve(cmd *cobra.Command, args []string, partial bool) error {
	cfg, err := load(cmd.ErrOrStderr(), args, partial)
	if err != nil {
		return err
	}
	signals, hangUps := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	signal.Notify(hangUps, syscall.SIGHUP)
	defer signal.Stop(hangUps)
	proxy.LimitMemory()
	p, err := proxy.Start(cfg, proxy.Options{LogWriter: cmd.ErrOrStderr(), Version: version, Partial: partial})
	if err != nil {
		return startError(err)
	}
	log.SetFlags(0)
	log.SetOutput(p.LibraryLog())
	notify(ready)
	for {
		select {
		case <-hangUps:
			notify(reloading())
			_, _ = p.ReloadFile() // it has logged what is wrong
			notify(ready)
		case <-signals:
			notify(stopping)
			return drain(p, signals)
		}
	}
}

// drain shuts down; a second signal gives up on it.
func drain(p *proxy.Proxy, signals <-chan os.Signal) error {
	done := make(chan struct{})
	go shutdown(p, done) // ends by itself, or with the process
	select {
	case <-done:
		return nil
	case <-signals:
		return &exitError{code: exitImpatient}
	}
}

func shutdown(p *proxy.Proxy, done chan<- struct{}) {
	defer close(done)
	p.Shutdown(context.Background())
}

// openFiles is the limit that run would raise itself to.
func openFiles() (int, error) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, err
	}
	return int(r.Max), nil
}
