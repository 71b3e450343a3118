package tlsx

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// backend is a crypto/tls server's configuration.
func backend(t testing.TB, change ...func(*tls.Config)) *tls.Config {
	t.Helper()
	a := newAuthority(t)
	c := &tls.Config{Certificates: []tls.Certificate{
		*a.issue(t, "mail.example.com", "ecdsa", time.Now().Add(time.Hour)), *a.issue(t, "mail.example.com", "rsa", time.Now().Add(time.Hour))}}
	for _, f := range change {
		f(c)
	}
	return c
}

// dial does a handshake with a crypto/tls server and wants both ends to succeed.
func dial(t testing.TB, c *ClientConfig, peer *tls.Config) (*Stream, *tls.Conn, *Taken) {
	t.Helper()
	ours, raw := connect(t)
	done := begin(c, ours)
	conn := tls.Server(raw, peer)
	if err := conn.Handshake(); err != nil {
		t.Fatalf("peer: %v", errors.Join(err, (<-done).err))
	}
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	copied := *r.taken
	return NewStream(ours, r.taken, "new"), conn, &copied
}

func TestClientTakesOver(t *testing.T) {
	tests := []struct {
		name string
		peer *tls.Config
		want Facts
		lane Reason
	}{
		{"1.3", backend(t), Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}, ReasonNone},
		{"1.3 without tickets", backend(t, func(c *tls.Config) { c.SessionTicketsDisabled = true }),
			Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}, ReasonNone},
		{"another share asked for", backend(t, func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP521} }),
			Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}, ReasonNone},
		{"a certificate asked for", backend(t, func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }),
			Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}, ReasonNone},
		{"1.2 ECDSA AES-128-GCM", backend(t, tls12(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, ReasonNone},
		{"1.2 ECDSA AES-256-GCM", backend(t, tls12(tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}, ReasonNone},
		{"1.2 ECDSA ChaCha20", backend(t, tls12(tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}, ReasonNone},
		{"1.2 RSA AES-128-GCM", backend(t, tls12(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, ReasonNone},
		{"1.2 RSA AES-256-GCM", backend(t, tls12(tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}, ReasonNone},
		{"1.2 RSA ChaCha20", backend(t, tls12(tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}, ReasonNone},
		{"1.2 CBC", backend(t, tls12(tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA}, ReasonSuite},
		{"ALPN", backend(t, func(c *tls.Config) { c.NextProtos = []string{"imap"} }),
			Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, ALPN: "imap"}, ReasonNone},
	}
	client := newClient(t, func(o *ClientOptions) { o.Protocols = []string{"imap"} })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours, peer, taken := dial(t, client, tt.peer)
			want := tt.want
			want.SNI, want.PeerCert, want.Resumed = "mail.example.com", sha256.Sum256(taken.Peer.Raw), taken.Facts.Resumed
			if taken.Facts != want {
				t.Errorf("got %+v, want %+v", taken.Facts, want)
			}
			if taken.Reason != tt.lane || (taken.Conn != nil) != (tt.lane != ReasonNone) {
				t.Errorf("got conn %v for %q, want it for %q alone", taken.Conn != nil, taken.Reason, tt.lane)
			}
			if got, want := taken.Tickets != nil, tt.want.Version == tls.VersionTLS13; got != want {
				t.Errorf("got tickets %v, want %v", got, want)
			}
			exchange(t, ours, peer)
			checkClose(t, ours, peer)
			ours.Close()
		})
	}
}

// The peer says that it resumed; each login brings the ticket for the next.
func TestClientResumes(t *testing.T) {
	client, peer := newClient(t), backend(t)
	for i := range 4 {
		ours, conn, taken := dial(t, client, peer)
		exchange(t, ours, conn)
		if want := i > 0; conn.ConnectionState().DidResume != want || taken.Facts.Resumed != want {
			t.Errorf("connection %d: peer resumed %v, we say %v, want %v", i, conn.ConnectionState().DidResume, taken.Facts.Resumed, want)
		}
		if taken.Facts.PeerCert == [sha256.Size]byte{} || taken.Peer == nil {
			t.Errorf("connection %d: the certificate is not known", i)
		}
		ours.Close()
	}
}

// DESIGN 3.5, the client's half of it.
func TestClientKeepsNoSessionOfTLS12(t *testing.T) {
	client, peer := newClient(t), backend(t, tls12())
	for range 3 {
		ours, conn, taken := dial(t, client, peer)
		exchange(t, ours, conn)
		if conn.ConnectionState().DidResume || taken.Reason != ReasonNone || len(client.sessions.list) != 0 {
			t.Errorf("got resumed %v, %q, %d sessions, want none of it", conn.ConnectionState().DidResume, taken.Reason, len(client.sessions.list))
		}
	}
}

// A backend that is downgraded to TLS 1.2 is offered a session of 1.3 and declines.
func TestClientMeetsOlderBackend(t *testing.T) {
	client, peer := newClient(t), backend(t)
	ours, conn, _ := dial(t, client, peer)
	exchange(t, ours, conn)
	peer.MaxVersion = tls.VersionTLS12
	ours, conn, taken := dial(t, client, peer)
	exchange(t, ours, conn)
	if taken.Facts.Version != tls.VersionTLS12 || taken.Facts.Resumed || taken.Reason != ReasonNone {
		t.Errorf("got %v, resumed %v, %q, want a full handshake of 1.2 taken over", taken.Facts, taken.Facts.Resumed, taken.Reason)
	}
}

// policies of certificates: who is let in and who is not. Each is a backend that would get a password.
func TestVerification(t *testing.T) {
	good, other := newAuthority(t), newAuthority(t)
	valid := good.issue(t, "mail.example.com", "ecdsa", time.Now().Add(time.Hour))
	expired := good.issue(t, "mail.example.com", "ecdsa", time.Now().Add(-time.Hour))
	elsewhere := good.issue(t, "other.example.net", "ecdsa", time.Now().Add(time.Hour))
	foreign := other.issue(t, "mail.example.com", "ecdsa", time.Now().Add(time.Hour))
	pin := func(c *tls.Certificate) func(*ClientOptions) {
		return func(o *ClientOptions) { sum := sha256.Sum256(c.Leaf.Raw); o.Pin = &sum }
	}
	checked := func(o *ClientOptions) { o.AllowInvalid, o.Roots = false, good.pool }
	tests := []struct {
		name   string
		policy []func(*ClientOptions)
		cert   *tls.Certificate
		refuse string // empty: let in
	}{
		{"chain", []func(*ClientOptions){checked}, valid, ""},
		{"anything goes", nil, foreign, ""},
		{"pin beside a wrong authority", []func(*ClientOptions){checked, pin(foreign)}, foreign, ""},
		{"pin beside a wrong name", []func(*ClientOptions){checked, pin(elsewhere)}, elsewhere, ""},
		{"pin beside an expired one", []func(*ClientOptions){checked, pin(expired)}, expired, ""},
		{"pin without a name", []func(*ClientOptions){checked, pin(valid), func(o *ClientOptions) { o.ServerName = "" }}, valid, ""},
		{"wrong authority", []func(*ClientOptions){checked}, foreign, "unknown authority"},
		{"platform roots", []func(*ClientOptions){func(o *ClientOptions) { o.AllowInvalid = false }}, valid, "unknown authority"},
		{"wrong name", []func(*ClientOptions){checked}, elsewhere, "not mail.example.com"},
		{"expired", []func(*ClientOptions){checked}, expired, "expired"},
		{"wrong pin", []func(*ClientOptions){checked, pin(foreign)}, valid, "pinned"},
		{"wrong pin where anything goes", []func(*ClientOptions){pin(foreign)}, valid, "pinned"},
	}
	for _, tt := range tests {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tt.name+" "+tls.VersionName(version), func(t *testing.T) {
				ours, raw := connect(t)
				heard := &tapped{Conn: raw}
				conn := tls.Server(heard, &tls.Config{Certificates: []tls.Certificate{*tt.cert}, MaxVersion: version})
				done := begin(newClient(t, tt.policy...), ours)
				peerErr := conn.Handshake()
				r := <-done
				if tt.refuse == "" {
					if r.err != nil || peerErr != nil {
						t.Fatal(r.err, peerErr)
					}
					exchange(t, NewStream(ours, r.taken, ""), conn)
					return
				}
				checkCause(t, r, CauseCertificate)
				if !strings.Contains(r.err.Error(), tt.refuse) {
					t.Errorf("got %v, want %q", r.err, tt.refuse)
				}
				if got := heard.records(); bytes.Contains(got, []byte{23}) && version == tls.VersionTLS12 {
					t.Errorf("got records %v, want no application data", got)
				}
				if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad certificate") {
					t.Errorf("peer heard %v, want the alert", err)
				}
			})
		}
	}
}

