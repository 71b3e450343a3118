package interop

import (
	"fmt"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

// backendPeerScenes put openssl's s_server behind the proxy, as a mail server whose words the test types.
func backendPeerScenes() []scene {
	var list []scene
	add := func(name string, run func(*testing.T, *stage, string)) {
		list = append(list, scene{kind: "openssl", name: "s_server " + name, homes: []string{"peer"}, run: run})
	}
	for _, c := range ciphers {
		add(c.name, sServer(c))
	}
	add("resumption", sServerResumes)
	add("group that we send no share of", sServerRetries)
	add("renegotiation", sServerRenegotiates)
	add("client certificate", sServerTrusts)
	add("client certificate refused", sServerDistrusts)
	return list
}

// sServer starts s_server where the proxy looks for the peer.
func (s *stage) sServer(t *testing.T, args ...string) *mailTerminal {
	t.Helper()
	path := s.proxy.path
	p := start(t, "openssl", append([]string{"s_server", "-accept", s.peer.String(), "-cert", path("peer-ec.pem"), "-key", path("peer-ec.key"),
		"-dcert", path("peer-rsa.pem"), "-dkey", path("peer-rsa.key"), "-crlf"}, args...)...)
	p.Until("ACCEPT")
	return p
}

// serve types the server's side of the n-th login of a.
func (s *stage) serve(t *testing.T, p *mailTerminal, a account, n int) *mailfake.Client {
	t.Helper()
	c := s.dial(t, "peer", s.source())
	if err := c.Send(fmt.Sprintf("in%d LOGIN %s %s", n, mailfake.Quote(a.name), mailfake.Quote(a.password))); err != nil {
		t.Fatal(err)
	}
	p.UntilTimes("Shared groups: ", n) // of the handshake's description
	p.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready")
	p.UntilTimes("m1 AUTHENTICATE PLAIN ", n)
	p.say("m1 OK [CAPABILITY IMAP4rev1] in")
	if r, err := c.Answer(fmt.Sprintf("in%d", n)); err != nil || r.Status != "OK" {
		t.Fatalf("got %q, %v, want OK\n%s", r, err, s.proxy.logText())
	}
	s.seen = append(s.seen, a)
	return c
}

// exchange wants a command to arrive and its answer, too.
func exchange(t *testing.T, p *mailTerminal, c *mailfake.Client, tag string) {
	t.Helper()
	if err := c.Send(tag + " NOOP"); err != nil {
		t.Fatal(err)
	}
	p.Until(tag + " NOOP")
	p.say(tag + " OK done")
	if r, err := c.Answer(tag); err != nil || r.Status != "OK" {
		t.Fatalf("%s: got %q, %v, want OK", tag, r, err)
	}
}

func sServer(c cipher) func(*testing.T, *stage, string) {
	return func(t *testing.T, s *stage, home string) {
		a := s.take(t, home)
		s.lanes[a.name] = c.lane
		args := append(c.opensslFlags(), "-naccept", "1")
		if c.tls13 {
			args = append(args, "-record_padding", "512", "-num_tickets", "4", "-msg")
		}
		p := s.sServer(t, args...)
		cl := s.serve(t, p, a, 1)
		if got := p.Until("CIPHER is "); got != c.openssl {
			t.Errorf("got suite %q, want %q", got, c.openssl)
		}
		exchange(t, p, cl, "x0")
		if c.tls13 {
			for i, command := range []string{"k", "K", "K", "k"} {
				p.say(command)
				p.UntilTimes(">>> TLS 1.3, Handshake [length 0005], KeyUpdate", i+1)
				exchange(t, p, cl, fmt.Sprintf("u%d", i))
			}
			sent, got := strings.Count(p.Said(), ">>> TLS 1.3, Handshake [length 0005], KeyUpdate"), strings.Count(p.Said(), "<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
			if sent != 4 || got != 2 {
				t.Errorf("got %d KeyUpdates sent, %d answered, want 4 and 2", sent, got)
			}
		}
		if got := s.metrics(t)[fmt.Sprintf("sessions{protocol=\"imap\",destination=\"peer\",lane=%q}", s.laneOf(a.name))]; got != 1 {
			t.Errorf("got %v sessions on lane %s, want 1", got, s.laneOf(a.name))
		}
		if err := cl.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if out := p.End(); !strings.Contains(out, "CONNECTION CLOSED") {
			t.Errorf("got no close_notify:\n%s", out)
		}
	}
}

// The next login resumes what the last one was given a ticket for (SPEC 6).
func sServerResumes(t *testing.T, s *stage, home string) {
	for version, want := range map[string]int{"-tls1_3": 2, "-tls1_2": 0} {
		p := s.sServer(t, version, "-naccept", "3")
		for n := 1; n <= 3; n++ {
			c := s.serve(t, p, s.take(t, home), n)
			exchange(t, p, c, fmt.Sprintf("x%d", n))
			_ = c.CloseWrite()
			if end, err := c.WaitEnd(); err != nil || !end.Clean {
				t.Errorf("%s: got %+v, %v, want close_notify", version, end, err)
			}
		}
		if got := strings.Count(p.End(), "Reused session-id"); got != want {
			t.Errorf("%s: got %d resumptions, want %d", version, got, want)
		}
	}
}

func sServerRetries(t *testing.T, s *stage, home string) {
	p := s.sServer(t, "-tls1_3", "-groups", "P-521", "-msg", "-naccept", "1")
	exchange(t, p, s.serve(t, p, s.take(t, home), 1), "x1")
	if got := strings.Count(p.Said(), ", ClientHello"); got != 2 {
		t.Errorf("got %d ClientHellos, want another after HelloRetryRequest:\n%s", got, p.Said())
	}
}

// SECURITY 23: a backend's HelloRequest ends the session.
func sServerRenegotiates(t *testing.T, s *stage, home string) {
	p := s.sServer(t, "-tls1_2", "-naccept", "1")
	c := s.serve(t, p, s.take(t, home), 1)
	exchange(t, p, c, "x1")
	p.say("r")
	p.Until("no renegotiation")
	if end, err := c.WaitEnd(); err != nil || len(end.Lines) > 0 {
		t.Errorf("got %+v, %v, want the end", end, err)
	}
}

// SPEC 2.4.
func sServerTrusts(t *testing.T, s *stage, home string) {
	for _, version := range []string{"-tls1_3", "-tls1_2"} {
		p := s.sServer(t, version, "-naccept", "1", "-Verify", "1", "-verify_return_error", "-CAfile", s.proxy.path("own.pem"))
		exchange(t, p, s.serve(t, p, s.take(t, home), 1), "x1")
		if !strings.Contains(p.Said(), "Client certificate") || !strings.Contains(p.Said(), "CN = proxy.example.org") {
			t.Errorf("%s: got no certificate:\n%s", version, p.Said())
		}
		_ = p.Close()
	}
}

// Refused, it is a failure of TLS before any credentials, also where the alert is the first record behind the handshake.
func sServerDistrusts(t *testing.T, s *stage, home string) {
	for _, version := range []string{"-tls1_3", "-tls1_2"} {
		a := s.take(t, home)
		p := s.sServer(t, version, "-naccept", "1", "-Verify", "1", "-verify_return_error", "-CAfile", s.proxy.path("cert.pem"))
		c := s.dial(t, home, s.source())
		r, err := c.Command(fmt.Sprintf("LOGIN %s %s", mailfake.Quote(a.name), mailfake.Quote(a.password)))
		wantStatus(t, r, err, "NO [UNAVAILABLE]")
		words := []string{`msg="login unavailable"`, "account=" + a.name + " ", "phase=tls "}
		if !poll(logTimeout, func() bool { return hasLine(s.proxy.logText(), words) }) {
			t.Errorf("%s: the log has no line with %q:\n%s", version, words, grep(s.proxy.logText(), a.name))
		}
		if out := p.End(); strings.Contains(out, "AUTHENTICATE") {
			t.Errorf("%s: credentials were sent:\n%s", version, out)
		}
	}
}
