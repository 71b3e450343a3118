package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

const trusting = "\nproxy_trusted = [\"127.0.0.1\", \"192.0.2.0/24\"]"

// header2 is a PROXY v2 header.
func header2(command, family byte, body string) string {
	head := "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family})
	return head + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
}

// ends is the addresses of a header, of one family.
func ends(client, local string) string {
	c, l := netip.MustParseAddrPort(client), netip.MustParseAddrPort(local)
	b := append(c.Addr().AsSlice(), l.Addr().AsSlice()...)
	return string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, c.Port()), l.Port()))
}

func tlv(kind byte, value string) string {
	return string([]byte{kind}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(value)))) + value
}

// announced4 is a header that every case may use which is not about headers.
const announced4 = "PROXY TCP4 203.0.113.7 198.51.100.1 4567 99\r\n"

// sending writes segments ahead of everything else.
func sending(segments ...string) mailfake.ClientOptions {
	return mailfake.ClientOptions{First: func(c net.Conn) error {
		for _, s := range segments {
			if _, err := c.Write([]byte(s)); err != nil {
				return err
			}
		}
		return nil
	}}
}

// behind is a client that has sent a header first.
func (r *mailRig) behind(segments ...string) mailClient {
	r.t.Helper()
	c := r.clear(r.rig.client(sending(segments...)))
	if r.listener == "starttls" {
		if err := c.StartTLS(mode.clientTLS()); err != nil {
			r.t.Fatal(err)
		}
	}
	return c
}

// turnedAway asserts that a connection ends without a word, and is counted.
func (r *mailRig) turnedAway(name string, o mailfake.ClientOptions, do func(*mailfake.Conn)) {
	r.t.Helper()
	before := r.headerRefusals()
	o.Timeout = patience
	c, err := mailfake.DialConn(r.addr(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if do != nil {
		do(c)
	}
	if end := r.ended(c); len(end.Lines) != 0 {
		r.t.Errorf("%s: got %q, want no word", name, end.Lines)
	}
	if got := r.headerRefusals() - before; got != 1 {
		r.t.Errorf("%s: refusals: got %d, want 1", name, got)
	}
}

func (r *mailRig) headerRefusals() int {
	return r.metric(fmt.Sprintf(`connections_refused_total{listener=%q,reason="proxy_header"}`, r.name))
}

// Whom a header names is who the client is: in the log, and for the backend, whose header has what ours said of the session
// (SPEC 2.3, 5.1). Mixed families are both mapped to IPv6.
func TestHeader(t *testing.T) {
	const session, name = "front-77", "imap.example.test"
	tls13 := tlv(0x20, "\x01\x00\x00\x00\x00"+tlv(0x21, "TLSv1.3")+tlv(0x23, "TLS_AES_128_GCM_SHA256"))
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listener: `proxy_protocol = "required"` + trusting, legacyForwarding: "proxy", onLegacy: mailfake.Options{Proxy: mailfake.ProxyRequired}})
		ours := r.addr()
		for _, c := range []struct {
			name          string
			segments      []string
			client, local string // as the backend is told; empty: those of the socket
			facts         bool   // of the header's TLVs
		}{
			{"v1", []string{announced4}, "203.0.113.7:4567", "198.51.100.1:99", false},
			{"v1 IPv6", []string{"PROXY TCP6 2001:db8::7 2001:db8::1 4567 99\r\n"}, "[2001:db8::7]:4567", "[2001:db8::1]:99", false},
			{"v1 mixed", []string{"PROXY TCP6 2001:db8::7 198.51.100.1 4567 99\r\n"}, "[2001:db8::7]:4567", "[::ffff:198.51.100.1]:99", false},
			{"v1 mixed, the other way", []string{"PROXY TCP6 ::ffff:203.0.113.7 2001:db8::1 4567 99\r\n"}, "[::ffff:203.0.113.7]:4567", "[2001:db8::1]:99", false},
			{"v1 mapped", []string{"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:198.51.100.1 4567 99\r\n"}, "203.0.113.7:4567", "198.51.100.1:99", false},
			{"v1 unknown", []string{"PROXY UNKNOWN\r\n"}, "", "", false},
			{"v1 in pieces", pieces(announced4), "203.0.113.7:4567", "198.51.100.1:99", false},
			{"v2", []string{header2(0x21, 0x11, ends("203.0.113.7:4567", "198.51.100.1:99"))}, "203.0.113.7:4567", "198.51.100.1:99", false},
			{"v2 IPv6", []string{header2(0x21, 0x21, ends("[2001:db8::7]:4567", "[2001:db8::1]:99"))}, "[2001:db8::7]:4567", "[2001:db8::1]:99", false},
			{"v2 in pieces", pieces(header2(0x21, 0x11, ends("203.0.113.7:4567", "198.51.100.1:99"))), "203.0.113.7:4567", "198.51.100.1:99", false},
			{"v2 with facts", []string{header2(0x21, 0x11, ends("203.0.113.7:4567", "198.51.100.1:99")+tlv(5, session)+tlv(2, name)+tls13+tlv(0xee, "?"))},
				"203.0.113.7:4567", "198.51.100.1:99", true},
			{"v2 LOCAL", []string{header2(0x20, 0, "")}, "", "", false},
			{"v2 UNSPEC", []string{header2(0x21, 0, "")}, "", "", false},
			{"v2 UDP", []string{header2(0x21, 0x12, ends("203.0.113.7:4567", "198.51.100.1:99"))}, "", "", false},
		} {
			cl := r.behind(c.segments...)
			r.enter(cl, "alice")
			r.lands(cl, "legacy")
			if c.client == "" {
				c.client, c.local = cl.LocalAddr().String(), ours
			}
			logins := r.legacy.Logins()
			h := logins[len(logins)-1].Proxy
			if h.Source.String() != c.client || h.Destination.String() != c.local || h.Local {
				t.Errorf("%s: header at the backend: got %v to %v, want %s to %s", c.name, h.Source, h.Destination, c.client, c.local)
			}
			facts := map[byte]string{}
			for _, x := range h.TLVs {
				facts[x.Type] = string(x.Value)
			}
			lines := r.logged("login accepted", len(logins))
			if c.facts {
				if facts[5] != session || facts[2] != name || facts[0x20][1+2+2:] == "" || !strings.Contains(facts[0x20], "TLSv1.3") {
					t.Errorf("%s: facts at the backend: got %q", c.name, facts)
				}
			} else {
				ownFacts(t, c.name, facts, lines[len(lines)-1])
			}
			client := netip.MustParseAddrPort(c.client)
			if want := "client=" + netip.AddrPortFrom(client.Addr().Unmap(), client.Port()).String() + " "; !strings.Contains(lines[len(lines)-1], want) {
				t.Errorf("%s: got %s, want %s", c.name, lines[len(lines)-1], want)
			}
			cl.Close()
		}
		if got := r.headerRefusals(); got != 0 {
			t.Errorf("refusals: got %d, want 0", got)
		}
	})
}

