package mailfake

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Each line is one XCLIENT; want is what a session has recorded, or the answer that refuses it.
func TestXClient(t *testing.T) {
	const dovecot, postfix = XClientDovecot, XClientPostfix
	for _, tc := range []struct {
		p               Protocol
		offer, send     string
		client, refused string
	}{
		{POP3, dovecot, "ADDR=203.0.113.7 PORT=4567 TTL=6", "203.0.113.7:4567", ""},
		{POP3, dovecot, "ADDR=2001:db8::7 PORT=4567", "[2001:db8::7]:4567", ""},
		{POP3, dovecot, "ADDR=::ffff:203.0.113.7 PORT=1", "203.0.113.7:1", ""},
		{POP3, dovecot, "ADDR=IPV6:2001:db8::7", "", "-ERR Bad address"},
		{POP3, dovecot, "ADDR=203.0.113.7 X-NEW=1", "203.0.113.7:0", ""},
		{POP3, dovecot, "ADDR", "", "-ERR Malformed attribute"},
		{POP3, dovecot, "ADDR=", "", "-ERR Malformed attribute"},
		{POP3, dovecot, "ADDR=203.0.113.7  PORT=1", "", "-ERR Malformed attribute"},
		{POP3, dovecot, "ADDR=203.0.113.7 PORT=0", "", "-ERR Bad number"},
		{POP3, dovecot, "ADDR=203.0.113.7 SESSION=" + strings.Repeat("x", 1024), "", "-ERR Line too long"},
		{POP3, "", "ADDR=203.0.113.7", "", "-ERR Unknown command"},
		{ManageSieve, dovecot, "ADDR=2001:db8::7 PORT=4567 CLIENT-TRANSPORT=TLS", "[2001:db8::7]:4567", ""},
		{ManageSieve, dovecot, "ADDR=fe80::1%eth0", "", `NO "Bad address"`},
		{ManageSieve, "", "ADDR=203.0.113.7", "", `NO "Unknown command"`},
		{Submission, postfix, "NAME=[UNAVAILABLE] ADDR=203.0.113.7 PORT=4567", "203.0.113.7:4567", ""},
		{Submission, dovecot, "PORT=4567 ADDR=IPV6:2001:db8::7", "[2001:db8::7]:4567", ""},
		{Submission, dovecot, "ADDR=2001:db8::7", "", "501 5.5.4 Bad address"},
		{Submission, dovecot, "ADDR=IPV6:203.0.113.7", "", "501 5.5.4 Bad address"},
		{Submission, postfix, "ADDR=203.0.113.7 TTL=6", "", "501 5.5.4 Unknown attribute"},
		{Submission, postfix, "HELO=a b", "", "501 5.5.4 Malformed attribute"},
		{Submission, postfix, "HELO=a=b", "", "501 5.5.4 Malformed attribute"},
		{Submission, postfix, "HELO=a+2", "", "501 5.5.4 Malformed attribute"},
		{Submission, postfix, "HELO=a+2b", "", "501 5.5.4 Malformed attribute"},
		{Submission, postfix, "HELO=a+xyz", "", "501 5.5.4 Malformed attribute"},
		{Submission, postfix, "ADDR=203.0.113.7 HELO=" + strings.Repeat("x", 512), "", "501 5.5.4 Line too long"},
		{SMTP, "", "ADDR=203.0.113.7", "", "500 5.5.1 Unknown command"},
		{LMTP, dovecot, "ADDR=2001:db8::7", "[2001:db8::7]:0", ""},
		{LMTP, dovecot, "ADDR=IPV6:2001:db8::7 DESTADDR=[UNAVAILABLE]", "[2001:db8::7]:0", ""},
	} {
		b := startWith(t, Options{Protocol: tc.p, XClient: tc.offer})
		c := play(t, b)
		r := must[Reply](t)(c.Command("XCLIENT " + tc.send))
		got := b.Sessions()[0]
		if tc.refused != "" {
			if r.String() != tc.refused || got.XClients != 0 || len(got.XClient) != 0 || got.Client != got.Peer {
				t.Errorf("%s %.60s: got %q and %+v, want %q", tc.p, tc.send, r, got, tc.refused)
			}
			continue
		}
		if !r.OK() || got.Client.String() != tc.client || got.XClients != 1 || len(got.XClient) != strings.Count(tc.send, "=") {
			t.Errorf("%s %s: got %q and %+v, want %s", tc.p, tc.send, r, got, tc.client)
		}
	}
}

// Attributes may be split over lines; the last value of a name counts, and values are decoded.
func TestXClientTwice(t *testing.T) {
	c, b := dialFamily(t, Submission, Options{XClient: XClientPostfix})
	for _, line := range []string{"PORT=1 HELO=a+2Bb+3Dc+20d", "PORT=4567", "ADDR=203.0.113.7"} {
		if r := must[Reply](t)(c.Must("XCLIENT " + line)); r.Status != "220" {
			t.Errorf("got %q, want the greeting", r)
		}
		if r := must[Reply](t)(c.Command("AUTH PLAIN")); r.Status != "503" {
			t.Errorf("got %q, want EHLO to be asked for again", r)
		}
		ok(t, c.Hello(""))
	}
	got := b.Sessions()[0]
	if v, found := got.Attribute("HELO"); !found || v != "a+b=c d" {
		t.Errorf("got HELO %q, want it decoded", v)
	}
	if v, found := got.Attribute("NAME"); found {
		t.Errorf("got NAME %q, want none", v)
	}
	if got.Client.String() != "203.0.113.7:4567" || got.XClients != 3 || got.Hellos != 3 {
		t.Errorf("got %+v, want three XCLIENTs", got)
	}
}

func TestXClientIsOffered(t *testing.T) {
	each(t, newcomers, func(t *testing.T, p Protocol) {
		b := startWith(t, Options{Protocol: p, XClient: "ADDR PORT", TLS: serverTLS(t)})
		c := play(t, b)
		want := map[Protocol]string{POP3: "TOP", ManageSieve: `"XCLIENT"`}[p]
		want = or(want, "XCLIENT ADDR PORT")
		offers := func(where string) {
			got := offeredBy(t, c)
			if !slices.Contains(got, want) || p == POP3 && strings.Contains(fmt.Sprint(got), "XCLIENT") {
				t.Errorf("%s TLS: got %q, want %s", where, got, want)
			}
		}
		offers("outside")
		ok(t, c.StartTLS(insecure))
		offers("inside")
		if pop, is := c.(*POP3Client); is && pop.Greeting != "+OK [XCLIENT] mailfake ready." {
			t.Errorf("got banner %q", pop.Greeting)
		}
		if p == POP3 || p == ManageSieve || p == Submission {
			ok(t, c.Login("a", "b"))
			if got := offeredBy(t, c); strings.Contains(fmt.Sprint(got), "XCLIENT") {
				t.Errorf("after login: got %q, want no XCLIENT", got)
			}
			if r := must[Reply](t)(c.Command("XCLIENT ADDR=203.0.113.7")); r.OK() {
				t.Errorf("after login: got %q", r)
			}
		}
	})
}

func TestXClientIsRememberedBounded(t *testing.T) {
	c, b := dialPOP3(t, Options{XClient: XClientDovecot})
	for range 5 {
		must[Reply](t)(c.Must("XCLIENT " + strings.TrimSpace(strings.Repeat("A=b ", 20))))
	}
	if got := b.Sessions()[0]; len(got.XClient) != maxAttributes || got.XClients != 5 {
		t.Errorf("got %d attributes of %d XCLIENTs, want %d of 5", len(got.XClient), got.XClients, maxAttributes)
	}
}
