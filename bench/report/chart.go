package report

import (
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"mailsplice/bench/measure"
)

// Sizes of a chart, in pixels.
const (
	chartWidth  = 760
	labelWidth  = 110 // left of the bars
	valueWidth  = 150 // right of them
	barHeight   = 18
	barGap      = 6
	titleHeight = 30
	chartMargin = 14
)

// Colours of bars: one for the proxy that the chart is about, one for the others.
const (
	subjectColour = "#1f77b4"
	otherColour   = "#9aa5b1"
	rangeColour   = "#333333"
)

// Chart writes an SVG picture with a group of bars for each figure whose name ends with one of the endings: a bar for each
// proxy, as long as its median, with a line from the smallest to the largest run. Figures that nobody has are left out.
func (r *Result) Chart(w io.Writer, subject string, endings ...string) error {
	keys, proxies := r.keys()
	var b strings.Builder
	y := chartMargin
	for _, k := range keys {
		if !ends(k.name, endings) {
			continue
		}
		y = r.group(&b, y, k, proxies, subject)
	}
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="#ffffff"/>
%s</svg>
`, chartWidth, y+chartMargin, chartWidth, y+chartMargin, b.String())
	return err
}

// group draws one figure from y on, and returns where the next one begins.
func (r *Result) group(b *strings.Builder, y int, k key, proxies []string, subject string) int {
	longest := 0.0
	for _, p := range proxies {
		if v := r.values(p, k); len(v) > 0 {
			longest = max(longest, slices.Max(v))
		}
	}
	title := strings.TrimSuffix(k.name+", "+k.unit, ", ")
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold" fill="#000000">%s</text>`+"\n", chartMargin, y+16, html.EscapeString(title))
	y += titleHeight
	for _, p := range proxies {
		values := r.values(p, k)
		if len(values) == 0 || longest <= 0 {
			continue
		}
		colour := otherColour
		if p == subject {
			colour = subjectColour
		}
		bar(b, y, p, colour, values, longest)
		y += barHeight + barGap
	}
	return y + barGap
}

// bar draws one proxy's values; longest is the value that fills the width.
func bar(b *strings.Builder, y int, name, colour string, values []float64, longest float64) {
	const room = chartWidth - labelWidth - valueWidth - 2*chartMargin
	left := chartMargin + labelWidth
	at := func(v float64) int { return left + int(math.Round(max(v, 0)/longest*room)) }
	text, middle := y+barHeight-5, y+barHeight/2
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" fill="#000000">%s</text>`, left-8, text, html.EscapeString(name))
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`, left, y, at(measure.Median(values))-left, barHeight, colour)
	if len(values) > 1 {
		fmt.Fprintf(b, `<path d="M%d %dH%d" stroke="%s" stroke-width="2"/>`, at(slices.Min(values)), middle, at(slices.Max(values)), rangeColour)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="#000000">%s</text>`+"\n", at(slices.Max(values))+8, text, html.EscapeString(cell(values)))
}

// WriteChart stores the picture.
func (r *Result) WriteChart(path, subject string, endings ...string) error {
	var b strings.Builder
	if err := r.Chart(&b, subject, endings...); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("storing the chart: %w", err)
	}
	return nil
}