// ownFacts asserts what a backend's header says of a client leg that is ours.
func ownFacts(t *testing.T, name string, facts map[byte]string, line string) {
	t.Helper()
	if id := facts[5]; id == "" || !strings.Contains(line, "session="+id+" ") {
		t.Errorf("%s: session id %q is not that of %s", name, id, line)
	}
	version, sni := "TLSv1.3", "mail.example.test"
	if mode.cbc {
		version = "TLSv1.2"
	}
	ssl := facts[0x20]
	switch {
	case mode.listener == "plain" && (ssl != "" || facts[2] != ""):
		t.Errorf("%s: TLS of a client in the clear: %q", name, facts)
	case mode.listener != "plain" && (facts[2] != sni || len(ssl) < 5 || ssl[0] != 1 || !strings.Contains(ssl, tlv(0x21, version))):
		t.Errorf("%s: got %q, want SNI %s and %s", name, facts, sni, version)
	case mode.cbc && !strings.Contains(ssl, tlv(0x23, tls.CipherSuiteName(tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA))):
		t.Errorf("%s: cipher: got %q", name, ssl)
	}
}

// What is no header ends the connection where one must come, and where it began like one (SPEC 2.3, SECURITY 12).
func TestHeaderMalformed(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		for _, want := range []string{"optional", "required"} {
			r := newMailRig(t, tg, stage{listener: `proxy_protocol = "` + want + `"` + trusting})
			for _, c := range []struct{ name, say string }{
				{"v1 without CR", "PROXY TCP4 203.0.113.7 198.51.100.1 4567 99\n"},
				{"v1 with a bad address", "PROXY TCP4 203.0.113.777 198.51.100.1 4567 99\r\n"},
				{"v1 without an end", "PROXY UNKNOWN " + strings.Repeat("x", 200)},
				{"v2 of version 1", header2(0x11, 0x11, ends("203.0.113.7:4567", "198.51.100.1:99"))},
				{"v2 too short", header2(0x21, 0x11, "\x7f\x00\x00\x01")},
				{"v2 too long", header2(0x21, 0x11, strings.Repeat("x", 5000))},
				{"v2 with a field over the end", header2(0x21, 0x11, ends("203.0.113.7:4567", "198.51.100.1:99")+"\x05\xff\xff")},
			} {
				r.turnedAway(want+": "+c.name, sending(c.say), nil)
			}
			r.turnedAway(want+": half of it", sending(announced4[:20]), func(c *mailfake.Conn) { c.CloseWrite() })
			if want == "required" {
				r.turnedAway("none", sending(tg.tag+"NOOP\r\n"), nil)
				r.turnedAway("ClientHello", sending(clientHello(t)), nil)
				r.turnedAway("empty line", sending("\r\n"+tg.tag+"NOOP\r\n"), nil)
			}
			r.enter(r.behind(announced4), "alice") // others are served
		}
	})
}

