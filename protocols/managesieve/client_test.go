package managesieve

import (
	"bytes"
	"errors"
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
		Banner:         "ready",
		Implementation: "mailsplice",
		Sieve:          []string{"fileinto", "vacation"},
		Mechanisms:     []sasl.Mechanism{sasl.Plain, sasl.Login, sasl.OAuthBearer, sasl.XOAuth2},
	}
	var f ClientFacts
	for _, option := range options {
		if !setClientFact(&f, option) && !setClientOption(o, option) {
			tb.Fatalf("option %q is unknown", option.Key)
		}
	}
	return NewClientSide(o, f)
}

func setClientFact(f *ClientFacts, option dialogtest.Option) bool {
	switch option.Key {
	case "tls":
		f.TLS = true
	case "trusted":
		f.TrustedPeer = true
	default:
		return false
	}
	return true
}

func setClientOption(o *ClientOptions, option dialogtest.Option) bool {
	switch option.Key {
	case "starttls":
		o.StartTLSOffered = true
	case "allow-plain":
		o.AllowPlainAuth = true
	case "banner":
		o.Banner = option.Value
	case "claim":
		o.TokenClaim = option.Value
	case "attempts":
		o.MaxAttempts, _ = strconv.Atoi(option.Value)
	case "maxline":
		o.MaxLineBytes, _ = strconv.Atoi(option.Value)
	case "maxcommand":
		o.MaxCommandBytes, _ = strconv.Atoi(option.Value)
	case "repeat-sieve":
		n, _ := strconv.Atoi(option.Value)
		o.Sieve = []string{strings.Repeat("x", n)}
	case "sieve":
		o.Sieve = strings.Fields(option.Value)
	case "sasl":
		o.Mechanisms = nil
		for name := range strings.FieldsSeq(option.Value) {
			o.Mechanisms = append(o.Mechanisms, sasl.Parse(name))
		}
	default:
		return false
	}
	return true
}

func TestClientTranscripts(t *testing.T) { clientSuite.Run(t, "testdata/client-*.txt") }

// fuzzClients are the policies that a fuzz program may run under, chosen by its first number.
var fuzzClients = [][]dialogtest.Option{
	{{Key: "starttls"}},
	{{Key: "starttls"}, {Key: "allow-plain"}},
	{{Key: "tls"}},
	{{Key: "tls"}, {Key: "trusted"}, {Key: "attempts", Value: "30"}},
	{},
	{{Key: "starttls"}, {Key: "trusted"}, {Key: "repeat-sieve", Value: "2000"}},
}

// FuzzClientSide holds the machine to the contract of package dialog and to SPEC 3: no login before TLS where policy
// forbids it, and no more memory than one command may have.
func FuzzClientSide(f *testing.F) {
	for _, seed := range clientSuite.Seeds(f, "testdata/client-*.txt") {
		for policy := range fuzzClients {
			f.Add(uint8(policy), seed.Data)
		}
	}
	f.Fuzz(func(t *testing.T, policy uint8, data []byte) {
		options := fuzzClients[int(policy)%len(fuzzClients)]
		dialogtest.Fuzz(t, func() dialog.Machine { return newClient(t, options) }, data, dialogtest.FuzzOptions{
			MaxOutput: 64<<10 + 256*len(data), // CAPABILITY asks for 2 KiB with a dozen bytes
			OnAction:  func(seen dialogtest.Seen) error { return judgeClient(options, seen) },
			Held:      func(m dialog.Machine) int { return len(m.(*ClientSide).in.Prefix()) },
			MaxHeld:   defaultCommandBytes,
		})
	})
}

