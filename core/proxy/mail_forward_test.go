package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
	"mailsplice/tlsx"
)

// trustLoopback lets peers of the test announce clients.
const trustLoopback = `proxy_trusted = ["127.0.0.0/8"]`

// attributes is what a backend was told by XCLIENT, in order.
func attributes(s mailfake.Record) string {
	var list []string
	for _, p := range s.XClient {
		list = append(list, p.Name+"="+p.Value)
	}
	return strings.Join(list, " ")
}

// withXClient is tongues but IMAP.
func withXClient(t *testing.T, f func(t *testing.T, tg tongue)) {
	for _, tg := range tongues[1:] {
		t.Run(tg.name, func(t *testing.T) { f(t, tg) })
	}
}

// A backend that lists XCLIENT learns who the client is, inside TLS where there is any (SPEC 5.2).
func TestXClient(t *testing.T) {
	withXClient(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{legacyForwarding: "xclient", onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot}})
		c := r.in("alice")
		r.lands(c, "legacy")
		s := r.legacy.Logins()[0]
		session, _ := s.Attribute("SESSION")
		ends := fmt.Sprintf("PORT=%d DESTADDR=127.0.0.1 DESTPORT=%s SESSION=%s TTL=6 CLIENT-TRANSPORT=%s", c.LocalAddr().Port(), portOf(r.addr()), session, mode.transport())
		want := "ADDR=127.0.0.1 " + ends
		if tg.name == "submission" {
			want = fmt.Sprintf("PORT=%d DESTPORT=%s HELO=client.example.org PROTO=ESMTP SESSION=%s TTL=6 CLIENT-TRANSPORT=%s DESTADDR=127.0.0.1 ADDR=127.0.0.1",
				c.LocalAddr().Port(), portOf(r.addr()), session, mode.transport())
		}
		if got := attributes(s); got != want {
			t.Errorf("XCLIENT:\ngot  %s\nwant %s", got, want)
		}
		if s.Client != c.LocalAddr() || s.XClients != 1 {
			t.Errorf("client at the backend: got %v by %d XCLIENTs, want %v by one", s.Client, s.XClients, c.LocalAddr())
		}
		if s.TLS != (mode.legacy != "plain") {
			t.Errorf("TLS at the backend: got %t", s.TLS)
		}
		if line := r.logged("login accepted", 1)[0]; !strings.Contains(line, "session="+session+" ") {
			t.Errorf("session id %q is not that of the log: %s", session, line)
		}
		if got := len(r.log.lines("backend does not trust us to announce clients")); got != 0 {
			t.Errorf("warnings: got %d, want 0", got)
		}
	})
}

func portOf(addr string) string { return fmt.Sprint(netip.MustParseAddrPort(addr).Port()) }

// Only what Postfix lists is sent, and EHLO is the client's before and behind it (SPEC 5.2, 6.1).
func TestXClientPostfix(t *testing.T) {
	r := newMailRig(t, tongueOf("submission"), stage{legacyForwarding: "xclient", onLegacy: mailfake.Options{XClient: mailfake.XClientPostfix}})
	c := r.client()
	r.says(c, "EHLO [192.0.2.9]", "250")
	r.enter(c, "alice") // says EHLO once more
	s := r.legacy.Logins()[0]
	if got := s.Hello; got != "client.example.org" {
		t.Errorf("EHLO at the backend: got %q", got)
	}
	if name, _ := s.Attribute("NAME"); name != "[UNAVAILABLE]" {
		t.Errorf("NAME: got %q", name)
	}
	for _, not := range []string{"SESSION", "TTL", "LOGIN", "CLIENT-TRANSPORT"} {
		if v, came := s.Attribute(not); came {
			t.Errorf("%s=%s was sent", not, v)
		}
	}
}

