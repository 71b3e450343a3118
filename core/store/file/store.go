package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
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

	// writing serialises Put, Delete and Reload, and guards the three below.
	writing chan struct{}
	seen    identity // of the file that mappings and head come from
	head    string
	swept   bool // leftovers of earlier processes were looked for

	mu       sync.RWMutex
	mappings map[string]string // guarded by mu; written only by whoever holds writing too
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
	s.mappings, s.head, s.seen = table(c), c.Head, id
	return s, nil
}

// Notify sets the function that learns of foreign edits which a Put or Delete came upon. To be called before either.
func (s *Store) Notify(changed func(identifiers []string)) { s.notify = changed }

// Lookup finds a normalised identifier in memory. It does not fail.
func (s *Store) Lookup(_ context.Context, identifier string) (destination string, found bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	destination, found = s.mappings[identifier]
	return destination, found, nil
}

// All calls yield with every mapping, as they are now, in the order of identifiers, and ends with its error.
func (s *Store) All(ctx context.Context, yield func(identifier, destination string) error) error {
	s.mu.RLock()
	mappings := maps.Clone(s.mappings) // whoever takes them may be slow
	s.mu.RUnlock()
	for _, identifier := range slices.Sorted(maps.Keys(mappings)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := yield(identifier, mappings[identifier]); err != nil {
			return err
		}
	}
	return nil
}

// Len is the number of mappings.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.mappings)
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
	next := table(c)
	added, changed, removed = diff(s.mappings, next)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mappings, s.head, s.seen = next, c.Head, id
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

func table(c *Contents) map[string]string {
	m := make(map[string]string, len(c.Entries))
	for _, e := range c.Entries {
		m[e.Identifier] = e.Destination
	}
	return m
}

func diff(before, after map[string]string) (added, changed, removed []string) {
	for identifier, destination := range after {
		old, known := before[identifier]
		switch {
		case !known:
			added = append(added, identifier)
		case old != destination:
			changed = append(changed, identifier)
		}
	}
	for identifier := range before {
		if _, still := after[identifier]; !still {
			removed = append(removed, identifier)
		}
	}
	return added, changed, removed
}

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