// judgeClient refuses what no client may bring about.
func judgeClient(options []dialogtest.Option, seen dialogtest.Seen) error {
	has := func(key string) bool { return hasKey(options, key) }
	l, written := seen.Action.Login, seen.Action.Bytes
	private := seen.TLS || has("tls") || has("allow-plain")
	switch {
	case l != nil && !private:
		return errors.New("login before TLS")
	case l != nil && l.Announced != nil && !has("trusted"):
		return errors.New("announcement by a peer that is not trusted")
	case l != nil && !clean(l):
		return errors.New("login with forbidden bytes")
	case !has("trusted") && bytes.Contains(written, []byte("\r\n\"XCLIENT\"\r\n")):
		return errors.New("XCLIENT shown to a peer that is not trusted")
	case !private && bytes.Contains(written, []byte(`"SASL" "P`)):
		return errors.New("mechanisms shown before TLS")
	}
	return nil
}

func hasKey(options []dialogtest.Option, key string) bool {
	for _, option := range options {
		if option.Key == key {
			return true
		}
	}
	return false
}

// clean reports that nothing in l holds a NUL, CR or LF (SECURITY 8).
func clean(l *dialog.Login) bool {
	ok := oneLine(l.AuthcID) && oneLine(l.AuthzID) && oneLine(l.Password) && oneLine(l.Frame) && oneLine([]byte(l.Identifier))
	return ok && (l.Announced == nil || oneLine([]byte(l.Announced.Session)))
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

const (
	plainAlice = "AUTHENTICATE \"PLAIN\" \"AGFsaWNlAHNlc2FtZQ==\"\r\n"
	xoauth2    = "AUTHENTICATE \"XOAUTH2\" \"dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\"\r\n"
)

// SECURITY 18: nothing of one attempt is left when the next begins, nor in a machine that was released.
func TestClientForgetsSecrets(t *testing.T) {
	decided := func(o dialog.Outcome) func(*ClientSide) {
		return func(m *ClientSide) { m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: o}}) }
	}
	for _, c := range []struct {
		name, text string
		end        func(m *ClientSide)
	}{
		{"refused", plainAlice, decided(dialog.Refused)},
		{"unavailable", plainAlice, decided(dialog.Unavailable)},
		{"accepted", "AUTHENTICATE \"PLAIN\" {20+}\r\nAGFsaWNlAHNlc2FtZQ==\r\n", decided(dialog.Accepted)},
		{"aborted", "AUTHENTICATE \"LOGIN\"\r\n\"YWxpY2U=\"\r\n\"*\"\r\n", func(*ClientSide) {}},
		{"kicked in a literal", "AUTHENTICATE \"PLAIN\" {20+}\r\nAGFsa", func(m *ClientSide) { m.Tell(dialog.Event{Kind: dialog.Kicked}) }},
		{"over a limit", "AUTHENTICATE \"LOGIN\"\r\n\"YWxpY2U=\"\r\n{20000+}\r\n", func(*ClientSide) {}},
		{"released in an exchange", "AUTHENTICATE \"LOGIN\"\r\n\"YWxpY2U=\"\r\n\"c2Vz", func(m *ClientSide) { m.Release() }},
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
	m.Feed([]byte(plainAlice))
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
		{"login", "", xoauth2},
		{"relay", xoauth2, "\"AQ==\"\r\n"},
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

// An event without a verdict says that nobody could judge; a machine may be released with its answer still to be written.
func TestClientNoVerdict(t *testing.T) {
	m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	perform(t, m, plainAlice)
	m.Tell(dialog.Event{Kind: dialog.Decided})
	if got, want := string(m.Next().Bytes), noUnavailable+"\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	m.Feed([]byte("NOOP\r\n"))
	m.Release()
	if got, want := m.State(), "over"; got != want || m.out != nil || m.Feed([]byte("NOOP\r\n")) != 0 || m.Next().Kind != dialog.None {
		t.Errorf("got state %q, output %v, want %q and silence", got, m.out, want)
	}
}

// A login keeps what was announced when it was made, whatever XCLIENT says later.
func TestClientAnnouncementIsNotChanged(t *testing.T) {
	m := newClient(t, []dialogtest.Option{{Key: "tls"}, {Key: "trusted"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	l := perform(t, m, "XCLIENT SESSION=one\r\n"+plainAlice).Login
	m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Refused}})
	perform(t, m, "XCLIENT SESSION=two\r\n")
	if got, want := l.Announced.Session, "one"; got != want {
		t.Errorf("got session %q, want %q", got, want)
	}
	if got, want := m.said.Session, "two"; got != want {
		t.Errorf("got session %q, want %q", got, want)
	}
}

// 20,000 silent clients are allowed (SPEC 2.1, max_preauth): what each of them costs is this struct.
func TestClientSideIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(ClientSide{}); size > 200 {
		t.Errorf("got %d bytes, want at most 200", size)
	}
	m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	perform(t, m, "CAPABILITY\r\nNOOP \"x\"\r\n")
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
	found := regexp.MustCompile("(?m)^\t?(?:const )?(\\w+) += `([^`]+)`").FindAllSubmatch(texts, -1)
	if len(found) < 30 {
		t.Fatalf("%d replies found in replies.go, want all", len(found))
	}
	for _, reply := range found {
		if !bytes.Contains(said, reply[2]) {
			t.Errorf("%s %q is in no transcript", reply[1], reply[2])
		}
	}
}

