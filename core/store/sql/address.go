package sql

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// dialect is the kind of database.
type dialect uint8

const (
	postgres dialect = iota + 1
	mariadb
	sqlite
)

var (
	errScheme = errors.New("address begins with none of sqlite::memory: sqlite:// postgres:// postgresql:// mysql://")
	errForm   = errors.New("address does not have the form of its database")
)

// database is an opened address; nothing is connected.
type database struct {
	db      *sql.DB
	dialect dialect
	// single: there may be one connection only, and it must stay.
	single bool
	listen *pgx.ConnConfig // postgres only
}

// openAddress reads a url. Its errors repeat neither user nor password.
func openAddress(text string, timeout time.Duration) (*database, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	switch {
	case text == "sqlite::memory:":
		db, err := sql.Open("sqlite", ":memory:")
		return &database{db: db, dialect: sqlite, single: true}, err
	case scheme == "sqlite" && rest != "":
		db, err := sql.Open("sqlite", sqliteName(rest, timeout))
		return &database{db: db, dialect: sqlite}, err
	case scheme == "postgres" || scheme == "postgresql":
		return openPostgres(text, timeout)
	case scheme == "mysql":
		c, err := mysqlConfig(text, timeout)
		if err != nil {
			return nil, err
		}
		connector, err := mysql.NewConnector(c)
		if err != nil {
			return nil, errForm
		}
		return &database{db: sql.OpenDB(connector), dialect: mariadb}, nil
	}
	return nil, errScheme
}

// sqliteName makes the driver's name of a file. A missing file is an error, not an empty database. Writers wait for each
// other, and say at once that they will write.
func sqliteName(path string, timeout time.Duration) string {
	u := url.URL{Path: path}
	return fmt.Sprintf("file:%s?mode=rw&_txlock=immediate&_pragma=busy_timeout(%d)", u.EscapedPath(), timeout.Milliseconds())
}

func openPostgres(text string, timeout time.Duration) (*database, error) {
	c, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, errForm // the cause quotes the address
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = timeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "mailsplice"
	}
	return &database{db: stdlib.OpenDB(*c), dialect: postgres, listen: c}, nil
}

// mysqlConfig translates a mysql:// address.
func mysqlConfig(text string, timeout time.Duration) (*mysql.Config, error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" {
		return nil, errForm
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errForm
	}
	mode, ca, socket := query.Get("ssl-mode"), query.Get("ssl-ca"), query.Get("socket")
	for _, ours := range []string{"ssl-mode", "ssl-ca", "socket"} {
		query.Del(ours)
	}
	for _, bad := range []string{"interpolateParams", "allowAllFiles", "multiStatements"} {
		if query.Has(bad) {
			return nil, fmt.Errorf("address has the parameter %s, which is not allowed", bad)
		}
	}
	c, err := mysql.ParseDSN("/?" + query.Encode())
	if err != nil {
		return nil, errForm
	}
	c.User, c.DBName = u.User.Username(), strings.TrimPrefix(u.Path, "/")
	c.Passwd, _ = u.User.Password()
	c.Net, c.Addr = "tcp", hostPort(u)
	if socket != "" {
		c.Net, c.Addr = "unix", socket
	}
	if c.Timeout == 0 {
		c.Timeout = timeout
	}
	c.Logger = &mysql.NopLogger{} // its errors come back to us as well
	return c, sslMode(c, mode, ca)
}

func hostPort(u *url.URL) string {
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "3306"
	}
	return net.JoinHostPort(host, port)
}

// sslMode sets the driver up as MySQL's clients understand the mode.
func sslMode(c *mysql.Config, mode, ca string) error {
	name, known := map[string]string{"": "preferred", "DISABLED": "false", "PREFERRED": "preferred", "REQUIRED": "skip-verify",
		"VERIFY_CA": "", "VERIFY_IDENTITY": ""}[strings.ToUpper(mode)]
	if !known {
		return errors.New("address has an ssl-mode that is none of DISABLED PREFERRED REQUIRED VERIFY_CA VERIFY_IDENTITY")
	}
	if c.TLSConfig != "" && c.TLSConfig != "false" {
		return errors.New("address has the driver's parameter tls; ssl-mode is the one to use")
	}
	c.TLSConfig = name
	if name != "" {
		return nil
	}
	roots, err := readRoots(ca)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(c.Addr)
	c.TLS = &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}
	if strings.EqualFold(mode, "VERIFY_CA") {
		c.TLS.InsecureSkipVerify = true // of the name; the chain is verified here, on resumption too
		c.TLS.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, roots) }
	}
	return nil
}

// readRoots reads a PEM bundle; without one the platform's roots hold.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	if !filepath.IsAbs(file) {
		return nil, errors.New("address has an ssl-ca that is not an absolute path")
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading ssl-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading ssl-ca: no certificate in %s", file)
	}
	return pool, nil
}

func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(o)
	return err
}
