package mailfake

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// saslLogins are the SASL forms of a login; each says how it must be recorded.
var saslLogins = []struct {
	method  string
	initial Initial
	frames  func(user, password string) []string
}{
	{"PLAIN", InitialResponse, plainFrames},
	{"PLAIN", Prompted, plainFrames},
	{"LOGIN", InitialResponse, func(u, p string) []string { return []string{u, p} }},
	{"LOGIN", Prompted, func(u, p string) []string { return []string{u, p} }},
	{"XOAUTH2", InitialResponse, func(u, p string) []string { return []string{XOAuth2Frame(u, p)} }},
	{"XOAUTH2", Prompted, func(u, p string) []string { return []string{XOAuth2Frame(u, p)} }},
	{"OAUTHBEARER", InitialResponse, func(u, p string) []string { return []string{OAuthBearerFrame(u, p)} }},
	{"OAUTHBEARER", Prompted, func(u, p string) []string { return []string{OAuthBearerFrame(u, p)} }},
}

func plainFrames(u, p string) []string { return []string{PlainFrame("", u, p)} }

var formOf = map[Initial]string{Prompted: "prompted", InitialResponse: "initial", InitialLiteral: "initial literal"}

func TestSASLAccepted(t *testing.T) {
	each(t, interactive, func(t *testing.T, p Protocol) {
		b := startWith(t, Options{Protocol: p, Name: "legacy", Accounts: users})
		for i, l := range saslLogins {
			c := play(t, b)
			r := must[Reply](t)(c.Authenticate(l.method, l.initial, l.frames("alice", users["alice"])...))
			if r.String() != words[p].accepted || !r.OK() {
				t.Fatalf("%s: got %q, want %q", l.method, r, words[p].accepted)
			}
			if got := must[string](t)(c.Landed()); got != "legacy" {
				t.Errorf("landed on %q, want legacy", got)
			}
			got := b.Logins()[i]
			if got.Account != "alice" || got.Method != l.method || got.Form != formOf[l.initial] || got.Attempts != 1 {
				t.Errorf("got record %+v, want alice by %s %s", got, l.method, formOf[l.initial])
			}
			if l.method == "LOGIN" && l.initial == Prompted && fmt.Sprint(r.Untagged) != "[Username: Password:]" {
				t.Errorf("got prompts %q", r.Untagged)
			}
		}
	})
}

func TestSASLRefusedThenAnother(t *testing.T) {
	each(t, interactive, func(t *testing.T, p Protocol) {
		for _, l := range saslLogins {
			b := startWith(t, Options{Protocol: p, Name: "legacy", Accounts: users})
			c := play(t, b)
			r := must[Reply](t)(c.Authenticate(l.method, l.initial, l.frames("alice", "wrong")...))
			if r.String() != words[p].refused || r.OK() {
				t.Errorf("%s: got %q, want %q", l.method, r, words[p].refused)
			}
			if oauth := strings.Contains(l.method, "OAUTH"); oauth != slices.Contains(r.Untagged, Refuse().Challenge) {
				t.Errorf("%s: got challenges %q", l.method, r.Untagged)
			}
			var refused *Refusal
			if err := c.Login("alice", "wrong"); !errors.As(err, &refused) || strings.Contains(err.Error(), "wrong") {
				t.Errorf("got %v, want a refusal that names no password", err)
			}
			ok(t, c.Login("bob", users["bob"]))
			if got := b.Counts(); got.Refused != 2 || got.Accepted != 1 || got.LoggedIn != 1 {
				t.Errorf("got %+v, want two refused and one accepted", got)
			}
		}
	})
}

func TestOtherVerdicts(t *testing.T) {
	each(t, interactive, func(t *testing.T, p Protocol) {
		for _, tc := range []struct {
			v    Verdict
			want string
		}{
			{Accept(), words[p].accepted},
			{Unavailable(), words[p].unavailable},
			{Verdict{}, words[p].refused},
			{Verdict{OK: true, Text: words[p].accepted + " indeed"}, words[p].accepted + " indeed"},
		} {
			b := startWith(t, Options{Protocol: p, Name: "legacy", Check: func(Credentials) Verdict { return tc.v }})
			c := play(t, b)
			r := must[Reply](t)(c.Authenticate("PLAIN", InitialResponse, PlainFrame("master", "root", "x")))
			if r.String() != tc.want || b.Sessions()[0].Account != "master" {
				t.Errorf("got %q for %q, want %q for master", r, b.Sessions()[0].Account, tc.want)
			}
		}
	})
}

