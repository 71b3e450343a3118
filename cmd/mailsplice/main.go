// Command mailsplice is a mail proxy in front of several backends. It answers until the client has logged in, finds the
// backend that holds the account, replays the login there and joins the two connections.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"mailsplice/core/proxy"
)

// Exit codes (SPEC 9).
const (
	exitConfig    = 1
	exitFailed    = 1 // ctl, healthcheck: what was asked for did not work out
	exitUsage     = 2
	exitBind      = 3
	exitImpatient = 130 // a second signal during the drain
)

// version is set by the linker.
var version = "devel"

func main() { os.Exit(execute(newRoot(), os.Args[1:])) }

// execute runs the command line and returns the exit code.
func execute(root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return 0
	}
	var done *exitError
	if errors.As(err, &done) {
		if done.err != nil {
			fmt.Fprintln(root.ErrOrStderr(), done.err)
		}
		return done.code
	}
	fmt.Fprintf(root.ErrOrStderr(), "mailsplice: %v\nSee 'mailsplice help'.\n", err)
	return exitUsage
}

// exitError carries an exit code; without a cause everything has been said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// startError picks the exit code for a start that failed.
func startError(err error) error {
	if errors.As(err, new(*proxy.BindError)) {
		return &exitError{exitBind, err}
	}
	return &exitError{exitConfig, err}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "mailsplice [FILE]",
		Short: "A mail proxy that finds the backend of every account",
		Long: "mailsplice stands on the public mail ports in front of several mail backends. 'mailsplice FILE' is short for\n" +
			"'mailsplice run FILE'.",
		Args:          cobra.MaximumNArgs(1),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	run := newRun()
	root.RunE = func(cmd *cobra.Command, args []string) error { return serve(cmd, args, false) }
	root.AddCommand(run, newCheck(), newDemo(), newHealthcheck(), newCtl(), &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "mailsplice", version) },
	})
	return root
}
