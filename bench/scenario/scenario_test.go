package scenario

import (
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"mailsplice/bench/load"
)

// The parts of all processes are everything, once, and about as large as one another.
func TestShare(t *testing.T) {
	for _, n := range []int{0, 1, 2, 7, 100, 8501} {
		for _, processes := range []int{1, 2, 3, 8} {
			next := 0
			for k := range processes {
				first, count := share(n, processes, k)
				if first != next || count < n/processes || count > n/processes+1 {
					t.Errorf("%d over %d, part %d: from %d, %d of them; want from %d", n, processes, k, first, count, next)
				}
				next = first + count
			}
			if next != n {
				t.Errorf("%d over %d: %d in all", n, processes, next)
			}
		}
	}
}

func TestRising(t *testing.T) {
	limit := 0
	for limit = 1; rising(Env{}, counts{limit * 2}, 2) == nil; limit *= 2 {
	}
	tests := []struct {
		name        string
		steps       counts
		descriptors int
		want        string
	}{
		{"one step", counts{5}, 2, ""},
		{"rising", counts{1, 2, 3}, 2, ""},
		{"falling", counts{3, 2}, 2, "allowed rising numbers"},
		{"twice the same", counts{2, 2}, 2, "allowed rising numbers"},
		{"too many for two descriptors each", counts{limit * 2}, 2, "allowed at most"},
		{"as many as fit", counts{limit}, 2, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := rising(Env{}, tt.steps, tt.descriptors)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestComplete(t *testing.T) {
	if err := complete(load.Reply{Done: 3}); err != nil {
		t.Errorf("without failures: %v", err)
	}
	err := complete(load.Reply{Done: 3, Failed: 2, Error: "reset"})
	if !errors.Is(err, errFailures) || !strings.Contains(err.Error(), "2 beside 3 successes, the first: reset") {
		t.Errorf("got %v", err)
	}
}

func TestWait(t *testing.T) {
	if err := wait(t.Context(), time.Millisecond); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := wait(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// Every scenario has a name of its own, a description, and flags that explain themselves.
func TestAll(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		f := flag.NewFlagSet(s.Name, flag.ContinueOnError)
		f.SetOutput(io.Discard)
		if s.Bind(f) == nil || seen[s.Name] || s.Short == "" {
			t.Errorf("%q: not usable, or there twice", s.Name)
		}
		seen[s.Name] = true
		f.VisitAll(func(f *flag.Flag) {
			if f.Usage == "" || f.DefValue == "" || f.DefValue == "0" {
				t.Errorf("%s -%s: no usage or no default", s.Name, f.Name)
			}
		})
	}
}
