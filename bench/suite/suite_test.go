package suite

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

func certificate(t *testing.T, key crypto.Signer, err error) tls.Certificate {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// shake is a handshake with a client and a server that are restricted to suites; the zero Suite: not at all.
func shake(t *testing.T, cert tls.Certificate, client, server Suite) (tls.ConnectionState, error) {
	t.Helper()
	c := &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}}
	s := &tls.Config{Certificates: []tls.Certificate{cert}}
	client.Restrict(c)
	server.Restrict(s)
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	served := make(chan error, 1)
	go func() { // ends with the pipe
		served <- tls.Server(far, s).Handshake()
	}()
	conn := tls.Client(near, c)
	err := conn.Handshake()
	if err == nil {
		err = <-served
	}
	return conn.ConnectionState(), err
}

// Each suite is what its ends come to, also when only one of them is restricted, and nothing else.
func TestHandshakes(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ecCert := certificate(t, ec, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	rsCert := certificate(t, rs, err)
	tests := []struct {
		kind  Kind
		key   string
		suite Suite
		cert  tls.Certificate
		want  string
	}{
		{TLS13GCM, "ecdsa", TLS13GCM.ECDSA(), ecCert, "TLS_AES_128_GCM_SHA256"},
		{TLS13GCM, "rsa", TLS13GCM.RSA(), rsCert, "TLS_AES_128_GCM_SHA256"},
		{TLS12GCM, "ecdsa", TLS12GCM.ECDSA(), ecCert, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
		{TLS12GCM, "rsa", TLS12GCM.RSA(), rsCert, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
		{TLS12CBC, "ecdsa", TLS12CBC.ECDSA(), ecCert, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"},
		{TLS12CBC, "rsa", TLS12CBC.RSA(), rsCert, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"},
	}
	for _, tt := range tests {
		t.Run(string(tt.kind)+" "+tt.key, func(t *testing.T) {
			if tt.kind == TLS13GCM {
				tt.want = nativeTLS13(t, tt.cert)
			}
			for _, ends := range [][2]Suite{{tt.suite, tt.suite}, {tt.suite, {}}, {{}, tt.suite}} {
				s, err := shake(t, tt.cert, ends[0], ends[1])
				if got := tls.CipherSuiteName(s.CipherSuite); err != nil || s.Version != tt.suite.Version || got != tt.want {
					t.Errorf("%v: got %s, %s, %v; want %s", ends, tls.VersionName(s.Version), got, err, tt.want)
				}
				if got, want := tt.suite.Agreed(s), s.CipherSuite == tt.suite.ID && s.CurveID == tls.X25519; got != want {
					t.Errorf("%v: agreed %v, want %v", ends, got, want)
				}
			}
			for _, other := range tests {
				if other.suite == tt.suite {
					continue
				}
				if s, err := shake(t, tt.cert, tt.suite, other.suite); err == nil {
					t.Errorf("a server with %s: got %s, want no handshake", other.want, tls.CipherSuiteName(s.CipherSuite))
				}
			}
		})
	}
}

// nativeTLS13 is what crypto/tls comes to by itself, since nobody can choose: another suite where the processor lacks AES.
func nativeTLS13(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	s, err := shake(t, cert, Suite{}, Suite{})
	if err != nil {
		t.Fatal(err)
	}
	return tls.CipherSuiteName(s.CipherSuite)
}

func TestAgreed(t *testing.T) {
	want := TLS12CBC.ECDSA()
	tests := []struct {
		name  string
		suite Suite
		state tls.ConnectionState
		want  bool
	}{
		{"as wanted", want, tls.ConnectionState{Version: want.Version, CipherSuite: want.ID, CurveID: tls.X25519}, true},
		{"another version", want, tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: want.ID, CurveID: tls.X25519}, false},
		{"another suite", want, tls.ConnectionState{Version: want.Version, CipherSuite: TLS12CBC.RSA().ID, CurveID: tls.X25519}, false},
		{"another curve", want, tls.ConnectionState{Version: want.Version, CipherSuite: want.ID, CurveID: tls.CurveP256}, false},
		{"none wanted", Suite{}, tls.ConnectionState{CurveID: tls.X25519}, false},
	}
	for _, tt := range tests {
		if got := tt.suite.Agreed(tt.state); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Every kind has words of its own, and those of TLS 1.2 have ciphers for peers.
func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, text := range Kinds() {
		k := Kind(text)
		if k.String() == "" || seen[k.String()] || k.ECDSA() == (Suite{}) || k.RSA() == (Suite{}) {
			t.Errorf("%s: nothing behind it, or there twice", text)
		}
		seen[k.String()] = true
		version := "TLS 1.3"
		if k.TLS12() {
			version = "TLS 1.2"
		}
		if !strings.HasPrefix(k.String(), version) || k.TLS12() != (strings.Count(k.OpenSSL(), ":") == 1) {
			t.Errorf("%s: got %q and ciphers %q", text, k, k.OpenSSL())
		}
	}
	if k := Kind("tls11-rc4"); k.ECDSA() != (Suite{}) || k.TLS12() {
		t.Errorf("a kind that does not exist: got %v", k.ECDSA())
	}
}
