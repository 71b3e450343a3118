package passthrough

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/dialog/dialogtest"
)

// backends replays what a backend says. Options: lmtp; starttls; hostname (default proxy.example.org); forward (CLIENT
// LOCAL SESSION TTL TLS|insecure); maxline, maxbytes.
var backends = dialogtest.Suite{Role: dialogtest.Client, New: newBackend}

func TestBackendTranscripts(t *testing.T) { backends.Run(t, "testdata/backend-*.txt") }

func newBackend(tb testing.TB, options []dialogtest.Option) dialog.Machine {
	o := Options{Hostname: "proxy.example.org"}
	for _, opt := range options {
		switch opt.Key {
		case "lmtp":
			o.LMTP = true
		case "starttls":
			o.StartTLS = true
		case "hostname":
			o.Hostname = opt.Value
		case "forward":
			f := strings.Fields(opt.Value)
			o.Forward = &dialog.Forwarding{Client: endpoint(f[0]), Local: endpoint(f[1]), Session: f[2], TTL: number(tb, f[3]), TLS: f[4] == "TLS"}
		case "maxline":
			o.MaxLineBytes = number(tb, opt.Value)
		case "maxbytes":
			o.MaxBytes = number(tb, opt.Value)
		default:
			tb.Fatalf("option %q is unknown", opt.Key)
		}
	}
	return NewBackendSide(o)
}

// endpoint leaves what does not parse invalid: "-" is an address that is not known.
func endpoint(text string) netip.AddrPort {
	a, _ := netip.ParseAddrPort(text)
	return a
}

func number(tb testing.TB, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestParseReply(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		last bool
	}{
		{"220 mx ESMTP", 220, true},
		{"220-mx ESMTP", 220, false},
		{"220", 220, true},
		{"220 ", 220, true},
		{"220-", 220, false},
		{"599 x", 599, true},
	} {
		if code, last, ok := parseReply([]byte(c.line)); code != c.code || last != c.last || !ok {
			t.Errorf("%q: got %d %t %t, want %d %t", c.line, code, last, ok, c.code, c.last)
		}
	}
	for _, line := range []string{"", "2", "22", "22 x", "2200", "220x", "220\tx", "120 x", "620 x", "2a0 x", "22a x", "-20 x", "* OK", "+OK"} {
		if code, _, ok := parseReply([]byte(line)); ok {
			t.Errorf("%q: got %d, want it refused", line, code)
		}
	}
}

func TestDomain(t *testing.T) {
	for _, c := range []struct{ hostname, want string }{
		{"mx.example.org", "mx.example.org"},
		{"192.0.2.1", "[192.0.2.1]"},
		{"::ffff:192.0.2.1", "[192.0.2.1]"},
		{"2001:db8::1", "[IPv6:2001:db8::1]"},
		{"fe80::1%eth0", "[IPv6:fe80::1]"},
		{"", "localhost"},
		{"a b", "localhost"},
		{"a\r\nQUIT", "localhost"},
		{"m\xc3\xa4il", "localhost"},
		{strings.Repeat("x", 256), "localhost"},
	} {
		if got := domain(c.hostname); got != c.want {
			t.Errorf("%q: got %q, want %q", c.hostname, got, c.want)
		}
	}
}

func TestStates(t *testing.T) {
	if got, want := len(backendStateNames), int(backendOver)+1; got != want {
		t.Errorf("%d names of backend states, want %d", got, want)
	}
	if got, want := len(clientStateNames), int(clientOver)+1; got != want {
		t.Errorf("%d names of client states, want %d", got, want)
	}
	b, c := NewBackendSide(Options{StartTLS: true}), NewClientSide("")
	for _, want := range []string{"fresh fresh", "greeting waiting"} {
		if got := b.State() + " " + c.State(); got != want {
			t.Errorf("states %q, want %q", got, want)
		}
		b.Tell(dialog.Event{Kind: dialog.Begin})
		c.Tell(dialog.Event{Kind: dialog.Begin})
	}
	b.Release()
	c.Release()
	if got, want := b.State()+" "+c.State(), "over over"; got != want {
		t.Errorf("states after Release %q, want %q", got, want)
	}
}

