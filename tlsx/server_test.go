package tlsx

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailsplice/tlsx/record"
)

// accept does a handshake with a crypto/tls client and wants both ends to succeed.
func accept(t testing.TB, c *ServerConfig, peer *tls.Config) (*Stream, *tls.Conn, *Taken, Facts) {
	t.Helper()
	ours, raw := connect(t)
	done := begin(c, ours)
	conn := tls.Client(raw, peer)
	if err := conn.Handshake(); err != nil {
		t.Fatalf("peer: %v", err)
	}
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	copied := *r.taken
	return NewStream(ours, r.taken, "client"), conn, &copied, copied.Facts
}

func clientConfig(change ...func(*tls.Config)) *tls.Config {
	c := &tls.Config{ServerName: "mail.example.com", InsecureSkipVerify: true}
	for _, f := range change {
		f(c)
	}
	return c
}

func tls12(suites ...uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, suites }
}

func TestServerTakesOver(t *testing.T) {
	tests := []struct {
		name string
		peer *tls.Config
		want Facts
		lane Reason
	}{
		{"1.3", clientConfig(), Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}, ReasonNone},
		{"1.3 classic key exchange", clientConfig(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }),
			Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}, ReasonNone},
		{"1.3 without tickets", clientConfig(func(c *tls.Config) { c.SessionTicketsDisabled = true }),
			Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}, ReasonNone},
		{"1.2 ECDSA AES-128-GCM", clientConfig(tls12(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, ReasonNone},
		{"1.2 ECDSA AES-256-GCM", clientConfig(tls12(tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}, ReasonNone},
		{"1.2 ECDSA ChaCha20", clientConfig(tls12(tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}, ReasonNone},
		{"1.2 RSA AES-128-GCM", clientConfig(tls12(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, ReasonNone},
		{"1.2 RSA AES-256-GCM", clientConfig(tls12(tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}, ReasonNone},
		{"1.2 RSA ChaCha20", clientConfig(tls12(tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}, ReasonNone},
		{"1.2 CBC", clientConfig(tls12(tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}, ReasonSuite},
		{"1.2 ECDSA CBC", clientConfig(tls12(tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA)),
			Facts{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}, ReasonSuite},
		{"ALPN", clientConfig(func(c *tls.Config) { c.NextProtos = []string{"http/1.1", "imap"} }),
			Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, ALPN: "imap"}, ReasonNone},
		{"no SNI", clientConfig(func(c *tls.Config) { c.ServerName = "" }), Facts{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, SNI: "none"}, ReasonNone},
	}
	server := newServer(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours, peer, taken, got := accept(t, server, tt.peer)
			want := tt.want
			switch want.SNI {
			case "":
				want.SNI = "mail.example.com"
			case "none":
				want.SNI = ""
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if taken.Reason != tt.lane || (taken.Conn != nil) != (tt.lane != ReasonNone) || taken.Tickets != nil || taken.Reason.Failed() {
				t.Errorf("got conn %v for %q, want it for %q alone and no tickets", taken.Conn != nil, taken.Reason, tt.lane)
			}
			exchange(t, ours, peer)
			checkClose(t, ours, peer)
		})
	}
}

// checkClose ends the connection from the peer's side.
func checkClose(t *testing.T, ours *Stream, peer *tls.Conn) {
	t.Helper()
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := ours.Read(make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("after close_notify: got %d, %v, want the end of input", n, err)
	}
}

// Each connection resumes the session of the one before, and the peer agrees. A reload and an upgrade do not matter.
func TestServerResumes(t *testing.T) {
	tickets := NewTicketKeys()
	imported, err := ImportTicketKeys(tickets.Export(nil))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		keys *TicketKeys
		rot  int // rotations before
		want bool
	}{
		{"first", tickets, 0, false},
		{"again", tickets, 0, true},
		{"after a reload", tickets, 0, true},
		{"after a rotation", tickets, 1, true},
		{"after an upgrade, with a ticket of the new key", imported, 0, false},
		{"after as many rotations as keys", imported, maxTicketKeys, false},
	}
	peer := clientConfig(func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	for _, tt := range tests {
		server := newServer(t, func(o *ServerOptions) { o.Tickets = tt.keys })
		for range tt.rot {
			tt.keys.Rotate()
		}
		ours, conn, _, facts := accept(t, server, peer)
		if got := conn.ConnectionState().DidResume; got != tt.want || facts.Resumed != tt.want {
			t.Errorf("%s: peer resumed %v, we say %v, want %v", tt.name, got, facts.Resumed, tt.want)
		}
		exchange(t, ours, conn)
	}
}

func TestExportedTicketKeysResume(t *testing.T) {
	tickets := NewTicketKeys()
	peer := clientConfig(func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	ours, conn, _, _ := accept(t, newServer(t, func(o *ServerOptions) { o.Tickets = tickets }), peer)
	exchange(t, ours, conn)
	imported, err := ImportTicketKeys(tickets.Export(nil))
	if err != nil {
		t.Fatal(err)
	}
	ours, conn, _, facts := accept(t, newServer(t, func(o *ServerOptions) { o.Tickets = imported }), peer)
	exchange(t, ours, conn)
	if !facts.Resumed {
		t.Error("not resumed in the process that took over")
	}
}

// DESIGN 3.5: a resumed TLS 1.2 session logs no key, so nobody gets the chance.
func TestServerGivesNoTicketsToTLS12(t *testing.T) {
	server := newServer(t)
	peer := clientConfig(tls12(), func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	for range 3 {
		ours, conn, taken, facts := accept(t, server, peer)
		if facts.Resumed || taken.Reason != ReasonNone {
			t.Errorf("got resumed %v, %q, want a full handshake taken over", facts.Resumed, taken.Reason)
		}
		exchange(t, ours, conn)
	}
}

func TestServerRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*ServerOptions)
		peer   *tls.Config
		alert  string // as the peer's crypto/tls words it
		cause  Cause
	}{
		{"foreign ALPN", nil, clientConfig(func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }), "no application protocol", CauseProtocol},
		{"foreign ALPN in 1.2", nil, clientConfig(tls12(), func(c *tls.Config) { c.NextProtos = []string{"h2", "pop3"} }), "no application protocol", CauseProtocol},
		{"TLS 1.1", nil, clientConfig(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), "protocol version", CauseProtocol},
		{"TLS 1.2 where 1.3 is the least", func(o *ServerOptions) { o.MinVersion = tls.VersionTLS13 }, clientConfig(tls12()), "protocol version", CauseProtocol},
		{"a suite that is switched off", func(o *ServerOptions) { o.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256} },
			clientConfig(tls12(tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)), "handshake failure", CauseProtocol},
		{"our certificate refused", nil, clientConfig(func(c *tls.Config) { c.InsecureSkipVerify = false }), "failed to verify certificate", CauseAlert},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change == nil {
				tt.change = func(*ServerOptions) {}
			}
			ours, raw := connect(t)
			done := begin(newServer(t, tt.change), ours)
			err := tls.Client(raw, tt.peer).Handshake()
			if err == nil || !strings.Contains(err.Error(), tt.alert) {
				t.Errorf("peer: got %v, want %q", err, tt.alert)
			}
			checkCause(t, <-done, tt.cause)
		})
	}
}

