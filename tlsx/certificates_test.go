package tlsx

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// keys of the tests, one per type: making RSA keys is slow.
var keys = sync.OnceValue(func() map[string]crypto.Signer {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{"ecdsa": ec, "rsa": r, "ed25519": ed}
})

// pair makes a certificate whose CN is name, with these DNS names.
func pair(t testing.TB, name, keyType string, dns ...string) Pair {
	t.Helper()
	key := keys()[keyType]
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(time.Hour),
		DNSNames:  dns,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{
		Name:    name,
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

func (p Pair) serving(subjects ...string) Pair { p.Subjects = subjects; return p }
func (p Pair) asDefault() Pair                 { p.Default = true; return p }

// the abilities of clients.
var (
	anything  = tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.Ed25519, tls.PSSWithSHA256}}
	rsaOnly   = tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.PSSWithSHA256}}
	ecdsaOnly = tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}}
	old       = tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS12}, SignatureSchemes: []tls.SignatureScheme{tls.PKCS1WithSHA256}, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, SupportedCurves: []tls.CurveID{tls.X25519}, SupportedPoints: []uint8{0}}
)

const generated = "mailsplice, generated at start"

func choose(t *testing.T, c *Certificates, sni string, client tls.ClientHelloInfo) string {
	t.Helper()
	client.ServerName = sni
	cert, err := c.GetCertificate(&client)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.Subject.CommonName
}

func TestChoice(t *testing.T) {
	exact := pair(t, "exact", "ecdsa", "mail.example.com")
	wild := pair(t, "wild", "ecdsa", "*.example.com")
	parent := pair(t, "parent", "ecdsa", "example.com")
	below := pair(t, "below", "ecdsa", "*.mail.example.com")
	def := pair(t, "def", "ecdsa", "mx.example.net").asDefault()
	exactRSA := pair(t, "exact rsa", "rsa", "mail.example.com")
	defRSA := pair(t, "def rsa", "rsa", "mx.example.net").asDefault()
	ed := pair(t, "ed", "ed25519", "mail.example.com")
	tests := []struct {
		name   string
		pairs  []Pair
		sni    string
		client tls.ClientHelloInfo
		want   string
	}{
		{"exact before wildcard", []Pair{wild, exact, def}, "mail.example.com", anything, "exact"},
		{"exact in capitals", []Pair{wild, exact, def}, "MAIL.Example.COM", anything, "exact"},
		{"exact with the root's dot", []Pair{wild, exact, def}, "mail.example.com.", anything, "exact"},
		{"wildcard", []Pair{wild, exact, def}, "imap.example.com", anything, "wild"},
		{"wildcard is one label deep", []Pair{wild, exact, def}, "a.b.example.com", anything, "def"},
		{"parent serves its hosts", []Pair{parent, def}, "imap.example.com", anything, "parent"},
		{"parent is one label up", []Pair{parent, def}, "a.imap.example.com", anything, "def"},
		{"wildcard before parent", []Pair{parent, wild, def}, "imap.example.com", anything, "wild"},
		{"wildcard serves its parent", []Pair{wild, def}, "example.com", anything, "wild"},
		{"but not when something exact does", []Pair{wild, parent, def}, "example.com", anything, "parent"},
		{"the wildcard that covers before the one below", []Pair{below, wild, def}, "mail.example.com", anything, "wild"},
		{"default", []Pair{exact, def}, "other.example.net", anything, "def"},
		{"default without SNI", []Pair{exact, def}, "", anything, "def"},
		{"star is a default", []Pair{exact, pair(t, "star", "ecdsa").serving("*")}, "other.example.net", anything, "star"},
		{"default serves its names too", []Pair{exact, def}, "mx.example.net", anything, "def"},
		{"sole one serves all", []Pair{exact}, "other.example.net", anything, "exact"},
		{"sole one without SNI", []Pair{exact}, "", anything, "exact"},
		{"a pair of key types is sole", []Pair{exact, exactRSA}, "other.example.net", rsaOnly, "exact rsa"},
		{"two are not sole", []Pair{exact, wild}, "other.example.net", anything, generated},
		{"none at all", nil, "mail.example.com", anything, generated},
		{"a top-level name", []Pair{exact, def}, "com", anything, "def"},
		{"subjects replace the leaf's names", []Pair{exact.serving("imap.example.org"), def}, "mail.example.com", anything, "def"},
		{"a name that the leaf does not hold", []Pair{exact.serving("imap.example.org"), def}, "imap.example.org", anything, "exact"},
		{"CN when there are no names", []Pair{pair(t, "cn.example.com", "ecdsa"), def}, "cn.example.com", anything, "cn.example.com"},
		{"ECDSA first", []Pair{exactRSA, ed, exact, def}, "mail.example.com", anything, "exact"},
		{"Ed25519 before RSA", []Pair{exactRSA, ed, def}, "mail.example.com", anything, "ed"},
		{"RSA for who knows nothing else", []Pair{exactRSA, ed, exact, def}, "mail.example.com", rsaOnly, "exact rsa"},
		{"ECDSA for who knows nothing else", []Pair{exactRSA, ed, exact, def}, "mail.example.com", ecdsaOnly, "exact"},
		{"TLS 1.2 with RSA suites", []Pair{exact, exactRSA, def}, "mail.example.com", old, "exact rsa"},
		{"default per key type", []Pair{def, defRSA, exact}, "other.example.net", rsaOnly, "def rsa"},
		{"a supported default before an unsupported match", []Pair{exact, defRSA}, "mail.example.com", rsaOnly, "def rsa"},
		{"nothing supported", []Pair{exact, def}, "mail.example.com", rsaOnly, "exact"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewCertificates("mx.example.org", tt.pairs)
			if err != nil {
				t.Fatal(err)
			}
			if got := choose(t, c, tt.sni, tt.client); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestHandshake(t *testing.T) {
	exact := pair(t, "exact", "ecdsa", "mail.example.com")
	tests := []struct {
		name, sni, want string
		max             uint16
		suites          []uint16
	}{
		{"TLS 1.3", "mail.example.com", "exact", tls.VersionTLS13, nil},
		{"TLS 1.2, ECDSA", "mail.example.com", "exact", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}},
		{"TLS 1.2, RSA", "mail.example.com", "rsa", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}},
		{"another name", "other.example.net", "rsa default", tls.VersionTLS13, nil},
	}
	c, err := NewCertificates("", []Pair{exact, pair(t, "rsa", "rsa", "mail.example.com"), pair(t, "rsa default", "rsa", "x.example.com").asDefault()})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			done := make(chan error, 1)
			go handshake(done, tls.Server(server, &tls.Config{GetCertificate: c.GetCertificate})) // until the handshake ends
			peer := tls.Client(client, &tls.Config{ServerName: tt.sni, InsecureSkipVerify: true, MaxVersion: tt.max, CipherSuites: tt.suites})
			if err := peer.Handshake(); err != nil {
				t.Fatal(err)
			}
			if got := peer.ConnectionState().PeerCertificates[0].Subject.CommonName; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			client.Close()
			<-done
		})
	}
}

