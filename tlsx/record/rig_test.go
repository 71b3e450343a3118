package record

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for linkname
)

// crypto/tls cannot be told which TLS 1.3 suite to use, but leaves these lists open to others.
//
//go:linkname suites13 crypto/tls.defaultCipherSuitesTLS13
var suites13 []uint16

//go:linkname suites13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var suites13NoAES []uint16

// only13 makes crypto/tls offer and choose one TLS 1.3 suite, and returns what undoes it.
func only13(id uint16) (restore func()) {
	aes, other := suites13, suites13NoAES
	suites13, suites13NoAES = []uint16{id}, []uint16{id}
	return func() { suites13, suites13NoAES = aes, other }
}

// tlsCase is a connection to take over.
type tlsCase struct {
	version uint16
	suite   uint16
	role    Role // ours
}

func (c tlsCase) String() string {
	role := map[Role]string{AsServer: "server", AsClient: "client"}[c.role]
	return tls.CipherSuiteName(c.suite) + "/" + role
}

// allCases is every suite in both roles.
func allCases() []tlsCase {
	var cases []tlsCase
	for _, s := range suites[1:] {
		cases = append(cases, tlsCase{s.version, s.id, AsServer}, tlsCase{s.version, s.id, AsClient})
	}
	return cases
}

// pipe is a connection in memory without a limit, so that one goroutine can play both ends. The zero value is not
// usable.
type pipe struct {
	mu     *sync.Mutex // of both ends
	moved  *sync.Cond
	in     bytes.Buffer
	closed bool
	other  *pipe
}

func newPipe() (a, b *pipe) {
	mu := new(sync.Mutex)
	moved := sync.NewCond(mu)
	a, b = &pipe{mu: mu, moved: moved}, &pipe{mu: mu, moved: moved}
	a.other, b.other = b, a
	return a, b
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.in.Len() == 0 && !p.closed {
		p.moved.Wait()
	}
	return p.in.Read(b) // EOF when closed and empty
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.moved.Broadcast()
	return p.other.in.Write(b)
}

func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.other.closed = true, true
	p.moved.Broadcast()
	return nil
}

// take returns all that has arrived.
func (p *pipe) take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.in.Next(p.in.Len()))
}

func (p *pipe) LocalAddr() net.Addr              { return nil }
func (p *pipe) RemoteAddr() net.Addr             { return nil }
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// exact hands out one record per Read at most, so that nothing is read ahead, and remembers what went by.
type exact struct {
	net.Conn
	left          int // bytes of the current record's body
	header        []byte
	read, written bytes.Buffer
}

func (e *exact) Read(b []byte) (int, error) {
	limit := e.left
	if limit == 0 {
		limit = headerSize - len(e.header)
	}
	n, err := e.Conn.Read(b[:min(len(b), limit)])
	e.read.Write(b[:n])
	if e.left > 0 {
		e.left -= n
		return n, err
	}
	if e.header = append(e.header, b[:n]...); len(e.header) == headerSize {
		e.left = int(e.header[3])<<8 | int(e.header[4])
		e.header = e.header[:0]
	}
	return n, err
}

func (e *exact) Write(b []byte) (int, error) {
	e.written.Write(b)
	return e.Conn.Write(b)
}

// identity is a self-signed certificate of each key type, made once.
var identity = sync.OnceValue(func() []tls.Certificate {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return []tls.Certificate{selfSigned(ec), selfSigned(rs)}
})

