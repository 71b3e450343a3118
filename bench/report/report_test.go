package report

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample() *Result {
	run := func(proxy string, repeat int, values ...float64) Run {
		return Run{proxy, repeat, []Figure{{"CPU per login", "us", values[0]}, {"p99", "us", values[1]}}}
	}
	r := &Result{Scenario: "login", Command: []string{"bench", "login"}, Began: time.Unix(1_000_000, 0).UTC(), Settings: map[string]string{"repeat": "2"}}
	r.Runs = []Run{run("mailsplice", 1, 100, 0.5), run("naive", 1, 400, 2000), run("mailsplice", 2, 120, 0.7), run("naive", 2, 400, 2000)}
	r.Runs[1].Figures = append(r.Runs[1].Figures, Figure{"goroutines", "", 40})
	return r
}

func TestTable(t *testing.T) {
	const want = `
| login             |   mailsplice |      naive | mailsplice / naive  |
| ----------------- | ------------ | ---------- | ------------------- |
| CPU per login, us |   110 ± 18 % |  400 ± 0 % | 0.28 (0.25 to 0.30) |
| p99, us           |   0.6 ± 33 % | 2000 ± 0 % | 0.00 (0.00 to 0.00) |
| goroutines        |            - |         40 |                   - |
`
	var b strings.Builder
	if err := sample().Table(&b, "mailsplice"); err != nil {
		t.Fatal(err)
	}
	// Widths aside, which the next test looks at.
	squeeze := func(s string) string { return strings.NewReplacer(" ", "", "-", "").Replace(s) }
	if got := "\n" + b.String(); squeeze(got) != squeeze(want) {
		t.Errorf("got %s want %s", got, want)
	}
	widths := map[int]bool{}
	for line := range strings.Lines(b.String()) {
		widths[len([]rune(line))] = true
	}
	if len(widths) != 1 {
		t.Errorf("lines of %d widths:\n%s", len(widths), b.String())
	}
}

// Each repeat has a ratio of its own; a repeat that only one proxy has counts for nothing.
func TestRatios(t *testing.T) {
	r := sample()
	r.Runs[3].Figures[0].Value = 100
	r.Runs = append(r.Runs, Run{"mailsplice", 3, []Figure{{"CPU per login", "us", 1}}})
	tests := []struct {
		over, under, figure string
		want                []float64
	}{
		{"mailsplice", "naive", "CPU per login", []float64{0.25, 1.2}},
		{"naive", "mailsplice", "CPU per login", []float64{4, 100. / 120}},
		{"mailsplice", "naive", "goroutines", nil},
		{"mailsplice", "other", "CPU per login", nil},
	}
	for _, tt := range tests {
		k := key{tt.figure, "us"}
		if got := r.ratios(tt.over, tt.under, k); !slices.Equal(got, tt.want) {
			t.Errorf("%s over %s, %s: got %v, want %v", tt.over, tt.under, tt.figure, got, tt.want)
		}
	}
}

func TestOnly(t *testing.T) {
	r := sample()
	got := r.Only("per login", "routines")
	if len(got.Runs) != 4 || len(got.Runs[1].Figures) != 2 || got.Runs[1].Figures[1].Name != "goroutines" || got.Runs[3].Figures[0].Value != 400 {
		t.Errorf("got %+v", got.Runs)
	}
	if !reflect.DeepEqual(r, sample()) {
		t.Errorf("the result itself was changed: %+v", r)
	}
}

func TestNotes(t *testing.T) {
	r := sample()
	r.Skipped, r.Remarks = map[string]string{"b": "not there"}, map[string]string{"a": "less"}
	var b strings.Builder
	if err := r.Table(&b, "mailsplice"); err != nil {
		t.Fatal(err)
	}
	if want := "|\n\n* **b was not measured**: not there.\n* a: less.\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("got %q at the end, want %q", b.String(), want)
	}
}

func TestTableWithoutBaseline(t *testing.T) {
	r := sample()
	r.Runs = r.Runs[:1]
	var b strings.Builder
	if err := r.Table(&b, "mailsplice"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "/ naive") || strings.Contains(b.String(), "±") {
		t.Errorf("got ratios or spreads of a single run:\n%s", b.String())
	}
}

func TestShort(t *testing.T) {
	tests := []struct {
		v    float64
		want string
	}{
		{0, "0"}, {7, "7"}, {12345, "12345"}, {1234.5, "1234"}, {99.44, "99.4"}, {9.444, "9.44"}, {0.12345, "0.123"}, {-3.21, "-3.21"},
	}
	for _, tt := range tests {
		if got := short(tt.v); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.v, got, tt.want)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	want := sample()
	if err := want.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there: no error")
	}
}
