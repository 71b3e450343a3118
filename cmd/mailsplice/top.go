package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

func (f *ctlFlags) topCommand() *cobra.Command {
	var once bool
	var every time.Duration
	c := &cobra.Command{
		Use: "top", Short: "Watch sessions, logins and health live; q ends it", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Long: "Shows what all proxies that are asked do together, anew every second, until q or Ctrl-C. Where input or output is no\n" +
			"terminal, or with --once, one frame is printed; it takes one interval, since rates need two looks.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.json {
				return errors.New("top shows no JSON: 'ctl --json status' and 'ctl --json destinations' do")
			}
			if every <= 0 {
				return errors.New("--interval must be above zero")
			}
			return f.top(cmd, once, every)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "print one frame and end")
	c.Flags().DurationVar(&every, "interval", time.Second, "time from one look to the next")
	return c
}

// top watches until ctx or the operator ends it.
func (f *ctlFlags) top(cmd *cobra.Command, once bool, every time.Duration) error {
	a, err := f.open()
	if err != nil {
		return err
	}
	ctx, cancel := interruptible()
	defer cancel()
	w := newWatch(a)
	defer w.close()
	t := terminalOf(cmd.InOrStdin(), cmd.OutOrStdout())
	if once || t == nil {
		return w.print(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), every)
	}
	restore, err := t.take()
	if err != nil {
		return &exitError{exitFailed, err}
	}
	defer restore()
	return w.live(ctx, cancel, t, every)
}

// watch looks at proxies again and again.
type watch struct {
	clients []*client
	last    []*sample // of each client; nil: none yet, or it failed
}

func newWatch(a *access) *watch {
	w := &watch{last: make([]*sample, len(a.proxies))}
	for _, at := range a.proxies {
		w.clients = append(w.clients, newClient(at, a))
	}
	return w
}

func (w *watch) close() {
	for _, c := range w.clients {
		c.close()
	}
}

// look asks all proxies and sums up.
func (w *watch) look(ctx context.Context) *frame {
	now, errs := make([]*sample, len(w.clients)), make([]error, len(w.clients))
	var wg sync.WaitGroup
	for i, c := range w.clients {
		wg.Go(func() { now[i], errs[i] = take(ctx, c) }) // ends with its calls
	}
	wg.Wait()
	f := newFrame(time.Now())
	for i, c := range w.clients {
		if errs[i] != nil {
			f.failed = append(f.failed, errs[i])
		} else {
			f.add(c.at.name, now[i], w.last[i])
		}
		w.last[i] = now[i]
	}
	return f
}

// print is one frame where there is no terminal. A proxy that could not be asked makes it a failure.
func (w *watch) print(ctx context.Context, out, errOut io.Writer, every time.Duration) error {
	w.look(ctx)
	select {
	case <-time.After(every):
	case <-ctx.Done():
		return &exitError{code: exitFailed}
	}
	f := w.look(ctx)
	for _, err := range f.failed {
		fmt.Fprintln(errOut, err)
	}
	if len(f.failed) < len(w.clients) {
		for _, line := range f.lines() {
			if _, err := fmt.Fprintln(out, line); err != nil {
				return err
			}
		}
	}
	return failures(len(f.failed), len(w.clients))
}

// live draws a frame every so often until ctx ends, which a key does.
func (w *watch) live(ctx context.Context, stop context.CancelFunc, t *terminal, every time.Duration) error {
	keys := make(chan struct{})
	go t.awaitQuit(ctx, stop, keys) // ends with ctx
	defer func() {
		stop()
		<-keys
	}()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		f := w.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := t.draw(f); err != nil {
			return &exitError{exitFailed, fmt.Errorf("drawing: %w", err)}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// sample is what one proxy said at one time.
type sample struct {
	at           time.Time
	stats        stats
	destinations []destination
	metrics      figures
}

// take asks one proxy.
func take(ctx context.Context, c *client) (*sample, error) {
	s := &sample{at: time.Now()}
	raw, err := c.ask(ctx, call{method: http.MethodGet, path: "/stats"})
	if err != nil {
		return nil, err
	}
	if s.stats, err = decode[stats](raw); err != nil {
		return nil, err
	}
	raw, err = c.ask(ctx, call{method: http.MethodGet, path: "/destinations"})
	if err == nil {
		var list destinationList
		list, err = decode[destinationList](raw)
		s.destinations = list.Destinations
	}
	if err != nil && !lacking(err) {
		return nil, err
	}
	text, err := c.text(ctx, call{method: http.MethodGet, path: "/metrics"})
	if err != nil && !lacking(err) {
		return nil, err
	}
	s.metrics, err = readFigures(bytes.NewReader(text))
	return s, err
}

// lacking reports whether a proxy, perhaps an older one, does not have a call: the rest of the view is worth showing.
func lacking(err error) bool {
	var r *refusal
	return errors.As(err, &r) && (r.status == http.StatusNotFound || r.status == http.StatusNotImplemented)
}
