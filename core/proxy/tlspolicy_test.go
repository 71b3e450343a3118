package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

func tls12(id ...uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, id }
}

func tls11(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }

func offer(protocols ...string) func(*tls.Config) {
	return func(c *tls.Config) { c.NextProtos = protocols }
}

// What a listener's policy lets in, and what it answers to the others (SPEC 2.2, 12; SECURITY 21 and 23).
func TestClientPolicy(t *testing.T) {
	const (
		ecdsa128 = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
		ecdsa256 = tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
		only13   = "min_version = \"1.3\"\n"
		less128  = "disable_cipher_suites = [\"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]\n"
	)
	for _, c := range []struct {
		name, policy string
		client       *tls.Config
		refused      string // the alert, as crypto/tls words it; empty: let in
		check        func(tls.ConnectionState) bool
	}{
		{"TLS 1.3", "", anybody(), "", func(s tls.ConnectionState) bool { return s.Version == tls.VersionTLS13 }},
		{"TLS 1.2", "", anybody(tls12()), "", func(s tls.ConnectionState) bool { return s.Version == tls.VersionTLS12 }},
		{"TLS 1.1", "", anybody(tls11), "protocol version", nil},
		{"TLS 1.3 where it is the least", only13, anybody(), "", func(s tls.ConnectionState) bool { return s.Version == tls.VersionTLS13 }},
		{"TLS 1.2 where 1.3 is the least", only13, anybody(tls12()), "protocol version", nil},
		{"a suite", "", anybody(tls12(ecdsa128)), "", func(s tls.ConnectionState) bool { return s.CipherSuite == ecdsa128 }},
		{"a suite switched off", less128, anybody(tls12(ecdsa128)), "handshake failure", nil},
		{"another suite", less128, anybody(tls12(ecdsa128, ecdsa256)), "", func(s tls.ConnectionState) bool { return s.CipherSuite == ecdsa256 }},
		{"post-quantum", "", anybody(), "", func(s tls.ConnectionState) bool { return s.CurveID == tls.X25519MLKEM768 }},
		{"post-quantum off", "post_quantum = false\n", anybody(), "", func(s tls.ConnectionState) bool { return s.CurveID == tls.X25519 }},
		{"no ALPN", "", anybody(), "", func(s tls.ConnectionState) bool { return s.NegotiatedProtocol == "" }},
		{"its ALPN", "", anybody(offer("imap")), "", func(s tls.ConnectionState) bool { return s.NegotiatedProtocol == "imap" }},
		{"its ALPN among others", "", anybody(offer("h2", "imap")), "", func(s tls.ConnectionState) bool { return s.NegotiatedProtocol == "imap" }},
		{"foreign ALPN", "", anybody(offer("http/1.1")), "no application protocol", nil},
		{"foreign ALPN in 1.2", "", anybody(offer("h2", "http/1.1"), tls12()), "no application protocol", nil},
		{"ALPN of another mail protocol", "", anybody(offer("pop3", "smtp")), "no application protocol", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, stage{listenerTLS: crossed().listener, rest: "[tls.protocols]\n" + c.policy})
			cl, err := r.enter(r.listener, c.client)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), "remote error: tls: "+c.refused) {
					t.Fatalf("got %v, want alert %q", err, c.refused)
				}
				r.await("the end of it in the log", func() bool { return strings.Contains(r.log.String(), `reason="tls protocol"`) })
				r.landed(r.loginBy(anybody()), "legacy") // nobody else is troubled
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s := cl.TLSState(); !c.check(s) {
				t.Errorf("got %+v", s)
			}
			r.command(cl, "LOGIN alice "+password, "OK")
			r.landed(cl, "legacy")
		})
	}
}

// loginBy is a client that is in by the rig's listener.
func (r *rig) loginBy(conf *tls.Config) *mailfake.Client {
	r.t.Helper()
	c := r.secure(conf)
	r.command(c, "LOGIN alice "+password, "OK")
	return c
}