// tapped notes what is read.
type tapped struct {
	net.Conn
	heard []byte
}

func (t *tapped) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.heard = append(t.heard, p[:n]...)
	return n, err
}

// records are the types of those heard.
func (t *tapped) records() (types []byte) {
	for p := t.heard; len(p) >= headerBytes && len(p) >= headerBytes+bodyBytes(p); p = p[headerBytes+bodyBytes(p):] {
		types = append(types, p[0])
	}
	return types
}

// SECURITY 25: what held in the first handshake holds in a resumed one.
func TestPolicyHoldsOnResumption(t *testing.T) {
	a := newAuthority(t)
	cert := a.issue(t, "mail.example.com", "ecdsa", time.Now().Add(time.Hour))
	tests := []struct {
		name   string
		change func(*verifier)
	}{
		{"pin", func(v *verifier) { v.pin = &[sha256.Size]byte{1} }},
		{"roots", func(v *verifier) { v.roots, v.trusted = x509.NewCertPool(), nil }},
		{"name", func(v *verifier) { v.name, v.trusted = "other.example.net", nil }},
		{"validity", func(v *verifier) { v.now = func() time.Time { return time.Now().Add(2 * time.Hour) } }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := newClient(t, func(o *ClientOptions) { o.AllowInvalid, o.Roots = false, a.pool })
			peer := &tls.Config{Certificates: []tls.Certificate{*cert}}
			for range 2 {
				ours, conn, _ := dial(t, client, peer)
				exchange(t, ours, conn)
			}
			if len(client.sessions.list) == 0 {
				t.Fatal("no session to resume, so nothing is tested")
			}
			tt.change(&client.verify)
			ours, raw := connect(t)
			done := begin(client, ours)
			conn := tls.Server(raw, peer)
			conn.Handshake()
			checkCause(t, <-done, CauseCertificate)
			if !conn.ConnectionState().DidResume {
				t.Error("the handshake was a full one, so nothing was tested")
			}
		})
	}
}

