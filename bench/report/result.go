package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"mailsplice/bench/measure"
)

// Figure is one thing that was measured.
type Figure struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

// Run is one measurement of one proxy.
type Run struct {
	Proxy   string   `json:"proxy"`
	Repeat  int      `json:"repeat"` // from 1
	Figures []Figure `json:"figures"`
}

// Result is all runs of a scenario, and what somebody needs who wants to repeat them.
type Result struct {
	Scenario string            `json:"scenario"`
	Command  []string          `json:"command"`
	Began    time.Time         `json:"began"`
	Took     string            `json:"took"`
	Machine  measure.Machine   `json:"machine"`
	Versions map[string]string `json:"versions"` // of the proxies, by name
	Settings map[string]string `json:"settings"` // every flag, defaults too
	Runs     []Run             `json:"runs"`
	Skipped  map[string]string `json:"skipped,omitempty"` // proxies that were not measured, and why
	Remarks  map[string]string `json:"remarks,omitempty"` // what proxies do less or more than others
}

// WriteFile stores the result as JSON.
func (r *Result) WriteFile(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("storing the result: %w", err)
	}
	return nil
}

// ReadFile is a result that was stored.
func ReadFile(path string) (*Result, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Result)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return r, nil
}

// Only is the result with no other figures than those whose names end with one of the endings.
func (r *Result) Only(endings ...string) *Result {
	less := *r
	less.Runs = nil
	for _, run := range r.Runs {
		run.Figures = slices.DeleteFunc(slices.Clone(run.Figures), func(f Figure) bool { return !ends(f.Name, endings) })
		less.Runs = append(less.Runs, run)
	}
	return &less
}

func ends(name string, endings []string) bool {
	return slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(name, e) })
}

// key is what figures of several runs have in common.
type key struct{ name, unit string }

// values collects a proxy's figures over its runs.
func (r *Result) values(proxy string, k key) (list []float64) {
	for _, run := range r.Runs {
		if run.Proxy != proxy {
			continue
		}
		if v, ok := run.value(k); ok {
			list = append(list, v)
		}
	}
	return list
}

func (run Run) value(k key) (v float64, ok bool) {
	for _, f := range run.Figures {
		if f.Name == k.name && f.Unit == k.unit {
			return f.Value, true
		}
	}
	return 0, false
}

// ratios are one proxy's figure over another's in the same repeat, which lay next to each other in time: what slowed the
// machine down slowed both.
func (r *Result) ratios(over, under string, k key) (list []float64) {
	for _, a := range r.Runs {
		if a.Proxy != over {
			continue
		}
		for _, b := range r.Runs {
			if b.Proxy != under || b.Repeat != a.Repeat {
				continue
			}
			x, ok := a.value(k)
			y, too := b.value(k)
			if ok && too && y != 0 {
				list = append(list, x/y)
			}
		}
	}
	return list
}

// keys and proxies, each in the order of their first appearance.
func (r *Result) keys() (keys []key, proxies []string) {
	seenKey, seenProxy := map[key]bool{}, map[string]bool{}
	for _, run := range r.Runs {
		if !seenProxy[run.Proxy] {
			seenProxy[run.Proxy] = true
			proxies = append(proxies, run.Proxy)
		}
		for _, f := range run.Figures {
			if k := (key{f.Name, f.Unit}); !seenKey[k] {
				seenKey[k] = true
				keys = append(keys, k)
			}
		}
	}
	return keys, proxies
}