func TestClientStates(t *testing.T) {
	if got, want := len(clientStateNames), int(clientOver)+1; got != want {
		t.Errorf("%d names, want %d", got, want)
	}
	if got, want := newClient(t, nil).State(), "fresh"; got != want {
		t.Errorf("state %q, want %q", got, want)
	}
}

// SECURITY 7: a verdict's answer is one line and says what the verdict says, else it is worded by us.
func TestAnswerOr(t *testing.T) {
	for _, c := range []struct{ answer, want string }{
		{`NO (X) "text"`, `NO (X) "text"`},
		{`no "text"`, `no "text"`},
		{"NO", "NO"},
		{`NO "{5}"`, `NO "{5}"`},
		{"", "generic"},
		{`NOT "text"`, "generic"},
		{`OK "text"`, "generic"},
		{"NO {5}", "generic"},
		{"NO {5+}", "generic"},
		{"NO {-1}", "generic"},
		{"NO text\r\nBYE", "generic"},
		{"NO te\x00xt", "generic"},
	} {
		if got := answerOr([]byte(c.answer), "NO", "generic"); got != c.want {
			t.Errorf("%q: got %q, want %q", c.answer, got, c.want)
		}
	}
}

func TestCutStrings(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // joined by |; none: an error
	}{
		{``, ``},
		{`  `, ``},
		{`"a"`, `a`},
		{`"a" "b"`, `a|b`},
		{`"a" "b" `, `a|b`},
		{`"a\"b\\" ""`, `a"b\|`},
		{"{3+}\r\n\"\r\n \"b\"", "\"\r\n|b"},
		{"{3}\r\nab ", "ab "},
		{`"a" "b" "c"`, `none`},
		{`"a""b"`, `none`},
		{`"a"  "b"`, `none`},
		{` "a"`, `none`},
		{`a`, `none`},
		{`"a`, `none`},
		{`"a\n"`, `none`},
		{"{4+}\r\nab", `none`},
		{`{2+}`, `none`},
	} {
		list, err := cutStrings([]byte(c.args), 2)
		got := string(bytes.Join(list, []byte("|")))
		if err != nil {
			got = "none"
		}
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
}

// BenchmarkLogin measures a dialogue from greeting to the accepted login.
func BenchmarkLogin(b *testing.B) {
	o := &ClientOptions{Banner: "ready", Sieve: []string{"fileinto"}, Mechanisms: []sasl.Mechanism{sasl.Plain}}
	verdict := &dialog.Verdict{Outcome: dialog.Accepted, Answer: []byte(`OK "Logged in."`)}
	line := []byte(plainAlice)
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
