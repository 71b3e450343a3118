package redis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

const (
	// scanned is how many keys one SCAN looks at, and about how many GET go out together.
	scanned = 1000
	// maxKeys of one command; servers before version 7 refuse commands with over 1,048,576 arguments.
	maxKeys = 100_000
)

// Apply makes all changes in one MULTI/EXEC; an empty destination removes. In a cluster it is one for each slot (see
// the package), and an error says how many of them were made.
func (s *Store) Apply(ctx context.Context, changes map[string]string) error {
	c, err := s.reached()
	if err != nil {
		return fmt.Errorf("writing to redis: %w", err)
	}
	groups := s.bySlot(c, changes)
	for i, slot := range slices.Sorted(maps.Keys(groups)) {
		if err := s.transact(ctx, c, groups[slot], changes); err != nil {
			return fmt.Errorf("writing to redis, %d of %d slots done: %w", i, len(groups), told(err))
		}
	}
	return nil
}

// bySlot sorts identifiers by the cluster's slots. Without a cluster there is one group.
func (s *Store) bySlot(c rueidis.Client, changes map[string]string) map[uint16][]string {
	groups := map[uint16][]string{}
	for _, identifier := range slices.Sorted(maps.Keys(changes)) {
		slot := uint16(0)
		if c.Mode() == rueidis.ClientModeCluster {
			get := c.B().Get().Key(s.prefix + identifier).Build()
			slot = get.Slot()
		}
		groups[slot] = append(groups[slot], identifier)
	}
	return groups
}

// transact writes with MSET and removes with DEL, each one command however many keys it has.
func (s *Store) transact(ctx context.Context, c rueidis.Client, identifiers []string, changes map[string]string) error {
	commands := rueidis.Commands{c.B().Multi().Build()}
	for part := range slices.Chunk(identifiers, maxKeys) {
		commands = s.commands(c, commands, part, changes)
	}
	replies := c.DoMulti(ctx, append(commands, c.B().Exec().Build())...)
	for _, r := range replies {
		if err := r.Error(); err != nil {
			return err
		}
	}
	done, err := replies[len(replies)-1].ToArray()
	if err != nil {
		return err
	}
	for _, r := range done {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) commands(c rueidis.Client, to rueidis.Commands, identifiers []string, changes map[string]string) rueidis.Commands {
	var removed []string
	written := c.B().Mset().KeyValue()
	for _, identifier := range identifiers {
		key, destination := s.prefix+identifier, changes[identifier]
		if destination == "" {
			removed = append(removed, key)
			continue
		}
		written = written.KeyValue(key, destination)
	}
	if len(removed) < len(identifiers) {
		to = append(to, written.Build())
	}
	if len(removed) > 0 {
		to = append(to, c.B().Del().Key(removed...).Build())
	}
	return to
}

// All calls yield with every mapping, server by server. A key with the prefix that holds no string is none.
func (s *Store) All(ctx context.Context, yield func(identifier, destination string) error) error {
	c, err := s.reached()
	if err != nil {
		return fmt.Errorf("reading from redis: %w", err)
	}
	primaries, err := s.primaries(ctx, c)
	if err != nil {
		return fmt.Errorf("reading from redis: %w", err)
	}
	for _, node := range primaries {
		if err := s.scan(ctx, c, node, yield); err != nil {
			return err
		}
	}
	return nil
}

// scan walks through the keys of one server.
func (s *Store) scan(ctx context.Context, c, node rueidis.Client, yield func(identifier, destination string) error) error {
	pattern := escapeGlob(s.prefix) + "*"
	for cursor := uint64(0); ; {
		part, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(pattern).Count(scanned).Build()).AsScanEntry()
		if err != nil {
			return fmt.Errorf("reading from redis: %w", told(err))
		}
		if err := s.read(ctx, c, part.Elements, yield); err != nil {
			return err
		}
		if cursor = part.Cursor; cursor == 0 {
			return nil
		}
	}
}

// read looks the keys up, which in a cluster may have moved since they were found.
func (s *Store) read(ctx context.Context, c rueidis.Client, keys []string, yield func(identifier, destination string) error) error {
	commands := make(rueidis.Commands, 0, len(keys))
	for _, key := range keys {
		commands = append(commands, c.B().Get().Key(key).Build())
	}
	for i, r := range c.DoMulti(ctx, commands...) {
		destination, err := r.ToString()
		switch {
		case rueidis.IsRedisNil(err), isWrongType(err), err == nil && destination == "":
			continue
		case err != nil:
			return fmt.Errorf("reading from redis: %w", told(err))
		}
		if err := yield(strings.TrimPrefix(keys[i], s.prefix), destination); err != nil {
			return err
		}
	}
	return nil
}

func isWrongType(err error) bool {
	reply, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(reply.Error(), "WRONGTYPE")
}

var globEscapes = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// escapeGlob makes a pattern that matches the text alone.
func escapeGlob(text string) string { return globEscapes.Replace(text) }