// SECURITY 21 and 23: a resumed session honours the policy as a full one does; tickets are for TLS 1.3 alone (DESIGN 3.5).
func TestClientResumption(t *testing.T) {
	r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: crossed().legacy})
	cached := func(c *tls.Config) { c.ClientSessionCache = keeping{tls.NewLRUClientSessionCache(4)} }
	conf, old := anybody(cached, offer("imap")), anybody(cached, tls12())
	for i := range 4 {
		c := r.loginBy(conf)
		if got, want := c.TLSState().DidResume, i > 0; got != want {
			t.Errorf("connection %d: resumed %v, want %v", i, got, want)
		}
		if c = r.loginBy(old); c.TLSState().DidResume {
			t.Errorf("connection %d: TLS 1.2 was resumed", i)
		}
	}
	r.lane("legacy", "record", 8)
	conf.NextProtos = []string{"http/1.1"}
	if _, err := r.enter(r.listener, conf); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("foreign ALPN on resumption: got %v, want the alert", err)
	}
	conf.NextProtos = nil
	if c := r.loginBy(conf); !c.TLSState().DidResume {
		t.Error("no ALPN: not resumed, so that the refusal has shown nothing")
	}
}

// keeping is a cache that keeps a session whose resumption was refused.
type keeping struct{ tls.ClientSessionCache }

func (k keeping) Put(name string, s *tls.ClientSessionState) {
	if s != nil {
		k.ClientSessionCache.Put(name, s)
	}
}

// TLS sessions are resumed per destination (SPEC 6), and only those of TLS 1.3 (DESIGN 3.5).
func TestBackendResumption(t *testing.T) {
	for _, c := range []struct {
		name    string
		backend func(*tls.Config)
		want    bool
	}{
		{"TLS 1.3", func(*tls.Config) {}, true},
		{"TLS 1.2", tls12(), false},
		{"without tickets", func(c *tls.Config) { c.SessionTicketsDisabled = true }, false},
	} {
		conf := &tls.Config{Certificates: []tls.Certificate{backendCertificate()}}
		c.backend(conf)
		r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: crossed().legacy, onLegacy: mailfake.Options{TLS: conf}})
		for i := range 4 {
			r.loginBy(anybody())
			if got, want := last(t, r.legacy).State.DidResume, c.want && i > 0; got != want {
				t.Errorf("%s, login %d: resumed %v, want %v", c.name, i, got, want)
			}
		}
		r.lane("legacy", "record", 4)
	}
}

// SECURITY 25: what was agreed with a backend that may show any certificate is not resumed by a destination with a pin.
func TestSessionsStayWithTheirPolicy(t *testing.T) {
	const strict = "[destination.strict]\nhost = \"127.0.0.1\"\nforwarding = \"none\"\ntls_server_name = \"legacy.test\"\ntls_pinned_cert_sha256 = \"%s\"\n" +
		"[destination.strict.protocol.imap]\nport = %d\ntls = %q\n"
	port := mustPort(t).Port()
	var offered atomic.Bool // by the last hello that the backend was sent: a session to resume
	seen := &tls.Config{Certificates: []tls.Certificate{backendCertificate()}, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		offered.Store(slices.Contains(h.Extensions, 41)) // pre_shared_key (RFC 8446 4.2.11)
		return nil, nil
	}}
	r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: crossed().legacy, mappings: "nina strict\n",
		rest:        fmt.Sprintf(strict, strings.Repeat("ab", 32), port, crossed().legacy),
		legacyTrust: "tls_allow_invalid_certs = true",
		onLegacy:    mailfake.Options{Listen: fmt.Sprintf("127.0.0.1:%d", port), TLS: seen}})
	for range 2 {
		r.loginBy(anybody())
	}
	if !last(t, r.legacy).State.DidResume || !offered.Load() {
		t.Fatal("nothing was resumed, so that nothing is tested")
	}
	before := r.legacy.Counts().Connections
	r.command(r.secure(anybody()), "LOGIN nina "+password, "NO [UNAVAILABLE]")
	if got := r.legacy.Counts().Connections - before; got != 1 {
		t.Errorf("visits: got %d, want 1: a certificate is never tried again", got)
	}
	if s := last(t, r.legacy); s.Attempts != 0 || offered.Load() {
		t.Errorf("got %+v, offered a session: %v, want a backend that was given neither that nor credentials", s, offered.Load())
	}
	if line := r.logged("login unavailable", 1)[0]; !strings.Contains(line, "pinned is abab") {
		t.Errorf("got %q, want the pin in it", line)
	}
}