func checkCause(t *testing.T, r result, want Cause) {
	t.Helper()
	var e *Error
	if r.taken != nil || !errors.As(r.err, &e) {
		t.Fatalf("got %v, %v, want an *Error", r.taken, r.err)
	}
	if e.Cause != want {
		t.Errorf("got cause %v (%v), want %v", e.Cause, r.err, want)
	}
}

// RFC 8446 4.1.4: the client offers a share of a group that we do not take part in.
func TestServerAsksForAnotherShare(t *testing.T) {
	server := newServer(t, func(o *ServerOptions) { o.PostQuantum = false })
	server.base.CurvePreferences = []tls.CurveID{tls.CurveP384}
	ours, conn, _, _ := accept(t, server, clientConfig(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384} }))
	if !conn.ConnectionState().HelloRetryRequest {
		t.Error("there was no HelloRetryRequest, so nothing was tested")
	}
	exchange(t, ours, conn)
}

func TestPostQuantum(t *testing.T) {
	for _, want := range []bool{true, false} {
		_, conn, _, _ := accept(t, newServer(t, func(o *ServerOptions) { o.PostQuantum = want }), clientConfig())
		if got := conn.ConnectionState().CurveID == tls.X25519MLKEM768; got != want {
			t.Errorf("listener: got %v, want %v", got, want)
		}
		_, conn, _ = dial(t, newClient(t, func(o *ClientOptions) { o.PostQuantum = want }), backend(t))
		if got := conn.ConnectionState().CurveID == tls.X25519MLKEM768; got != want {
			t.Errorf("destination: got %v, want %v", got, want)
		}
	}
}

// gluing is a connection that holds back the client's last flight of the handshake and sends what follows in one segment
// with it.
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

// glue shakes hands but for the client's last flight, which is held.
func glue(t *testing.T) (ours *testSocket, g *gluing, conn *tls.Conn, done <-chan result) {
	t.Helper()
	ours, raw := connect(t)
	done = begin(newServer(t), ours)
	g = &gluing{Conn: raw}
	conn = tls.Client(g, clientConfig())
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return ours, g, conn, done
}

