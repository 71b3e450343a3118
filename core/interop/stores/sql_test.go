package stores

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsplice/core/route"
	"mailsplice/core/store/sql"
)

func openSQL(t *testing.T, o sql.Options) *sql.Store {
	t.Helper()
	if o.Logger == nil {
		o.Logger = logger(t)
	}
	s, err := sql.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// postgresServer can be crashed: SIGQUIT is PostgreSQL's immediate shutdown, which recovers from its log at the next
// start. After SIGKILL the backends would live on and keep a new server from starting.
type postgresServer struct{ *process }

func (p postgresServer) crash() { p.end(syscall.SIGQUIT) }

// channelName needs quoting.
const channelName = `Mapping "changed"`

func postgresOptions(p *process) sql.Options {
	return sql.Options{
		URL:           "postgres://postgres:" + secret() + "@" + p.addr + "/postgres?sslmode=disable",
		Query:         "SELECT destination FROM mapping WHERE account = $1",
		UpsertQuery:   "INSERT INTO mapping VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET destination = $2",
		DeleteQuery:   "DELETE FROM mapping WHERE account = $1",
		ListQuery:     "SELECT account, destination FROM mapping",
		NotifyChannel: channelName,
	}
}

func TestPostgres(t *testing.T) {
	wanted(t)
	srv := startPostgres(t)
	o := postgresOptions(srv)
	one := func(t *testing.T) *rig {
		g := newRig(t, openSQL(t, o), nil)
		g.watching()
		return g
	}
	empty := func() { srv.psql("DELETE FROM mapping") }
	scene(t, "postgresql", "writes and export", func(t *testing.T) { empty(); writes(t, one(t), one(t)) })
	scene(t, "postgresql", "two routers and psql", func(t *testing.T) {
		empty()
		a, b := one(t), one(t)
		b.noticed("alice", "new", func() {
			if err := a.Put(ctx, "Alice", "new"); err != nil {
				t.Fatal(err)
			}
		})
		a.noticed("alice", "third", func() { srv.psql("UPDATE mapping SET destination = 'third'") })
		a.noticed("alice", "legacy default", func() { srv.psql("DELETE FROM mapping") })
		srv.psql("ALTER TABLE mapping DISABLE TRIGGER tell; INSERT INTO mapping VALUES ('alice', 'new')")
		a.want("alice", "legacy default") // nobody has said so
		srv.psql(`NOTIFY "Mapping ""changed"""`)
		a.told("*")
		a.want("alice", "new")
		srv.psql("ALTER TABLE mapping ENABLE TRIGGER tell")
	})
	scene(t, "postgresql", "killed connections", func(t *testing.T) {
		empty()
		fill(t, one(t))
		a := one(t)
		a.warm()
		srv.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mailsplice'")
		a.told("*")
		a.watching()
		a.warm() // not even a stale answer: a dead connection is no dead server
		a.noticed(account(1), "third", func() { srv.psql("UPDATE mapping SET destination = 'third'") })
	})
	scene(t, "postgresql", "crashes under look-ups", func(t *testing.T) {
		empty()
		crashes(t, postgresServer{srv}, func() store { return openSQL(t, o) })
	})
	scene(t, "postgresql", "change while it could not tell", func(t *testing.T) {
		empty()
		fill(t, one(t))
		a := one(t)
		a.warm()
		postgresServer{srv}.crash()
		until(t, "the router knows", func() bool { return a.Stats().Broken })
		a.want(account(1), "new") // still cached
		srv.start()
		srv.psql("UPDATE mapping SET destination = 'third'")
		a.watching()
		a.want(account(1), "third")
	})
	scene(t, "postgresql", "started after the router", func(t *testing.T) {
		empty()
		srv.psql("INSERT INTO mapping VALUES ('carol', 'new')")
		srv.end(syscall.SIGINT)
		g := newRig(t, openSQL(t, o), func(o *route.Options) { o.OnStoreError = route.FallbackUnavailable })
		if got := g.at("dave"); !strings.Contains(got, "not available") {
			t.Errorf("got %s, want unavailable", got)
		}
		srv.start()
		g.watching()
		g.want("carol", "new")
	})
	scene(t, "postgresql", "all or nothing", func(t *testing.T) {
		empty()
		srv.psql("ALTER TABLE mapping ADD CONSTRAINT no CHECK (destination <> 'third')")
		a := one(t)
		_, err := a.Apply(ctx, []route.Change{{Identifier: "a@example.org", Destination: "new"}, {Identifier: "b@example.org", Destination: "third"}})
		failsWith(t, err, "SQLSTATE 23514")
		if strings.Contains(err.Error(), "example.org") {
			t.Errorf("the error names an identifier: %v", err)
		}
		holds(t, a, map[string]string{})
		srv.psql("ALTER TABLE mapping DROP CONSTRAINT no")
	})
	scene(t, "postgresql", "statements are tried", func(t *testing.T) {
		for query, words := range map[string]string{
			"SELECT destination FROM mapping WHERE account = ?":                    "mapping.sql.query: database refuses it",
			"SELECT destination FROM gone WHERE account = $1":                      "mapping.sql.query: database refuses it",
			"SELECT destination FROM mapping":                                      "got 0 parameters, want 1",
			"SELECT destination FROM mapping WHERE account = $1 AND account <> $2": "got 2 parameters, want 1",
		} {
			bad := o
			bad.Query = query
			_, err := sql.New(bad)
			failsWith(t, err, words)
		}
	})
}

// mariadbServer can be crashed.
type mariadbServer struct{ *process }

func (m mariadbServer) crash() { m.end(syscall.SIGKILL) }

func mariadbOptions(p *process, parameters string) sql.Options {
	return sql.Options{
		URL:         "mysql://m:" + secret() + "@" + p.addr + "/mail" + parameters,
		Query:       "SELECT destination FROM mapping WHERE account = ?",
		UpsertQuery: "INSERT INTO mapping VALUES (?, ?) ON DUPLICATE KEY UPDATE destination = VALUES(destination)",
		DeleteQuery: "DELETE FROM mapping WHERE account = ?",
		ListQuery:   "SELECT account, destination FROM mapping",
	}
}

func TestMariaDB(t *testing.T) {
	wanted(t)
	ca, cert, key := certificate(t, credential(t, "mysql"))
	srv := startMariaDB(t, "--ssl-cert="+cert, "--ssl-key="+key, "--ssl-ca="+ca)
	o := mariadbOptions(srv, "")
	empty := func() { srv.mysql("DELETE FROM mail.mapping") }
	scene(t, "mariadb", "writes and export", func(t *testing.T) {
		writes(t, newRig(t, openSQL(t, o), nil), newRig(t, openSQL(t, o), nil))
	})
	scene(t, "mariadb", "crashes under look-ups", func(t *testing.T) {
		empty()
		crashes(t, mariadbServer{srv}, func() store { return openSQL(t, o) })
	})
	scene(t, "mariadb", "change by others is seen in time", func(t *testing.T) {
		empty()
		c := &clock{}
		g := newRig(t, openSQL(t, o), func(o *route.Options) { o.Clock = c.read })
		g.want("alice", "legacy default")
		srv.mysql("INSERT INTO mail.mapping VALUES ('alice', 'new')")
		g.want("alice", "legacy default")
		c.now.Store(int64(hour))
		g.want("alice", "new")
	})
	scene(t, "mariadb", "killed connections", func(t *testing.T) {
		empty()
		g := newRig(t, openSQL(t, o), func(o *route.Options) { o.Clock, o.PositiveTTL, o.NegativeTTL = nil, time.Nanosecond, time.Nanosecond })
		fill(t, g)
		for range 5 {
			srv.mysql("KILL USER m")
			g.warm() // not even a stale answer: a dead connection is no dead server
		}
	})
	scene(t, "mariadb", "all or nothing", func(t *testing.T) {
		empty()
		g := newRig(t, openSQL(t, o), func(o *route.Options) { o.Destinations = append(o.Destinations, strings.Repeat("x", 65)) })
		_, err := g.Apply(ctx, []route.Change{{Identifier: "a@example.org", Destination: "new"}, {Identifier: "b@example.org", Destination: strings.Repeat("x", 65)}})
		failsWith(t, err, "error 1406, SQLSTATE 22001")
		holds(t, g, map[string]string{})
	})
	scene(t, "mariadb", "ssl-mode", func(t *testing.T) {
		srv.mysql("ALTER USER 'm'@'%' REQUIRE SSL")
		defer srv.mysql("ALTER USER 'm'@'%' REQUIRE NONE")
		for parameters, works := range map[string]bool{
			"": true, "?ssl-mode=DISABLED": false, "?ssl-mode=PREFERRED": true, "?ssl-mode=REQUIRED": true,
			"?ssl-mode=VERIFY_CA": false, "?ssl-mode=VERIFY_CA&ssl-ca=" + ca: true,
			"?ssl-mode=VERIFY_IDENTITY&ssl-ca=" + ca:         false, // the certificate is for another name
			"?socket=" + srv.dir + "/sock&ssl-mode=REQUIRED": true,
		} {
			s := openSQL(t, mariadbOptions(srv, parameters))
			_, _, err := s.Lookup(ctx, "alice")
			if (err == nil) != works {
				t.Errorf("%s: got %v, want success: %v", parameters, err, works)
			}
			s.Close()
		}
	})
	scene(t, "mariadb", "statements are tried", func(t *testing.T) {
		for query, words := range map[string]string{
			"SELECT destination FROM mapping WHERE account = $1":          "mapping.sql.query: ",
			"SELECT destination FROM gone WHERE account = ?":              "mapping.sql.query: database refuses it",
			"SELECT destination FROM mapping WHERE account = ? OR 'x'= ?": "got 2 parameters, want 1",
		} {
			bad := o
			bad.Query = query
			_, err := sql.New(bad)
			failsWith(t, err, words)
		}
	})
}

// certificate makes an authority and a certificate of mail.test, readable by a server's user.
func certificate(t *testing.T, as *syscall.Credential) (ca, cert, key string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mailsplice-tls-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mail.test"}, NotAfter: time.Now().Add(hour), DNSNames: []string{"mail.test"}}
	caKey, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leafKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	caDER, err3 := x509.CreateCertificate(rand.Reader, authority, authority, caKey.Public(), caKey)
	leafDER, err4 := x509.CreateCertificate(rand.Reader, leaf, authority, leafKey.Public(), caKey)
	keyDER, err5 := x509.MarshalPKCS8PrivateKey(leafKey)
	if err := errors.Join(err1, err2, err3, err4, err5, os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chown(path, int(as.Uid), int(as.Gid))); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("ca.pem", "CERTIFICATE", caDER), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER)
}