// A client's name that a backend refuses is replaced by ours, and one that could be taken for more than a name is never
// repeated (SPEC 6.1, SECURITY 9).
func TestEHLOName(t *testing.T) {
	refusing := on(mailfake.OnCommand, mailfake.ForVerb("EHLO", mailfake.Times(1, mailfake.Say("550 5.7.1 who?\r\n"))))
	insisted := "localhost"
	if mode.legacy == "starttls" { // the one refusal was before TLS
		insisted = "laptop"
	}
	for _, c := range []struct {
		name, hello, want, told string
		hooks                   mailfake.Hooks
	}{
		{"taken", "laptop", "laptop", "laptop", nil},
		{"literal", "[192.0.2.1]", "[192.0.2.1]", "[192.0.2.1]", nil},
		{"refused", "laptop", insisted, "laptop", refusing},
		{"with an attribute in it", "a=b+ADDR", "localhost", "", nil},
	} {
		r := newMailRig(t, tongueOf("submission"), stage{legacyForwarding: "xclient", onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot, Hooks: c.hooks}})
		cl := r.client().(*mailfake.SMTPClient)
		if err := cl.Hello(c.hello); err != nil {
			t.Fatal(err)
		}
		r.enter(cl, "alice")
		s := r.legacy.Logins()[0]
		if told, _ := s.Attribute("HELO"); told != c.told || s.Hello != c.want || s.Client != cl.LocalAddr() {
			t.Errorf("%s: HELO=%s, EHLO %s, client %v; want %q, %q, %v", c.name, told, s.Hello, s.Client, c.told, c.want, cl.LocalAddr())
		}
	}
}

// A backend that shows no XCLIENT, or refuses it, is warned about once; the logins go on (SPEC 5.2).
func TestXClientUntrusted(t *testing.T) {
	refusal := map[string]string{"pop3": "-ERR not you\r\n", "managesieve": "NO \"not you\"\r\n", "submission": "550 5.7.14 not you\r\n"}
	withXClient(t, func(t *testing.T, tg tongue) {
		for _, c := range []struct {
			name    string
			backend mailfake.Options
		}{
			{"not shown", mailfake.Options{}},
			{"refused", mailfake.Options{XClient: mailfake.XClientDovecot, Hooks: on(mailfake.OnCommand, mailfake.ForVerb("XCLIENT", mailfake.Say(refusal[tg.name])))}},
			{"as Dovecot's POP3 ignores it", mailfake.Options{XClient: mailfake.XClientDovecot,
				Hooks: on(mailfake.OnCommand, mailfake.ForVerb("XCLIENT", mailfake.Say("+OK You are not from trusted IP - ignoring\r\n")))}},
		} {
			if strings.Contains(c.name, "POP3") && tg.name != "pop3" {
				continue
			}
			r := newMailRig(t, tg, stage{legacyForwarding: "xclient", onLegacy: c.backend})
			for range 3 {
				r.in("alice")
			}
			r.logged("login accepted", 3) // a warning stands behind its login
			if got := len(r.logged("backend does not trust us to announce clients", 1)); got != 1 {
				t.Errorf("%s: warnings: got %d, want 1", c.name, got)
			}
			if got := r.legacy.Logins()[0]; got.XClients != 0 || got.Client != got.Peer {
				t.Errorf("%s: the fake took XCLIENT: %s", c.name, attributes(got))
			}
		}
	})
}

// What a trusted peer announces is believed, logged, and told to the backend with one hop less; the last hop ends as a
// loop, with the temporary error (SPEC 3, 4 point 5, 5.3).
func TestAnnouncedByPeer(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listener: trustLoopback, legacyForwarding: "xclient", onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot}})
		c := r.client()
		introduce(r, c, "ADDR=2001:db8::7 PORT=4711 DESTADDR=2001:db8::1 DESTPORT=99 SESSION=front-1 TTL=3 CLIENT-TRANSPORT=TLS")
		r.enter(c, "alice")
		r.lands(c, "legacy")
		s := r.legacy.Logins()[0]
		get := func(attribute, field string) string {
			if v, came := s.Attribute(attribute); came {
				return strings.TrimPrefix(v, "IPV6:")
			}
			v, _ := s.Field(field)
			return v
		}
		for _, f := range []struct{ attribute, field, want string }{
			{"ADDR", "x-originating-ip", "2001:db8::7"}, {"PORT", "x-originating-port", "4711"}, {"DESTADDR", "x-connected-ip", "2001:db8::1"},
			{"DESTPORT", "x-connected-port", "99"}, {"SESSION", "x-session-id", "front-1"}, {"TTL", "x-proxy-ttl", "2"}, {"CLIENT-TRANSPORT", "x-client-transport", "TLS"},
		} {
			if got := get(f.attribute, f.field); got != f.want {
				t.Errorf("%s: got %q, want %q", f.attribute, got, f.want)
			}
		}
		if want := netip.MustParseAddrPort("[2001:db8::7]:4711"); s.Client != want {
			t.Errorf("client at the backend: got %v, want %v", s.Client, want)
		}
		if line := r.logged("login accepted", 1)[0]; !strings.Contains(line, "client=[2001:db8::7]:4711") {
			t.Errorf("log: %s", line)
		}
		before := r.legacy.Counts().Connections
		c = r.client()
		introduce(r, c, "TTL=1")
		r.plain(c, "alice", password, tg.down)
		r.logged("login refused: forwarding loop", 1)
		if r.legacy.Counts().Connections != before {
			t.Error("the backend was asked although no hop was left")
		}
	})
}

