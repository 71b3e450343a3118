package report

import (
	"fmt"
	"io"
	"math"
	"strings"

	"mailsplice/bench/measure"
)

// Table writes the result as a Markdown table: a row for each figure, a column for each proxy with the median and, of
// several runs, the spread (largest less smallest) in percent of it. The last columns are ratios to the proxy called
// baseline.
func (r *Result) Table(w io.Writer, baseline string) error {
	keys, proxies := r.keys()
	head := append([]string{r.Scenario}, proxies...)
	var compared []string
	for _, p := range proxies {
		if p != baseline && contains(proxies, baseline) {
			compared = append(compared, p)
			head = append(head, p+" / "+baseline)
		}
	}
	rows := [][]string{head}
	for _, k := range keys {
		row := []string{strings.TrimSuffix(k.name+", "+k.unit, ", ")}
		for _, p := range proxies {
			row = append(row, cell(r.values(p, k)))
		}
		for _, p := range compared {
			row = append(row, ratio(r.values(p, k), r.values(baseline, k)))
		}
		rows = append(rows, row)
	}
	return writeRows(w, rows)
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
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

func ratio(values, baseline []float64) string {
	if len(values) == 0 || len(baseline) == 0 {
		return "-"
	}
	b := measure.Median(baseline)
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", measure.Median(values)/b)
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