// Where a header must come, one that does not come in time is one that does not come.
func TestHeaderTimeout(t *testing.T) {
	r := newMailRig(t, tongueOf("imap"), stage{listener: "proxy_protocol = \"required\"\npreauth_timeout = \"200ms\"" + trusting})
	r.turnedAway("silence", mailfake.ClientOptions{}, nil)
	r.turnedAway("half of it", sending(announced4[:20]), nil)
}

// With `off` a header is a first command, whoever sends it.
func TestHeaderOff(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listener: trusting})
		raw, err := mailfake.DialConn(r.addr(), mailfake.ClientOptions{Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		raw.SendRaw(announced4)
		if end := r.ended(raw); len(end.Lines) > 0 == (r.listener == "implicit") {
			t.Errorf("got %q, want a greeting and a farewell where it takes no handshake", end.Lines)
		}
		c := r.in("alice")
		r.lands(c, "legacy")
		if line := r.logged("login accepted", 1)[0]; !strings.Contains(line, "client="+c.LocalAddr().String()) {
			t.Errorf("got %s", line)
		}
	})
}

// From a peer that is not trusted no header is read: it is closed where one must come, and served as it is otherwise.
func TestHeaderFromStranger(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		const others = "\nproxy_trusted = [\"192.0.2.0/24\", \"2001:db8::/32\"]"
		r := newMailRig(t, tg, stage{listener: `proxy_protocol = "required"` + others})
		r.turnedAway("header", mailfake.ClientOptions{}, func(c *mailfake.Conn) { c.SendRaw(announced4) })
		r.turnedAway("nothing", mailfake.ClientOptions{}, nil)
		r = newMailRig(t, tg, stage{listener: `proxy_protocol = "optional"` + others})
		c := r.in("alice")
		r.lands(c, "legacy")
		raw, err := mailfake.DialConn(r.addr(), mailfake.ClientOptions{Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		raw.SendRaw(announced4 + tg.tag + "NOOP\r\n")
		for _, line := range r.ended(raw).Lines { // a greeting and a farewell: PROXY is no command
			if answered(tg.name, line) != "" {
				t.Errorf("served behind a header: %q", line)
			}
		}
		if got := r.headerRefusals(); got != 0 {
			t.Errorf("refusals where it is optional: got %d, want 0", got)
		}
	})
}