// SECURITY 24: two clients with the same random, at the same time, share nothing.
func TestEqualRandoms(t *testing.T) {
	r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: crossed().legacy, mappings: "nina new\n"})
	var logs [2]bytes.Buffer
	var list [2]*mailfake.Client
	for i := range list {
		list[i] = r.secure(anybody(func(c *tls.Config) { c.Rand, c.KeyLogWriter = same{}, &logs[i] }))
	}
	random := func(log bytes.Buffer) string { return strings.Fields(log.String())[1] }
	if got := random(logs[0]); len(got) != 64 || got != random(logs[1]) || logs[0].String() == logs[1].String() {
		t.Fatalf("want two logs of different keys for one random, got\n%s%s", &logs[0], &logs[1])
	}
	for i, user := range []string{"alice", "nina"} {
		r.command(list[i], "LOGIN "+user+" "+password, "OK")
	}
	for range 3 {
		r.landed(list[1], "new")
		r.landed(list[0], "legacy")
	}
	if err := list[0].Echo(300<<10, 1, mailfake.Pace{}, mailfake.Pace{}); err != nil {
		t.Error(err)
	}
	r.landed(list[1], "new")
}

// same is a source of randomness that says the same to everybody.
type same struct{}

func (same) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

// A certificate of each key type under one name, chosen by name and by what the client takes (SPEC 2.2).
func TestCertificateChoice(t *testing.T) {
	shown := map[string]tls.Certificate{
		"one":  issue(keys().ecdsa, "one.example.test"),
		"rsa":  issue(keys().rsa, "one.example.test"),
		"two":  issue(keys().ecdsa, "two.example.test"),
		"else": issue(keys().ecdsa, "else.example.test"),
	}
	files, rest := map[string]string{}, ""
	for name, c := range shown {
		files[name+".pem"], files[name+".key"] = pemOf(c)
		rest += fmt.Sprintf("[tls.certificate.%s]\ncert = \"%[1]s.pem\"\nkey = \"%[1]s.key\"\ndefault = %v\n", name, name == "else")
	}
	r := newRig(t, stage{listenerTLS: crossed().listener, files: files, rest: rest})
	onlyRSA := tls12(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	for _, c := range []struct {
		name, sni string
		client    func(*tls.Config)
		want      string
	}{
		{"exact", "one.example.test", func(*tls.Config) {}, "one"},
		{"exact in 1.2", "one.example.test", tls12(), "one"},
		{"exact, RSA wanted", "one.example.test", onlyRSA, "rsa"},
		{"in capitals", "TWO.Example.TEST", func(*tls.Config) {}, "two"},
		{"a host below it", "mx.two.example.test", func(*tls.Config) {}, "two"},
		{"unknown", "three.example.test", func(*tls.Config) {}, "else"},
		{"none", "", func(*tls.Config) {}, "else"},
	} {
		cl := r.secure(anybody(c.client, func(conf *tls.Config) { conf.ServerName = c.sni }))
		if got := cl.TLSState().PeerCertificates[0]; !got.Equal(shown[c.want].Leaf) {
			t.Errorf("%s: got %v with %v, want certificate %q", c.name, got.DNSNames, got.PublicKeyAlgorithm, c.want)
		}
		r.command(cl, "LOGIN alice "+password, "OK")
	}
}

// Mutual TLS with a backend (SPEC 2.4). One that does not like our certificate says so at the end of the handshake, or, in
// TLS 1.3, behind it: a failure of TLS, not tried again, before any credentials (DESIGN 3.8).
func TestBackendWantsACertificate(t *testing.T) {
	own, other := issue(keys().ecdsa, "proxy.example.test"), issue(keys().rsa, "other.example.test")
	files := map[string]string{}
	files["own.pem"], files["own.key"] = pemOf(own)
	for _, c := range []struct {
		name    string
		shown   bool
		trusted *x509.Certificate
		version uint16
		want    string
	}{
		{"1.3", true, own.Leaf, tls.VersionTLS13, "OK"},
		{"1.2", true, own.Leaf, tls.VersionTLS12, "OK"},
		{"1.3, another wanted", true, other.Leaf, tls.VersionTLS13, "NO [UNAVAILABLE]"},
		{"1.2, another wanted", true, other.Leaf, tls.VersionTLS12, "NO [UNAVAILABLE]"},
		{"1.3, none to show", false, own.Leaf, tls.VersionTLS13, "NO [UNAVAILABLE]"},
		{"1.2, none to show", false, own.Leaf, tls.VersionTLS12, "NO [UNAVAILABLE]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := x509.NewCertPool()
			pool.AddCert(c.trusted)
			shown := ""
			if c.shown {
				shown = "tls_client_cert = \"own.pem\"\ntls_client_key = \"own.key\"\n"
			}
			r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: crossed().legacy, files: files, legacy: shown,
				onLegacy: mailfake.Options{TLS: &tls.Config{Certificates: []tls.Certificate{backendCertificate()}, MaxVersion: c.version,
					ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}}})
			r.command(r.secure(anybody()), "LOGIN alice "+password, c.want)
			if c.want == "OK" {
				if got := last(t, r.legacy).State.PeerCertificates; len(got) != 1 || !got[0].Equal(own.Leaf) {
					t.Errorf("backend was shown %v", got)
				}
				r.lane("legacy", "record", 1)
				return
			}
			if got := r.legacy.Counts().Connections; got != 1 || last(t, r.legacy).Attempts != 0 {
				t.Errorf("got %d visits, %d attempts, want one visit without credentials", got, last(t, r.legacy).Attempts)
			}
			if line := r.logged("login unavailable", 1)[0]; !strings.Contains(line, "phase=tls") {
				t.Errorf("got %q, want a failure of TLS", line)
			}
		})
	}
}

