package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
)

// errDestination is a destination that a reading would not give back as it was written.
var errDestination = errors.New("destination cannot stand in a mapping file")

// ErrIdentifier: the file has no way to hold a mapping of this identifier, for instance since it begins with "#".
var ErrIdentifier = errors.New("identifier cannot stand in a mapping file")

// Options are the settings of a Store.
type Options struct {
	Rules
	Logger *slog.Logger // warnings of a reading; nil: nobody
}

// Store is a mapping file. It is safe for concurrent use.
type Store struct {
	// immutable after Open
	path   string
	rules  Rules
	log    *slog.Logger
	notify func(identifiers []string)

	waiting queue // writes that somebody is to do

	// writing serialises writes and Reload, and guards the four below.
	writing chan struct{}
	seen    identity // of the file that mappings and head come from
	ours    bool     // the file is what we wrote, to the byte: head and mappings
	head    string
	swept   bool // leftovers of earlier processes were looked for

	mappings atomic.Pointer[table] // changed only by whoever holds writing
}

// Open reads the file, which must exist and may be empty. Any bad line is an error; all of them are reported, as errors
// of type Problem.
func Open(path string, o Options) (*Store, error) {
	s := &Store{path: path, rules: o.Rules, log: o.Logger, writing: make(chan struct{}, 1), notify: func([]string) {}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	c, id, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("opening mapping file: %w", err)
	}
	s.mappings.Store(newTable(c.Entries))
	s.head, s.seen = c.Head, id
	return s, nil
}

// Notify sets the function that learns of foreign edits which a Put or Delete came upon. To be called before either.
func (s *Store) Notify(changed func(identifiers []string)) { s.notify = changed }

// Lookup finds a normalised identifier in memory. It does not fail.
func (s *Store) Lookup(_ context.Context, identifier string) (destination string, found bool, err error) {
	destination, found = s.mappings.Load().find(identifier)
	return destination, found, nil
}

// Instant says that Lookup neither blocks nor fails (route.Instant).
func (s *Store) Instant() {}

// All calls yield with every mapping, as they are now, in the order of identifiers, and ends with its error.
func (s *Store) All(ctx context.Context, yield func(identifier, destination string) error) error {
	t := s.mappings.Load()
	for l := range t.lines() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := yield(string(l.identifier()), t.names[string(l.destination())]); err != nil {
			return err
		}
	}
	return nil
}

// Len is the number of mappings.
func (s *Store) Len() int {
	return s.mappings.Load().n
}

// Reload reads the file again, all or nothing: with a bad line nothing changes, and all of them are reported as errors of
// type Problem. It returns exactly the identifiers whose mapping is new, different, gone.
func (s *Store) Reload(ctx context.Context) (added, changed, removed []string, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, nil, nil, fmt.Errorf("reading mapping file: %w", err)
	}
	defer s.unlock()
	c, id, err := s.read()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reading mapping file: %w", err)
	}
	added, changed, removed = s.adopt(c, id)
	return added, changed, removed, nil
}

// adopt puts what was read in place of what is known and tells the difference. The caller holds writing.
func (s *Store) adopt(c *Contents, id identity) (added, changed, removed []string) {
	next := newTable(c.Entries)
	added, changed, removed = diff(s.mappings.Load(), next)
	s.mappings.Store(next)
	s.head, s.seen, s.ours = c.Head, id, false
	return added, changed, removed
}

// read parses the file and says which one it was.
func (s *Store) read() (*Contents, identity, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, identity{}, err
	}
	defer f.Close()
	id, err := identify(f.Stat()) // before the content: what changes meanwhile makes the identity differ later
	if err != nil {
		return nil, identity{}, err
	}
	c, err := Parse(f, s.rules)
	if err != nil {
		return nil, identity{}, fmt.Errorf("%s: %w", s.path, err)
	}
	s.warn(c)
	if err := c.Err(); err != nil {
		return nil, identity{}, fmt.Errorf("%s: %w", s.path, err)
	}
	return c, id, nil
}

// maxWarnings of one reading are logged; the rest is a number.
const maxWarnings = 10

// warn logs lines, not identifiers: those are accounts (SPEC 10).
func (s *Store) warn(c *Contents) {
	n := 0
	for _, p := range c.Problems {
		if p.Severity != Warning {
			continue
		}
		if n++; n <= maxWarnings {
			s.log.Warn("mapping file has a doubtful line", slog.String("path", s.path), slog.Int("line", p.Line),
				slog.String("reason", string(p.Reason)))
		}
	}
	if n > maxWarnings {
		s.log.Warn("mapping file has more doubtful lines", slog.String("path", s.path), slog.Int("lines", n-maxWarnings))
	}
}

// lock waits for the other writers, at most until ctx ends.
func (s *Store) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case s.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) unlock() { <-s.writing }

// storable refuses what a reading would not give back as it was written. An empty destination is a removal.
func storable(identifier, destination string) error {
	switch {
	case destination == "":
		return nil
	case len(destination) > maxDestinationBytes, strings.ContainsAny(destination, blanks+"\n"):
		return fmt.Errorf("%q: %w", destination, errDestination)
	case identifier == "", strings.ContainsAny(identifier, blanks+"\n"), unusable(identifier) != "",
		strings.HasPrefix(identifier, "#"), strings.HasPrefix(identifier, bom):
		return ErrIdentifier
	}
	return nil
}