// Where it is optional, a trusted peer that is silent for a second has sent none, and one that begins with something else
// neither (SPEC 2.3). The silent ones are there from the beginning, so that
// their seconds do not add up.
func TestHeaderOptional(t *testing.T) {
	type guest struct {
		r      *mailRig
		silent *mailfake.Conn
	}
	var guests []guest
	for _, tg := range tongues {
		r := newMailRig(t, tg, stage{listener: `proxy_protocol = "optional"` + trusting})
		silent, err := mailfake.DialConn(r.addr(), mailfake.ClientOptions{Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		guests = append(guests, guest{r, silent})
	}
	for _, g := range guests {
		c := g.r.behind(announced4)
		g.r.enter(c, "alice")
		g.r.lands(c, "legacy")
		if line := g.r.logged("login accepted", 1)[0]; !strings.Contains(line, "client=203.0.113.7:4567 ") {
			t.Errorf("got %s", line)
		}
		eager := sending(g.r.tag + "NOOP\r\n")
		if g.r.listener == "implicit" {
			eager = g.r.rig.client(mailfake.ClientOptions{}) // its ClientHello comes at once
		}
		c = g.r.clear(eager)
		if g.r.listener != "implicit" {
			if line, err := c.Line(); err != nil || answered(g.r.name, line) != "here" {
				t.Errorf("%s: a command at once: got %q, %v", g.r.name, line, err)
			}
		}
		g.r.plain(c, "bob", password, "")
		g.r.lands(c, "legacy")
	}
	for _, g := range guests {
		if g.r.listener == "implicit" {
			if err := g.silent.TLS(mode.clientTLS()); err != nil {
				t.Fatal(err)
			}
		}
		line, err := g.silent.Line()
		if g.r.name == "managesieve" {
			line, err = g.silent.Await("OK")
		}
		if err != nil || !strings.HasPrefix(line, g.r.hello) {
			t.Errorf("%s: silent peer: got %q, %v\n%s", g.r.name, line, err, g.r.log)
		}
		if got := g.r.headerRefusals(); got != 0 {
			t.Errorf("%s: refusals: got %d, want 0", g.r.name, got)
		}
	}
}

// glued writes a text in one segment with the first write of somebody else.
type glued struct {
	net.Conn
	text string
}

func (g *glued) Write(p []byte) (int, error) {
	text := g.text
	g.text = ""
	n, err := g.Conn.Write(append([]byte(text), p...))
	return n - len(text), err
}

// A header may have the first command, or the ClientHello, in its segment: not a byte of it is lost or taken for its part.
func TestHeaderGlued(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		for _, want := range []string{"optional", "required"} {
			r := newMailRig(t, tg, stage{listener: `proxy_protocol = "` + want + `"` + trusting})
			for _, header := range []string{announced4, header2(0x21, 0x11, ends("203.0.113.7:4567", "198.51.100.1:99")), header2(0x20, 0, "")} {
				if r.listener == "implicit" {
					conn, err := net.Dial("tcp", r.addr())
					if err != nil {
						t.Fatal(err)
					}
					c := tls.Client(&glued{conn, header}, mode.clientTLS())
					if err := c.Handshake(); err != nil {
						t.Errorf("%s: ClientHello: %v\n%s", want, err, r.log)
					}
					c.Close()
					continue
				}
				c := r.clear(sending(header + tg.tag + "NOOP\r\n" + tg.tag + "NOOP\r\n"))
				for range 2 {
					if line, err := c.Line(); err != nil || answered(tg.name, line) != "here" {
						t.Errorf("%s: command behind a header: got %q, %v\n%s", want, line, err, r.log)
					}
				}
				if r.listener == "starttls" {
					if err := c.StartTLS(mode.clientTLS()); err != nil {
						t.Fatal(err)
					}
				}
				r.plain(c, "alice", password, "")
				r.lands(c, "legacy")
			}
		}
	})
}

// Behind a header trust is the client's and not the peer's: a balancer in front of everybody makes nobody a proxy
// (SECURITY 11).
func TestHeaderTrust(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listener: `proxy_protocol = "required"` + trusting, legacyForwarding: "xclient", onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot}})
		for _, c := range []struct{ name, header, want string }{
			{"stranger", announced4, "203.0.113.7:4567"},
			{"proxy of ours", "PROXY TCP4 192.0.2.5 198.51.100.1 4567 99\r\n", "203.0.113.99:1"},
			{"the peer itself", header2(0x20, 0, ""), "203.0.113.99:1"},
		} {
			cl := r.behind(c.header)
			if c.name != "stranger" || tg.name == "imap" {
				introduce(r, cl, "ADDR=203.0.113.99 PORT=1")
			} else {
				r.answers(cl)
				if reply := r.says(cl, "XCLIENT ADDR=203.0.113.99 PORT=1", ""); reply.OK() {
					t.Errorf("%s: XCLIENT was taken: %q", c.name, reply)
				}
			}
			r.enter(cl, "alice")
			r.lands(cl, "legacy")
			logins := r.legacy.Logins()
			if got := logins[len(logins)-1].Client.String(); got != c.want {
				t.Errorf("%s: client at the backend: got %s, want %s", c.name, got, c.want)
			}
			cl.Close()
		}
	})
}
