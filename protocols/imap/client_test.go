package imap

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/dialog/dialogtest"
	"mailsplice/protocols/sasl"
)

var clientSuite = dialogtest.Suite{Role: dialogtest.Server, New: newClient}

// newClient makes a machine as the options of a transcript say.
func newClient(tb testing.TB, options []dialogtest.Option) dialog.Machine {
	o := &ClientOptions{
		Banner:     "ready",
		Advertise:  []string{"IMAP4rev1", "ENABLE", "SASL-IR", "LITERAL+", "ID"},
		Mechanisms: []sasl.Mechanism{sasl.Plain, sasl.Login, sasl.OAuthBearer, sasl.XOAuth2},
	}
	var f ClientFacts
	for _, option := range options {
		switch option.Key {
		case "starttls":
			o.StartTLSOffered = true
		case "allow-plain":
			o.AllowPlainAuth = true
		case "tls":
			f.TLS = true
		case "trusted":
			f.TrustedPeer = true
		case "claim":
			o.TokenClaim = option.Value
		case "attempts":
			o.MaxAttempts, _ = strconv.Atoi(option.Value)
		case "sasl":
			o.Mechanisms = nil
			for name := range strings.FieldsSeq(option.Value) {
				o.Mechanisms = append(o.Mechanisms, sasl.Parse(name))
			}
		default:
			tb.Fatalf("option %q is unknown", option.Key)
		}
	}
	return NewClientSide(o, f)
}

func TestClientTranscripts(t *testing.T) { clientSuite.Run(t, "testdata/client-*.txt") }

// fuzzOptions are the policies that a fuzz program may run under, chosen by its first number.
var fuzzOptions = [][]dialogtest.Option{
	{{Key: "starttls"}},
	{{Key: "starttls"}, {Key: "allow-plain"}},
	{{Key: "tls"}},
	{{Key: "tls"}, {Key: "trusted"}, {Key: "attempts", Value: "30"}},
	{},
}

// FuzzClientSide holds the machine to the contract of package dialog and to SPEC 3: no login before TLS where policy
// forbids it, and no more memory than one command may have.
func FuzzClientSide(f *testing.F) {
	for _, seed := range clientSuite.Seeds(f, "testdata/client-*.txt") {
		for policy := range fuzzOptions {
			f.Add(uint8(policy), seed.Data)
		}
	}
	f.Fuzz(func(t *testing.T, policy uint8, data []byte) {
		options := fuzzOptions[int(policy)%len(fuzzOptions)]
		dialogtest.Fuzz(t, func() dialog.Machine { return newClient(t, options) }, data, dialogtest.FuzzOptions{
			OnAction: func(seen dialogtest.Seen) error { return judgeAction(options, seen) },
			Held:     func(m dialog.Machine) int { return len(m.(*ClientSide).in.Prefix()) },
			MaxHeld:  defaultCommandBytes,
		})
	})
}

// judgeAction refuses what no client may bring about.
func judgeAction(options []dialogtest.Option, seen dialogtest.Seen) error {
	l := seen.Action.Login
	if l == nil {
		return nil
	}
	private, trusted := seen.TLS, false
	for _, option := range options {
		private = private || option.Key == "tls" || option.Key == "allow-plain"
		trusted = trusted || option.Key == "trusted"
	}
	switch {
	case !private:
		return errors.New("login before TLS")
	case l.Announced != nil && !trusted:
		return errors.New("announcement by a peer that is not trusted")
	case len(l.ClientID) > maxIDPairs || !clean(l):
		return fmt.Errorf("login with %d ID fields or forbidden bytes", len(l.ClientID))
	}
	return nil
}

// clean reports that nothing in l holds a NUL, CR or LF (SECURITY 8).
func clean(l *dialog.Login) bool {
	ok := oneLine(l.AuthcID) && oneLine(l.AuthzID) && oneLine(l.Password) && oneLine(l.Frame)
	for _, f := range l.ClientID {
		ok = ok && oneLine([]byte(f.Name)) && oneLine([]byte(f.Value)) && !strings.HasPrefix(strings.ToLower(f.Name), "x-")
	}
	return ok
}

// perform feeds text and takes every action, of which it returns the last but None.
func perform(tb testing.TB, m dialog.Machine, text string) (last dialog.Action) {
	tb.Helper()
	for p := []byte(text); len(p) > 0; {
		n := m.Feed(p)
		clear(p[:n])
		p = p[n:]
		for a := m.Next(); a.Kind != dialog.None; a = m.Next() {
			last = a
		}
		if n == 0 {
			break
		}
	}
	return last
}

// SECURITY 18: nothing of one attempt is left when the next begins, nor in a machine that was released.
func TestClientForgetsSecrets(t *testing.T) {
	for _, c := range []struct {
		name, text string
		end        func(m *ClientSide)
	}{
		{"refused", "a1 LOGIN alice sesame\r\n", func(m *ClientSide) {
			m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Refused}})
		}},
		{"accepted", "a1 LOGIN alice {6+}\r\nsesame\r\n", func(m *ClientSide) {
			m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Accepted}})
		}},
		{"aborted", "a1 AUTHENTICATE LOGIN\r\nYWxpY2U=\r\n*\r\n", func(*ClientSide) {}},
		{"kicked in a literal", "a1 LOGIN alice {6+}\r\nses", func(m *ClientSide) { m.Tell(dialog.Event{Kind: dialog.Kicked}) }},
		{"released in an exchange", "a1 AUTHENTICATE LOGIN\r\nYWxpY2U=\r\nc2Vz", func(m *ClientSide) { m.Release() }},
	} {
		m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
		m.Tell(dialog.Event{Kind: dialog.Begin})
		last := perform(t, m, c.text)
		c.end(m)
		for m.Next().Kind != dialog.None {
		}
		if m.try != nil || m.in.Prefix() != nil || m.out != nil {
			t.Errorf("%s: attempt %v, input %q, output %v left, want nothing (last action %v)", c.name, m.try, m.in.Prefix(), m.out, last.Kind)
		}
	}
}