// Data behind Finished, in the same segment, goes with the keys, to the byte; crypto/tls has none of it. A whole flight is
// one read.
func TestWhatIsReadAheadGoesWithTheKeys(t *testing.T) {
	for _, cut := range []int{0, 1, headerBytes, 20} { // bytes of the data that come later
		ours, g, conn, done := glue(t)
		finished := len(g.held)
		conn.Write([]byte("a1 NOOP\r\n"))
		data := g.held[finished:]
		g.Conn.Write(g.held[:len(g.held)-cut])
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		if got, want := r.taken.Ahead, data[:len(data)-cut]; !bytes.Equal(got, want) {
			t.Errorf("got %d bytes ahead, want the %d behind Finished", len(got), len(want))
		}
		if got := len(ours.reads); got != 2 {
			t.Errorf("%d reads, want one for the hello and one for the rest", got)
		}
		g.Conn.Write(data[len(data)-cut:])
		if got := readN(t, NewStream(ours, r.taken, ""), 9); string(got) != "a1 NOOP\r\n" {
			t.Errorf("got %q", got)
		}
	}
}

// What a backend says behind the record that is being read stays sealed, and is there for whoever goes on with the leg.
func TestStreamKeepsWhatItDoesNotOpen(t *testing.T) {
	ours, g, conn, done := glue(t)
	g.Conn.Write(g.held)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	g.held = nil
	for _, text := range []string{"one", "two", "three"} {
		conn.Write([]byte(text))
	}
	g.Conn.Write(g.held)
	eventually(t, "the bytes arrive", func() bool { return queued(t, ours.fd) == len(g.held) })
	s := NewStream(ours, r.taken, "")
	p := make([]byte, 2)
	if n, err := s.Read(p); string(p[:n]) != "on" || err != nil {
		t.Fatalf("got %q, %v", p[:n], err)
	}
	if got := string(s.Rest()); got != "e" {
		t.Errorf("rest: got %q, want what was opened", got)
	}
	rest := bytes.Clone(s.Unopened())
	leg, keys, _ := s.Detach()
	if *keys == (record.Keys{}) {
		t.Error("the leg comes without the keys that have opened its records")
	}
	for _, want := range []string{"two", "three"} {
		got, err := leg.Open(keys, rest)
		if err != nil || string(got.Plain) != want {
			t.Fatalf("got %q, %v; want %q", got.Plain, err, want)
		}
		rest = rest[got.Consumed:]
	}
	if len(rest) > 0 || queued(t, ours.fd) > 0 {
		t.Errorf("%d bytes are left, %d in the socket", len(rest), queued(t, ours.fd))
	}
}

// SECURITY 21: crypto/tls takes any protocol when it has none of its own.
func TestServerOptions(t *testing.T) {
	certs, err := NewCertificates("", nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		o    ServerOptions
	}{
		{"no protocols", ServerOptions{Certificates: certs, Tickets: NewTicketKeys()}},
		{"an empty protocol", ServerOptions{Certificates: certs, Tickets: NewTicketKeys(), Protocols: []string{"imap", ""}}},
		{"no certificates", ServerOptions{Tickets: NewTicketKeys(), Protocols: []string{"imap"}}},
		{"no ticket keys", ServerOptions{Certificates: certs, Protocols: []string{"imap"}}},
	}
	for _, tt := range tests {
		if _, err := NewServerConfig(tt.o); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
	}
}

func TestServerWithoutTLS(t *testing.T) {
	tests := []struct {
		name, sent string
		cause      Cause
		answer     string // hex is not worth it: the alert's beginning
	}{
		{"HTTP", "GET / HTTP/1.1\r\nHost: mail.example.com\r\n\r\n", CauseProtocol, ""},
		{"SSLv2", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", CauseProtocol, "\x15"},
		{"too long a record", "\x16\x03\x01\xff\xff", CauseProtocol, "\x15"},
		{"no hello", "\x16\x03\x01\x00\x04\x0e\x00\x00\x00", CauseProtocol, "\x15"},
		{"an empty record", "\x16\x03\x01\x00\x00", CauseProtocol, "\x15"},
		{"nothing", "", CauseClosed, ""},
		{"half a header", "\x16\x03", CauseClosed, ""},
		{"half a record", "\x16\x03\x01\x00\x20\x01", CauseClosed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours, raw := connect(t)
			done := begin(newServer(t), ours)
			io.WriteString(raw, tt.sent)
			raw.(*net.TCPConn).CloseWrite()
			r := <-done
			checkCause(t, r, tt.cause)
			if r.err != nil && strings.Contains(r.err.Error(), "GET") {
				t.Errorf("error %q quotes the peer", r.err)
			}
			if got := queuedAtPeer(t, ours, raw); !strings.HasPrefix(got, tt.answer) || (tt.answer == "") != (got == "") {
				t.Errorf("answered %q, want %q and an alert's rest", got, tt.answer)
			}
		})
	}
}

func TestServerDeadline(t *testing.T) {
	ours, raw := connect(t)
	raw.Write([]byte{recordHandshake, 3})
	taken, err := newServer(t).Handshake(ours, time.Now().Add(20*time.Millisecond))
	checkCause(t, result{taken, err}, CauseTimeout)
}
