package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"mailsplice/core/store/channel"
)

const (
	// Defaults of SPEC 2.5.
	defaultPoolSize = 16
	defaultTimeout  = 5 * time.Second
	// maxIdle is how long a connection may lie unused before it is given back to the database.
	maxIdle = 5 * time.Minute
	// retryEvery is the pause between attempts to reach the database for the first time.
	retryEvery = time.Second
)

var (
	errNoWrite = errors.New("upsert_query and delete_query are not both configured")
	errNoList  = errors.New("list_query is not configured")
)

// Options are the settings of a Store.
type Options struct {
	// URL is the address in one of the forms above. It may hold a password.
	URL string
	// Query finds the destination of an identifier: the first column of the first row.
	Query string
	// UpsertQuery (identifier, destination) and DeleteQuery (identifier) change mappings; without both the Store is
	// read-only.
	UpsertQuery, DeleteQuery string
	// ListQuery gives all mappings: identifier, destination. Empty: the Store cannot be listed.
	ListQuery string
	// NotifyChannel is what PostgreSQL announces changes on; empty: nothing is announced.
	NotifyChannel string
	// PoolSize bounds the connections, but for that of NotifyChannel; 0: 16.
	PoolSize int
	// Timeout bounds connecting; 0: 5 s.
	Timeout time.Duration
	Logger  *slog.Logger // nil: nobody
}

// Store is the mappings in a database. It is safe for concurrent use.
type Store struct {
	// immutable after New, but for the two that Notify and Watch set
	database
	lookup, upsert, remove, list statement
	announced                    string
	timeout                      time.Duration
	pool                         int // connections
	// writing lets one writer at a time at SQLite, which has them wait for each other in no order and loses patience. Other
	// databases do better by themselves; nil then.
	writing chan struct{}
	log     *slog.Logger
	news    func(identifiers []string)
	notices *channel.Channel

	stop context.CancelFunc
	// checking waits for the goroutine that New starts if it does not reach the database.
	checking sync.WaitGroup
}

// New makes a Store. A database that cannot be reached is logged and tried again, until Close (SPEC 4.2). An error is
// a bad address or a statement that the database refuses; it repeats no password.
func New(o Options) (*Store, error) {
	s, err := open(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	switch err := s.check(ctx); {
	case isRefused(err):
		return nil, errors.Join(err, s.Close())
	case err != nil:
		s.log.Warn("mapping store cannot be reached, it is tried again", slog.String("source", "sql"), slog.Any("err", err))
		s.checking.Go(func() { s.keepChecking(ctx) }) // until it is reached, or Close
	}
	return s, nil
}

// open makes a Store that has not asked the database anything.
func open(o Options) (*Store, error) {
	s := &Store{announced: o.NotifyChannel, timeout: o.Timeout, log: o.Logger, news: func([]string) {}, stop: func() {}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	d, err := openAddress(o.URL, s.timeout)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the database: %w", err)
	}
	s.database = *d
	if s.dialect == sqlite {
		s.writing = make(chan struct{}, 1)
	}
	s.limit(o.PoolSize)
	s.lookup = statement{key: "query", text: o.Query, parameters: 1}
	s.upsert = statement{key: "upsert_query", text: o.UpsertQuery, parameters: 2}
	s.remove = statement{key: "delete_query", text: o.DeleteQuery, parameters: 1}
	s.list = statement{key: "list_query", text: o.ListQuery}
	return s, nil
}

// limit bounds the connections.
func (s *Store) limit(pool int) {
	if pool <= 0 {
		pool = defaultPoolSize
	}
	if s.single {
		pool = 1
	} else {
		s.db.SetConnMaxIdleTime(maxIdle)
	}
	s.pool = pool
	s.db.SetMaxOpenConns(pool)
	s.db.SetMaxIdleConns(pool)
}

func (s *Store) keepChecking(ctx context.Context) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch err := s.check(ctx); {
		case err == nil:
			s.log.Info("mapping store reached", slog.String("source", "sql"))
			return
		case isRefused(err):
			s.log.Error("mapping store refuses a configured statement", slog.String("source", "sql"), slog.Any("err", err))
			return
		}
	}
}

// Close ends all connections. Calls that are under way fail.
func (s *Store) Close() error {
	s.stop()
	if s.notices != nil {
		s.notices.Close()
	}
	s.checking.Wait()
	for _, st := range []*statement{&s.lookup, &s.upsert, &s.remove, &s.list} {
		st.close()
	}
	return s.db.Close()
}

// Writable tells whether the statements for Put, Delete and Apply are there.
func (s *Store) Writable() bool { return s.upsert.text != "" && s.remove.text != "" }