func selfSigned(key crypto.Signer) tls.Certificate {
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "record"}, DNSNames: []string{"record"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// rig is a connection between our record layer and crypto/tls.
type rig struct {
	leg   Leg
	keys  Keys
	wire  *pipe     // our end; nil if the peer is a process
	peer  *tls.Conn // the other end; nil if the peer is a process
	first Half      // leg.In as it was at takeover
	own   *tls.Conn // the handshake's object, which only a ticket test still needs
	exact *exact
	log   bytes.Buffer

	ownConfig, peerConfig *tls.Config
}

// newRig makes the two ends shake hands and takes ours over.
func newRig(t testing.TB, c tlsCase) *rig {
	t.Helper()
	if c.version == tls.VersionTLS13 {
		defer only13(c.suite)()
	}
	ours, theirs := newPipe()
	r := &rig{wire: ours, peerConfig: baseConfig(c)}
	if c.role == AsServer {
		r.peer = tls.Client(theirs, r.peerConfig)
	} else {
		r.peer = tls.Server(theirs, r.peerConfig)
	}
	failed := make(chan error, 1)
	go shake(r.peer, failed) // ends with the handshake, or with the pipe
	r.takeOver(t, ours, c)
	if err := <-failed; err != nil {
		t.Fatalf("peer's handshake: %v", err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	return r
}

func shake(c *tls.Conn, failed chan<- error) { failed <- c.Handshake() }

// baseConfig accepts everything, in one version and suite.
func baseConfig(c tlsCase) *tls.Config {
	return &tls.Config{
		Certificates: identity(), InsecureSkipVerify: true, ServerName: "record",
		MinVersion: c.version, MaxVersion: c.version, CipherSuites: []uint16{c.suite},
		ClientSessionCache: tls.NewLRUClientSessionCache(1), // without one a client is sent no ticket
	}
}

// shake does our handshake on conn with its key log.
func (r *rig) shake(t testing.TB, conn net.Conn, c tlsCase) {
	t.Helper()
	r.ownConfig = baseConfig(c)
	r.ownConfig.KeyLogWriter = &r.log
	r.exact = &exact{Conn: conn}
	if c.role == AsServer {
		r.own = tls.Server(r.exact, r.ownConfig)
	} else {
		r.own = tls.Client(r.exact, r.ownConfig)
	}
	if err := r.own.Handshake(); err != nil {
		t.Fatalf("our handshake: %v", err)
	}
	if got := r.own.ConnectionState().CipherSuite; got != c.suite {
		t.Fatalf("suite: got %04x, want %04x", got, c.suite)
	}
}

// takeOver does our handshake on conn and builds the leg from the key log.
func (r *rig) takeOver(t testing.TB, conn net.Conn, c tlsCase) {
	t.Helper()
	r.shake(t, conn, c)
	client, server := r.halves(t, c)
	in, out := client, server
	if c.role == AsClient {
		in, out = server, client
	}
	if c.role == AsServer && c.version == tls.VersionTLS13 {
		if _, err := out.SkipSealed(r.exact.written.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	leg, err := NewLeg(c.role, in, out)
	if err != nil {
		t.Fatal(err)
	}
	r.leg, r.first = leg, in
}

// halves reads a key log.
func (r *rig) halves(t testing.TB, c tlsCase) (client, server Half) {
	t.Helper()
	secrets := map[string][]byte{}
	randoms := map[string][]byte{}
	for line := range strings.Lines(r.log.String()) {
		var label, random, secret string
		if _, err := fmt.Sscan(line, &label, &random, &secret); err != nil {
			t.Fatal(err)
		}
		secrets[label], randoms[label] = unhex(t, secret), unhex(t, random)
	}
	var err error
	if c.version == tls.VersionTLS12 {
		hello := r.exact.read.Bytes()
		if c.role == AsServer {
			hello = r.exact.written.Bytes()
		}
		client, server, err = NewHalves12(c.suite, secrets["CLIENT_RANDOM"], randoms["CLIENT_RANDOM"], hello[11:43])
		if err != nil {
			t.Fatal(err)
		}
		return client, server
	}
	if client, err = NewHalf13(c.suite, secrets["CLIENT_TRAFFIC_SECRET_0"]); err != nil {
		t.Fatal(err)
	}
	if server, err = NewHalf13(c.suite, secrets["SERVER_TRAFFIC_SECRET_0"]); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// drain opens everything in input and returns the application data and the kinds seen. What is left in the end must be
// nothing.
func drain(t testing.TB, l *Leg, k *Keys, input []byte) (data []byte, kinds []Kind) {
	t.Helper()
	for len(input) > 0 {
		got, err := l.Open(k, input)
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		if got.Kind == NeedMore {
			t.Fatalf("Open: %d bytes are missing behind %d", got.Need, len(input))
		}
		if got.Kind == Data {
			data = append(data, got.Plain...)
		}
		kinds = append(kinds, got.Kind)
		input = input[got.Consumed:]
	}
	return data, kinds
}

// testLeg returns a leg with made-up keys; peerOf is its other end.
func testLeg(t testing.TB, version, suite uint16, role Role) Leg {
	t.Helper()
	leg, err := NewLeg(role, testHalf(t, version, suite, 1), testHalf(t, version, suite, 2))
	if err != nil {
		t.Fatal(err)
	}
	return leg
}

func testHalf(t testing.TB, version, suite uint16, fill byte) Half {
	t.Helper()
	secret := bytes.Repeat([]byte{fill}, 48)
	index, err := suiteIndex(version, suite)
	if err != nil {
		t.Fatal(err)
	}
	s := &suites[index]
	var h Half
	if version == version13 {
		h, err = NewHalf13(suite, secret[:s.hash().Size()])
	} else {
		h, err = NewHalf12(suite, secret[:s.keyLen], secret[:s.ivLen()], 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// pattern returns n bytes that repeat with no power of two.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// readPeer reads n bytes from crypto/tls.
func readPeer(t testing.TB, c *tls.Conn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("crypto/tls reads what we sealed: %v", err)
	}
	return b
}
