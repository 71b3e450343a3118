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

// run is the whole command; it returns the exit code.
func run(ctx context.Context, args []string, out, notes io.Writer) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(notes)
		return exitUsage
	}
	for _, s := range scenario.All() {
		if s.Name != args[0] {
			continue
		}
		b, err := parse(s, args, notes)
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		if err != nil {
			fmt.Fprintf(notes, "bench: %v\n", err)
			return exitUsage
		}
		if err := b.run(ctx, out); err != nil {
			fmt.Fprintf(notes, "bench %s: %v\n", s.Name, err)
			return exitFailed
		}
		return 0
	}
	fmt.Fprintf(notes, "bench: unknown scenario %q\n", args[0])
	usage(notes)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "usage: bench SCENARIO [flags]      (bench SCENARIO -h lists the flags)\n\n")
	for _, s := range scenario.All() {
		fmt.Fprintf(w, "  %-8s %s\n", s.Name, s.Short)
	}
}
