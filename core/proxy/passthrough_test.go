package proxy

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

// passed are the protocols that are passed through.
var passed = []tongue{
	{name: "smtp", dial: func(a string, o mailfake.ClientOptions) (mailClient, error) { return wrap(mailfake.DialSMTP(a, o)) }, hello: "220", later: "421 4.3.2"},
	{name: "lmtp", dial: func(a string, o mailfake.ClientOptions) (mailClient, error) { return wrap(mailfake.DialLMTP(a, o)) }, hello: "220", later: "421 4.3.2"},
}

func eachPassed(t *testing.T, f func(t *testing.T, tg tongue)) {
	for _, tg := range passed {
		t.Run(tg.name, func(t *testing.T) { f(t, tg) })
	}
}

// smtp is a client of either.
func (r *mailRig) smtp() *mailfake.SMTPClient {
	r.t.Helper()
	return r.client().(*mailfake.SMTPClient)
}

// raw is a client that waits for nothing.
func (r *mailRig) raw() *mailfake.Conn {
	r.t.Helper()
	o := r.rig.client(mailfake.ClientOptions{})
	o.Timeout = patience
	c, err := mailfake.DialConn(r.addr(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// ways are the kinds of forwarding, each with a backend that wants it.
var ways = map[string]mailfake.Options{
	"none": {}, "proxy": {Proxy: mailfake.ProxyRequired}, "xclient": {XClient: mailfake.XClientPostfix},
}

// What a smuggler sends, and everything else that a relay might repair, arrives as it was sent (SECURITY 29).
var smuggled = "Subject: x\r\n\r\nbare \r CR, bare \n LF, \x00 NUL, \xff\r\n" +
	"\n.\n" + "\n.\r\n" + "\r.\r" + "\r\n.\n" + "\r\n.\rMAIL FROM:<b@example.org>\r\n" + "..\r\n" + "...two\r\n" + strings.Repeat("long", 5000) + "\r\n"

func TestPassThroughIsExact(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		for way, o := range ways {
			const odd = "250-\r a bare CR\r\n250-\n a bare LF\r\n250 \x00\xff.\r\n.\r\n\n.\n"
			o.Hooks = on(mailfake.OnCommand, mailfake.ForVerb("HELP", mailfake.Say(odd)))
			r := newMailRig(t, tg, stage{legacyForwarding: way, onLegacy: o})
			c := r.smtp()
			replies, err := c.DeliverRaw("a@example.org", []string{"b@example.org", "c@example.org"}, smuggled+".\r\n")
			if want := map[string]int{"smtp": 1, "lmtp": 2}[tg.name]; err != nil || len(replies) != want || !replies[0].OK() {
				t.Fatalf("%s: got %q, %v; want %d answers\n%s", way, replies, err, want, r.log)
			}
			if got := string(r.legacy.Messages()[0].Raw); got != smuggled {
				t.Errorf("%s: to the backend: got %d bytes, want %d:\n%.300q", way, len(got), len(smuggled), got)
			}
			c.Send("HELP")
			got := make([]byte, len(odd))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != odd {
				t.Errorf("%s: to the client: got %q, %v; want %q", way, got, err, odd)
			}
			r.lands(c, "legacy")
			if err := c.Quit(); err != nil {
				t.Error(err)
			}
			if end := r.ended(c); len(end.Lines) != 0 {
				t.Errorf("%s: behind QUIT: got %q", way, end.Lines)
			}
			c.Close()
			if line := r.logged("session ended", 1)[0]; !strings.Contains(line, "protocol="+tg.name+" ") || !strings.Contains(line, "account=\"\"") {
				t.Errorf("log: %s", line)
			}
		}
	})
}

// A bare CR ahead of everything is the backend's business too: commands are not looked at.
func TestPassThroughCommands(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{legacyForwarding: "xclient", onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot}})
		for _, say := range []string{"NOOP\n", "NO\rOP\r\n", "GET / HTTP/1.1\r\nQUIT\r\n", strings.Repeat("x", 70_000) + "\r\n"} {
			c := r.raw()
			if _, err := c.Expect("220 legacy"); err != nil { // behind XCLIENT it greets anew
				t.Fatal(err)
			}
			c.SendRaw(say)
			lines := r.ended(c).Lines
			if len(lines) == 0 || strings.Contains(strings.Join(lines, ""), "localhost") {
				t.Errorf("%.20q: got %q, want the backend's words", say, lines)
			}
			c.Close()
		}
	})
}

