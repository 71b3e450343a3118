package report

import (
	"encoding/xml"
	"io"
	"strconv"
	"strings"
	"testing"
)

// widths are those of the bars, and the text in between, of a picture that must be well-formed.
func widths(t *testing.T, picture string) (bars []int, texts []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(picture))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return bars, texts
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, picture)
		}
		switch e := token.(type) {
		case xml.CharData:
			if s := strings.TrimSpace(string(e)); s != "" {
				texts = append(texts, s)
			}
		case xml.StartElement:
			for _, a := range e.Attr {
				if n, err := strconv.Atoi(a.Value); err == nil && e.Name.Local == "rect" && a.Name.Local == "width" {
					bars = append(bars, n)
				}
			}
		}
	}
}

func TestChart(t *testing.T) {
	r := sample()
	r.Runs = append(r.Runs, Run{"a<b", 1, []Figure{{"CPU per login", "us", 200}, {"p99", "us", 0}}})
	var b strings.Builder
	if err := r.Chart(&b, "mailsplice", "per login"); err != nil {
		t.Fatal(err)
	}
	bars, texts := widths(t, b.String())
	const room = chartWidth - labelWidth - valueWidth - 2*chartMargin
	if len(bars) != 3 || bars[0] != (room*110+200)/400 || bars[1] != room || bars[2] != room/2 {
		t.Errorf("bars: got %d, want lengths in proportion to 110, 400 and 200", bars)
	}
	if want := "CPU per login, us|mailsplice|110 ± 18 %|naive|400 ± 0 %|a<b|200"; strings.Join(texts, "|") != want {
		t.Errorf("texts: got %q, want %q", texts, want)
	}
	if got := strings.Count(b.String(), "<path"); got != 2 {
		t.Errorf("got %d lines from the smallest to the largest, want 2: the third proxy has one run", got)
	}
}

// Nothing but zeros, or nothing at all, is a picture without bars.
func TestEmptyChart(t *testing.T) {
	r := &Result{Runs: []Run{{"mailsplice", 1, []Figure{{"p99", "us", 0}}}}}
	for _, ending := range []string{"p99", "other"} {
		var b strings.Builder
		if err := r.Chart(&b, "mailsplice", ending); err != nil {
			t.Fatal(err)
		}
		if bars, _ := widths(t, b.String()); len(bars) != 0 {
			t.Errorf("%s: got bars %v", ending, bars)
		}
	}
}
