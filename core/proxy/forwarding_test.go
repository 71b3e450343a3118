package proxy

import (
	"fmt"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
	"mailsplice/tlsx"
)

// The header is the first segment by itself, or the backend resets the connection (SPEC 5.1).
func TestProxyHeader(t *testing.T) {
	r := newRig(t, stage{legacyForwarding: "proxy", onLegacy: mailfake.Options{Proxy: mailfake.ProxyRequired}})
	c := r.login("alice")
	s := r.legacy.Logins()[0]
	if s.Proxy.Source != c.LocalAddr() || s.Proxy.Destination.String() != r.addr() || s.Proxy.Local {
		t.Errorf("header: got %+v, want from %v to %s", s.Proxy, c.LocalAddr(), r.addr())
	}
	const uniqueID = 0x05
	id := ""
	for _, tlv := range s.Proxy.TLVs {
		if tlv.Type == uniqueID {
			id = string(tlv.Value)
		}
	}
	if line := r.logged("login accepted", 1); len(line) != 1 || id == "" || !strings.Contains(line[0], "session="+id+" ") {
		t.Errorf("session id %q is not that of the log: %q", id, line)
	}
	if s.IDs != 0 {
		t.Error("the client was announced by ID, too")
	}
}

func TestID(t *testing.T) {
	r := newRig(t, stage{legacyForwarding: "xclient"})
	c := r.dial()
	r.command(c, `ID ("name" "Mail" "x-originating-ip" "192.0.2.1" "X-Proxy-TTL" "3" "os" NIL)`, "OK")
	r.command(c, "LOGIN alice "+password, "OK")
	s := r.legacy.Logins()[0]
	var got []string
	for _, f := range s.ID {
		got = append(got, f.Name+"="+f.Value)
	}
	session, _ := s.Field("x-session-id")
	local := r.proxy.Addr("imap")
	want := fmt.Sprintf("x-originating-ip=127.0.0.1 x-originating-port=%d x-connected-ip=127.0.0.1 x-connected-port=%d x-proxy-ttl=6 "+
		"x-session-id=%s x-client-transport=%s name=Mail os=", c.LocalAddr().Port(), local.Port(), session, mode.transport())
	if strings.Join(got, " ") != want {
		t.Errorf("ID:\ngot  %s\nwant %s", strings.Join(got, " "), want)
	}
	if line := r.logged("login accepted", 1); len(line) != 1 || !strings.Contains(line[0], "session="+session+" ") {
		t.Errorf("session id %q is not that of the log: %q", session, line)
	}
}

// Without xclient forwarding nothing is announced, what the client says of itself neither.
func TestNoID(t *testing.T) {
	r := newRig(t, stage{})
	c := r.dial()
	r.command(c, `ID ("name" "Mail")`, "OK")
	r.command(c, "LOGIN alice "+password, "OK")
	if s := r.legacy.Logins()[0]; s.IDs != 0 {
		t.Errorf("ID: got %+v", s.ID)
	}
}

// Fields of a trusted peer are honoured: addresses, session, transport, and hops minus one (SPEC 5.3).
func TestTrustedPeer(t *testing.T) {
	const trust = `proxy_trusted = ["127.0.0.1"]`
	r := newRig(t, stage{listener: trust, legacyForwarding: "xclient"})
	c := r.dial()
	r.command(c, `ID ("x-originating-ip" "2001:db8::7" "x-originating-port" "4711" "x-connected-ip" "2001:db8::1" "x-connected-port" "143" `+
		`"x-proxy-ttl" "3" "x-session-id" "front-1" "x-client-transport" "TLS" "name" "Mail")`, "OK")
	r.command(c, "LOGIN alice "+password, "OK")
	s := r.legacy.Logins()[0]
	for name, want := range map[string]string{"x-originating-ip": "2001:db8::7", "x-originating-port": "4711", "x-connected-ip": "2001:db8::1",
		"x-connected-port": "143", "x-proxy-ttl": "2", "x-session-id": "front-1", "x-client-transport": "TLS", "name": "Mail"} {
		if got, _ := s.Field(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if line := r.logged("login accepted", 1); len(line) != 1 || !strings.Contains(line[0], "client=[2001:db8::7]:4711") {
		t.Errorf("log: got %q", line)
	}
	for _, ttl := range []string{"1", "0"} { // the last hop
		before := r.legacy.Counts().Connections
		c = r.dial()
		reply, err := c.Command(`ID ("x-proxy-ttl" "` + ttl + `")`)
		if err != nil || reply.Status == "BAD" {
			continue // 0 is no number of hops
		}
		r.command(c, "LOGIN alice "+password, "NO [UNAVAILABLE]")
		if r.legacy.Counts().Connections != before {
			t.Errorf("ttl %s: the backend was asked", ttl)
		}
		r.logged("login refused: forwarding loop", 1)
	}
}

// Behind two proxies the backend sees the real client; a mapping of one to the other and back ends as a loop.
func TestChain(t *testing.T) {
	for _, way := range []string{"proxy", "xclient"} {
		behind := mailfake.Options{}
		if way == "proxy" {
			behind.Proxy = mailfake.ProxyRequired
		}
		back := newRig(t, stage{listener: `proxy_trusted = ["127.0.0.0/8"]`, legacyForwarding: way, onLegacy: behind})
		front := newRig(t, stage{legacyForwarding: "xclient", legacyAddr: back.proxy.Addr("imap"), legacyTLS: mode.listener,
			legacyPin: tlsx.Fingerprint(back.proxy.security.certs.Fallback())})
		c := front.login("alice")
		front.landed(c, "legacy")
		if got := back.legacy.Logins()[0].Client; got != c.LocalAddr() {
			t.Errorf("%s: client at the backend: got %v, want %v", way, got, c.LocalAddr())
		}
	}
}

// A backend that does not take our word is warned about once.
func TestUntrusting(t *testing.T) {
	r := newRig(t, stage{legacyForwarding: "xclient", onLegacy: mailfake.Options{DistrustID: true,
		Capabilities: "IMAP4rev1 SASL-IR ID LOGINDISABLED AUTH=PLAIN"}})
	for range 3 {
		r.login("alice")
	}
	r.logged("login accepted", 3) // a warning stands behind its login
	want := 1
	if mode.legacy != "plain" {
		want = 0 // in TLS a Dovecot up to 2.3 says nothing that tells (BACKENDS)
	}
	if got := len(r.logged("backend does not trust us to announce clients", want)); got != want {
		t.Errorf("warnings: got %d, want %d", got, want)
	}
}