func TestPassThroughBulk(t *testing.T) {
	const size = 20 << 20
	eachPassed(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{legacyForwarding: map[string]string{"smtp": "none", "lmtp": "xclient"}[tg.name], onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot}})
		sum := sha256.New()
		c := r.smtp()
		replies, err := c.Deliver("a@example.org", []string{"b@example.org"}, io.TeeReader(mailfake.Generated(size), sum))
		if err != nil || len(replies) != 1 || !strings.Contains(replies[0].Text, "sha256="+hex.EncodeToString(sum.Sum(nil))) {
			t.Fatalf("got %q, %v, want the checksum of what was sent", replies, err)
		}
		r.lands(c, "legacy")
		c.Close()
		r.logged("session ended", 1)
		if got := r.metric(fmt.Sprintf(`bytes_total{protocol=%q,direction="in"}`, tg.name)); got < size {
			t.Errorf("bytes in: got %d, want %d at least", got, size)
		}
	})
}

// What a client says before the backend is there waits for it, and its FIN behind that, too.
func TestPassThroughEager(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		for way, o := range ways {
			open := make(chan struct{})
			o.Hooks = on(mailfake.OnGreeting, mailfake.WaitFor(open))
			r := newMailRig(t, tg, stage{legacyForwarding: way, onLegacy: o, server: `backend_timeout = "60s"`})
			c := r.raw()
			hello := map[string]string{"smtp": "EHLO", "lmtp": "LHLO"}[tg.name]
			c.SendRaw(hello + " a\r\n" + strings.Repeat("NOOP\r\n", 2000) + "QUIT\r\n")
			c.CloseWrite()
			r.await("the session at the backend", func() bool { return r.legacy.Counts().Open == 1 })
			close(open)
			end := r.ended(c)
			noops := strings.Count(strings.Join(end.Lines, "\n"), "2.0.0 on legacy")
			if !strings.HasPrefix(end.Lines[0], "220 ") || noops < 900 { // WaitEnd keeps a thousand lines
				t.Errorf("%s: got %q and %d NOOPs", way, end.Lines[0], noops)
			}
			c.Close()
		}
	})
}

// The backend knows the client, by PROXY or by XCLIENT without a HELO that only the client can say (SPEC 3.5).
func TestPassThroughForwarding(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		for way, o := range map[string]mailfake.Options{"proxy": ways["proxy"], "xclient": {XClient: mailfake.XClientDovecot}, "xclient of Postfix": {XClient: mailfake.XClientPostfix}} {
			r := newMailRig(t, tg, stage{legacyForwarding: strings.Fields(way)[0], onLegacy: o})
			c := r.smtp()
			r.lands(c, "legacy")
			greeting := "220 legacy"
			if way == "proxy" && mode.legacy == "starttls" { // the backend's own was before TLS, and it has no other
				greeting = "220 localhost"
			}
			if !strings.HasPrefix(c.Greeting, greeting) {
				t.Errorf("%s: greeting: got %q, want %q", way, c.Greeting, greeting)
			}
			s := r.legacy.Sessions()[0]
			if s.Client != c.LocalAddr() {
				t.Errorf("%s: client at the backend: got %v, want %v", way, s.Client, c.LocalAddr())
			}
			if _, came := s.Attribute("HELO"); came || s.TLS != (mode.legacy != "plain") {
				t.Errorf("%s: HELO was sent, or TLS is %t: %s", way, s.TLS, attributes(s))
			}
			if way == "xclient" {
				session, _ := s.Attribute("SESSION")
				transport, _ := s.Attribute("CLIENT-TRANSPORT")
				if ttl, _ := s.Attribute("TTL"); ttl != "6" || transport != mode.transport() || !strings.Contains(r.logged("pass-through accepted", 1)[0], "session="+session+" ") {
					t.Errorf("got %s", attributes(s))
				}
			}
			c.Close()
		}
	})
}

// A PROXY header from a balancer in front names the client for the backend as well.
func TestPassThroughBehindProxy(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		for way, o := range map[string]mailfake.Options{"proxy": ways["proxy"], "xclient": {XClient: mailfake.XClientDovecot}} {
			r := newMailRig(t, tg, stage{listener: `proxy_protocol = "required"` + trusting, legacyForwarding: way, onLegacy: o})
			c := r.behind("PROXY TCP6 2001:db8::7 198.51.100.1 4567 25\r\n")
			r.lands(c, "legacy")
			if got := r.legacy.Sessions()[0].Client.String(); got != "[2001:db8::7]:4567" {
				t.Errorf("%s: client at the backend: got %s", way, got)
			}
			c.Close()
			r.turnedAway(way+": no header", sending("EHLO x\r\n"), nil)
		}
	})
}

func TestPassThroughDown(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{legacyAddr: netip.MustParseAddrPort(freePort(t)), server: "backend_connect_retries = 0\nhost_down_threshold = 0"})
		if end := r.ended(r.raw()); len(end.Lines) != 1 || !strings.HasPrefix(end.Lines[0], tg.later) {
			t.Errorf("got %q, want %s", end.Lines, tg.later)
		}
		if got := r.metric(fmt.Sprintf(`logins_total{protocol=%q,destination="legacy",result="unavailable"}`, tg.name)); got != 1 {
			t.Errorf("unavailable sessions: got %d, want 1", got)
		}
		if got := len(r.logged("pass-through unavailable", 1)); got != 1 {
			t.Errorf("lines in the log: got %d, want 1", got)
		}
	})
}

