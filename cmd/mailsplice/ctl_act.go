package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (f *ctlFlags) kickCommand() *cobra.Command {
	var destination string
	var rate int
	var spare bool
	c := &cobra.Command{
		Use: "kick [IDENTIFIER]", Short: "End the sessions of an account, or of a destination", Args: cobra.MaximumNArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		Long: "Ends sessions and logins in progress, so that clients reconnect at once and are routed anew. An account, --destination, or\n" +
			"both must be given.",
		RunE: func(cmd *cobra.Command, args []string) error {
			q := params{"identifier", argument(args, 0), "destination", destination}
			if q[1] == "" && q[3] == "" {
				return errors.New("kick whom? give an account, or --destination")
			}
			if cmd.Flags().Changed("rate") {
				q = append(q, "rate", strconv.Itoa(rate))
			}
			if spare {
				q = append(q, "master", "false")
			}
			return f.one(cmd, call{method: http.MethodPost, path: "/connections/kick", query: q}, showKicked)
		},
	}
	c.Flags().StringVar(&destination, "destination", "", "all sessions of this destination, or the account's there")
	c.Flags().IntVar(&rate, "rate", 0, "at most so many sessions a second")
	c.Flags().BoolVar(&spare, "spare-masters", false, "leave sessions of master users alone")
	f.completeFlag(c, "destination")
	return c
}

func showKicked(w io.Writer, raw json.RawMessage) error {
	k, err := decode[struct {
		Kicked int `json:"kicked"`
	}](raw)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "sessions and logins ended: %d%s\n", k.Kicked, aside(raw, "kicked"))
	return err
}

func (f *ctlFlags) holdCommand() *cobra.Command {
	return f.waitCommand("hold", "Answer an account's logins with the temporary error for a while",
		"For the final copy of a mailbox: whoever logs in meanwhile is told to try later; master users get in. At most a day; 0 ends it.")
}

func (f *ctlFlags) delayCommand() *cobra.Command {
	return f.waitCommand("delay", "Let an account's new logins wait for a while",
		"Logins wait, and are routed afterwards, by what the mapping says then. At most 5 minutes; 0 ends it.")
}

// waitCommand is hold or delay.
func (f *ctlFlags) waitCommand(verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " IDENTIFIER DURATION", Short: short, Long: long + " DURATION is a number of seconds, or such as 90s, 10m, 1h30m.",
		Args: cobra.ExactArgs(2), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			asked, err := parseSpan(args[1])
			if err != nil {
				return err
			}
			q := params{"identifier", args[0], "seconds", strconv.FormatInt(int64(asked/time.Second), 10)}
			return f.one(cmd, call{method: http.MethodPost, path: "/connections/" + verb, query: q}, showWait(verb, args[0], asked))
		},
	}
}

func parseSpan(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if n, bad := strconv.ParseInt(text, 10, 32); bad == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 || d%time.Second != 0 {
		return 0, fmt.Errorf("%q: not a duration in whole seconds, such as 90, 90s, 10m, 1h30m, or 0", text)
	}
	return d, nil
}

// showWait says what the proxy made of the time asked for.
func showWait(verb, identifier string, asked time.Duration) show {
	return func(w io.Writer, raw json.RawMessage) error {
		a, err := decode[struct {
			Seconds *int64 `json:"seconds"`
		}](raw)
		if err != nil {
			return err
		}
		got, note := asked, ""
		if a.Seconds != nil {
			got = time.Duration(*a.Seconds) * time.Second
		}
		if got != asked {
			note = fmt.Sprintf(" (%s was asked for, more is not allowed)", span(asked))
		}
		state := fmt.Sprintf("%s for %s%s", map[string]string{"hold": "held", "delay": "delayed"}[verb], span(got), note)
		if got == 0 {
			state = "not " + map[string]string{"hold": "held", "delay": "delayed"}[verb] + " any more"
		}
		_, err = fmt.Fprintf(w, "%s: logins are %s\n", clean(identifier), state)
		return err
	}
}

