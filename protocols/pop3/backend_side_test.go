package pop3

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

// backends replays what a backend says. Options: starttls; hide; forward (CLIENT LOCAL SESSION TTL TLS|insecure); utf8;
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
	case "utf8":
		l.UTF8 = true
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
	tb.Helper()
	if !strings.HasPrefix(text, `"`) {
		return []byte(text)
	}
	s, err := strconv.Unquote(text)
	if err != nil {
		tb.Fatalf("option value %s: %v", text, err)
	}
	return []byte(s)
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
		{"refused", "-ERR no\r\n", func(*BackendSide) {}},
		{"broken", "junk\r\n", func(*BackendSide) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBackend(t, []dialogtest.Option{{Key: "repeat-password", Value: "20"}}).(*BackendSide)
			feed(t, b, "+OK ready\r\n")
			drain(b)
			feed(t, b, "-ERR what?\r\n")
			pieces := slices.Clone(b.pieces)
			user := b.Next()
			if got, want := string(user.Bytes), "USER alice\r\n"; got != want || !user.Secret || len(pieces) != 1 {
				t.Fatalf("wrote %q, secret %t, %d pieces left, want %q, secret, 1", got, user.Secret, len(pieces), want)
			}
			b.Next()
			pieces = append(pieces, piece{text: user.Bytes})
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

// TestBackendKeepsLogin wants the caller's Login as it was.
func TestBackendKeepsLogin(t *testing.T) {
	for _, capa := range []string{"+OK\r\nSASL PLAIN\r\n.\r\n", "+OK\r\nSASL LOGIN\r\n.\r\n+ x\r\n+ x\r\n", "-ERR\r\n+OK\r\n"} {
		l := &dialog.Login{Method: dialog.Password, AuthcID: []byte("alice"), Password: []byte("secret-alice")}
		b := NewBackendSide(BackendOptions{}, l)
		for line := range strings.Lines("+OK ready\r\n" + capa) {
			feed(t, b, line)
			drain(b)
		}
		b.Release()
		if got, want := string(l.AuthcID)+" "+string(l.Password), "alice secret-alice"; got != want {
			t.Errorf("%q: login is %q, want %q", capa, got, want)
		}
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

// SECURITY 27: which refusals are for now only.
func TestTemporary(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{"[SYS/TEMP] later", true},
		{"[sys/temp] later", true},
		{"[SYS/TEMP/DISK] later", true},
		{"[IN-USE] locked", true},
		{"[IN-USE]", true},
		{"[LOGIN-DELAY] wait", true},
		{"[AUTH] no", false},
		{"[SYS/PERM] no", false},
		{"[SYS/TEMPORAL] no", false},
		{"[SYS/TEMP no", false},
		{"no [SYS/TEMP] here", false},
		{"", false},
	} {
		if got := temporary([]byte(c.text)); got != c.want {
			t.Errorf("%q: got %t, want %t", c.text, got, c.want)
		}
	}
}

func TestParseCapability(t *testing.T) {
	for _, c := range []struct {
		line string
		want backendCaps
	}{
		{"STLS", capSTLS},
		{"stls", capSTLS},
		{"USER", capUser},
		{"UTF8 USER", capUTF8},
		{"SASL PLAIN LOGIN", capPlain | capLogin},
		{"SASL  xoauth2 OAUTHBEARER CRAM-MD5", capXOAuth2 | capOAuthBearer},
		{"SASL", 0},
		{"", 0},
		{" ", 0},
		{"TOP", 0},
		{"PLAIN STLS", 0},
		{"SASL-IR PLAIN", 0},
	} {
		if got := parseCapability([]byte(c.line)); got != c.want {
			t.Errorf("%q: got %b, want %b", c.line, got, c.want)
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
