package pop3

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

// clientSuite replays what a client says. Options: starttls; allow-plain; tls; trusted; claim NAME; attempts N;
// maxline N; sasl NAMES; capa WORDS.
var clientSuite = dialogtest.Suite{Role: dialogtest.Server, New: newClient}

// newClient makes a machine as the options of a transcript say.
func newClient(tb testing.TB, options []dialogtest.Option) dialog.Machine {
	o := &ClientOptions{
		Banner:     "ready",
		Advertise:  []string{"TOP", "UIDL", "RESP-CODES", "PIPELINING"},
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
			o.MaxAttempts = number(tb, option.Value)
		case "maxline":
			o.MaxLineBytes = number(tb, option.Value)
		case "capa":
			o.Advertise = strings.Fields(option.Value)
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

func number(tb testing.TB, text string) int {
	tb.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestClientTranscripts(t *testing.T) { clientSuite.Run(t, "testdata/client-*.txt") }

// fuzzClients are the policies that a fuzz program may run under, chosen by its first number.
var fuzzClients = [][]dialogtest.Option{
	{{Key: "starttls"}},
	{{Key: "starttls"}, {Key: "allow-plain"}},
	{{Key: "tls"}},
	{{Key: "tls"}, {Key: "trusted"}, {Key: "attempts", Value: "30"}},
	{},
	{{Key: "starttls"}, {Key: "trusted"}, {Key: "maxline", Value: "100"}},
}

// FuzzClientSide holds the machine to the contract of package dialog and to SPEC 3: no login before TLS where policy
// forbids it, and no more memory than one command may have.
func FuzzClientSide(f *testing.F) {
	for _, seed := range clientSuite.Seeds(f, "testdata/client-*.txt") {
		for policy := range fuzzClients {
			f.Add(uint8(policy), seed.Data)
		}
	}
	f.Fuzz(fuzzClient)
}

// fuzzClient runs one program under one policy.
func fuzzClient(t *testing.T, policy uint8, data []byte) {
	options := fuzzClients[int(policy)%len(fuzzClients)]
	dialogtest.Fuzz(t, func() dialog.Machine { return newClient(t, options) }, data, dialogtest.FuzzOptions{
		OnAction: func(seen dialogtest.Seen) error { return judgeClient(options, seen) },
		Held:     heldByClient,
		MaxHeld:  sasl.MaxLineBytes + initialExtraBytes + sasl.MaxIdentifierBytes,
	})
}

// heldByClient adds up the buffers that input can fill.
func heldByClient(m dialog.Machine) int {
	c := m.(*ClientSide)
	held := len(c.in.Prefix())
	if c.try != nil {
		held += len(c.try.user)
	}
	return held
}

// judgeClient refuses what no client may bring about.
func judgeClient(options []dialogtest.Option, seen dialogtest.Seen) error {
	l := seen.Action.Login
	if l == nil {
		return nil
	}
	private, trusted := seen.TLS, false
	for _, option := range options {
		private = private || option.Key == "tls" || option.Key == "allow-plain"
		trusted = trusted || option.Key == "trusted"
	}
	clean := oneLine(l.AuthcID) && oneLine(l.AuthzID) && oneLine(l.Password) && oneLine(l.Frame)
	switch {
	case !private:
		return errors.New("login before TLS")
	case l.Announced != nil && !trusted:
		return errors.New("announcement by a peer that is not trusted")
	case !clean, len(l.Identifier) > sasl.MaxIdentifierBytes, !oneLine([]byte(l.Identifier)):
		return errors.New("login with forbidden bytes (SECURITY 8)")
	case l.Method == dialog.Password && l.Identifier == "":
		return errors.New("password login without an identifier")
	}
	return nil
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
		{"refused", "USER alice\r\nPASS sesame\r\n", func(m *ClientSide) {
			m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Refused}})
		}},
		{"accepted", "USER alice\r\nPASS sesame\r\n", func(m *ClientSide) {
			m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Accepted}})
		}},
		{"aborted", "AUTH LOGIN\r\nYWxpY2U=\r\n*\r\n", func(*ClientSide) {}},
		{"kicked in a password", "USER alice\r\nPASS ses", func(m *ClientSide) { m.Tell(dialog.Event{Kind: dialog.Kicked}) }},
		{"released behind USER", "USER alice\r\n", func(m *ClientSide) { m.Release() }},
		{"released in an exchange", "AUTH LOGIN\r\nYWxpY2U=\r\nc2Vz", func(m *ClientSide) { m.Release() }},
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

