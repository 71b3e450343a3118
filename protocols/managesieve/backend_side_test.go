package managesieve

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/dialog/dialogtest"
)

// backends replays what a backend says. Options: starttls; hide; forward (CLIENT LOCAL SESSION TTL TLS|insecure);
// method; authcid, authzid, password, frame (quoted as in Go); repeat-password N, repeat-frame N (make the value N bytes
// long); maxline, maxbytes.
var backends = dialogtest.Suite{Role: dialogtest.Client, New: newBackend}

func TestBackendTranscripts(t *testing.T) {
	backends.Run(t, "testdata/backend-*.txt")
}

func newBackend(tb testing.TB, options []dialogtest.Option) dialog.Machine {
	o, l := BackendOptions{}, &dialog.Login{Method: dialog.Password, AuthcID: []byte("alice"), Password: []byte("secret-alice")}
	for _, opt := range options {
		if !setBackend(tb, &o, opt) && !setLogin(tb, l, opt) {
			tb.Fatalf("option %q is unknown", opt.Key)
		}
	}
	return NewBackendSide(o, l)
}

func setBackend(tb testing.TB, o *BackendOptions, opt dialogtest.Option) bool {
	switch opt.Key {
	case "starttls":
		o.StartTLS = true
	case "hide":
		o.HideRefusals = true
	case "forward":
		f := strings.Fields(opt.Value)
		o.Forward = &dialog.Forwarding{
			Client: parseAddr(f[0]), Local: parseAddr(f[1]),
			Session: f[2], TTL: number(tb, f[3]), TLS: f[4] == "TLS",
		}
	case "maxline":
		o.MaxLineBytes = number(tb, opt.Value)
	case "maxbytes":
		o.MaxBytes = number(tb, opt.Value)
	default:
		return false
	}
	return true
}

// parseAddr leaves an address that does not parse invalid: "-" is one that is not known.
func parseAddr(text string) netip.AddrPort {
	a, _ := netip.ParseAddrPort(text)
	return a
}

func setLogin(tb testing.TB, l *dialog.Login, opt dialogtest.Option) bool {
	switch opt.Key {
	case "method":
		l.Method = map[string]dialog.Method{"oauthbearer": dialog.OAuthBearer, "xoauth2": dialog.XOAuth2}[opt.Value]
	case "authcid":
		l.AuthcID = unquoted(tb, opt.Value)
	case "authzid":
		l.AuthzID = unquoted(tb, opt.Value)
	case "password":
		l.Password = unquoted(tb, opt.Value)
	case "frame":
		l.Frame = unquoted(tb, opt.Value)
	case "repeat-password":
		l.Password = []byte(strings.Repeat("p", number(tb, opt.Value)))
	case "repeat-frame":
		l.Frame = []byte(strings.Repeat("f", number(tb, opt.Value)))
	default:
		return false
	}
	return true
}

func unquoted(tb testing.TB, text string) []byte {
	if !strings.HasPrefix(text, `"`) {
		return []byte(text)
	}
	s, err := strconv.Unquote(text)
	if err != nil {
		tb.Fatalf("option value %s: %v", text, err)
	}
	return []byte(s)
}

func number(tb testing.TB, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// TestBackendZeroes wants every byte of credentials zeroed: of a Write by the next call, of pieces that never went out
// by Release and by Close.
func TestBackendZeroes(t *testing.T) {
	for _, tc := range []struct {
		name, said string
		end        func(*BackendSide)
	}{
		{"release", "", (*BackendSide).Release},
		{"close", "", func(b *BackendSide) { b.Tell(dialog.Event{Kind: dialog.Expire}) }},
		{"refused", "NO \"no\"\r\n", func(*BackendSide) {}},
		{"broken", "junk\r\n", func(*BackendSide) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBackend(t, []dialogtest.Option{{Key: "repeat-password", Value: "20"}}).(*BackendSide)
			feed(t, b, "\"SASL\" \"LOGIN\"\r\nOK\r\n")
			drain(b)
			pieces := slices.Clone(b.pieces)
			feed(t, b, "\"VXNlcm5hbWU6\"\r\n")
			user := b.Next()
			if got, want := string(user.Bytes), "\"YWxpY2U=\"\r\n"; got != want || !user.Secret {
				t.Fatalf("wrote %q, secret %t, want %q, secret", got, user.Secret, want)
			}
			if tc.said != "" {
				feed(t, b, tc.said)
			}
			tc.end(b)
			for _, p := range pieces {
				if len(bytes.Trim(p.text, "\x00")) > 0 {
					t.Errorf("%q is left in memory", p.text)
				}
			}
		})
	}
}

