package metrics

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shown is every series name that the program can show, with its labels. Prometheus adds `up`, and to all of them
// job and instance.
func shown(t *testing.T) map[string][]string {
	t.Helper()
	x, err := parse(text(everything()))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{"up": {"job", "instance"}}
	for _, list := range x.samples {
		for _, s := range list {
			names[s.name] = append(slices.Clone(s.order), "job", "instance")
		}
	}
	return names
}

var (
	quoted   = regexp.MustCompile(`"[^"]*"`)
	matchers = regexp.MustCompile(`\{[^}]*\}`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring) ?\(([^)]*)\)`)
	ranges   = regexp.MustCompile(`\[[^\]]*\]`)
	word     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*(?:\()?`)
	keywords = []string{"and", "or", "unless", "sum", "min", "max", "avg", "count", "bool"}
)

// inspect wants every metric in a PromQL expression to be one of names, and every label to be one of those metrics'. It
// returns the labels that are known in the expression.
func inspect(expr string, names map[string][]string) ([]string, error) {
	var used []string
	rest := quoted.ReplaceAllString(expr, "")
	for _, m := range matchers.FindAllString(rest, -1) {
		used = append(used, word.FindAllString(m, -1)...)
	}
	rest = ranges.ReplaceAllString(matchers.ReplaceAllString(rest, ""), "")
	for _, m := range grouping.FindAllStringSubmatch(rest, -1) {
		used = append(used, word.FindAllString(m[1], -1)...)
	}
	var known []string
	metrics := 0
	for _, w := range word.FindAllString(grouping.ReplaceAllString(rest, ""), -1) {
		if strings.HasSuffix(w, "(") || slices.Contains(keywords, w) {
			continue
		}
		labels, ok := names[w]
		if !ok {
			return nil, fmt.Errorf("%s: no metric %q", expr, w)
		}
		known = append(known, labels...)
		metrics++
	}
	for _, l := range used {
		if !slices.Contains(known, l) {
			return nil, fmt.Errorf("%s: no label %q", expr, l)
		}
	}
	if metrics == 0 {
		return nil, fmt.Errorf("%s: no metric at all", expr)
	}
	return known, nil
}

func TestInspect(t *testing.T) {
	names := map[string][]string{"a_total": {"x", "instance"}, "b_bucket": {"le"}}
	tests := []struct {
		expr string
		good bool
	}{
		{"a_total", true},
		{`sum by (x) (rate(a_total{x="y", instance=~"$i"}[5m])) > 2 * 86400`, true},
		{"histogram_quantile(0.9, sum by (le) (rate(b_bucket[$__rate_interval]))) > 0.5", true},
		{"a_total and on (x) a_total == 0", true},
		{"c_total", false},
		{"rate(a_total[5m]) / c_total", false},
		{"sum by (y) (a_total)", false},
		{`a_total{y="x"}`, false},
		{"b_bucket and on (x) b_bucket", false},
		{"86400", false},
	}
	for _, tt := range tests {
		t.Run(tt.expr, func(t *testing.T) {
			if _, err := inspect(tt.expr, names); (err == nil) != tt.good {
				t.Errorf("got %v, want it good: %v", err, tt.good)
			}
		})
	}
}

// alerts reads the rules line by line: the file keeps every value on one line.
func alerts(t *testing.T) (list []map[string]string) {
	t.Helper()
	p, err := os.ReadFile("../../configs/prometheus-rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(p)) {
		key, v, ok := strings.Cut(strings.TrimLeft(strings.TrimSpace(line), "- "), ": ")
		switch {
		case !ok || strings.HasPrefix(strings.TrimSpace(line), "#"):
		case key == "alert":
			list = append(list, map[string]string{key: v})
		case len(list) > 0:
			list[len(list)-1][key] = v
		}
	}
	return list
}

var template = regexp.MustCompile(`\$labels\.([a-z_]+)`)

func TestRules(t *testing.T) {
	names, list := shown(t), alerts(t)
	if len(list) < 10 {
		t.Fatalf("got %d alerts, that cannot be all", len(list))
	}
	seen := map[string]bool{}
	for _, a := range list {
		t.Run(a["alert"], func(t *testing.T) {
			for _, key := range []string{"expr", "severity", "summary", "description"} {
				if a[key] == "" {
					t.Errorf("got no %s", key)
				}
			}
			if seen[a["alert"]] {
				t.Error("got the name twice")
			}
			seen[a["alert"]] = true
			known, err := inspect(a["expr"], names)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range template.FindAllStringSubmatch(a["summary"]+a["description"], -1) {
				if !slices.Contains(known, m[1]) {
					t.Errorf("got the label %s in the text, which the alert has not", m[1])
				}
			}
		})
	}
}

// dashboard is the part of Grafana's model that is ours to get wrong.
type dashboard struct {
	Title      string
	Panels     []panel
	Templating struct{ List []struct{ Name string } }
}

type panel struct {
	ID         int
	Title      string
	Datasource struct{ UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct{ Expr, RefID, LegendFormat string }
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	p, err := os.ReadFile("../../configs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(p, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var legend = regexp.MustCompile(`\{\{ *([a-z_]+) *\}\}`)

func TestDashboard(t *testing.T) {
	names, d := shown(t), readDashboard(t)
	ids := map[int]bool{}
	for i, p := range d.Panels {
		t.Run(p.Title, func(t *testing.T) {
			if p.Title == "" || ids[p.ID] || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
				t.Errorf("got %+v, want a title, an id of its own, targets and the chosen data source", p)
			}
			ids[p.ID] = true
			for _, q := range d.Panels[:i] {
				if a, b := p.GridPos, q.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
					t.Errorf("got it over %q", q.Title)
				}
			}
			if p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("got %+v, a row has 24 columns", p.GridPos)
			}
			for _, q := range p.Targets {
				known, err := inspect(q.Expr, names)
				if err != nil {
					t.Error(err)
				}
				for _, m := range legend.FindAllStringSubmatch(q.LegendFormat, -1) {
					if !slices.Contains(known, m[1]) {
						t.Errorf("got the label %s in a legend, which %s has not", m[1], q.Expr)
					}
				}
				if !strings.Contains(q.Expr, `instance=~"$instance"`) {
					t.Errorf("got %s, which does not heed the chosen instances", q.Expr)
				}
			}
		})
	}
	for _, v := range []string{"datasource", "instance"} {
		if !slices.ContainsFunc(d.Templating.List, func(x struct{ Name string }) bool { return x.Name == v }) {
			t.Errorf("got no variable %s", v)
		}
	}
}

// Every family of ours is on the dashboard: what is not worth a look need not be counted.
func TestDashboardShowsAll(t *testing.T) {
	var all strings.Builder
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			all.WriteString(q.Expr + "\n")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if !strings.Contains(all.String(), prefix+name) {
			t.Errorf("got no panel with %s", name)
		}
	}
}
