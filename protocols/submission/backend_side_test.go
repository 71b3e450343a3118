package submission

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

// backends replays what a backend says. Options: starttls; hide; hostname; forward (CLIENT LOCAL SESSION TTL
// TLS|insecure); method; hello, authcid, authzid, password, frame (quoted as in Go); repeat-password N, repeat-frame N
// (make the value N bytes long); maxline, maxbytes.
var backends = dialogtest.Suite{Role: dialogtest.Client, New: newBackend}

func TestBackendTranscripts(t *testing.T) {
	backends.Run(t, "testdata/backend-*.txt")
}

func newBackend(tb testing.TB, options []dialogtest.Option) dialog.Machine {
	o := BackendOptions{Hostname: "mail.example.org"}
	l := &dialog.Login{Method: dialog.Password, AuthcID: []byte("alice"), Password: []byte("secret-alice"), Hello: "phone.example.org"}
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
	case "hostname":
		o.Hostname = opt.Value
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
	case "hello":
		l.Hello = string(unquoted(tb, opt.Value))
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

// TestBackendZeroes wants every byte of credentials zeroed: of a Write by the next call, of pieces that never went out
// by Release and by Close.
func TestBackendZeroes(t *testing.T) {
	for _, tc := range []struct {
		name, said string
		end        func(*BackendSide)
	}{
		{"release", "", (*BackendSide).Release},
		{"close", "", func(b *BackendSide) { b.Tell(dialog.Event{Kind: dialog.Expire}) }},
		{"refused", "535 no\r\n", func(*BackendSide) {}},
		{"broken", "junk\r\n", func(*BackendSide) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBackend(t, []dialogtest.Option{{Key: "repeat-password", Value: "20"}}).(*BackendSide)
			feed(t, b, "220 ready\r\n")
			feed(t, b, "250-backend\r\n250 AUTH LOGIN\r\n")
			drain(b)
			pieces := slices.Clone(b.pieces)
			if len(pieces) != 2 {
				t.Fatalf("%d pieces to come, want 2", len(pieces))
			}
			feed(t, b, "334 VXNlcm5hbWU6\r\n")
			user := b.Next()
			if got, want := string(user.Bytes), "YWxpY2U=\r\n"; got != want || !user.Secret {
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

// TestBackendKeepsLogin wants the caller's Login as it was.
func TestBackendKeepsLogin(t *testing.T) {
	l := &dialog.Login{Method: dialog.Password, AuthcID: []byte("alice"), Password: []byte("secret-alice")}
	b := NewBackendSide(BackendOptions{}, l)
	feed(t, b, "220 ready\r\n")
	feed(t, b, "250-backend\r\n250 AUTH PLAIN\r\n")
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