// A name is zeroed when another takes its place, and when an exchange begins instead.
func TestClientZeroesNameNobodyTook(t *testing.T) {
	for _, next := range []string{"USER bob\r\n", "AUTH PLAIN\r\n", "PASS\r\n", "APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n"} {
		m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
		m.Tell(dialog.Event{Kind: dialog.Begin})
		perform(t, m, "USER alice\r\n")
		name := m.try.user
		perform(t, m, next)
		if strings.Trim(string(name), "\x00") != "" {
			t.Errorf("%q: got %q, want zeroes", next, name)
		}
	}
}

// A login that is not taken because the session ends first is wiped, since nobody else can.
func TestClientWipesLoginNobodyTook(t *testing.T) {
	m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	perform(t, m, "USER alice\r\n")
	m.Feed([]byte("PASS sesame\r\n"))
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
		{"login", "", "AUTH XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\r\n"},
		{"relay", "AUTH XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\r\n", "AQ==\r\n"},
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

// A driver that has no verdict to give is taken to mean that nobody could judge.
func TestClientNoVerdict(t *testing.T) {
	m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	perform(t, m, "USER alice\r\nPASS sesame\r\n")
	m.Tell(dialog.Event{Kind: dialog.Decided})
	if got, want := string(m.Next().Bytes), errUnavailable+"\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The announcement of a login is its own: XCLIENT may change ours later.
func TestClientAnnouncementIsCopied(t *testing.T) {
	m := newClient(t, []dialogtest.Option{{Key: "tls"}, {Key: "trusted"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	l := perform(t, m, "XCLIENT SESSION=one\r\nUSER alice\r\nPASS sesame\r\n").Login
	m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Refused}})
	perform(t, m, "XCLIENT SESSION=two\r\n")
	if got := l.Announced.Session; got != "one" {
		t.Errorf("got session %q, want one", got)
	}
}

// 20,000 silent clients are allowed (SPEC 2.1, max_preauth): what each of them costs is this struct.
func TestClientSideIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(ClientSide{}); size > 200 {
		t.Errorf("got %d bytes, want at most 200", size)
	}
	m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	perform(t, m, "CAPA\r\nNOOP\r\n")
	if m.out != nil || m.try != nil || m.in.Prefix() != nil {
		t.Error("a quiet client holds a buffer, want none")
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

// TestReplies wants every text that the client side can send in some transcript, each with its CRLF bounds.
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
	found := regexp.MustCompile(`(?m)^\t?(?:const )?(\w+) += "((?:\+OK|-ERR) [^"]+)"`).FindAllSubmatch(texts, -1)
	if len(found) < 30 {
		t.Fatalf("%d replies found in replies.go, want all", len(found))
	}
	for _, reply := range found {
		if !bytes.Contains(said, append([]byte("\nS: "), append(reply[2], '\n')...)) {
			t.Errorf("%s %q is in no transcript", reply[1], reply[2])
		}
	}
}

// SECURITY 7: a verdict's answer is one line and says what the verdict says, else it is worded by us.
func TestAnswerOr(t *testing.T) {
	for _, c := range []struct{ answer, want string }{
		{"-ERR [X] text", "-ERR [X] text"},
		{"-ERR", "-ERR"},
		{"", "generic"},
		{"-err text", "generic"},
		{"-ERRtext", "generic"},
		{"+OK text", "generic"},
		{"-ERR text\r\n+OK", "generic"},
		{"-ERR te\x00xt", "generic"},
	} {
		if got := answerOr([]byte(c.answer), "-ERR", "generic"); string(got) != c.want {
			t.Errorf("%q: got %q, want %q", c.answer, got, c.want)
		}
	}
}

// BenchmarkLogin measures a dialogue from greeting to the accepted login.
func BenchmarkLogin(b *testing.B) {
	o := &ClientOptions{Banner: "ready", Advertise: []string{"TOP", "UIDL"}, Mechanisms: []sasl.Mechanism{sasl.Plain}}
	verdict := &dialog.Verdict{Outcome: dialog.Accepted, Answer: []byte("+OK Logged in.")}
	lines := [][]byte{[]byte("USER alice@example.org\r\n"), []byte("PASS sesame\r\n")}
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
		var l *dialog.Login
		for _, line := range lines {
			m.Feed(line)
			l = drain(m)
		}
		m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: verdict})
		drain(m)
		l.Wipe()
		m.Release()
	}
}