func TestRefusedExchanges(t *testing.T) {
	each(t, interactive, func(t *testing.T, p Protocol) {
		verb, quote := "AUTH ", func(s string) string { return s }
		if p == ManageSieve {
			verb, quote = "AUTHENTICATE ", Quote
		}
		b := startWith(t, Options{Protocol: p, Capabilities: "SASL PLAIN\nAUTH PLAIN"})
		for _, args := range []string{
			quote("CRAM-MD5"),
			quote("XOAUTH2") + " " + quote("eA=="),
			quote("PLAIN") + " " + quote("!!"),
			quote("PLAIN") + " " + quote("eA=="),
			quote("PLAIN") + "\r\n" + quote("*"),
			quote("PLAIN") + "\r\n" + quote("!!"),
			quote("PLAIN") + "\r\n" + quote("eA=="),
		} {
			c := play(t, b)
			if p == Submission {
				must[Reply](t)(c.Command("EHLO x"))
			}
			ok(t, c.Send(verb+args))
			r := answerBehindPrompt(t, c)
			if r.OK() || r.Status == "" {
				t.Errorf("%q was answered %q, want a refusal", args, r)
			}
			ok(t, c.Quit()) // nothing is left over
		}
		if got := b.Counts(); got.Refused+got.Accepted > 0 {
			t.Errorf("got verdicts on malformed exchanges: %+v", got)
		}
	})
}

// answerBehindPrompt reads an answer, and the prompt ahead of it if there is one.
func answerBehindPrompt(t *testing.T, c player) Reply {
	t.Helper()
	if pop, is := c.(*POP3Client); is {
		line := must[string](t)(pop.StrictLine(0))
		if strings.HasPrefix(line, "+ ") {
			line = must[string](t)(pop.StrictLine(0))
		}
		return must[Reply](t)(popReply(line))
	}
	r := must[Reply](t)(c.Answer())
	if r.Status == "334" {
		r = must[Reply](t)(c.Answer())
	}
	return r
}

func TestGreetingsAreReadStrictly(t *testing.T) {
	for name, h := range map[string]Hook{
		"closed":    Finish(),
		"reset":     Reset(),
		"garbage":   SayAndEnd("\x16\x03\x01\r\n"),
		"cut":       SayAndEnd("+OK OK 220 rea"),
		"bare LF":   SayAndEnd("+OK ready\n"),
		"NUL":       SayAndEnd("220 a\x00b\r\n"),
		"oversized": SayAndEnd("220 " + strings.Repeat("x", 1<<20) + "\r\n"),
		"PREAUTH":   SayAndEnd("* PREAUTH hello\r\n"),
		"no":        SayAndEnd("-ERR busy\r\n"),
		"BYE":       SayAndEnd("BYE \"busy\"\r\n"),
		"421":       SayAndEnd("421 busy\r\n"),
		"two codes": SayAndEnd("220-a\r\n250 b\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			each(t, newcomers, func(t *testing.T, p Protocol) {
				if _, err := connect(t, startWith(t, Options{Protocol: p, Hooks: Hooks{OnGreeting: h}}), ClientOptions{}); err == nil {
					t.Error("got no error")
				}
			})
		})
	}
}

func TestNeverGreets(t *testing.T) {
	each(t, newcomers, func(t *testing.T, p Protocol) {
		b := startWith(t, Options{Protocol: p, Hooks: Hooks{OnGreeting: Hang()}})
		var timeout net.Error
		if _, err := connect(t, b, ClientOptions{Timeout: 20 * time.Millisecond}); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %v, want a timeout", err)
		}
	})
}

func TestVerdictHeldInEveryProtocol(t *testing.T) {
	each(t, interactive, func(t *testing.T, p Protocol) {
		reached, release := make(chan struct{}), make(chan struct{})
		b := startWith(t, Options{Protocol: p, Hooks: Hooks{OnCredentials: Chain(Signal(reached), WaitFor(release))}})
		c := play(t, b)
		done := make(chan error)
		go func() { done <- c.Login("u", "p") }()
		<-reached
		if got := b.Counts(); got.Accepted != 0 {
			t.Errorf("verdict given before the release: %+v", got)
		}
		close(release)
		ok(t, <-done)
	})
}

// A hook may answer itself, or end the session in place of a verdict.
func TestVerdictByHook(t *testing.T) {
	each(t, interactive, func(t *testing.T, p Protocol) {
		b := startWith(t, Options{Protocol: p, Hooks: Hooks{OnCredentials: Chain(
			Times(1, Say(words[p].unavailable+"\r\n")), Times(1, Finish()))}})
		c := play(t, b)
		r := must[Reply](t)(c.Authenticate("PLAIN", InitialResponse, PlainFrame("", "u", "p")))
		if r.String() != words[p].unavailable {
			t.Errorf("got %q, want %q", r, words[p].unavailable)
		}
		if r, err := c.Authenticate("PLAIN", InitialResponse, PlainFrame("", "u", "p")); !errors.Is(err, io.EOF) {
			t.Errorf("got %q and %v, want the end", r, err)
		}
		if end := must[End](t)(c.WaitEnd()); !end.Clean || b.Counts().Accepted+b.Counts().Refused > 0 {
			t.Errorf("got %+v and %+v, want a FIN and no verdict", end, b.Counts())
		}
	})
}

