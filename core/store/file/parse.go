package file

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxLineBytes is an identifier (512 bytes, SPEC 4 point 2), a destination and room for a remark.
	maxLineBytes = 4096
	// maxFileBytes holds about five million mappings; a larger set belongs into a database.
	maxFileBytes = 256 << 20
	// maxPresized bounds the entries that memory is taken for in advance, by the number of lines.
	maxPresized = 1 << 20
	// maxProblems bounds what one reading reports of each kind: enough to see what is wrong with a file.
	maxProblems = 1000
	// maxIdentifierBytes is the longest identifier that a login may carry (SPEC 4 point 2).
	maxIdentifierBytes = 512
	// blanks separate fields. Other control characters are no blanks; they make an identifier unusable.
	blanks = " \t\v\f\r"
	bom    = "\ufeff"
)

// Rules say how a file is read.
type Rules struct {
	// Normalize makes identifiers comparable; nil: they are taken as they are.
	Normalize func(identifier string) string
	// Separators are the master-user separators; a key that holds one is warned about, since no login looks it up.
	Separators []string
	// CheckDestination, if set, refuses a destination. It is called once for each name that occurs.
	CheckDestination func(destination string) error
}

// Entry is one mapping.
type Entry struct {
	Identifier  string // normalised
	Destination string
	Line        int // of the last line with this identifier, from 1
}

// Severity tells whether a Problem spoils the file.
type Severity uint8

// The severities.
const (
	Warning Severity = iota + 1
	Error
)

// Problem is what is wrong with one line.
type Problem struct {
	Line     int // from 1; 0: the file as a whole
	Severity Severity
	Reason   Reason
	Text     string // quotes the line, so it may name accounts
}

// Reason is the kind of a Problem, from a closed set, fit for logs.
type Reason string

// The reasons.
const (
	TooLong        Reason = "line too long"
	OneField       Reason = "only one field"
	BadDestination Reason = "bad destination"
	Unusable       Reason = "identifier that no login carries"
	Separator      Reason = "identifier with a master-user separator"
	Repeated       Reason = "repeated identifier"
	Unreported     Reason = "too many problems to report"
)

// Error reads "line 3: ...".
func (p Problem) Error() string {
	if p.Line == 0 {
		return p.Text
	}
	return fmt.Sprintf("line %d: %s", p.Line, p.Text)
}

// Contents is a file that was read.
type Contents struct {
	// Entries are the mappings in the order of the file, each identifier once; those of bad lines are missing.
	Entries []Entry
	// Head is the text above the first mapping down to the last comment line.
	Head string
	// Problems are errors and warnings in the order of the file, at most 1,000 of each.
	Problems []Problem
}

// Err joins the problems of severity Error, each an error of type Problem; nil if there is none.
func (c *Contents) Err() error {
	var errs []error
	for _, p := range c.Problems {
		if p.Severity == Error {
			errs = append(errs, p)
		}
	}
	return errors.Join(errs...)
}

// Parse reads a mapping file. The error is the reader's, or says that the file is too large; what is wrong with the
// lines is in Contents.Problems.
func Parse(from io.Reader, rules Rules) (*Contents, error) {
	text, err := slurp(from, maxFileBytes)
	if err != nil {
		return nil, err
	}
	return parse(text, rules), nil
}

// slurp reads all, at most limit bytes.
func slurp(from io.Reader, limit int64) (string, error) {
	var text strings.Builder
	n, err := io.Copy(&text, io.LimitReader(from, limit+1))
	if err != nil {
		return "", err
	}
	if n > limit {
		return "", fmt.Errorf("file is over %d bytes", limit)
	}
	return text.String(), nil
}

// parse keeps pieces of text alive: identifiers are not copied.
func parse(text string, rules Rules) *Contents {
	lines := min(strings.Count(text, "\n")+1, maxPresized)
	p := parser{rules: rules, names: map[string]string{}, at: make(map[string]int, lines)}
	for line := range strings.Lines(text) {
		p.line++
		p.offset += len(line)
		p.read(strings.TrimRight(line, "\r\n"))
	}
	p.out.Head = text[:p.head]
	for _, s := range []Severity{Warning, Error} {
		if more := p.counts[s] - maxProblems; more > 0 {
			p.out.Problems = append(p.out.Problems, Problem{Severity: s, Reason: Unreported, Text: fmt.Sprintf("and %d more", more)})
		}
	}
	return &p.out
}