// Listable tells whether the statement for All is there.
func (s *Store) Listable() bool { return s.list.text != "" }

// Lookup finds the destination of a normalised identifier. A connection that broke while it lay in the pool is no failure
// of the database: the others, and then a new one, are tried.
func (s *Store) Lookup(ctx context.Context, identifier string) (destination string, found bool, err error) {
	destination, found, err = s.ask(ctx, identifier)
	for n := 0; n < s.pool && isBroken(err) && ctx.Err() == nil; n++ {
		destination, found, err = s.ask(ctx, identifier)
	}
	if err != nil {
		return "", false, fmt.Errorf("asking the database: %w", told(err, identifier))
	}
	return destination, found, nil
}

func (s *Store) ask(ctx context.Context, identifier string) (destination string, found bool, err error) {
	rows, err := s.rows(ctx, &s.lookup, identifier)
	if err != nil {
		return "", false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return "", false, rows.Err()
	}
	columns, err := rows.Columns()
	if err != nil {
		return "", false, err
	}
	var first sql.NullString // NULL is no destination
	into := make([]any, len(columns))
	for i := range into {
		into[i] = new(any)
	}
	into[0] = &first
	if err := rows.Scan(into...); err != nil {
		return "", false, errScan
	}
	return first.String, first.Valid, rows.Close()
}

// Put maps an identifier to a destination.
func (s *Store) Put(ctx context.Context, identifier, destination string) error {
	return s.Apply(ctx, map[string]string{identifier: destination})
}

// Delete removes a mapping and tells whether there was one.
func (s *Store) Delete(ctx context.Context, identifier string) (existed bool, err error) {
	if !s.Writable() {
		return false, fmt.Errorf("deleting from the database: %w", errNoWrite)
	}
	release, err := s.turn(ctx)
	if err != nil {
		return false, fmt.Errorf("deleting from the database: %w", err)
	}
	defer release()
	done, err := s.exec(ctx, nil, &s.remove, identifier)
	if err != nil {
		return false, fmt.Errorf("deleting from the database: %w", told(err, identifier))
	}
	n, err := done.RowsAffected()
	return n > 0 && err == nil, nil
}

// Apply makes all changes in one transaction; an empty destination removes.
func (s *Store) Apply(ctx context.Context, changes map[string]string) error {
	if !s.Writable() {
		return fmt.Errorf("writing to the database: %w", errNoWrite)
	}
	for _, st := range []*statement{&s.upsert, &s.remove} {
		if err := s.prepare(ctx, st); err != nil { // not within the transaction: there may be one connection only
			return fmt.Errorf("writing to the database: %w", told(err, ""))
		}
	}
	release, err := s.turn(ctx)
	if err != nil {
		return fmt.Errorf("writing to the database: %w", err)
	}
	defer release()
	return s.transact(ctx, changes)
}

// turn waits until the caller may write.
func (s *Store) turn(ctx context.Context) (release func(), err error) {
	if s.writing == nil {
		return func() {}, nil
	}
	select {
	case s.writing <- struct{}{}:
		return func() { <-s.writing }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *Store) transact(ctx context.Context, changes map[string]string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("writing to the database: %w", told(err, ""))
	}
	defer tx.Rollback() // nothing after Commit
	// The same order everywhere, so that two of them do not wait for each other crosswise.
	for _, identifier := range slices.Sorted(maps.Keys(changes)) {
		if destination := changes[identifier]; destination != "" {
			_, err = s.exec(ctx, tx, &s.upsert, identifier, destination)
		} else {
			_, err = s.exec(ctx, tx, &s.remove, identifier)
		}
		if err != nil {
			return fmt.Errorf("writing to the database: %w", told(err, identifier))
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("writing to the database: %w", told(err, ""))
	}
	return nil
}

// All calls yield with every mapping, in the order of the statement.
func (s *Store) All(ctx context.Context, yield func(identifier, destination string) error) error {
	if !s.Listable() {
		return fmt.Errorf("reading from the database: %w", errNoList)
	}
	rows, err := s.rows(ctx, &s.list)
	if err != nil {
		return fmt.Errorf("reading from the database: %w", told(err, ""))
	}
	defer rows.Close()
	for rows.Next() {
		var identifier, destination sql.NullString
		if err := rows.Scan(&identifier, &destination); err != nil {
			return fmt.Errorf("reading from the database: list_query: %w", errScan)
		}
		if identifier.String == "" || destination.String == "" {
			continue // no mapping
		}
		if err := yield(identifier.String, destination.String); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading from the database: %w", told(err, ""))
	}
	return nil
}
