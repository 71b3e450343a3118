package submission

import (
	"bytes"
	"errors"
	"net/netip"
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

// clients replays what a client says. Options: starttls, allow-plain, tls, trusted; hostname and facts-hostname; claim;
// attempts; sasl and ehlo with a list; maxline, maxcommand.
var clients = dialogtest.Suite{Role: dialogtest.Server, New: newClient}

// newClient makes a machine as the options of a transcript say.
func newClient(tb testing.TB, options []dialogtest.Option) dialog.Machine {
	o := &ClientOptions{
		Hostname:   "mail.example.org",
		Banner:     "ready",
		Advertise:  []string{"ENHANCEDSTATUSCODES", "8BITMIME", "PIPELINING", "SIZE"},
		Mechanisms: []sasl.Mechanism{sasl.Plain, sasl.Login, sasl.OAuthBearer, sasl.XOAuth2},
	}
	var f ClientFacts
	for _, option := range options {
		if !setPolicy(o, &f, option) && !setClient(tb, o, &f, option) {
			tb.Fatalf("option %q is unknown", option.Key)
		}
	}
	return NewClientSide(o, f)
}

// setPolicy takes an option that has no value.
func setPolicy(o *ClientOptions, f *ClientFacts, option dialogtest.Option) bool {
	switch option.Key {
	case "starttls":
		o.StartTLSOffered = true
	case "allow-plain":
		o.AllowPlainAuth = true
	case "tls":
		f.TLS = true
	case "trusted":
		f.TrustedPeer = true
	default:
		return false
	}
	return true
}

// setClient takes an option that has one.
func setClient(tb testing.TB, o *ClientOptions, f *ClientFacts, option dialogtest.Option) bool {
	switch option.Key {
	case "hostname":
		o.Hostname = option.Value
	case "facts-hostname":
		f.Hostname = option.Value
	case "claim":
		o.TokenClaim = option.Value
	case "attempts":
		o.MaxAttempts = number(tb, option.Value)
	case "maxline":
		o.MaxLineBytes = number(tb, option.Value)
	case "maxcommand":
		o.MaxCommandBytes = number(tb, option.Value)
	case "ehlo":
		o.Advertise = strings.Fields(option.Value)
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

func number(tb testing.TB, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestClientTranscripts(t *testing.T) { clients.Run(t, "testdata/client-*.txt") }

// fuzzOptions are the policies that a fuzz program may run under, chosen by its first number.
var fuzzOptions = [][]dialogtest.Option{
	{{Key: "starttls"}},
	{{Key: "starttls"}, {Key: "allow-plain"}},
	{{Key: "tls"}},
	{{Key: "tls"}, {Key: "trusted"}, {Key: "attempts", Value: "30"}},
	{{Key: "starttls"}, {Key: "trusted"}},
	{},
}

// FuzzClientSide holds the machine to the contract of package dialog and to SPEC 3: no login before TLS where policy
// forbids it, and no more memory than one command may have.
func FuzzClientSide(f *testing.F) {
	for _, seed := range clients.Seeds(f, "testdata/client-*.txt") {
		for policy := range fuzzOptions {
			f.Add(uint8(policy), seed.Data)
		}
	}
	f.Fuzz(func(t *testing.T, policy uint8, data []byte) {
		options := fuzzOptions[int(policy)%len(fuzzOptions)]
		dialogtest.Fuzz(t, func() dialog.Machine { return newClient(t, options) }, data, dialogtest.FuzzOptions{
			OnAction: func(seen dialogtest.Seen) error { return judgeAction(options, seen) },
			Held:     func(m dialog.Machine) int { return len(m.(*ClientSide).in.Prefix()) },
			MaxHeld:  sasl.MaxLineBytes + initialExtraBytes,
		})
	})
}

// judgeAction refuses what no client may bring about.
func judgeAction(options []dialogtest.Option, seen dialogtest.Seen) error {
	if a := seen.Action; a.Kind == dialog.Write || a.Kind == dialog.StartTLS {
		return judgeReplies(a.Bytes)
	}
	l := seen.Action.Login
	if l == nil {
		return nil
	}
	private, fromTrusted := seen.TLS, false
	for _, option := range options {
		private = private || option.Key == "tls" || option.Key == "allow-plain"
		fromTrusted = fromTrusted || option.Key == "trusted"
	}
	switch {
	case !private:
		return errors.New("login before TLS")
	case l.Announced != nil && !fromTrusted:
		return errors.New("announcement by a peer that is not trusted")
	case l.Hello != "" && !repeatable(l.Hello):
		return errors.New("a name that no backend can be told")
	case !oneLine(l.AuthcID) || !oneLine(l.AuthzID) || !oneLine(l.Password) || !oneLine(l.Frame):
		return errors.New("login with forbidden bytes") // SECURITY 8
	}
	return nil
}

// judgeReplies wants well-formed replies and nothing else.
func judgeReplies(text []byte) error {
	code := ""
	for line := range bytes.Lines(text) {
		r, ok := parseReply(bytes.TrimSuffix(line, []byte("\r\n")))
		switch {
		case !ok:
			return errors.New("a line that is no reply")
		case code != "" && !r.is(code):
			return errors.New("a reply with two codes")
		}
		if code = string(r.code[:]); r.last {
			code = ""
		}
	}
	if code != "" {
		return errors.New("a reply without an end")
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
		{"refused", "AUTH PLAIN AGFsaWNlAHNlc2FtZQ==\r\n", func(m *ClientSide) {
			m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Refused}})
		}},
		{"accepted", "AUTH LOGIN\r\nYWxpY2U=\r\nc2VzYW1l\r\n", func(m *ClientSide) {
			m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Accepted}})
		}},
		{"no verdict", "AUTH PLAIN AGFsaWNlAHNlc2FtZQ==\r\n", func(m *ClientSide) { m.Tell(dialog.Event{Kind: dialog.Decided}) }},
		{"aborted", "AUTH LOGIN\r\nYWxpY2U=\r\n*\r\n", func(*ClientSide) {}},
		{"kicked in a line", "AUTH PLAIN AGFsaWN", func(m *ClientSide) { m.Tell(dialog.Event{Kind: dialog.Kicked}) }},
		{"released in an exchange", "AUTH LOGIN\r\nYWxpY2U=\r\nc2Vz", func(m *ClientSide) { m.Release() }},
	} {
		m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
		m.Tell(dialog.Event{Kind: dialog.Begin})
		perform(t, m, "EHLO phone.example.org\r\n")
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
	perform(t, m, "EHLO phone.example.org\r\n")
	m.Feed([]byte("AUTH PLAIN AGFsaWNlAHNlc2FtZQ==\r\n"))
	password := m.try.login.Password
	m.Tell(dialog.Event{Kind: dialog.Kicked})
	if strings.Trim(string(password), "\x00") != "" {
		t.Errorf("got %q, want zeroes", password)
	}
}