func TestKickInEveryProtocol(t *testing.T) {
	each(t, interactive, func(t *testing.T, p Protocol) {
		b := startWith(t, Options{Protocol: p, Name: "legacy"})
		c, other := play(t, b), play(t, b)
		ok(t, c.Login("alice", "x"))
		ok(t, other.Login("bob", "x"))
		if n := b.Kick("alice"); n != 1 {
			t.Errorf("kicked %d, want 1", n)
		}
		if end := must[End](t)(c.WaitEnd()); !end.Clean || end.Bye() != words[p].kicked {
			t.Errorf("got %+v, want %q and FIN", end, words[p].kicked)
		}
		if got := must[string](t)(other.Landed()); got != "legacy" {
			t.Errorf("the other landed on %q", got)
		}
	})
}

func TestMalformedLinesEndTheSession(t *testing.T) {
	each(t, interactive, func(t *testing.T, p Protocol) {
		for input, want := range map[string]string{
			"NOOP\n":            words[p].malformed,
			"NO\rOP\r\n":        words[p].malformed,
			"NO\x00OP\r\n":      words[p].malformed,
			"QUIT\r":            "",
			longLine + "\r\n":   words[p].tooMuch,
			longLine[:60_000]:   "",
			"NOOP\r\nNOOP\nXX ": words[p].malformed,
		} {
			c := play(t, startWith(t, Options{Protocol: p, Name: "legacy"}))
			_ = c.SendRaw(input) // the server may be gone before all is sent
			ok(t, c.(interface{ CloseWrite() error }).CloseWrite())
			end := must[End](t)(c.WaitEnd())
			if got := last(end.Lines); want != "" && got != want || want == "" && len(end.Lines) > 0 {
				t.Errorf("%.20q: got %q, want %q", input, end.Lines, want)
			}
		}
	})
}

var longLine = "NOOP " + strings.Repeat("x", maxLineBytes+8192)

func last(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

func TestProxyHeaderInEveryProtocol(t *testing.T) {
	src, dst := netip.MustParseAddrPort("[2001:db8::7]:1234"), netip.MustParseAddrPort("[2001:db8::2]:110")
	each(t, newcomers, func(t *testing.T, p Protocol) {
		first := func(c net.Conn) error { return WriteProxy(c, src, dst) }
		plain := startWith(t, Options{Protocol: p, Proxy: ProxyRequired})
		playWith(t, plain, ClientOptions{First: first})
		implicit := startWith(t, Options{Protocol: p, Proxy: ProxyRequired, TLS: serverTLS(t), Implicit: true})
		playWith(t, implicit, ClientOptions{First: first, TLS: insecure})
		for _, b := range []*Backend{plain, implicit} {
			got := b.Sessions()[0]
			if got.Client != src || got.Proxy == nil || got.Proxy.Destination != dst || got.TLS != (b == implicit) {
				t.Errorf("got %+v, want client %s", got, src)
			}
		}
	})
}

func TestRecordCountsWhatCame(t *testing.T) {
	each(t, newcomers, func(t *testing.T, p Protocol) {
		b := startWith(t, Options{Protocol: p, Name: "legacy"})
		c := play(t, b)
		must[Reply](t)(c.Command("NOOP"))
		must[Reply](t)(c.Command("nonsense at all"))
		got := b.Sessions()[0]
		if fmt.Sprint(got.Verbs) != "[NOOP NONSENSE]" || got.Commands != 2 || got.Received != 23 || got.Sent == 0 || got.Attempts != 0 {
			t.Errorf("got %+v, want two commands of 23 bytes", got)
		}
		sent := got.Sent
		must[Reply](t)(c.Command("NOOP"))
		c.Close()
		await(t, b, "ended", func(c Counts) bool { return c.Open == 0 })
		if got := b.Sessions()[0]; got.Received != 29 || got.Sent <= sent {
			t.Errorf("got %d in and %d out, want 29 in and more than %d out", got.Received, got.Sent, sent)
		}
	})
}

// A hook sees what is recorded so far, in a copy of its own.
func TestHooksSeeTheRecord(t *testing.T) {
	each(t, newcomers, func(t *testing.T, p Protocol) {
		seen := make(chan Record, 1)
		b := startWith(t, Options{Protocol: p, Hooks: Hooks{OnCommand: ForVerb("QUIT2", func(s *Session) Move {
			seen <- s.Record()
			return Finished
		})}})
		c := play(t, b)
		ok(t, c.SendRaw("NOOP\r\nQUIT2\r\n"))
		got := <-seen
		got.Verbs[0] = "changed"
		if got.Commands != 2 || got.Received != 13 || got.Sent == 0 || b.Sessions()[0].Verbs[0] != "NOOP" {
			t.Errorf("got %+v, want two commands of 13 bytes", got)
		}
	})
}

func TestUnknownProtocol(t *testing.T) {
	if b, err := New(Options{Protocol: 77}); !errors.Is(err, errProtocol) {
		b.Close()
		t.Errorf("got %v, want %v", err, errProtocol)
	}
	if got := Protocol(77).String(); got != "unknown" {
		t.Errorf("got %q, want unknown", got)
	}
	if b := newBackend(t, Options{Protocol: POP3}); b.Protocol() != IMAP {
		t.Errorf("NewIMAP started %s", b.Protocol())
	}
}
