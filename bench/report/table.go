package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"mailsplice/bench/measure"
)

// Table writes the result as a Markdown table: a row for each figure, a column for each proxy with the median and, of
// several runs, the spread (largest less smallest) in percent of it. The last columns are ratios of the proxy called
// subject to each of the others: the median of the ratios in each repeat and, of several, the smallest and the largest.
// Below it stand the proxies that were not measured, and what the others do less or more.
func (r *Result) Table(w io.Writer, subject string) error {
	keys, proxies := r.keys()
	head := append([]string{r.Scenario}, proxies...)
	var others []string
	for _, p := range proxies {
		if p != subject && slices.Contains(proxies, subject) {
			others = append(others, p)
			head = append(head, subject+" / "+p)
		}
	}
	rows := [][]string{head}
	for _, k := range keys {
		row := []string{strings.TrimSuffix(k.name+", "+k.unit, ", ")}
		for _, p := range proxies {
			row = append(row, cell(r.values(p, k)))
		}
		for _, p := range others {
			row = append(row, ratio(r.ratios(subject, p, k)))
		}
		rows = append(rows, row)
	}
	if err := writeRows(w, rows); err != nil {
		return err
	}
	return r.notes(w)
}

// notes are what a reader of the table must know.
func (r *Result) notes(w io.Writer) error {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(r.Skipped)) {
		list = append(list, fmt.Sprintf("* **%s was not measured**: %s.", name, r.Skipped[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Remarks)) {
		list = append(list, fmt.Sprintf("* %s: %s.", name, r.Remarks[name]))
	}
	if len(list) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(list, "\n"))
	return err
}

func cell(values []float64) string {
	if len(values) == 0 {
		return "-"
	}
	median := measure.Median(values)
	if len(values) == 1 || median == 0 {
		return short(median)
	}
	return fmt.Sprintf("%s ± %.0f %%", short(median), math.Abs(measure.Spread(values)/median)*100)
}

func ratio(values []float64) string {
	switch len(values) {
	case 0:
		return "-"
	case 1:
		return fmt.Sprintf("%.2f", values[0])
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", measure.Median(values), slices.Min(values), slices.Max(values))
}

// short is a number with about three digits.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a == math.Trunc(a) && a < 1e9:
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// writeRows pads every column to its widest cell; the first row is the head.
func writeRows(w io.Writer, rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], len([]rune(c)))
		}
	}
	rule := make([]string, len(widths))
	for i, n := range widths {
		rule[i] = strings.Repeat("-", n)
	}
	for i, row := range append(rows[:1:1], append([][]string{rule}, rows[1:]...)...) {
		for j, c := range row {
			pad := strings.Repeat(" ", widths[j]-len([]rune(c)))
			if j > 0 && i != 1 {
				c, pad = pad+c, ""
			}
			if _, err := fmt.Fprintf(w, "| %s%s ", c, pad); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(w, "|"); err != nil {
			return err
		}
	}
	return nil
}