func handshake(done chan<- error, c *tls.Conn) {
	done <- c.Handshake()
	c.Close()
}

func TestBadPairs(t *testing.T) {
	good := pair(t, "good", "ecdsa", "mail.example.com")
	tests := []struct {
		name  string
		pairs []Pair
		want  []string
	}{
		{"no certificate file", []Pair{{Name: "a", CertFile: "/nonexistent/cert.pem", KeyPEM: good.KeyPEM}}, []string{`certificate "a": open /nonexistent/cert.pem`}},
		{"no key file", []Pair{{Name: "a", CertPEM: good.CertPEM, KeyFile: "/nonexistent/key.pem"}}, []string{`certificate "a": open /nonexistent/key.pem`}},
		{"another's key", []Pair{{Name: "a", CertPEM: good.CertPEM, KeyPEM: pair(t, "x", "rsa").KeyPEM}}, []string{`certificate "a": loading certificate and key: `}},
		{"garbage", []Pair{{Name: "a", CertPEM: []byte("x"), KeyPEM: good.KeyPEM}}, []string{`certificate "a": loading certificate and key: `}},
		{"all are reported", []Pair{{Name: "a", CertPEM: []byte("x"), KeyPEM: good.KeyPEM}, good, {Name: "b", CertFile: "/nonexistent/b"}}, []string{`certificate "a": `, `certificate "b": `}},
		{"one subject twice", []Pair{good, pair(t, "again", "ecdsa", "mail.example.com")}, []string{`certificate "again": subject "mail.example.com" has another ECDSA certificate`}},
		{"one wildcard twice", []Pair{good.serving("*.a"), pair(t, "again", "ecdsa").serving("*.A.")}, []string{`subject "*.a" has another ECDSA certificate`}},
		{"two defaults", []Pair{good.asDefault(), pair(t, "again", "ecdsa").serving("*")}, []string{`subject "default" has another ECDSA certificate`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewCertificates("", tt.pairs)
			if err == nil || c != nil {
				t.Fatalf("got %v, %v, want an error alone", c, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %s in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	dir, p := t.TempDir(), pair(t, "from files", "ecdsa", "mail.example.com")
	files := Pair{Name: "f", CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for file, text := range map[string][]byte{files.CertFile: p.CertPEM, files.KeyFile: p.KeyPEM} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := NewCertificates("", []Pair{files})
	if err != nil {
		t.Fatal(err)
	}
	if got := choose(t, c, "mail.example.com", anything); got != "from files" {
		t.Errorf("got %q, want from files", got)
	}
}

func TestReplace(t *testing.T) {
	c, err := NewCertificates("", []Pair{pair(t, "before", "ecdsa", "mail.example.com")})
	if err != nil {
		t.Fatal(err)
	}
	fallback := Fingerprint(c.Fallback())
	if err := c.Replace([]Pair{{Name: "broken", CertPEM: []byte("x"), KeyPEM: []byte("x")}}); err == nil {
		t.Fatal("a broken pair: got no error")
	}
	if got := choose(t, c, "mail.example.com", anything); got != "before" {
		t.Errorf("after a broken pair: got %q, want before", got)
	}
	if err := c.Replace([]Pair{pair(t, "after", "ecdsa", "mail.example.com")}); err != nil {
		t.Fatal(err)
	}
	if got := choose(t, c, "mail.example.com", anything); got != "after" {
		t.Errorf("after a good pair: got %q, want after", got)
	}
	if err := c.Replace(nil); err != nil {
		t.Fatal(err)
	}
	if got := choose(t, c, "mail.example.com", anything); got != generated || Fingerprint(c.Fallback()) != fallback {
		t.Errorf("with none left: got %q, want the generated one of before", got)
	}
}

func TestReplaceBesideHandshakes(t *testing.T) {
	p := pair(t, "one", "ecdsa", "mail.example.com")
	c, err := NewCertificates("", []Pair{p})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if got := choose(t, c, "mail.example.com", anything); got != "one" {
					t.Errorf("got %q, want one", got)
				}
			}
		})
	}
	for range 50 {
		if err := c.Replace([]Pair{p}); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func TestGenerated(t *testing.T) {
	tests := []struct {
		name, hostname string
		serves         []string
	}{
		{"name", "mx.example.org", []string{"mx.example.org", "localhost", "127.0.0.1", "::1"}},
		{"address", "192.0.2.7", []string{"192.0.2.7", "localhost", "127.0.0.1", "::1"}},
		{"none", "", []string{"localhost", "127.0.0.1", "::1"}},
		{"localhost", "localhost", []string{"localhost"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewCertificates(tt.hostname, nil)
			if err != nil {
				t.Fatal(err)
			}
			leaf := c.Fallback()
			for _, host := range tt.serves {
				if err := leaf.VerifyHostname(host); err != nil {
					t.Error(err)
				}
			}
			roots := x509.NewCertPool()
			roots.AddCert(leaf)
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots}); err != nil {
				t.Errorf("as its own root: %v", err)
			}
			if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
				t.Errorf("got a key of type %T, want ECDSA on P-256", leaf.PublicKey)
			}
		})
	}
}

func TestGeneratedAnewEachTime(t *testing.T) {
	a, err := NewCertificates("", nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewCertificates("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if Fingerprint(a.Fallback()) == Fingerprint(b.Fallback()) {
		t.Error("two processes share a certificate")
	}
	sum := sha256.Sum256(a.Fallback().Raw)
	if got, want := Fingerprint(a.Fallback()), hex.EncodeToString(sum[:]); got != want {
		t.Errorf("fingerprint: got %s, want %s", got, want)
	}
}

func TestFallbackServes(t *testing.T) {
	a, b := pair(t, "a", "ecdsa", "a.example.com"), pair(t, "b", "ecdsa", "b.example.com")
	tests := []struct {
		name  string
		pairs []Pair
		want  bool
	}{
		{"none", nil, true},
		{"sole", []Pair{a}, false},
		{"two", []Pair{a, b}, true},
		{"two and a default", []Pair{a, b.asDefault()}, false},
	}
	for _, tt := range tests {
		c, err := NewCertificates("", tt.pairs)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.FallbackServes(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// SECURITY 17: names that clients make up leave nothing behind.
func TestManyNamesGrowNothing(t *testing.T) {
	c, err := NewCertificates("", []Pair{pair(t, "a", "ecdsa", "a.example.com"), pair(t, "b", "ecdsa", "*.example.org")})
	if err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const names = 50_000
	for i := range names {
		choose(t, c, fmt.Sprintf("host-%d-with-a-name-of-some-length.example.net", i), anything)
	}
	if after := heap(); after > before+names {
		t.Errorf("heap grew by %d bytes over %d names, want less than a byte a name", after-before, names)
	}
	runtime.KeepAlive(c)
}

func BenchmarkChoice(b *testing.B) {
	c, err := NewCertificates("", nil)
	if err != nil {
		b.Fatal(err)
	}
	hello := anything
	hello.ServerName = "mail.example.com"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.GetCertificate(&hello); err != nil {
			b.Fatal(err)
		}
	}
}