// parser is the state of one reading.
type parser struct {
	rules  Rules
	line   int               // number of the present line
	offset int               // of its end
	head   int               // end of the last comment above the first mapping
	body   bool              // a mapping was seen, good or bad
	at     map[string]int    // identifier to its index in out.Entries
	names  map[string]string // destinations seen, so that entries share one string; empty: refused
	out    Contents
	counts [Error + 1]int // problems by severity
}

func (p *parser) read(line string) {
	// Files joined by cat have a byte order mark in the middle, too.
	text := strings.TrimRight(strings.TrimLeft(line, blanks+bom), blanks)
	switch {
	case len(line) > maxLineBytes:
		p.problem(Error, TooLong, "line is %d bytes long, at most %d are allowed", len(line), maxLineBytes)
	case text == "":
	case text[0] == '#':
		if !p.body {
			p.head = p.offset
		}
	default:
		p.body = true
		p.mapping(text)
	}
}

func (p *parser) mapping(text string) {
	identifier, rest := field(text)
	destination, _ := field(rest)
	if destination == "" {
		p.problem(Error, OneField, "found only %q, allowed is an identifier, a blank and a destination", identifier)
		return
	}
	if destination = p.destination(destination); destination != "" {
		p.add(identifier, destination)
	}
}

// field cuts the first field off a text that does not begin with a blank.
func field(text string) (first, rest string) {
	i := strings.IndexAny(text, blanks)
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimLeft(text[i:], blanks)
}

// destination interns a name, or returns nothing if it is refused.
func (p *parser) destination(name string) string {
	known, seen := p.names[name]
	if !seen {
		known = strings.Clone(name)
	}
	if check := p.rules.CheckDestination; check != nil && (!seen || known == "") {
		if err := check(name); err != nil {
			p.problem(Error, BadDestination, "destination %q: %v", name, err)
			known = ""
		}
	}
	p.names[name] = known
	return known
}

func (p *parser) add(identifier, destination string) {
	if p.rules.Normalize != nil {
		identifier = p.rules.Normalize(identifier)
	}
	if n := len(identifier) + len("\t") + len(destination); n > maxLineBytes { // normalising can lengthen
		p.problem(Error, TooLong, "line would be rewritten with %d bytes, at most %d are allowed", n, maxLineBytes)
		return
	}
	if why := unusable(identifier); why != "" {
		p.problem(Warning, Unusable, "identifier %q is never looked up: %s", identifier, why)
	}
	for _, sep := range p.rules.Separators {
		if sep != "" && strings.Contains(identifier, sep) {
			p.problem(Warning, Separator, "identifier %q is never looked up: it holds the master-user separator %q", identifier, sep)
			break
		}
	}
	entry := Entry{Identifier: identifier, Destination: destination, Line: p.line}
	i, repeated := p.at[identifier]
	if !repeated {
		p.at[identifier] = len(p.out.Entries)
		p.out.Entries = append(p.out.Entries, entry)
		return
	}
	p.problem(Warning, Repeated, "identifier %q was mapped in line %d already, this line wins", identifier, p.out.Entries[i].Line)
	p.out.Entries[i] = entry
}

func (p *parser) problem(s Severity, why Reason, format string, args ...any) {
	if p.counts[s]++; p.counts[s] > maxProblems {
		return
	}
	p.out.Problems = append(p.out.Problems, Problem{p.line, s, why, fmt.Sprintf(format, args...)})
}

// unusable says why no login carries the identifier (SPEC 4 point 2); empty: one can.
func unusable(identifier string) string {
	switch {
	case len(identifier) > maxIdentifierBytes:
		return fmt.Sprintf("over %d bytes", maxIdentifierBytes)
	case !utf8.ValidString(identifier):
		return "not UTF-8"
	case strings.ContainsFunc(identifier, unicode.IsControl):
		return "control character"
	case strings.Contains(identifier, `"`):
		return "quote"
	}
	return ""
}