// TestBackendPiecesStay wants every piece made in the slice it began in: one that append moves leaves credentials behind.
func TestBackendPiecesStay(t *testing.T) {
	for _, size := range []string{"0", "1", "740", "760", "770", "6000", "6200", "9000"} {
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			b := newBackend(t, []dialogtest.Option{{Key: "repeat-password", Value: size}}).(*BackendSide)
			feed(t, b, "\"SASL\" \""+mechanism+"\"\r\nOK\r\n")
			for _, p := range append(b.pieces, b.out) {
				if spare := cap(p.text) - len(p.text); p.secret && spare > 64 {
					t.Errorf("%s, password of %s: %d bytes to spare, want the slice made to measure", mechanism, size, spare)
				}
			}
		}
	}
}

// TestBackendKeepsLogin wants the caller's Login as it was.
func TestBackendKeepsLogin(t *testing.T) {
	l := &dialog.Login{Method: dialog.Password, AuthcID: []byte("alice"), Password: []byte("secret-alice")}
	b := NewBackendSide(BackendOptions{}, l)
	feed(t, b, "\"SASL\" \"PLAIN\"\r\nOK\r\n")
	drain(b)
	b.Release()
	if got, want := string(l.AuthcID)+" "+string(l.Password), "alice secret-alice"; got != want {
		t.Errorf("login is %q, want %q", got, want)
	}
}

func TestBackendStates(t *testing.T) {
	if got, want := len(backendStateNames), int(backendOver)+1; got != want {
		t.Errorf("%d names, want %d", got, want)
	}
	if got, want := NewBackendSide(BackendOptions{}, &dialog.Login{}).State(), "greeting"; got != want {
		t.Errorf("state %q, want %q", got, want)
	}
}

func TestParseResponse(t *testing.T) {
	for _, c := range []struct {
		text   string
		status backendStatus
		answer string // what the client would be told; none: no response
	}{
		{`OK`, statusOK, `OK`},
		{`ok `, statusOK, `OK`},
		{`OK "in"`, statusOK, `OK "in"`},
		{`OK "in" `, statusOK, `OK "in"`},
		{`NO`, statusNo, ``},
		{`NO ""`, statusNo, ``},
		{`NO (X/Y "a)b" (c)) "t"`, statusNo, `NO (X/Y "a)b" (c)) "t"`},
		{`NO (X)`, statusNo, `NO (X)`},
		{`NO ()`, statusNo, ``},
		{"NO (X {2}\r\n)\n) \"t\"", statusNo, `NO "t"`},
		{"NO {7}\r\na\r\n \"\\b", statusNo, `NO "a  \"\\b"`},
		{"NO {3}\r\n\x00\xff\x01", statusNo, "NO \" \uFFFD \""},
		{`NO (REFERRAL "sieve://other") "t"`, statusNo, `NO "t"`},
		{`OK (SASL "cnNwYXV0aA==")`, statusOK, `OK`},
		{`BYE (REFERRAL "sieve://other")`, statusBye, ``},
		{`OKAY`, 0, `none`},
		{`OK in`, 0, `none`},
		{`OK "in" "side"`, 0, `none`},
		{`OK "in`, 0, `none`},
		{`OK (X "t"`, 0, `none`},
		{`OK (X) (Y) "t"`, 0, `none`},
		{`OK (X)"t"`, 0, `none`},
		{`OK ({1} "t")`, 0, `none`},
		{`* OK in`, 0, `none`},
		{``, 0, `none`},
		{`"a"b`, 0, `none`},
	} {
		r, ok := parseResponse([]byte(c.text))
		if got := string(r.answer()); !ok && c.answer != "none" || ok && (got != c.answer || r.status != c.status) {
			t.Errorf("%q: got %t, status %d, answer %q, want status %d, answer %q", c.text, ok, r.status, got, c.status, c.answer)
		}
	}
}

// TestAppendText wants a text cut so that it fits between the quotes (RFC 5804 4).
func TestAppendText(t *testing.T) {
	for _, unit := range []string{"a", `"`, `\`, "ö", "€", "\U0001F600", "\xff"} {
		text := appendText(nil, bytes.Repeat([]byte(unit), 2000))
		if inner := len(text) - 2; inner > maxQuoted || inner < maxQuoted-8 {
			t.Errorf("%q: %d bytes between the quotes, want at most %d and few less", unit, inner, maxQuoted)
		}
		if list, err := cutStrings(text, 1); err != nil || len(list) != 1 {
			t.Errorf("%q: %q is no string", unit, text[len(text)-10:])
		}
	}
}

// feed has the machine consume all of text.
func feed(t *testing.T, m dialog.Machine, text string) {
	t.Helper()
	for p := []byte(text); len(p) > 0; {
		n := m.Feed(p)
		if n == 0 {
			t.Fatalf("%q is not consumed in state %s", p, m.State())
		}
		p = p[n:]
	}
}

// drain takes actions until there are none.
func drain(m dialog.Machine) {
	for m.Next().Kind != dialog.None {
	}
}
