package mailfake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// What a client sees of each kind of hostile backend when it reads until the end.
func TestHostileGreetings(t *testing.T) {
	for name, tc := range map[string]struct {
		hooks Hooks
		lines []string
		rest  string
		reset bool
	}{
		"closed at once":  {Hooks{OnAccept: Finish()}, nil, "", false},
		"reset at once":   {Hooks{OnAccept: Reset()}, nil, "", true},
		"bye":             {Hooks{OnGreeting: SayAndEnd("* BYE busy\r\n")}, []string{"* BYE busy"}, "", false},
		"garbage":         {Hooks{OnGreeting: SayAndEnd("\x16\x03\x01")}, nil, "\x16\x03\x01", false},
		"bye and reset":   {Hooks{OnGreeting: Chain(SayFirst("* BYE x\r\n"), Reset())}, nil, "", true},
		"cut line":        {Hooks{OnGreeting: SayAndEnd("* OK rea")}, nil, "* OK rea", false},
		"dribbled":        {Hooks{OnGreeting: Chain(Dribble(), SayAndEnd("* BYE slow\r\n"))}, []string{"* BYE slow"}, "", false},
		"long line":       {Hooks{OnGreeting: SayAndEnd(strings.Repeat("x", 1<<20) + "\r\n")}, []string{strings.Repeat("x", 1<<20)}, "", false},
		"end, not begun":  {Hooks{OnGreeting: Chain(Finish(), Hang())}, nil, "", false},
		"limited to none": {Hooks{OnGreeting: Chain(Times(0, Hang()), Finish())}, nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			connected := make(chan struct{}) // else a reset may already meet the connect
			first := tc.hooks[OnAccept]
			tc.hooks[OnAccept] = WaitFor(connected)
			if first != nil {
				tc.hooks[OnAccept] = Chain(WaitFor(connected), first)
			}
			c := dialWith(t, newBackend(t, Options{Hooks: tc.hooks}), ClientOptions{Hold: true})
			close(connected)
			end := must[End](t)(c.WaitEnd())
			if end.Reset != tc.reset || end.Clean == tc.reset {
				t.Errorf("got clean %v reset %v, want reset %v", end.Clean, end.Reset, tc.reset)
			}
			if !tc.reset && (fmt.Sprint(end.Lines) != fmt.Sprint(tc.lines) || end.Rest != tc.rest) {
				t.Errorf("got lines %.60q and %q, want %.60q and %q", end.Lines, end.Rest, tc.lines, tc.rest)
			}
		})
	}
}

func TestHeldVerdict(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	b := newBackend(t, Options{Hooks: Hooks{OnCredentials: Chain(Signal(reached), WaitFor(release))}})
	c := dial(t, b)
	ok(t, c.Send("a LOGIN u p"))
	<-reached
	if got := b.Counts(); got.Accepted != 0 {
		t.Fatalf("verdict given before the release: %+v", got)
	}
	close(release)
	must[Reply](t)(c.Answer("a"))
	if got := b.Counts(); got.Accepted != 1 {
		t.Fatalf("got %+v, want one accepted", got)
	}
}

// A server that hangs is ended by Close alone; goleak and this test's end prove that Close returns.
func TestCloseEndsHangingSessions(t *testing.T) {
	b := newBackend(t, Options{Hooks: Hooks{OnGreeting: Hang()}})
	c := dialWith(t, b, ClientOptions{Hold: true})
	await(t, b, "connected", func(c Counts) bool { return c.Open == 1 })
	b.Close()
	if _, err := c.WaitEnd(); err != nil {
		t.Error(err)
	}
	if got := b.Counts().Open; got != 0 {
		t.Errorf("%d sessions open after Close, want 0", got)
	}
}

func TestVerdicts(t *testing.T) {
	for _, tc := range []struct {
		v    Verdict
		want string
	}{
		{Accept(), "OK [CAPABILITY " + defaultCapsAfter + "] Logged in on mailfake"},
		{Refuse(), "NO [AUTHENTICATIONFAILED] Authentication failed."},
		{Unavailable(), "NO [UNAVAILABLE] Try again later."},
		{Verdict{Text: "NO [REFERRAL imap://elsewhere/] Go away"}, "NO [REFERRAL imap://elsewhere/] Go away"},
		{Verdict{OK: true, Text: "OK hi", Before: "* CAPABILITY IMAP4rev1\r\n"}, "OK hi"},
	} {
		c := dial(t, newBackend(t, Options{Check: func(Credentials) Verdict { return tc.v }}))
		r := must[Reply](t)(c.Command("LOGIN a b"))
		if r.String() != tc.want || len(r.Untagged) != strings.Count(tc.v.Before, "\r\n") {
			t.Errorf("got %q after %q, want %q", r, r.Untagged, tc.want)
		}
	}
}

