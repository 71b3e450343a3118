package config

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Problem is one thing wrong, or worth a warning, about a configuration.
type Problem struct {
	File    string // the configuration file, or another file that it names
	Line    int    // from 1; 0 when no line is to blame
	Key     string // path such as listener.imap.tls, or $NAME of an environment variable
	Found   string // never a secret
	Allowed string
}

// String is the form of SPEC 2: file:line: key: found x, allowed y.
func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s: %s: found %s, allowed %s", where, p.Key, p.Found, p.Allowed)
}

// Problems is everything wrong with a configuration, in the order of the file.
type Problems []Problem

// Error is one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// inOrder sorts by file and line, the configuration file first, and drops exact repetitions.
func (ps Problems) inOrder(file string) Problems {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i], ps[j]
		if (a.File == file) != (b.File == file) {
			return a.File == file
		}
		if a.File != b.File {
			return a.File < b.File
		}
		return a.Line < b.Line
	})
	seen := make(map[Problem]bool, len(ps))
	kept := ps[:0]
	for _, p := range ps {
		if !seen[p] {
			kept = append(kept, p)
		}
		seen[p] = true
	}
	return kept
}

// maxFound bounds how many bytes of a foreign value a Problem repeats; enough to recognise it.
const maxFound = 80

// quote makes foreign text fit to print.
func quote(s string) string {
	if len(s) <= maxFound {
		return fmt.Sprintf("%q", s)
	}
	cut := maxFound
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%q…", s[:cut])
}
