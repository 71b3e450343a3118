package mailfake

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func dialFamily(t *testing.T, p Protocol, o Options) (*SMTPClient, *Backend) {
	t.Helper()
	o.Protocol = p
	b := startWith(t, o)
	dial := DialSMTP
	if p == LMTP {
		dial = DialLMTP
	}
	c := must[*SMTPClient](t)(dial(b.Addr().String(), ClientOptions{}))
	t.Cleanup(c.Close)
	return c, b
}

func TestSMTPOrder(t *testing.T) {
	for _, tc := range []struct {
		p    Protocol
		send []string
		want string // codes
	}{
		{Submission, []string{"AUTH PLAIN", "MAIL FROM:<a>", "EHLO x", "MAIL FROM:<a>", "RCPT TO:<b>", "DATA"}, "503 503 250 530 503 503"},
		{Submission, []string{"HELO x", "AUTH PLAIN", "EHLO x", "AUTH CRAM-MD5", "AUTH", "EHLO", "EHLO a b"}, "250 503 250 504 504 501 501"},
		{Submission, []string{"EHLO x", "AUTH PLAIN AGEAYg==", "AUTH PLAIN AGEAYg==", "MAIL FROM:<a>", "AUTH PLAIN"}, "250 235 503 250 503"},
		{SMTP, []string{"EHLO x", "AUTH PLAIN", "MAIL FROM:<>", "MAIL FROM:<a>", "RSET", "MAIL FROM:<a> SIZE=1", "DATA"}, "250 502 250 503 250 250 503"},
		{SMTP, []string{"HELO x", "MAIL FROM:a", "MAIL FROM:<a>x", "MAIL FROM:<a b>", "MAIL TO:<a>", "mail from:<a>", "RCPT TO:<>", "rcpt to:<b>"}, "250 501 501 501 501 250 501 250"},
		{SMTP, []string{"LHLO x", "NOOP", "VRFY x", "HELP", "STARTTLS", "STARTTLS x", "XCLIENT ADDR=1.2.3.4", "", "BDAT 0 LAST"}, "500 250 252 214 502 501 500 500 500"},
		{LMTP, []string{"EHLO x", "HELO x", "LHLO x", "MAIL FROM:<a>", "RCPT TO:<b>", "DATA x", "QUIT"}, "500 500 250 250 250 501 221"},
	} {
		c, _ := dialFamily(t, tc.p, Options{})
		var codes []string
		for _, r := range must[[]Reply](t)(c.Pipeline(tc.send...)) {
			codes = append(codes, r.Status)
		}
		if got := strings.Join(codes, " "); got != tc.want {
			t.Errorf("%s %q: got %s, want %s", tc.p, tc.send, got, tc.want)
		}
	}
}

func TestEHLO(t *testing.T) {
	c, b := dialFamily(t, Submission, Options{Name: "legacy", Capabilities: "SIZE 1\nAUTH PLAIN", CapabilitiesAfter: "SIZE 2"})
	if c.Greeting != "220 legacy ESMTP ready." {
		t.Errorf("got greeting %q", c.Greeting)
	}
	ok(t, c.Hello("[192.0.2.1]"))
	if got := fmt.Sprintf("%q", c.Offered); got != `["SIZE 1" "AUTH PLAIN"]` {
		t.Errorf("got %s", got)
	}
	ok(t, c.Login("a", "b"))
	ok(t, c.Hello("again.example.org"))
	if got := fmt.Sprintf("%q", c.Offered); got != `["SIZE 2"]` {
		t.Errorf("after login: got %s", got)
	}
	if got := b.Sessions()[0]; got.Hello != "again.example.org" || got.Hellos != 2 {
		t.Errorf("got %+v, want two EHLOs", got)
	}
	c, _ = dialFamily(t, SMTP, Options{NoCapabilities: true, Greeting: "220-two\r\n220 lines"})
	if err := c.Hello(""); err == nil || c.Greeting != "220 lines" {
		t.Errorf("got %v behind %q, want no EHLO", err, c.Greeting)
	}
	must[Reply](t)(c.Must("HELO x"))
}

func TestDeliver(t *testing.T) {
	to := []string{"b@example.org", "c@example.org"}
	for p, answers := range map[Protocol]int{Submission: 1, SMTP: 1, LMTP: 2} {
		size := int64(1 << 20)
		c, b := dialFamily(t, p, Options{Name: "legacy", StoreBytes: 64 << 20})
		if p == Submission {
			ok(t, c.Login("alice", "x"))
			size = 20 << 20
		}
		sum := sha256.New()
		r := must[[]Reply](t)(c.Deliver("a@example.org", to, io.TeeReader(Generated(size), sum)))
		want := hex.EncodeToString(sum.Sum(nil))
		for _, r := range r {
			if r.String() != "250 2.0.0 Taken by legacy sha256="+want {
				t.Errorf("%s: got %q, want sum %s", p, r, want)
			}
		}
		got := b.Messages()[0]
		if len(r) != answers || got.From != "a@example.org" || !slices.Equal(got.To, to) || got.Sum != want || int64(len(got.Content())) != size {
			t.Errorf("%s: got %d answers and a message of %d bytes from %s to %s", p, len(r), len(got.Raw), got.From, got.To)
		}
		if (got.Account == "alice") != (p == Submission) || got.Session != 1 {
			t.Errorf("%s: got account %q in session %d", p, got.Account, got.Session)
		}
		if got := must[string](t)(c.Landed()); got != "legacy" {
			t.Errorf("landed on %q", got)
		}
		ok(t, c.Quit())
	}
}

