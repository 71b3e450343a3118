package sql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

const table = "CREATE TABLE mapping (account TEXT PRIMARY KEY, destination TEXT CHECK (destination <> 'forbidden'))"

// statements is a full configuration but for the address.
func statements(url string) Options {
	return Options{
		URL:         url,
		Query:       "SELECT destination, 1 FROM mapping WHERE account = ?",
		UpsertQuery: "INSERT INTO mapping VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET destination = excluded.destination",
		DeleteQuery: "DELETE FROM mapping WHERE account = ?",
		ListQuery:   "SELECT account, destination FROM mapping ORDER BY account",
	}
}

// onDisk makes a file that has the table, with a name that needs care.
func onDisk(t *testing.T) (url string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "map 100%?#a.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := open(statements("sqlite://" + path))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.db.Exec(table); err != nil {
		t.Fatal(err)
	}
	return "sqlite://" + path
}

// filled makes a Store with alice and void mapped.
func filled(t *testing.T, url string, change func(*Options)) *Store {
	t.Helper()
	o := statements(url)
	if change != nil {
		change(&o)
	}
	s, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if url == "sqlite::memory:" {
		if _, err := s.db.Exec(table); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.db.Exec("INSERT INTO mapping VALUES ('alice', 'new'), ('void', NULL), ('empty', '')"); err != nil {
		t.Fatal(err)
	}
	if err := s.check(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func where(s *Store, identifier string) string {
	d, found, err := s.Lookup(ctx, identifier)
	switch {
	case err != nil:
		return err.Error()
	case !found:
		return "nothing"
	}
	return d
}

func listing(t *testing.T, s *Store) string {
	t.Helper()
	var all []string
	if err := s.All(ctx, func(identifier, destination string) error {
		all = append(all, identifier+"="+destination)
		return nil
	}); err != nil {
		t.Errorf("All: %v", err)
	}
	return strings.Join(all, " ")
}

func TestReadAndWrite(t *testing.T) {
	for name, url := range map[string]string{"in memory": "sqlite::memory:", "on disk": onDisk(t)} {
		t.Run(name, func(t *testing.T) {
			s := filled(t, url, nil)
			injection := `x'); DROP TABLE mapping; --`
			for identifier, want := range map[string]string{"alice": "new", "bob": "nothing", "void": "nothing", "empty": "", injection: "nothing", "' OR '1'='1": "nothing"} {
				if got := where(s, identifier); got != want {
					t.Errorf("Lookup(%q): got %q, want %q", identifier, got, want)
				}
			}
			for _, destination := range []string{"third", "new"} {
				if err := s.Put(ctx, injection, destination); err != nil || where(s, injection) != destination {
					t.Errorf("Put: got %v and %s, want %s", err, where(s, injection), destination)
				}
			}
			for _, want := range []bool{true, false} {
				if existed, err := s.Delete(ctx, injection); existed != want || err != nil {
					t.Errorf("Delete: got %v, %v; want %v", existed, err, want)
				}
			}
			if got := listing(t, s); got != "alice=new" {
				t.Errorf("got %s, want alice=new", got)
			}
		})
	}
}

// The file outlives the Store.
func TestDurable(t *testing.T) {
	url := onDisk(t)
	s := filled(t, url, nil)
	if err := s.Put(ctx, "bob", "third"); err != nil {
		t.Fatal(err)
	}
	again, err := New(statements(url))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := where(again, "bob"); got != "third" {
		t.Errorf("got %s, want third", got)
	}
}

func TestApply(t *testing.T) {
	for _, c := range []struct {
		name    string
		changes map[string]string
		ok      bool
		want    string
	}{
		{"none", nil, true, "alice=new"},
		{"both ways", map[string]string{"alice": "", "bob": "new", "carol": "third", "gone": ""}, true, "bob=new carol=third"},
		{"one is refused", map[string]string{"alice": "", "bob": "new", "carol": "forbidden"}, false, "alice=new"},
	} {
		s := filled(t, "sqlite::memory:", nil)
		if err := s.Apply(ctx, c.changes); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want success: %v", c.name, err, c.ok)
		}
		if got := listing(t, s); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestAbilities(t *testing.T) {
	for _, c := range []struct {
		name               string
		change             func(*Options)
		writable, listable bool
	}{
		{"all", nil, true, true},
		{"no upsert", func(o *Options) { o.UpsertQuery = "" }, false, true},
		{"no delete", func(o *Options) { o.DeleteQuery = "" }, false, true},
		{"no list", func(o *Options) { o.ListQuery = "" }, true, false},
	} {
		s := filled(t, "sqlite::memory:", c.change)
		_, deleting := s.Delete(ctx, "alice")
		putting, listed := s.Put(ctx, "alice", "new"), s.All(ctx, func(string, string) error { return nil })
		if s.Writable() != c.writable || (deleting == nil) != c.writable || (putting == nil) != c.writable {
			t.Errorf("%s: Writable is %v, Delete says %v, Put %v; want %v", c.name, s.Writable(), deleting, putting, c.writable)
		}
		if s.Listable() != c.listable || (listed == nil) != c.listable {
			t.Errorf("%s: Listable is %v, All says %v; want %v", c.name, s.Listable(), listed, c.listable)
		}
	}
}

// A statement that the database does not take is found at the start.
func TestStatementsAreTried(t *testing.T) {
	url := onDisk(t)
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string // empty: fine
	}{
		{"all good", func(*Options) {}, ""},
		{"$1", func(o *Options) { o.Query = "SELECT destination FROM mapping WHERE account = $1" }, ""},
		{"same parameter twice", func(o *Options) { o.Query = "SELECT destination FROM mapping WHERE account = ?1 OR account = ?1" }, ""},
		{"syntax", func(o *Options) { o.Query = "SELEC 1" }, "mapping.sql.query: database refuses it"},
		{"no such table", func(o *Options) { o.DeleteQuery = "DELETE FROM x WHERE a = ?" }, "mapping.sql.delete_query: database refuses it"},
		{"one parameter too many", func(o *Options) { o.Query = "SELECT destination FROM mapping WHERE account = ? AND 1 = ?" }, "mapping.sql.query: database refuses it"},
		{"list with a parameter", func(o *Options) { o.ListQuery = "SELECT account, destination FROM mapping WHERE account = ?" }, "mapping.sql.list_query: database refuses it"},
	} {
		o := statements(url)
		c.change(&o)
		s, err := New(o)
		if err == nil {
			s.Close()
		}
		if got := fmt.Sprint(err); c.want == "" && err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// Trying a statement changes nothing.
func TestTryingWritesNothing(t *testing.T) {
	s := filled(t, "sqlite::memory:", func(o *Options) { o.DeleteQuery = "DELETE FROM mapping WHERE account >= ?" })
	if got := listing(t, s); got != "alice=new" {
		t.Errorf("got %s, want alice=new", got)
	}
}

func TestListOfOtherColumns(t *testing.T) {
	s := filled(t, "sqlite::memory:", func(o *Options) { o.ListQuery = "SELECT account FROM mapping" })
	if err := s.All(ctx, func(string, string) error { return nil }); !errors.Is(err, errScan) {
		t.Errorf("got %v, want %v", err, errScan)
	}
	errEnough := errors.New("enough")
	s = filled(t, "sqlite::memory:", nil)
	if err := s.All(ctx, func(string, string) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("got %v, want the reader's error", err)
	}
	if got := where(s, "alice"); got != "new" {
		t.Errorf("after an unfinished list: got %s, want new: the connection must be free", got)
	}
}

// An unreachable database is not fatal (SPEC 4.2); it is used, and its statements tried, as soon as it is there.
func TestUnreachableAtStart(t *testing.T) {
	for _, query := range []string{"", "SELECT nonsense FROM mapping WHERE account = ?"} {
		url := onDisk(t)
		path := strings.TrimPrefix(url, "sqlite://")
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		log := &logLines{lines: make(chan string, 10)}
		o := statements(url)
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
		if query != "" {
			o.Query = query
		}
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		log.expect(t, "cannot be reached")
		if got := where(s, "alice"); !strings.HasPrefix(got, "asking the database: ") {
			t.Errorf("got %q, want an error", got)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Error("an empty database was made")
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		if query != "" {
			log.expect(t, "refuses a configured statement")
			continue
		}
		log.expect(t, "mapping store reached")
		if got := where(s, "alice"); got != "nothing" {
			t.Errorf("got %q, want nothing", got)
		}
	}
}

// logLines hands out lines of a log as they are written.
type logLines struct{ lines chan string }

func (l *logLines) Write(p []byte) (int, error) {
	l.lines <- string(bytes.Clone(p))
	return len(p), nil
}

func (l *logLines) expect(t *testing.T, words string) {
	t.Helper()
	select {
	case line := <-l.lines:
		if !strings.Contains(line, words) {
			t.Fatalf("logged %q, want %q", line, words)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("logged nothing, want %q", words)
	}
}

func TestManyAtOnce(t *testing.T) {
	s := filled(t, onDisk(t), func(o *Options) { o.PoolSize = 4 })
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			name := fmt.Sprint("user", i)
			for n := range 20 {
				want := fmt.Sprint("d", n)
				if err := s.Put(ctx, name, want); err != nil || where(s, name) != want {
					t.Errorf("Put: got %v and %s, want %s", err, where(s, name), want)
				}
			}
		})
	}
	all.Wait()
}

// Errors of look-ups are logged: databases quote values in theirs (SECURITY 10, 28).
func TestErrorsNameNobody(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&pgconn.PgError{Code: "22P02", Message: `invalid input syntax for type integer: "alice"`}, "SQLSTATE 22P02: invalid input syntax for type integer (cut)"},
		{&pgconn.PgError{Code: "P0001", Message: `alice is not welcome`}, "SQLSTATE P0001"},
		{&pgconn.PgError{Code: "42P01", Message: `relation does not exist`, Detail: "alice"}, "SQLSTATE 42P01: relation does not exist"},
		{&mysql.MySQLError{Number: 1062, SQLState: [5]byte{'2', '3', '0', '0', '0'}, Message: "Duplicate entry 'alice' for key"}, "error 1062, SQLSTATE 23000: Duplicate entry (cut)"},
		{fmt.Errorf("converting alice: %w", errors.New("x")), errNames.Error()},
		{dial, dial.Error()},
	} {
		if got := told(c.err, "alice").Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	s := filled(t, "sqlite::memory:", func(o *Options) {
		o.Query = "SELECT json_extract(?1, '$') FROM mapping"
		o.UpsertQuery = "INSERT INTO mapping VALUES (?, 'forbidden') RETURNING ?"
	})
	for _, got := range []string{where(s, `{alice.secret`), fmt.Sprint(s.Put(ctx, "alice.secret", "secret"))} {
		if !strings.Contains(got, "SQLite error") || strings.Contains(got, "secret") {
			t.Errorf("got %q, want SQLite's error without a name", got)
		}
	}
}

func TestIsBroken(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {context.Canceled, false}, {context.DeadlineExceeded, false}, {errScan, false},
		{&pgconn.PgError{Code: "42P01"}, false}, {&pgconn.PgError{Code: "57P01"}, true}, {&pgconn.PgError{Code: "08006"}, true},
		{&mysql.MySQLError{Number: 1062}, false}, {mysql.ErrInvalidConn, true}, {fmt.Errorf("x: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), false},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, true}, {&pgconn.ConnectError{Config: &pgconn.Config{}}, false}, {errors.New("unexpected EOF"), true},
	} {
		if got := isBroken(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}

func TestAddressRefuses(t *testing.T) {
	for _, url := range []string{"", "sqlite://", "sqlite:x", "oracle://u:secret@h", "postgres://u:secret@h:x/db", "mysql://u:secret@h:x/db",
		"mysql://u:secret@h/db?ssl-mode=MAYBE", "mysql://u:secret@h/db?interpolateParams=true", "mysql://u:secret@h/db?allowAllFiles=1",
		"mysql://u:secret@h/db?tls=true", "mysql://u:secret@h/db?ssl-mode=VERIFY_CA&ssl-ca=relative.pem", "mysql://u:secret@h/db?ssl-mode=VERIFY_CA&ssl-ca=/gone.pem",
		"mysql://u:secret@h/db?timeout=x", "mysql://u:secret%zz@h/db", "mysql:u:secret@h"} {
		if s, err := New(Options{URL: url}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, %v; want an error without the password", url, s, err)
		}
	}
}

func TestMySQLAddress(t *testing.T) {
	for _, c := range []struct {
		url, net, addr, user, password, db string
		tls                                string // how the driver calls it; "own" if it is ours
		fallback                           bool
	}{
		{"mysql://u:p%40ss@h:1234/mail", "tcp", "h:1234", "u", "p@ss", "mail", "preferred", true},
		{"mysql://h", "tcp", "h:3306", "", "", "", "preferred", true},
		{"mysql://u@[::1]/m?ssl-mode=DISABLED", "tcp", "[::1]:3306", "u", "", "m", "false", false},
		{"mysql://u@h/m?ssl-mode=REQUIRED", "tcp", "h:3306", "u", "", "m", "skip-verify", false},
		{"mysql://u@h/m?ssl-mode=preferred", "tcp", "h:3306", "u", "", "m", "preferred", true},
		{"mysql://u@h/m?ssl-mode=VERIFY_CA", "tcp", "h:3306", "u", "", "m", "own", false},
		{"mysql://u@h/m?ssl-mode=VERIFY_IDENTITY", "tcp", "h:3306", "u", "", "m", "own", false},
		{"mysql://u@h/m?socket=/run/x.sock", "unix", "/run/x.sock", "u", "", "m", "preferred", true},
	} {
		got, err := mysqlConfig(c.url, time.Second)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		mode := got.TLSConfig
		if got.TLS != nil {
			mode = "own"
		}
		if got.Net != c.net || got.Addr != c.addr || got.User != c.user || got.Passwd != c.password || got.DBName != c.db || mode != c.tls {
			t.Errorf("%s: got %s %s %s %s %s, tls %s", c.url, got.Net, got.Addr, got.User, got.Passwd, got.DBName, mode)
		}
		if connector, err := mysql.NewConnector(got); err != nil || connector == nil {
			t.Errorf("%s: the driver refuses it: %v", c.url, err)
		}
	}
	verify, err := mysqlConfig("mysql://u@h/m?ssl-mode=VERIFY_IDENTITY", time.Second)
	if err != nil || verify.TLS.InsecureSkipVerify || verify.TLS.ServerName != "h" {
		t.Errorf("VERIFY_IDENTITY: got %+v, %v; want the name verified", verify.TLS, err)
	}
}

// Without a channel to listen on nothing is promised, so nothing can be lost.
func TestWatchWithoutChannel(t *testing.T) {
	s := filled(t, "sqlite::memory:", func(o *Options) { o.NotifyChannel = "x" })
	called := map[string]bool{}
	s.Notify(func([]string) { called["notify"] = true })
	s.Watch(func() { called["lost"] = true }, func() { called["back"] = true })
	if err := s.Close(); err != nil || !maps.Equal(called, map[string]bool{}) {
		t.Errorf("got %v, %v; want nothing", called, err)
	}
}

func TestLookupGivesUp(t *testing.T) {
	s := filled(t, "sqlite::memory:", func(o *Options) {
		o.Query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT max(i) FROM n WHERE ?1 <> ''"
	})
	limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, _, err := s.Lookup(limited, "alice"); !errors.Is(err, context.DeadlineExceeded) && limited.Err() == nil {
		t.Errorf("got %v, want the end of its time", err)
	}
	if _, _, err := s.Lookup(limited, "alice"); err == nil {
		t.Error("an endless query ended")
	}
}
