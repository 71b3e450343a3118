package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"mailsplice/core/config"
)

// table prints rows in columns.
type table struct {
	w *tabwriter.Writer
}

func newTable(w io.Writer) table {
	return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

func (t table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = clean(c)
	}
	fmt.Fprintln(t.w, strings.TrimRight(strings.Join(cells, "\t"), "\t")) // an error stays with t.w until flush
}

func (t table) flush() error { return t.w.Flush() }

// clean makes foreign text fit for one line of a terminal: nothing in it moves the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, s)
}

// printable is clean for text of several lines.
func printable(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	return strings.Join(lines, "\n")
}

// extra is a field of an answer that has no words of its own here: the proxy may be newer.
type extra struct{ name, value string }

// extras lists the plain fields of an answer beside the known ones, by name.
func extras(raw json.RawMessage, known ...string) (list []extra) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return nil
	}
	for name, v := range fields {
		var text string
		switch {
		case slices.Contains(known, name) || len(v) > 0 && (v[0] == '{' || v[0] == '['):
			continue
		case json.Unmarshal(v, &text) != nil:
			text = string(v)
		}
		list = append(list, extra{name, text})
	}
	slices.SortFunc(list, func(a, b extra) int { return strings.Compare(a.name, b.name) })
	return list
}

// aside is extras behind a sentence.
func aside(raw json.RawMessage, known ...string) string {
	var parts []string
	for _, x := range extras(raw, known...) {
		parts = append(parts, clean(strings.ReplaceAll(x.name, "_", " ")+" "+x.value))
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// sentence shows text, and what else the answer holds. Words of args beyond the format's verbs name fields that the text
// says already.
func sentence(format string, args ...string) show {
	verbs := strings.Count(format, "%s")
	said := make([]any, verbs)
	for i := range said {
		said[i] = clean(args[i])
	}
	return func(w io.Writer, raw json.RawMessage) error {
		_, err := fmt.Fprintf(w, format+"%s\n", append(said, aside(raw, args[verbs:]...))...)
		return err
	}
}

// argument is the n-th argument, empty if it was not given.
func argument(args []string, n int) string {
	if n < len(args) {
		return args[n]
	}
	return ""
}

// whenTrue is the value of a query parameter that is left out when false.
func whenTrue(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	day := 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// bytesText writes an amount of bytes in three digits.
func bytesText(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for ; n >= 999.5 && i < len(units)-1; i++ {
		n /= 1000
	}
	if i == 0 || n >= 99.95 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

// completeDestination completes the n-th argument by the destinations that the configuration declares.
func (f *ctlFlags) completeDestination(n int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) != n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		path, err := f.path()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		conf, err := config.LoadAccess(path, config.Options{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return conf.Destinations, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag does the same for a flag's value.
func (f *ctlFlags) completeFlag(c *cobra.Command, flag string) {
	complete := f.completeDestination(0)
	err := c.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return complete(cmd, nil, word)
	})
	if err != nil {
		panic("bug: " + err.Error())
	}
}