// Another policy is another ClientConfig, and that begins with nothing.
func TestSessionsBelongToAPolicy(t *testing.T) {
	peer := backend(t)
	a, b := newClient(t), newClient(t)
	ours, conn, _ := dial(t, a, peer)
	exchange(t, ours, conn)
	if _, conn, _ = dial(t, b, peer); conn.ConnectionState().DidResume {
		t.Error("a session was resumed under another policy")
	}
	if _, conn, _ = dial(t, a, peer); !conn.ConnectionState().DidResume {
		t.Error("a session was not resumed under its own policy")
	}
}

func TestClientCertificate(t *testing.T) {
	a := newAuthority(t)
	own := a.issue(t, "proxy.example.com", "ecdsa", time.Now().Add(time.Hour))
	foreign := newAuthority(t).issue(t, "proxy.example.com", "rsa", time.Now().Add(time.Hour))
	mutual := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, a.pool }
	tests := []struct {
		name string
		cert *tls.Certificate
		peer *tls.Config
		ok   bool
		late bool // the refusal comes behind the handshake
	}{
		{"1.3", own, backend(t, mutual), true, false},
		{"1.2", own, backend(t, mutual, tls12()), true, false},
		{"1.3, none", nil, backend(t, mutual), false, true},
		{"1.3, refused", foreign, backend(t, mutual), false, true},
		{"1.2, none", nil, backend(t, mutual, tls12()), false, false},
		{"1.2, refused", foreign, backend(t, mutual, tls12()), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := newClient(t, func(o *ClientOptions) { o.Certificate = tt.cert })
			ours, raw := connect(t)
			done := begin(client, ours)
			conn := tls.Server(raw, tt.peer)
			peerErr := conn.Handshake()
			r := <-done
			if tt.ok {
				if r.err != nil || peerErr != nil {
					t.Fatal(r.err, peerErr)
				}
				exchange(t, NewStream(ours, r.taken, "new"), conn)
				return
			}
			if peerErr == nil {
				t.Fatal("the peer did not refuse, so nothing was tested")
			}
			if tt.late {
				if r.err != nil {
					t.Fatal(r.err)
				}
				_, err := NewStream(ours, r.taken, "new").Read(make([]byte, 1))
				r = result{nil, err}
			}
			checkCause(t, r, CauseAlert)
		})
	}
}

