package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Bounds of a bulk write. What is read of the largest body takes 200 to 300 MB for as long as the call lasts, hence one at
// a time.
const (
	maxBulks            = 1
	maxBulkBytes        = 64 << 20
	maxBulkChanges      = 2_000_000 // identifiers: what fits into maxBulkBytes at 32 bytes a line
	maxLineBytes        = 4096      // as in the mapping file
	maxDestinationBytes = 1024      // leaves room for any identifier on the line
)

const (
	remove = "-"         // in place of a destination; no destination can be called so
	blanks = " \t\v\f\r" // between fields, as in the mapping file
	bom    = "\ufeff"
)

const bulkBody = "Lines as in the mapping file: identifier, blanks, destination. `-` as destination removes the mapping. `#` comments and blank " +
	"lines are ignored, and so is what follows the second field. The last line of a repeated identifier wins. At most 64 MiB and " +
	"2,000,000 identifiers."

type bulkWritten struct {
	Written int  `json:"written" about:"Identifiers that have a mapping now."`
	Removed int  `json:"removed" about:"Identifiers that have none, whether they had one or not."`
	Kicked  *int `json:"kicked,omitempty"`
}

func (s *Server) bulkWrite(r *request) (any, error) {
	if !s.bulk.enter() {
		return nil, ErrBusy
	}
	defer s.bulk.leave()
	t := r.transfer()
	p, err := readChanges(pieces{t, r.Body}, s.o.Mappings, maxBulkChanges)
	if err != nil {
		t.answering()
		return nil, err
	}
	done := bulkWritten{}
	for _, c := range p.changes {
		if c.Destination == "" {
			done.Removed++
		}
	}
	done.Written = len(p.changes) - done.Removed
	r.counted(len(p.changes))
	err = s.apply(r, t, p)
	if err == nil && r.query["kick"] == "true" {
		n := s.kickAll(p)
		done.Kicked = &n
	}
	t.answering()
	return done, err
}

func (s *Server) apply(r *request, t transfer, p *bulkReader) error {
	ctx, cancel := context.WithDeadline(r.Context(), t.end)
	defer cancel()
	return s.o.Bulk.Apply(ctx, p.changes)
}

// kickAll ends the sessions of every identifier. It does not stop when the client leaves: the changes are made.
func (s *Server) kickAll(p *bulkReader) (n int) {
	for _, c := range p.changes {
		_, account := s.o.Mappings.Normalize(c.Identifier)
		if _, itself := p.at[account]; itself && account != c.Identifier {
			continue // the form with the domain is there, too: its turn ends the same sessions
		}
		n += s.o.Sessions.Kick(Kick{Account: account})
	}
	return n
}

// readChanges reads a whole body of at most so many identifiers. The error is a statusError or Problems.
func readChanges(from io.Reader, mappings Mappings, most int) (*bulkReader, error) {
	p := &bulkReader{mappings: mappings, at: make(map[string]int), names: make(map[string]string)}
	lines := bufio.NewReaderSize(from, maxLineBytes+len("\r\n"))
	for {
		line, err := p.next(lines)
		if err == io.EOF {
			return p, p.err()
		}
		if err != nil {
			return nil, bodyError(err)
		}
		if p.take(line); len(p.changes) > most {
			return nil, statusError{http.StatusRequestEntityTooLarge, fmt.Errorf("a body of more than %d identifiers", most)}
		}
	}
}

// bodyError is about a body that did not come whole.
func bodyError(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return bodyTooLarge(large.Limit)
	}
	return badRequest(fmt.Errorf("reading the body: %w", err))
}

// bulkReader collects the changes of a body.
type bulkReader struct {
	mappings Mappings
	changes  []Change
	at       map[string]int    // identifier to its index in changes
	names    map[string]string // declared destinations seen, so that changes share one string
	line     int
	problems Problems
	bad      int // lines with a problem, listed or not
}

// next returns a line without its end, nil for one that is too long.
func (p *bulkReader) next(from *bufio.Reader) ([]byte, error) {
	line, more, err := from.ReadLine()
	if err != nil {
		return nil, err
	}
	p.line++
	if !more && len(line) <= maxLineBytes {
		return line, nil
	}
	p.problem("longer than %d bytes", maxLineBytes)
	for more {
		if _, more, err = from.ReadLine(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (p *bulkReader) take(line []byte) {
	text := strings.TrimRight(strings.TrimLeft(string(line), blanks+bom), blanks)
	if text == "" || text[0] == '#' {
		return
	}
	identifier, rest := field(text)
	destination, _ := field(rest)
	if destination == "" {
		p.problem("found only %q, allowed is an identifier, a blank and a destination", identifier)
		return
	}
	name, ok := p.destination(destination)
	if !ok {
		p.problem("%v", undeclared(destination))
		return
	}
	stored, err := p.normalize(identifier)
	if err != nil {
		p.problem("identifier %q: %v", identifier, err)
		return
	}
	p.add(strings.Clone(stored), name) // of the line, which may be long, nothing is kept
}

// normalize checks both forms: lower case can be longer.
func (p *bulkReader) normalize(identifier string) (string, error) {
	if err := checkIdentifier(identifier); err != nil {
		return "", err
	}
	stored, _ := p.mappings.Normalize(identifier)
	return stored, checkIdentifier(stored)
}

// add lets the last line win.
func (p *bulkReader) add(stored, destination string) {
	i, repeated := p.at[stored]
	if !repeated {
		i = len(p.changes)
		p.at[stored] = i
		p.changes = append(p.changes, Change{Identifier: stored})
	}
	p.changes[i].Destination = destination
}

// destination is the declared name, or nothing for a removal.
func (p *bulkReader) destination(name string) (string, bool) {
	if name == remove {
		return "", true
	}
	if known, ok := p.names[name]; ok {
		return known, true
	}
	if !p.mappings.Declared(name) {
		return "", false
	}
	known := strings.Clone(name)
	p.names[known] = known
	return known, true
}

func (p *bulkReader) problem(format string, args ...any) {
	if p.bad++; p.bad <= maxProblems {
		p.problems = append(p.problems, fmt.Sprintf("line %d: ", p.line)+fmt.Sprintf(format, args...))
	}
}

func (p *bulkReader) err() error {
	if p.bad == 0 {
		return nil
	}
	if more := p.bad - maxProblems; more > 0 {
		p.problems = append(p.problems, fmt.Sprintf("and %d more", more))
	}
	return p.problems
}

// field cuts the first field off a text that does not begin with a blank.
func field(text string) (first, rest string) {
	i := strings.IndexAny(text, blanks)
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimLeft(text[i:], blanks)
}