func TestPassThroughHung(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{legacyForwarding: "xclient", server: "backend_timeout = \"300ms\"\nbackend_connect_retries = 0\nhost_down_threshold = 0",
			onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot, Hooks: on(mailfake.OnGreeting, mailfake.Hang())}})
		if end := r.ended(r.raw()); len(end.Lines) != 1 || !strings.HasPrefix(end.Lines[0], tg.later) {
			t.Errorf("got %q, want %s", end.Lines, tg.later)
		}
	})
}

// A session without an account ends with its destination, joined or still waiting, and at a drain.
func TestPassThroughKick(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		reached := make(chan struct{})
		hold := mailfake.Times(1, mailfake.Chain(mailfake.Signal(reached), mailfake.Hang()))
		r := newMailRig(t, tg, stage{legacyForwarding: "xclient", server: `backend_timeout = "60s"`,
			onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot, Hooks: on(mailfake.OnGreeting, hold)}})
		waiting := r.raw()
		r.awaitClosed("the session that waits", reached)
		joined := r.smtp()
		r.lands(joined, "legacy")
		if got := r.must("GET", "/stats")["active_connections"]; got != 1.0 {
			t.Errorf("active connections: got %v, want 1", got)
		}
		r.kick("destination=new", 0)
		r.kick("destination=legacy", 2)
		if end := r.ended(waiting); len(end.Lines) != 1 || !strings.HasPrefix(end.Lines[0], tg.later) {
			t.Errorf("waiting: got %q, want %s", end.Lines, tg.later)
		}
		if end := r.ended(joined); len(end.Lines) != 0 {
			t.Errorf("joined: got %q, want no word into the stream", end.Lines)
		}
	})
}

func TestPassThroughDrain(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{server: `backend_timeout = "60s"`, legacyForwarding: "xclient",
			onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot, Hooks: on(mailfake.OnGreeting, mailfake.Hang())}})
		waiting, down := r.raw(), make(chan struct{})
		r.await("the session that waits", func() bool { return r.legacy.Counts().Open == 1 })
		r.stopped = true
		go shutdown(r.proxy, t.Context(), down) // ends with the drain
		if end := r.ended(waiting); len(end.Lines) != 1 || !strings.HasPrefix(end.Lines[0], tg.later) {
			t.Errorf("got %q, want %s", end.Lines, tg.later)
		}
		waiting.Close()
		r.awaitClosed("the end of the drain", down)
	})
}

// A client that leaves before the backend is there frees it, whatever it had said.
func TestPassThroughClientLeaves(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{server: `backend_timeout = "60s"`, legacyForwarding: "xclient",
			onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot, Hooks: on(mailfake.OnGreeting, mailfake.Hang())}})
		for i, leave := range []func(*mailfake.Conn){(*mailfake.Conn).Close, (*mailfake.Conn).Reset, func(c *mailfake.Conn) { c.Send("EHLO a"); c.Reset() }} {
			c := r.raw()
			r.await("the session at the backend", func() bool { return r.legacy.Counts().Connections == i+1 })
			leave(c)
			r.await("the end of it", func() bool { return r.proxy.sessions.Counts().Logins == 0 && r.proxy.engine.OpenFDs() == 0 })
		}
	})
}

// A session ends in both directions, each when it does.
func TestPassThroughHalfClose(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{})
		c := r.raw()
		if _, err := c.Expect("220"); err != nil {
			t.Fatal(err)
		}
		c.SendRaw("NOOP\r\nQUIT\r\n")
		c.CloseWrite()
		if end := r.ended(c); len(end.Lines) != 2 || !strings.HasPrefix(end.Lines[1], "221") {
			t.Errorf("got %q, want both answers behind FIN", end.Lines)
		}
		c.Close()
	})
}

// Nothing of a pass-through stream is kept back: a backend that says nothing is left with the client's bytes.
func TestPassThroughIsTransparent(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := stage{legacyAddr: netip.MustParseAddrPort(ln.Addr().String())}
	if mode.legacy != "plain" {
		s.legacyTLS = "implicit"
		ln = tls.NewListener(ln, mode.suites(&tls.Config{Certificates: []tls.Certificate{backendCertificate()}}))
	}
	defer ln.Close()
	r := newMailRig(t, passed[0], s)
	c := r.raw()
	back, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, way := range []struct {
		from io.Writer
		to   io.Reader
	}{{c, back}, {back, c}} {
		if _, err := way.from.Write(every); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(every))
		if _, err := io.ReadFull(way.to, got); err != nil || !bytes.Equal(got, every) {
			t.Errorf("got %q, %v", got, err)
		}
	}
	r.assertLane()
}