// From anybody else XCLIENT is an unknown command that nobody is told of (SPEC 3, SECURITY 11).
func TestAnnouncedByStranger(t *testing.T) {
	list := map[string]string{"pop3": "CAPA", "managesieve": "CAPABILITY", "submission": "EHLO client.example.org"}
	withXClient(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listener: `proxy_trusted = ["192.0.2.0/24", "127.0.0.2"]`, legacyForwarding: "xclient", onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot}})
		c := r.client()
		reply := r.says(c, list[tg.name], "")
		if said := strings.Join(reply.Untagged, " ") + reply.String(); strings.Contains(said, "XCLIENT") {
			t.Errorf("XCLIENT is offered: %q", said)
		}
		if reply := r.says(c, "XCLIENT ADDR=192.0.2.66 TTL=1", ""); reply.OK() {
			t.Errorf("XCLIENT: got %q", reply)
		}
		r.enter(c, "alice")
		r.lands(c, "legacy")
		if got := r.legacy.Logins()[0]; got.Client != c.LocalAddr() {
			t.Errorf("client at the backend: got %v, want %v", got.Client, c.LocalAddr())
		}
	})
}

// Behind two proxies the backend sees the real client, by XCLIENT or by PROXY from the second one.
func TestMailChain(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		for _, way := range []string{"proxy", "xclient"} {
			behind := mailfake.Options{XClient: mailfake.XClientDovecot}
			if way == "proxy" {
				behind = mailfake.Options{Proxy: mailfake.ProxyRequired}
			}
			back := newMailRig(t, tg, stage{listener: trustLoopback, legacyForwarding: way, onLegacy: behind})
			front := newMailRig(t, tg, stage{legacyForwarding: "xclient", legacyAddr: back.proxy.Addr(tg.name), legacyTLS: mode.listener, legacyCheck: checkOf(back.rig)})
			c := front.in("alice")
			front.lands(c, "legacy")
			s := back.legacy.Logins()[0]
			if s.Client != c.LocalAddr() {
				t.Errorf("%s: client at the backend: got %v, want %v", way, s.Client, c.LocalAddr())
			}
			ttl, _ := s.Attribute("TTL")
			if field, came := s.Field("x-proxy-ttl"); came {
				ttl = field
			}
			if way == "xclient" && ttl != "5" {
				t.Errorf("TTL at the backend: got %q, want 5", ttl)
			}
			fronts, backs := front.logged("login accepted", 1)[0], back.logged("login accepted", 1)[0]
			if client := "client=" + c.LocalAddr().String() + " "; !strings.Contains(fronts, client) || !strings.Contains(backs, client) {
				t.Errorf("%s: not %s in both logs:\n%s%s", way, client, fronts, backs)
			}
		}
	})
}

// checkOf is how another proxy knows this one's certificate.
func checkOf(r *rig) string {
	return fmt.Sprintf("tls_server_name = \"localhost\"\ntls_pinned_cert_sha256 = %q", tlsx.Fingerprint(r.proxy.security.certs.Fallback()))
}

// Two proxies that take each other for the account's backend pass a login on until its hops are spent, and no longer.
func TestMailLoop(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		addr := mustPort(t)
		common := stage{listener: trustLoopback, legacyForwarding: "xclient", legacyTLS: mode.listener, server: "proxy_ttl = 4\nbackend_connect_retries = 0"}
		one, two := common, common
		one.bind, one.legacyCheck = addr.String(), "tls_server_name = \"localhost\"\ntls_allow_invalid_certs = true"
		two.legacyAddr = addr
		one.legacyAddr = mustPort(t)
		two.bind, two.legacyCheck = one.legacyAddr.String(), one.legacyCheck
		a, b := newMailRig(t, tg, one), newMailRig(t, tg, two)
		c := a.client()
		a.plain(c, "alice", password, tg.down)
		got := a.metric(fmt.Sprintf(`connections_accepted_total{listener=%q}`, tg.name)) + b.metric(fmt.Sprintf(`connections_accepted_total{listener=%q}`, tg.name))
		if got != 4 {
			t.Errorf("connections of one login: got %d, want 4", got)
		}
		if n := len(a.log.lines("login refused: forwarding loop")) + len(b.logged("login refused: forwarding loop", 1)); n != 1 {
			t.Errorf("loops in both logs: got %d, want 1", n)
		}
		a.answers(c)
	})
}
