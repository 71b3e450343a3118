package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"mailsplice/bench/child"
	"mailsplice/bench/load"
	"mailsplice/bench/mock"
	"mailsplice/bench/naive"
	"mailsplice/bench/scenario"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	if role := child.Role(); role != "" {
		os.Exit(play(role))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// play is a child's life. Signals from the terminal are the parent's business: children end with their input.
func play(role string) int {
	signal.Ignore(os.Interrupt)
	roles := map[string]func(io.Reader, io.Writer) error{load.Role: load.Main, mock.Role: mock.Main, naive.Role: naive.Main}
	serve, known := roles[role]
	if !known {
		fmt.Fprintf(os.Stderr, "bench: unknown role %q\n", role)
		return exitUsage
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bench %s: %v\n", role, err)
		return exitFailed
	}
	return 0
}

// usageError is a mistake of whoever typed the command.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// run is the whole command; it returns the exit code.
func run(ctx context.Context, args []string, out, notes io.Writer) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(notes)
		return exitUsage
	}
	err := dispatch(ctx, args, out, notes)
	var mistake usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &mistake):
		fmt.Fprintf(notes, "bench: %v\n", mistake.error)
		return exitUsage
	}
	fmt.Fprintf(notes, "bench %s: %v\n", args[0], err)
	return exitFailed
}

func dispatch(ctx context.Context, args []string, out, notes io.Writer) error {
	switch args[0] {
	case "compare":
		return compare(ctx, args[1:], out, notes)
	case "show":
		return show(args[1:], out, notes)
	}
	for _, s := range scenario.All() {
		if s.Name != args[0] {
			continue
		}
		c, err := parse(s, args, notes)
		if err != nil {
			return usageError{err}
		}
		return c.run(ctx, out)
	}
	usage(notes)
	return usageError{fmt.Errorf("unknown scenario %q", args[0])}
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "usage: bench SCENARIO [flags]      (bench SCENARIO -h lists the flags)\n\n")
	for _, s := range scenario.All() {
		fmt.Fprintf(w, "  %-8s %s\n", s.Name, s.Short)
	}
	fmt.Fprintf(w, "\n  %-8s %s\n  %-8s %s\n", "compare", "all of these on all proxies, with results and charts in files",
		"show", "tables and charts of such files")
}