func TestClientFailures(t *testing.T) {
	tests := []struct {
		name  string
		peer  func(net.Conn)
		cause Cause
	}{
		{"no TLS", func(c net.Conn) { io.WriteString(c, "* OK ready\r\n") }, CauseProtocol},
		{"closed", func(c net.Conn) { io.ReadFull(c, make([]byte, headerBytes)); c.(*net.TCPConn).CloseWrite() }, CauseClosed},
		{"alert", func(c net.Conn) { c.Write([]byte{recordAlert, 3, 3, 0, 2, 2, 40}) }, CauseAlert},
		{"TLS 1.1", func(c net.Conn) {
			tls.Server(c, backend(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })).Handshake()
		}, CauseAlert},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours, raw := connect(t)
			done := begin(newClient(t), ours)
			tt.peer(raw)
			checkCause(t, <-done, tt.cause)
		})
	}
}

func TestClientOptions(t *testing.T) {
	tests := []struct {
		name string
		o    ClientOptions
		ok   bool
	}{
		{"a name", ClientOptions{ServerName: "mail.example.com"}, true},
		{"no name", ClientOptions{}, false},
		{"no name but a pin", ClientOptions{Pin: new([sha256.Size]byte)}, true},
		{"no name and anything goes", ClientOptions{AllowInvalid: true}, true},
		{"an empty protocol", ClientOptions{ServerName: "mail.example.com", Protocols: []string{""}}, false},
	}
	for _, tt := range tests {
		if _, err := NewClientConfig(tt.o); (err == nil) != tt.ok {
			t.Errorf("%s: got %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}

// A chain is verified once; then the leaf is known, for as long as every certificate of that chain is valid.
func TestVerifierRemembers(t *testing.T) {
	a := newAuthority(t)
	now := time.Now()
	v := &verifier{name: "mail.example.com", roots: a.pool, now: func() time.Time { return now }}
	state := &tls.ConnectionState{}
	for i := range maxTrusted + 3 {
		leaf := a.issue(t, "mail.example.com", "ecdsa", now.Add(3*time.Hour)).Leaf // the authority ends in an hour
		state.PeerCertificates = []*x509.Certificate{leaf}
		if err := v.check(state); err != nil {
			t.Fatal(err)
		}
		if got, want := len(v.trusted), min(i+1, maxTrusted); got != want {
			t.Fatalf("got %d remembered, want %d", got, want)
		}
	}
	v.roots = x509.NewCertPool()
	if err := v.check(state); err != nil {
		t.Errorf("known leaf verified again: %v", err)
	}
	for _, at := range []time.Duration{-90 * time.Minute, 90 * time.Minute} {
		when := time.Now().Add(at)
		v.now = func() time.Time { return when }
		if err := v.check(state); err == nil {
			t.Errorf("at %v: leaf accepted though its authority is not valid", at)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := &sessions{}
	made := make([]*tls.ClientSessionState, maxSessions+5)
	for i := range made {
		made[i] = new(tls.ClientSessionState)
		s.put(made[i])
	}
	if len(s.list) != maxSessions {
		t.Fatalf("got %d sessions, want %d", len(s.list), maxSessions)
	}
	for i := range maxSessions - 1 {
		if got, want := s.take(), made[len(made)-1-i]; got != want {
			t.Fatalf("take %d: not the newest", i)
		}
	}
	last := made[len(made)-maxSessions]
	for range 2 {
		if s.take() != last {
			t.Error("the last one is not offered again")
		}
	}
	if s.drop(last); s.take() != nil {
		t.Error("a session that did not work is offered again")
	}
}

func ExampleFacts() {
	fmt.Println(Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256})
	// Output: TLS 1.3 TLS_AES_128_GCM_SHA256
}