// The backend's own key exchange: another share asked for (RFC 8446 4.1.4), and post-quantum per destination (SPEC 2.2).
func TestBackendKeyExchange(t *testing.T) {
	for _, c := range []struct {
		name, legacy string
		groups       []tls.CurveID
		want         tls.CurveID
		again        bool // HelloRetryRequest
	}{
		{"default", "", nil, tls.X25519, false},
		{"another share", "", []tls.CurveID{tls.CurveP521}, tls.CurveP521, true},
		{"post-quantum", "tls_post_quantum = true", nil, tls.X25519MLKEM768, false},
		{"post-quantum, another share", "tls_post_quantum = true", []tls.CurveID{tls.CurveP384}, tls.CurveP384, true},
	} {
		r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: crossed().legacy, legacy: c.legacy, onLegacy: mailfake.Options{
			TLS: &tls.Config{Certificates: []tls.Certificate{backendCertificate()}, CurvePreferences: c.groups}}})
		r.landed(r.loginBy(anybody()), "legacy")
		if s := last(t, r.legacy).State; s.CurveID != c.want || s.HelloRetryRequest != c.again {
			t.Errorf("%s: got %v, asked again %v, want %v, %v", c.name, s.CurveID, s.HelloRetryRequest, c.want, c.again)
		}
		r.lane("legacy", "record", 1)
	}
}

// gluing is a connection that holds back the last flight of a client's handshake.
type gluing struct {
	net.Conn
	armed bool
	held  []byte
}

func (g *gluing) Write(p []byte) (int, error) {
	if g.armed {
		g.held = append(g.held, p...)
		return len(p), nil
	}
	return g.Conn.Write(p)
}

func (g *gluing) Read(p []byte) (int, error) {
	g.armed = true // the hello is out
	return g.Conn.Read(p)
}

// Commands that stand behind Finished in one segment are the session's, down to the one behind the login.
func TestDataBehindFinished(t *testing.T) {
	r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: crossed().legacy})
	raw, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	want := []string{"* OK"}
	if r.listener == "starttls" {
		wantLine(t, raw, "* OK")
		io.WriteString(raw, "x STARTTLS\r\n")
		wantLine(t, raw, "x OK")
		want = nil
	}
	g := &gluing{Conn: raw}
	conn := tls.Client(g, anybody())
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if len(g.held) == 0 {
		t.Fatal("nothing was held back, so that nothing is tested")
	}
	io.WriteString(conn, "a NOOP\r\nb LOGIN alice "+password+"\r\nc NOOP\r\n")
	if _, err := raw.Write(g.held); err != nil {
		t.Fatal(err)
	}
	for _, line := range append(want, "a OK", "b OK", "c OK") {
		wantLine(t, conn, line)
	}
}

// wantLine reads one line to the byte, past the untagged list of a backend that was asked.
func wantLine(t *testing.T, r io.Reader, want string) {
	t.Helper()
	for {
		var line []byte
		for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); line = append(line, b...) {
			if _, err := r.Read(b); err != nil {
				t.Fatalf("got %q, %v, want %q", line, err, want)
			}
		}
		if strings.HasPrefix(string(line), want) {
			return
		}
		if !strings.HasPrefix(string(line), "* CAPABILITY") {
			t.Fatalf("got %q, want %q", line, want)
		}
	}
}