// fuzzBackends are the ways in which the fuzzer sets a machine up, by their number.
var fuzzBackends = [][]dialogtest.Option{
	{{Key: "forward", Value: "192.0.2.7:40000 198.51.100.1:25 s1 6 insecure"}},
	{{Key: "forward", Value: "[2001:db8::7]:40000 [2001:db8::1]:25 s1 6 TLS"}, {Key: "starttls"}},
	{{Key: "starttls"}, {Key: "lmtp"}},
	{{Key: "forward", Value: "192.0.2.7:40000 [2001:db8::1]:25 s+ 6 TLS"}, {Key: "lmtp"}, {Key: "maxline", Value: "100"}, {Key: "maxbytes", Value: "400"}},
	nil,
}

// FuzzBackendSide lets a backend say anything, in any order with anything that can happen outside.
func FuzzBackendSide(f *testing.F) {
	for _, s := range backends.Seeds(f, "testdata/backend-*.txt") {
		for setting := range fuzzBackends {
			f.Add(uint8(setting), s.Data)
		}
	}
	f.Fuzz(func(t *testing.T, setting uint8, data []byte) {
		options := fuzzBackends[int(setting)%len(fuzzBackends)]
		dialogtest.Fuzz(t, func() dialog.Machine { return newBackend(t, options) }, data, dialogtest.FuzzOptions{
			MaxOutput: 2 << 10,
			OnAction:  func(s dialogtest.Seen) error { return judgeBackend(s, options) },
			Held: func(m dialog.Machine) int {
				b := m.(*BackendSide)
				return len(b.reader.Prefix()) + len(b.notes) + len(b.out)
			},
			MaxHeld: defaultBytes + defaultLineBytes + 2<<10,
		})
	})
}

// judgeBackend says what no backend may bring the machine to do.
func judgeBackend(s dialogtest.Seen, options []dialogtest.Option) error {
	has := func(key string) bool {
		return slices.ContainsFunc(options, func(o dialogtest.Option) bool { return o.Key == key })
	}
	a := s.Action
	insecure := has("starttls") && !s.TLS
	switch {
	case a.Secret:
		return errors.New("a secret where there is none")
	case a.Kind == dialog.Write && insecure && bytes.Contains(a.Bytes, []byte("ADDR")):
		return errors.New("client announced before TLS")
	case a.Kind == dialog.StartTLS && !has("starttls"):
		return errors.New("TLS on a leg that is to have none")
	case a.Kind == dialog.Done && insecure && a.Verdict.Outcome != dialog.Unavailable:
		return errors.New("a client joined before TLS")
	case a.Kind == dialog.Done:
		return judgeVerdict(a.Verdict, has("forward"), has("starttls"))
	}
	return nil
}

// judgeVerdict wants a whole reply for the client, of the code that fits the outcome, and none that came before TLS.
func judgeVerdict(v *dialog.Verdict, forward, starttls bool) error {
	code, last, ok := parseReply(v.Answer)
	rest := bytes.ReplaceAll(v.Before, []byte("\r\n"), nil)
	switch {
	case bytes.ContainsAny(v.Answer, "\r\n\x00"), bytes.ContainsAny(rest, "\r\n\x00"), len(v.Before) > 0 && !bytes.HasSuffix(v.Before, []byte("\r\n")):
		return errors.New("greeting is not whole lines")
	case v.Outcome == dialog.Unavailable && len(v.Answer)+len(v.Before) > 0:
		return errors.New("a backend that takes nobody is quoted")
	case v.Outcome == dialog.Unavailable:
		return nil
	case !forward && !starttls && len(v.Answer) == 0 && v.Outcome == dialog.Accepted:
		return nil
	case !ok || !last || (code == 220) != (v.Outcome == dialog.Accepted):
		return errors.New("greeting and outcome differ")
	case !forward && string(v.Answer) != "220 proxy.example.org LMTP ready":
		return errors.New("a greeting that is not ours")
	}
	return nil
}