// A login that is not taken because the session ends first is wiped, since nobody else can.
func TestClientWipesLoginNobodyTook(t *testing.T) {
	m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	m.Next()
	m.Next()
	m.Feed([]byte("a1 LOGIN alice sesame\r\n"))
	password := m.try.login.Password
	m.Tell(dialog.Event{Kind: dialog.Kicked})
	if strings.Trim(string(password), "\x00") != "" {
		t.Errorf("got %q, want zeroes", password)
	}
}

// Events may come before the driver has taken an action; what belonged to the attempt is then not handed out any more.
func TestClientVerdictBeforeAction(t *testing.T) {
	verdict := dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Refused}}
	for _, c := range []struct{ name, text, answer string }{
		{"login", "", "a1 AUTHENTICATE XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\r\n"},
		{"relay", "a1 AUTHENTICATE XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\r\n", "AQ==\r\n"},
	} {
		m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
		m.Tell(dialog.Event{Kind: dialog.Begin})
		perform(t, m, c.text)
		m.Tell(dialog.Event{Kind: dialog.Relayed, Bytes: []byte("challenge")})
		for m.Next().Kind != dialog.None {
		}
		m.Feed([]byte(c.answer))
		m.Tell(verdict)
		if a := m.Next(); a.Kind != dialog.Write {
			t.Errorf("%s: got action %v, want the answer", c.name, a.Kind)
		}
		if a := m.Next(); a.Kind != dialog.None {
			t.Errorf("%s: got action %v behind the answer, want none", c.name, a.Kind)
		}
	}
}

// 20,000 silent clients are allowed (SPEC 2.1, max_preauth): what each of them costs is this struct.
func TestClientSideIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(ClientSide{}); size > 200 {
		t.Errorf("got %d bytes, want at most 200", size)
	}
	m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	perform(t, m, "a1 CAPABILITY\r\na2 NOOP\r\n")
	if m.out != nil || m.try != nil || m.in.Prefix() != nil {
		t.Error("a quiet client holds a buffer, want none")
	}
}

// TestReplies wants every text that the client side can send in some transcript.
func TestReplies(t *testing.T) {
	texts, err := os.ReadFile("replies.go")
	if err != nil {
		t.Fatal(err)
	}
	paths, _ := filepath.Glob("testdata/client-*.txt")
	var said []byte
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, text...)
	}
	found := regexp.MustCompile(`(?m)^\t?(?:const )?(\w+) += "([^"]{8,})"`).FindAllSubmatch(texts, -1)
	if len(found) < 20 {
		t.Fatalf("%d replies found in replies.go, want all", len(found))
	}
	for _, reply := range found {
		if !bytes.Contains(said, reply[2]) {
			t.Errorf("%s %q is in no transcript", reply[1], reply[2])
		}
	}
}

// BenchmarkLogin measures a dialogue from greeting to the accepted login.
func BenchmarkLogin(b *testing.B) {
	o := &ClientOptions{Banner: "ready", Advertise: []string{"IMAP4rev1", "SASL-IR"}, Mechanisms: []sasl.Mechanism{sasl.Plain}}
	verdict := &dialog.Verdict{Outcome: dialog.Accepted, Answer: []byte("OK [CAPABILITY IMAP4rev1 IDLE] Logged in")}
	line := []byte("a1 LOGIN alice@example.org sesame\r\n")
	drain := func(m *ClientSide) (l *dialog.Login) {
		for a := m.Next(); a.Kind != dialog.None; a = m.Next() {
			if a.Login != nil {
				l = a.Login
			}
		}
		return l
	}
	b.ReportAllocs()
	for b.Loop() {
		m := NewClientSide(o, ClientFacts{TLS: true})
		m.Tell(dialog.Event{Kind: dialog.Begin})
		drain(m)
		m.Feed(line)
		l := drain(m)
		m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: verdict})
		drain(m)
		l.Wipe()
		m.Release()
	}
}

// SECURITY 7: a verdict's answer is one line and says what the verdict says, else it is worded by us.
func TestAnswerOr(t *testing.T) {
	for _, c := range []struct{ answer, want string }{
		{"NO [X] text", "NO [X] text"},
		{"no text", "no text"},
		{"BAD text", "BAD text"},
		{"", "generic"},
		{"NO", "generic"},
		{"OK text", "generic"},
		{"NO text\r\n* BYE", "generic"},
		{"NO te\x00xt", "generic"},
	} {
		if got := answerOr([]byte(c.answer), "generic", "NO ", "BAD "); string(got) != c.want {
			t.Errorf("%q: got %q, want %q", c.answer, got, c.want)
		}
	}
}

func TestIntroduceDropsPortWithoutAddress(t *testing.T) {
	said, err := introduce([]dialog.Field{{Name: "x-originating-port", Value: "25"}, {Name: "x-connected-port", Value: "993"}}, true)
	if err != nil || said.announced == nil {
		t.Fatalf("got %v %v, want an announcement", said, err)
	}
	if want := (dialog.Announced{}); *said.announced != want {
		t.Errorf("got %+v, want %+v", *said.announced, want)
	}
}