func TestDeliverRefused(t *testing.T) {
	for verb, answer := range map[string]string{
		"MAIL": "451 4.3.0 later\r\n",
		"RCPT": "550 5.1.1 nobody\r\n",
		"DATA": "554 5.5.1 no\r\n",
	} {
		c, b := dialFamily(t, SMTP, Options{Hooks: Hooks{OnCommand: ForVerb(verb, Say(answer))}})
		var refused *Refusal
		_, err := c.Deliver("a", []string{"b"}, strings.NewReader("x"))
		if !errors.As(err, &refused) || refused.Command != verb || refused.Reply.String()+"\r\n" != answer {
			t.Errorf("%s: got %v, want %q", verb, err, answer)
		}
		if got := b.Counts().Messages; got != 0 {
			t.Errorf("%s: got %d messages", verb, got)
		}
	}
}

func TestMessageOverStore(t *testing.T) {
	c, b := dialFamily(t, LMTP, Options{StoreBytes: 1000})
	for i, tc := range []struct {
		size int64
		fits bool
	}{{10_000, false}, {600, true}, {600, false}, {100_000, false}} { // each costs 256 more
		r := must[[]Reply](t)(c.Deliver("a", []string{"b", "c"}, Generated(tc.size)))
		if len(r) != 2 || r[0].OK() != tc.fits || r[0].String() != r[1].String() {
			t.Errorf("message %d of %d bytes: got %q", i, tc.size, r)
		}
	}
	if got := b.Counts().Messages; got != 1 {
		t.Errorf("got %d messages, want one", got)
	}
}

// The room of a message that never came whole is given back.
func TestBrokenMessageIsForgotten(t *testing.T) {
	c, b := dialFamily(t, SMTP, Options{StoreBytes: 2000})
	must[[]Reply](t)(c.Pipeline("EHLO x", "MAIL FROM:<a>", "RCPT TO:<b>", "DATA"))
	ok(t, c.SendRaw(strings.Repeat("x", 1500)+"\r\n"))
	ok(t, c.CloseWrite())
	must[End](t)(c.WaitEnd())
	c.Close()
	await(t, b, "ended", func(c Counts) bool { return c.Open == 0 })
	c = must[*SMTPClient](t)(DialSMTP(b.Addr().String(), ClientOptions{}))
	defer c.Close()
	r := must[[]Reply](t)(c.Deliver("a", []string{"b"}, Generated(1700)))
	if !r[0].OK() || b.Counts().Messages != 1 {
		t.Errorf("got %q and %d messages", r, b.Counts().Messages)
	}
}

func TestTooManyRecipients(t *testing.T) {
	c, _ := dialFamily(t, SMTP, Options{})
	commands := append([]string{"EHLO x", "MAIL FROM:<a>"}, slices.Repeat([]string{"RCPT TO:<b>"}, maxRecipients+1)...)
	all := must[[]Reply](t)(c.Pipeline(commands...))
	if got := all[len(all)-1]; got.Status != "452" || !all[len(all)-2].OK() {
		t.Errorf("got %q", got)
	}
}

// The verdict on a message can be held, and a session can end in the middle of one.
func TestMessageHooks(t *testing.T) {
	c, b := dialFamily(t, SMTP, Options{Hooks: Hooks{OnMessage: Say("451 4.3.0 later\r\n")}})
	r := must[[]Reply](t)(c.Deliver("a", []string{"b"}, Generated(500)))
	if r[0].Status != "451" || b.Counts().Messages != 1 {
		t.Errorf("got %q", r)
	}
	c, b = dialFamily(t, SMTP, Options{Hooks: Hooks{OnData: Reset()}})
	must[[]Reply](t)(c.Pipeline("EHLO x", "MAIL FROM:<a>", "RCPT TO:<b>", "DATA"))
	if end := must[End](t)(c.WaitEnd()); !end.Reset || b.Counts().Messages != 0 {
		t.Errorf("got %+v, want a reset", end)
	}
}

func TestSMTPAnswersAreReadStrictly(t *testing.T) {
	for name, answer := range map[string]string{
		"no code":   "OK\r\n",
		"two":       "25\r\n",
		"six":       "650 x\r\n",
		"no blank":  "250x\r\n",
		"bare LF":   "250 x\n",
		"bare CR":   "250 x\ry\r\n",
		"oversized": "250 " + strings.Repeat("x", 512-5) + "\r\n",
		"two codes": "250-a\r\n251 b\r\n",
		"cut":       "250-a\r\n",
	} {
		c, _ := dialFamily(t, SMTP, Options{Hooks: Hooks{OnCommand: SayAndEnd(answer)}})
		if r, err := c.Command("NOOP"); err == nil {
			t.Errorf("%s: got %q, want an error", name, r)
		}
	}
	c, _ := dialFamily(t, SMTP, Options{Hooks: Hooks{OnCommand: Say("250\r\n")}})
	if r := must[Reply](t)(c.Must("NOOP")); r.Text != "" {
		t.Errorf("got %q, want a code alone", r)
	}
}
