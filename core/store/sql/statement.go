package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	sqlitedriver "modernc.org/sqlite"
)

// statement is one that the operator wrote.
type statement struct {
	key, text  string // key of the configuration; empty text: not configured
	parameters int
	// prepared is made at first use. PostgreSQL's driver needs none: it prepares, and remembers, by itself.
	prepared atomic.Pointer[sql.Stmt]
}

var (
	// errRefused is a statement that the database does not take.
	errRefused = errors.New("database refuses it")
	// errScan is an answer of other columns than the statement should have; the cause would quote them.
	errScan = errors.New("columns do not read as identifier and destination")
)

// errNames stands for a cause that is not the database's and names the identifier.
var errNames = errors.New("cause is left out, since it names the identifier")

func isRefused(err error) bool { return errors.Is(err, errRefused) }

// check asks the database whether it takes every statement.
func (s *Store) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	c, err := s.db.Conn(ctx)
	if err != nil {
		return told(err, "")
	}
	defer c.Close()
	if err := c.PingContext(ctx); err != nil {
		return told(err, "")
	}
	for _, st := range []*statement{&s.lookup, &s.upsert, &s.remove, &s.list} {
		if st.text == "" {
			continue
		}
		if err := s.try(ctx, c, st); err != nil {
			return fmt.Errorf("mapping.sql.%s: %w", st.key, err)
		}
	}
	return nil
}

// try prepares a statement and counts its parameters. Its errors are about the statement alone, so they are whole.
func (s *Store) try(ctx context.Context, c *sql.Conn, st *statement) error {
	if s.dialect == sqlite {
		// The driver compiles a statement when it runs; EXPLAIN compiles it and runs nothing of it.
		rows, err := c.QueryContext(ctx, "EXPLAIN "+st.text, []any{"", ""}[:st.parameters]...)
		if err != nil {
			return refusal(err)
		}
		return rows.Close()
	}
	return c.Raw(func(conn any) error {
		preparer, ok := conn.(driver.ConnPrepareContext)
		if !ok {
			return errors.New("bug: driver prepares nothing")
		}
		prepared, err := preparer.PrepareContext(ctx, st.text)
		if err != nil {
			return refusal(err)
		}
		defer prepared.Close()
		if n := prepared.NumInput(); n != st.parameters {
			return fmt.Errorf("%w: got %d parameters, want %d", errRefused, n, st.parameters)
		}
		return nil
	})
}

// refusal tells a database that says no from one that says nothing.
func refusal(err error) error {
	if _, _, said := reply(err); said && !isBroken(err) || strings.Contains(err.Error(), "missing argument") {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

// prepare makes the statement ready, if its driver needs that.
func (s *Store) prepare(ctx context.Context, st *statement) error {
	if s.dialect == postgres || st.prepared.Load() != nil {
		return nil
	}
	p, err := s.db.PrepareContext(ctx, st.text)
	if err != nil {
		return err
	}
	if !st.prepared.CompareAndSwap(nil, p) {
		return p.Close() // somebody else was first
	}
	return nil
}

func (st *statement) close() {
	if p := st.prepared.Swap(nil); p != nil {
		p.Close() // the database is closed next, which tells of errors
	}
}

func (s *Store) rows(ctx context.Context, st *statement, args ...any) (*sql.Rows, error) {
	if err := s.prepare(ctx, st); err != nil {
		return nil, err
	}
	if p := st.prepared.Load(); p != nil {
		return p.QueryContext(ctx, args...)
	}
	return s.db.QueryContext(ctx, st.text, args...)
}

// exec runs a statement, within tx if there is one, for which it must have been prepared.
func (s *Store) exec(ctx context.Context, tx *sql.Tx, st *statement, args ...any) (sql.Result, error) {
	if tx == nil {
		if err := s.prepare(ctx, st); err != nil {
			return nil, err
		}
	}
	p := st.prepared.Load()
	switch {
	case tx != nil && p != nil:
		return tx.StmtContext(ctx, p).ExecContext(ctx, args...)
	case tx != nil:
		return tx.ExecContext(ctx, st.text, args...)
	case p != nil:
		return p.ExecContext(ctx, args...)
	}
	return s.db.ExecContext(ctx, st.text, args...)
}

// reply is what the database itself has answered.
func reply(err error) (code, text string, ok bool) {
	var pg *pgconn.PgError
	var my *mysql.MySQLError
	var lite *sqlitedriver.Error
	switch {
	case errors.As(err, &pg):
		return "SQLSTATE " + pg.Code, pg.Message, true
	case errors.As(err, &my):
		return fmt.Sprintf("error %d, SQLSTATE %s", my.Number, my.SQLState[:]), my.Message, true
	case errors.As(err, &lite):
		return fmt.Sprintf("SQLite error %d", lite.Code()), lite.Error(), true
	}
	return "", "", false
}

// told makes an error fit for logs: databases quote values in theirs, so their words are cut at the first quote, and
// left out if the identifier is among what is left.
func told(err error, identifier string) error {
	code, text, ok := reply(err)
	if i := strings.IndexAny(text, "'\"`"); i >= 0 {
		text = strings.TrimRight(text[:i], " :,(") + " (cut)"
	}
	switch {
	case !ok && (identifier == "" || !strings.Contains(err.Error(), identifier)):
		return err
	case !ok:
		return errNames
	case identifier != "" && strings.Contains(text, identifier):
		return errors.New(code)
	}
	return fmt.Errorf("%s: %s", code, text)
}

// isBroken tells a connection that ended from everything else: the database's answers, a caller that left, and a database
// that takes no new connection.
func isBroken(err error) bool {
	var refused *pgconn.ConnectError
	var network *net.OpError
	if err == nil || errors.Is(err, errScan) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &refused) || errors.As(err, &network) && network.Op == "dial" {
		return false
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) { // 57P: the operator ends connections or the server; 08: the connection
		return strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08")
	}
	_, _, said := reply(err)
	return !said
}
