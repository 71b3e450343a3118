package tlstest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for linkname

	"mailsplice/tlsx/record"
)

// Suite is a version with a cipher suite.
type Suite struct {
	Version, ID uint16
	OpenSSL     []string // flags that make OpenSSL take it
}

// Suites are those with keys that can be taken over, for a certificate with an ECDSA key.
var Suites = []Suite{
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"}},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"}},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"}},
	{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"}},
	{tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384, []string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"}},
	{tls.VersionTLS13, tls.TLS_CHACHA20_POLY1305_SHA256, []string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}},
}

// String is the suite's name.
func (s Suite) String() string {
	if s.Version == tls.VersionTLS12 {
		return tls.CipherSuiteName(s.ID) + " 1.2"
	}
	return tls.CipherSuiteName(s.ID)
}

// crypto/tls cannot be told which TLS 1.3 suite to use, but leaves these lists open to others.
//
//go:linkname suites13 crypto/tls.defaultCipherSuitesTLS13
var suites13 []uint16

//go:linkname suites13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var suites13NoAES []uint16

// listing guards the lists: handshakes of tests take turns.
var listing sync.Mutex

// only has crypto/tls offer and choose no TLS 1.3 suite but this, until the function it returns is called.
func (s Suite) only() (restore func()) {
	listing.Lock()
	aes, other := suites13, suites13NoAES
	if s.Version == tls.VersionTLS13 {
		suites13, suites13NoAES = []uint16{s.ID}, []uint16{s.ID}
	}
	return func() {
		suites13, suites13NoAES = aes, other
		listing.Unlock()
	}
}

// config is for either side.
func (s Suite) config() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{Certificate()}, InsecureSkipVerify: true, SessionTicketsDisabled: true,
		MinVersion: s.Version, MaxVersion: s.Version, CipherSuites: []uint16{s.ID}}
}

// Certificate is one for all tests; nobody looks at it.
var Certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// Pair shakes hands between two ends of a connection: near is taken over in its role, far is left with crypto/tls.
func (s Suite) Pair(t testing.TB, near, far net.Conn, role record.Role) (*record.Leg, *tls.Conn) {
	t.Helper()
	defer s.only()()
	peer := tls.Client(far, s.config())
	if role == record.AsClient {
		peer = tls.Server(far, s.config())
	}
	done := make(chan error, 1)
	go func() { done <- peer.Handshake() }() // ends with the handshake, or with the test's patience
	leg := s.shake(t, near, role)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return leg, peer
}

// Take shakes hands with a peer elsewhere, which plays its part already, and takes near over.
func (s Suite) Take(t testing.TB, near net.Conn, role record.Role) *record.Leg {
	t.Helper()
	defer s.only()()
	return s.shake(t, near, role)
}

// patience bounds a handshake; an emulated processor is slow.
const patience = time.Minute

func (s Suite) shake(t testing.TB, near net.Conn, role record.Role) *record.Leg {
	t.Helper()
	var log bytes.Buffer
	config := s.config()
	config.KeyLogWriter = &log
	wire := &exact{Conn: near}
	conn := tls.Client(wire, config)
	if role == record.AsServer {
		conn = tls.Server(wire, config)
	}
	near.SetDeadline(time.Now().Add(patience))
	defer near.SetDeadline(time.Time{})
	if err := conn.Handshake(); err != nil {
		t.Fatalf("%v: %v", s, err)
	}
	if got := conn.ConnectionState(); got.Version != s.Version || got.CipherSuite != s.ID {
		t.Fatalf("got suite %s, want %v", tls.CipherSuiteName(got.CipherSuite), s)
	}
	hello := wire.read.Bytes()
	if role == record.AsServer {
		hello = wire.written.Bytes()
	}
	leg, err := s.leg(log.String(), hello, role)
	if err != nil {
		t.Fatalf("%v: %v", s, err)
	}
	return leg
}

// leg reads a key log and the server's flight.
func (s Suite) leg(log string, hello []byte, role record.Role) (*record.Leg, error) {
	secrets, randoms := map[string][]byte{}, map[string][]byte{}
	for line := range strings.Lines(log) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("a key log of %d words in a line", len(f))
		}
		randoms[f[0]], _ = hex.DecodeString(f[1])
		secrets[f[0]], _ = hex.DecodeString(f[2])
	}
	var client, server record.Half
	var err error
	if s.Version == tls.VersionTLS12 { // the server's random is behind 11 bytes: record, message, version
		client, server, err = record.NewHalves12(s.ID, secrets["CLIENT_RANDOM"], randoms["CLIENT_RANDOM"], hello[11:43])
	} else if client, err = record.NewHalf13(s.ID, secrets["CLIENT_TRAFFIC_SECRET_0"]); err == nil {
		server, err = record.NewHalf13(s.ID, secrets["SERVER_TRAFFIC_SECRET_0"])
	}
	if err != nil {
		return nil, err
	}
	in, out := client, server
	if role == record.AsClient {
		in, out = server, client
	}
	leg, err := record.NewLeg(role, in, out)
	return &leg, err
}

// exact reads one record at a time, so that none behind the handshake is taken, and remembers both directions.
type exact struct {
	net.Conn
	read, written bytes.Buffer
	header        []byte
	left          int // of the body
}

const headerBytes = 5

// Read reads of one record's header, or of its body.
func (e *exact) Read(b []byte) (int, error) {
	limit := e.left
	if limit == 0 {
		limit = headerBytes - len(e.header)
	}
	n, err := e.Conn.Read(b[:min(limit, len(b))])
	e.read.Write(b[:n])
	if e.left > 0 {
		e.left -= n
		return n, err
	}
	if e.header = append(e.header, b[:n]...); len(e.header) == headerBytes {
		size, _ := record.Size(e.header)
		e.left, e.header = size-headerBytes, e.header[:0]
	}
	return n, err
}

// Write notes what is sent.
func (e *exact) Write(b []byte) (int, error) {
	e.written.Write(b)
	return e.Conn.Write(b)
}