// A client that asked for capabilities gets them untagged, as Dovecot does it (BACKENDS).
func TestCapabilitiesAfterLogin(t *testing.T) {
	c := dial(t, newBackend(t, Options{}))
	must[Reply](t)(c.Must("CAPABILITY"))
	r := must[Reply](t)(c.Must("LOGIN a b"))
	if r.Find("* CAPABILITY "+defaultCapsAfter) == "" || strings.Contains(r.Text, "[") {
		t.Errorf("got %q after %q, want the list untagged", r, r.Untagged)
	}
	if c = dial(t, newBackend(t, Options{NoCapabilities: true})); strings.Contains(c.Greeting, "[") {
		t.Errorf("got greeting %q, want no capability code", c.Greeting)
	}
}

func TestWrongTagIsNoticed(t *testing.T) {
	c := dial(t, newBackend(t, Options{Hooks: Hooks{OnCommand: ForVerb("noop", Say("x{tag} OK\r\n"))}}))
	if _, err := c.Command("NOOP"); err == nil {
		t.Error("got no error for a wrong tag")
	}
}

func TestKick(t *testing.T) {
	b := newBackend(t, Options{Name: "legacy"})
	c, other := dial(t, b), dial(t, b)
	ok(t, c.Login("alice", "x"))
	ok(t, other.Login("bob", "x"))
	must[string](t)(c.Idle())
	if n := b.Kick("alice"); n != 1 {
		t.Errorf("kicked %d, want 1", n)
	}
	if end := must[End](t)(c.WaitEnd()); !end.Clean || end.Bye() != "* BYE Kicked by legacy" {
		t.Errorf("got %+v, want BYE and FIN", end)
	}
	c.Close()
	await(t, b, "kicked session ended", func(c Counts) bool { return c.Open == 1 })
	must[Reply](t)(other.Must("NOOP"))
}

// Unread input must not turn a farewell into a RST, also for a client that reads late.
func TestLogoutWithPipelinedInput(t *testing.T) {
	b := newBackend(t, Options{})
	c := dial(t, b)
	ok(t, c.SendRaw("a LOGOUT\r\n"+strings.Repeat("b NOOP\r\n", 20000)))
	ok(t, c.CloseWrite())
	await(t, b, "session ended", func(c Counts) bool { return c.Open == 0 })
	if end := must[End](t)(c.WaitEnd()); !end.Clean || end.Bye() == "" || len(end.Lines) != 2 {
		t.Errorf("got %+v, want BYE, OK and FIN", end)
	}
}

func TestSilentSessionIsEnded(t *testing.T) {
	b := newBackend(t, Options{Timeout: 20 * time.Millisecond})
	c := dial(t, b)
	if end := must[End](t)(c.WaitEnd()); !end.Clean {
		t.Errorf("got %+v, want FIN", end)
	}
}

func TestListenElsewhereIsRefused(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:0", "localhost:0", "127.0.0.1"} {
		if b, err := NewIMAP(Options{Listen: addr}); err == nil {
			b.Close()
			t.Errorf("listening on %s, want an error", addr)
		}
	}
}

func TestCredentialsPrintAsNothing(t *testing.T) {
	c := Credentials{User: "alice", Password: "hunter2", Token: "hunter2"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, c); strings.Contains(got, "hunter2") {
			t.Errorf("%s printed %q", format, got)
		}
	}
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestStartTLS(t *testing.T) {
	b := newBackend(t, Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}},
		Capabilities: "IMAP4rev1 LOGINDISABLED"})
	c := dial(t, b)
	if r := must[Reply](t)(c.Command("LOGIN a b")); r.Status != "NO" {
		t.Errorf("login before TLS: got %q, want NO", r)
	}
	must[Reply](t)(c.Must("STARTTLS"))
	ok(t, c.TLS(&tls.Config{InsecureSkipVerify: true})) // the certificate is this test's own
	r := must[Reply](t)(c.Must("CAPABILITY"))
	if got := r.Find("* CAPABILITY"); got != "* CAPABILITY IMAP4rev1" {
		t.Errorf("got %q inside TLS", got)
	}
	ok(t, c.Login("a", "b"))
	if got := b.Logins(); len(got) != 1 || !got[0].TLS {
		t.Errorf("got %+v, want one login over TLS", got)
	}
	must[Reply](t)(c.Must("LOGOUT"))
	if end := must[End](t)(c.WaitEnd()); !end.Clean {
		t.Errorf("got %+v, want close_notify and FIN", end)
	}
}

func TestStartTLSInjection(t *testing.T) {
	b := newBackend(t, Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}})
	c := dial(t, b)
	ok(t, c.SendRaw("a STARTTLS\r\nb NOOP\r\n"))
	must[string](t)(c.Expect("a OK"))
	if end := must[End](t)(c.WaitEnd()); !end.Reset {
		t.Errorf("got %+v, want a reset", end)
	}
}