func (f *ctlFlags) mapCommand() *cobra.Command {
	var file string
	var kick bool
	c := &cobra.Command{
		Use: "map IDENTIFIER DESTINATION", Short: "Map an account to a destination", ValidArgsFunction: f.completeDestination(1),
		Long: "Writes the mapping; logins that begin afterwards land there. --kick also ends the account's sessions. With --file many\n" +
			"are written, all or none: lines 'identifier TAB destination', '-' as destination removes; '-' as file is standard input.",
		Args: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				return f.bulk(cmd, file, kick)
			}
			q := params{"identifier", args[0], "destination", args[1], "kick", whenTrue(kick)}
			return f.one(cmd, call{method: http.MethodPut, path: "/mappings", query: q},
				sentence("%s -> %s", args[0], args[1], "identifier", "normalized", "destination"))
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "write the mappings of this file instead of one")
	c.Flags().BoolVar(&kick, "kick", false, "also end the sessions of the accounts that change")
	return c
}

// maxBulkBytes bounds a file of mappings, which is held in memory since every proxy gets it: some four million lines.
const maxBulkBytes = 256 << 20

// bulk sends a file of mappings.
func (f *ctlFlags) bulk(cmd *cobra.Command, path string, kick bool) error {
	in := cmd.InOrStdin()
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return &exitError{exitFailed, fmt.Errorf("reading mappings: %w", err)}
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxBulkBytes+1))
	if err == nil && len(text) > maxBulkBytes {
		err = fmt.Errorf("more than %d bytes", maxBulkBytes)
	}
	if err != nil {
		return &exitError{exitFailed, fmt.Errorf("reading mappings: %w", err)}
	}
	return f.every(cmd, func(ctx context.Context, c *client) (json.RawMessage, error) {
		return c.ask(ctx, call{method: http.MethodPost, path: "/mappings/bulk", query: params{"kick", whenTrue(kick)}, body: bytes.NewReader(text)})
	}, sentence("mappings written"))
}

func (f *ctlFlags) unmapCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unmap IDENTIFIER", Short: "Remove an account's mapping: it goes to the default destination", Args: cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.one(cmd, call{method: http.MethodDelete, path: "/mappings", query: params{"identifier", args[0]}}, showUnmapped(args[0]))
		},
	}
}

func showUnmapped(identifier string) show {
	return func(w io.Writer, raw json.RawMessage) error {
		d, err := decode[struct {
			Existed bool `json:"existed"`
		}](raw)
		if err != nil {
			return err
		}
		said := "mapping removed"
		if !d.Existed {
			said = "there was no mapping"
		}
		_, err = fmt.Fprintf(w, "%s: %s\n", clean(identifier), said)
		return err
	}
}

func (f *ctlFlags) reloadCommand() *cobra.Command {
	var mappings bool
	c := &cobra.Command{
		Use: "reload", Short: "Read the configuration again, or the mapping file", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Long: "The proxy reads its configuration again and takes all of it, or nothing if anything is wrong with it. Sessions live on.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if mappings {
				return f.one(cmd, call{method: http.MethodPost, path: "/mappings/reload"}, showReloaded("mapping file"))
			}
			return f.one(cmd, call{method: http.MethodPost, path: "/config/reload"}, showReloaded("configuration"))
		},
	}
	c.Flags().BoolVar(&mappings, "mappings", false, "read only the mapping file again")
	return c
}

func showReloaded(what string) show {
	return func(w io.Writer, raw json.RawMessage) error {
		r, err := decode[struct {
			Reloaded bool     `json:"reloaded"`
			Restart  []string `json:"restart_needed"`
		}](raw)
		if err != nil {
			return err
		}
		if !r.Reloaded {
			_, err = fmt.Fprintln(w, "nothing to reload: the mapping source is not a file, and changes take effect by themselves")
			return err
		}
		if _, err = fmt.Fprintf(w, "%s reloaded%s\n", what, aside(raw, "reloaded", "restart_needed")); err == nil && len(r.Restart) > 0 {
			_, err = fmt.Fprintf(w, "a restart is needed for: %s\n", clean(strings.Join(r.Restart, ", ")))
		}
		return err
	}
}