// Events may come before the driver has taken an action; what belonged to the attempt is then not handed out any more.
func TestClientVerdictBeforeAction(t *testing.T) {
	verdict := dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Refused}}
	const auth = "AUTH XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\r\n"
	for _, c := range []struct{ name, text, answer string }{
		{"login", "", auth},
		{"relay", auth, "AQ==\r\n"},
	} {
		m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
		m.Tell(dialog.Event{Kind: dialog.Begin})
		perform(t, m, "EHLO phone.example.org\r\n"+c.text)
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

// A login holds what was announced when it was made, whatever the peer announces later.
func TestClientAnnouncementIsNotChanged(t *testing.T) {
	m := newClient(t, []dialogtest.Option{{Key: "tls"}, {Key: "trusted"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	perform(t, m, "XCLIENT ADDR=192.0.2.7 PORT=4567\r\nEHLO phone.example.org\r\n")
	l := perform(t, m, "AUTH PLAIN AGFsaWNlAHNlc2FtZQ==\r\n").Login
	if l == nil {
		t.Fatal("no login")
	}
	m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: &dialog.Verdict{Outcome: dialog.Refused}})
	perform(t, m, "XCLIENT ADDR=198.51.100.9\r\n")
	if got, want := l.Announced.Client, netip.MustParseAddrPort("192.0.2.7:4567"); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := m.announced.Client, netip.MustParseAddrPort("198.51.100.9:4567"); got != want {
		t.Errorf("later: got %v, want %v", got, want)
	}
}

// 20,000 silent clients are allowed (SPEC 2.1, max_preauth): what each of them costs is this struct.
func TestClientSideIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(ClientSide{}); size > 200 {
		t.Errorf("got %d bytes, want at most 200", size)
	}
	m := newClient(t, []dialogtest.Option{{Key: "tls"}}).(*ClientSide)
	m.Tell(dialog.Event{Kind: dialog.Begin})
	perform(t, m, "EHLO phone.example.org\r\nNOOP\r\n")
	if m.out != nil || m.try != nil || m.in.Prefix() != nil {
		t.Error("a quiet client holds a buffer, want none")
	}
}

func TestClientStates(t *testing.T) {
	if got, want := len(clientStateNames), int(clientOver)+1; got != want {
		t.Errorf("%d names, want %d", got, want)
	}
	m := newClient(t, nil).(*ClientSide)
	if got, want := m.State(), "fresh"; got != want {
		t.Errorf("state %q, want %q", got, want)
	}
	m.Tell(dialog.Event{Kind: dialog.Begin})
	if got := m.Feed(nil); got != 0 || m.State() != "ready" {
		t.Errorf("%d consumed of nothing in state %q, want 0 in ready", got, m.State())
	}
	m.Release() // with the greeting still to be written
	if got := m.Feed([]byte("NOOP\r\n")); got != 0 || m.out != nil || m.State() != "over" {
		t.Errorf("%d consumed in state %q, output %v, want nothing and over", got, m.State(), m.out)
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
	found := regexp.MustCompile(`(?m)^\t?(?:const )?(\w+) += "(\d\d\d [^"]+)"`).FindAllSubmatch(texts, -1)
	if len(found) < 30 {
		t.Fatalf("%d replies found in replies.go, want all", len(found))
	}
	for _, reply := range found {
		if !bytes.Contains(said, append([]byte("S: "), reply[2]...)) {
			t.Errorf("%s %q is in no transcript", reply[1], reply[2])
		}
	}
}

// BenchmarkLogin measures a dialogue from greeting to the accepted login.
func BenchmarkLogin(b *testing.B) {
	o := &ClientOptions{Hostname: "mail.example.org", Banner: "ready", Advertise: []string{"PIPELINING"}, Mechanisms: []sasl.Mechanism{sasl.Plain}}
	verdict := &dialog.Verdict{Outcome: dialog.Accepted, Answer: []byte("235 2.7.0 Authentication successful")}
	hello, line := []byte("EHLO phone.example.org\r\n"), []byte("AUTH PLAIN AGFsaWNlAHNlc2FtZQ==\r\n")
	take := func(m *ClientSide) (l *dialog.Login) {
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
		take(m)
		m.Feed(hello)
		take(m)
		m.Feed(line)
		l := take(m)
		m.Tell(dialog.Event{Kind: dialog.Decided, Verdict: verdict})
		take(m)
		l.Wipe()
		m.Release()
	}
}
