package mailfake

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var users = map[string]string{"alice": `se"cr\et`, "bob": "pass word"}

// logins are all forms that a login can have; each says how it must be recorded.
var logins = []struct {
	name, method, form string
	do                 func(c *Client, user, password string) (Reply, error)
}{
	{"quoted", "LOGIN", "quoted", func(c *Client, u, p string) (Reply, error) {
		return c.Command("LOGIN " + Quote(u) + " " + Quote(p))
	}},
	{"literal", "LOGIN", "literal", (*Client).LoginLiteral},
	{"literal+", "LOGIN", "literal+", (*Client).LoginLiteralPlus},
	{"plain initial", "PLAIN", "initial", func(c *Client, u, p string) (Reply, error) {
		return c.Authenticate("PLAIN", InitialResponse, PlainFrame("", u, p))
	}},
	{"plain prompted", "PLAIN", "prompted", func(c *Client, u, p string) (Reply, error) {
		return c.Authenticate("PLAIN", Prompted, PlainFrame("", u, p))
	}},
	{"login", "LOGIN", "prompted", func(c *Client, u, p string) (Reply, error) {
		return c.Authenticate("LOGIN", Prompted, u, p)
	}},
	{"login initial", "LOGIN", "initial", func(c *Client, u, p string) (Reply, error) {
		return c.Authenticate("LOGIN", InitialResponse, u, p)
	}},
	{"xoauth2", "XOAUTH2", "initial", func(c *Client, u, p string) (Reply, error) {
		return c.Authenticate("XOAUTH2", InitialResponse, XOAuth2Frame(u, p))
	}},
	{"oauthbearer", "OAUTHBEARER", "prompted", func(c *Client, u, p string) (Reply, error) {
		return c.Authenticate("OAUTHBEARER", Prompted, OAuthBearerFrame(u, p))
	}},
}

func TestLoginAccepted(t *testing.T) {
	for _, l := range logins {
		t.Run(l.name, func(t *testing.T) {
			b := newBackend(t, Options{Name: "legacy", Accounts: users})
			c := dial(t, b)
			r := must[Reply](t)(l.do(c, "alice", users["alice"]))
			if want := "OK [CAPABILITY " + defaultCapsAfter + "] Logged in on legacy"; r.String() != want {
				t.Fatalf("got %q, want %q", r, want)
			}
			if got := must[string](t)(c.Landed()); got != "legacy" {
				t.Errorf("landed on %q, want legacy", got)
			}
			got := b.Logins()[0]
			if got.Account != "alice" || got.Method != l.method || got.Form != l.form || got.Attempts != 1 {
				t.Errorf("got record %+v, want alice by %s %s", got, l.method, l.form)
			}
		})
	}
}

func TestLoginRefusedThenAnother(t *testing.T) {
	for _, l := range logins {
		t.Run(l.name, func(t *testing.T) {
			b := newBackend(t, Options{Accounts: users})
			c := dial(t, b)
			r := must[Reply](t)(l.do(c, "alice", "wrong"))
			if want := "NO [AUTHENTICATIONFAILED] Authentication failed."; r.String() != want {
				t.Fatalf("got %q, want %q", r, want)
			}
			ok(t, c.Login("bob", users["bob"]))
			if got := b.Counts(); got.Refused != 1 || got.Accepted != 1 || got.LoggedIn != 1 {
				t.Errorf("got %+v, want one of each", got)
			}
		})
	}
}

func TestOAuthRefusalHasChallenge(t *testing.T) {
	b := newBackend(t, Options{Accounts: users})
	for _, initial := range []Initial{Prompted, InitialResponse} {
		c := dial(t, b)
		r := must[Reply](t)(c.Authenticate("XOAUTH2", initial, XOAuth2Frame("alice", "expired")))
		last := r.Untagged[len(r.Untagged)-1]
		got, err := decode64(strings.TrimPrefix(last, "+ "))
		if err != nil || got != Refuse().Challenge || r.Status != "NO" {
			t.Errorf("got challenge %q (%v) and %q, want %q and NO", got, err, r, Refuse().Challenge)
		}
	}
}

func TestRefusedCommands(t *testing.T) {
	o := Options{Accounts: users, Capabilities: "IMAP4rev1 AUTH=PLAIN LOGINDISABLED"}
	for _, tc := range []struct{ send, want string }{
		{"a LOGIN alice x", "a NO [PRIVACYREQUIRED]"},
		{"a LOGIN alice", "a BAD"},
		{"a AUTHENTICATE CRAM-MD5", "a NO [CANNOT]"},
		{"a AUTHENTICATE PLAIN AGEAYg==", "a BAD"}, // no SASL-IR
		{"a SELECT INBOX", "a BAD"},
		{"a STARTTLS", "a BAD"},
		{"a NONSENSE", "a BAD"},
		{"", "* BAD"},
		{`a ID ("name" "x"`, "a BAD"},
		{`a ID (name x)`, "a BAD"},
		{"a AUTHENTICATE PLAIN\r\n*", "a BAD"},
		{"a AUTHENTICATE PLAIN\r\n!!", "a BAD"},
		{"a AUTHENTICATE PLAIN\r\nYQ==", "a BAD"},
	} {
		c := dial(t, newBackend(t, o))
		ok(t, c.Send(tc.send))
		line := must[string](t)(c.Line())
		if strings.HasPrefix(line, "+ ") {
			line = must[string](t)(c.Line())
		}
		if !strings.HasPrefix(line, tc.want) {
			t.Errorf("%q was answered %q, want %q", tc.send, line, tc.want)
		}
	}
}

func TestTooMuchInput(t *testing.T) {
	for name, input := range map[string]string{
		"line":     "a NOOP " + strings.Repeat("x", maxLineBytes+8192),
		"literal":  "a LOGIN {65537+}\r\n",
		"huge":     "a LOGIN {4294967296+}\r\n",
		"literals": "a LOGIN {40000+}\r\n" + strings.Repeat("x", 40000) + " {40000+}\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, newBackend(t, Options{}))
			_ = c.SendRaw(input) // the server may be gone before all is sent
			end := must[End](t)(c.WaitEnd())
			if got, want := end.Bye(), "* BYE Too much input"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestID(t *testing.T) {
	send := `ID ("x-originating-ip" "203.0.113.7" "x-originating-port" "4567" {4+}` + "\r\nName NIL)"
	for _, tc := range []struct {
		distrust     bool
		text, client string
	}{
		{false, "OK Trusted ID completed.", "203.0.113.7:4567"},
		{true, "OK ID completed.", ""},
	} {
		b := newBackend(t, Options{DistrustID: tc.distrust})
		c := dial(t, b)
		r := must[Reply](t)(c.Command(send))
		must[Reply](t)(c.Must("ID NIL"))
		got := b.Sessions()[0]
		if tc.client == "" {
			tc.client = c.LocalAddr().String()
		}
		if r.String() != tc.text || got.Client.String() != tc.client || got.IDs != 2 || len(got.ID) != 3 || !got.ID[2].Null {
			t.Errorf("got %q and %+v, want %q and %s", r, got, tc.text, tc.client)
		}
		if v, found := got.Field("x-originating-ip"); !found || v != "203.0.113.7" {
			t.Errorf("got field %q %v, want 203.0.113.7", v, found)
		}
	}
}

func TestProxyHeader(t *testing.T) {
	b := newBackend(t, Options{Proxy: ProxyRequired})
	for _, tc := range []struct{ source, destination string }{
		{"203.0.113.7:1234", "198.51.100.1:143"},
		{"[2001:db8::1]:1234", "[2001:db8::2]:143"},
	} {
		src, dst := netip.MustParseAddrPort(tc.source), netip.MustParseAddrPort(tc.destination)
		dialWith(t, b, ClientOptions{First: func(c net.Conn) error { return WriteProxy(c, src, dst) }})
		all := b.Sessions()
		if got := all[len(all)-1]; got.Client != src || got.Proxy == nil || got.Proxy.Destination != dst {
			t.Errorf("got %+v, want client %s", got, src)
		}
	}
}

func TestProxyHeaderGluedToCommand(t *testing.T) {
	b := newBackend(t, Options{Proxy: ProxyRequired})
	c := dialWith(t, b, ClientOptions{First: func(c net.Conn) error {
		var buf bytes.Buffer
		_ = WriteProxy(&buf, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"))
		_, err := c.Write(append(buf.Bytes(), "x NOOP\r\n"...))
		return err
	}})
	must[string](t)(c.Expect("x OK"))
}

func TestProxyHeaderRefused(t *testing.T) {
	var whole bytes.Buffer
	ok(t, WriteProxy(&whole, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")))
	h := whole.String()
	for name, first := range map[string]string{
		"none":          "a NOOP\r\n",
		"cut":           h[:20],
		"version":       h[:12] + "\x31" + h[13:],
		"family":        h[:13] + "\x31" + h[14:],
		"short":         h[:14] + "\x00\x05" + h[16:21],
		"TLV over end":  h[:14] + "\x00\x0f" + h[16:] + "\x05\x00\x09",
		"length beyond": h[:14] + "\xff\xff" + h[16:],
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, Options{Proxy: ProxyRequired})
			c := dialWith(t, b, ClientOptions{Hold: true})
			ok(t, c.SendRaw(first))
			if end := must[End](t)(c.WaitEnd()); !end.Reset || len(end.Lines) > 0 {
				t.Errorf("got %+v, want a reset and no word", end)
			}
		})
	}
	if err := WriteProxy(io.Discard, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[::1]:2")); err == nil {
		t.Error("mixed families were written, want an error")
	}
}

func TestAppendNotifiesAndIsKept(t *testing.T) {
	b := newBackend(t, Options{Accounts: users})
	idler, writer, other := dial(t, b), dial(t, b), dial(t, b)
	ok(t, idler.Login("alice", users["alice"]))
	ok(t, writer.Login("alice", users["alice"]))
	ok(t, other.Login("bob", users["bob"]))
	must[Reply](t)(idler.Must("SELECT INBOX"))
	tag := must[string](t)(idler.Idle())
	await(t, b, "idling", func(c Counts) bool { return c.Idle == 1 })

	const size = 3 << 20
	r := must[Reply](t)(writer.Append("INBOX", size, Generated(size)))
	sum := sha256.New()
	_, _ = io.Copy(sum, Generated(size))
	want := hex.EncodeToString(sum.Sum(nil))
	if got := b.Appends(); len(got) != 1 || got[0] != (Append{"alice", size, want}) {
		t.Errorf("got %+v, want one of alice with sum %s", got, want)
	}
	if r.String() != "OK [APPENDUID 1 2] sha256="+want {
		t.Errorf("got %q", r)
	}
	must[string](t)(idler.Expect("* 2 EXISTS"))
	ok(t, idler.Send("DONE"))
	must[Reply](t)(idler.Answer(tag))
	got := sha256.New()
	n := must[int64](t)(idler.Fetch(2, got))
	if n != size || hex.EncodeToString(got.Sum(nil)) != want {
		t.Errorf("fetched %d bytes with another checksum, want %d", n, size)
	}
	if r := must[Reply](t)(other.Must("SELECT INBOX")); r.Find("* 1 EXISTS") == "" {
		t.Errorf("bob got %q, want one message", r.Untagged)
	}
}

func TestAppendOverStore(t *testing.T) {
	c := dial(t, newBackend(t, Options{StoreBytes: 1000}))
	ok(t, c.Login("a", "b"))
	ok(t, c.Send("x APPEND INBOX {1000}"))
	must[string](t)(c.Expect("x NO [OVERQUOTA]"))
	if end := must[End](t)(c.WaitEnd()); !end.Clean {
		t.Errorf("got %+v, want a FIN", end)
	}
}

func TestGeneratedMessages(t *testing.T) {
	sizes := []int64{1, 400, 1 << 20}
	b := newBackend(t, Options{MessageBytes: sizes})
	c := dial(t, b)
	ok(t, c.Login("a", "b"))
	must[Reply](t)(c.Must("SELECT INBOX"))
	r := must[Reply](t)(c.Must("FETCH 1:* RFC822.SIZE"))
	for i, want := range sizes {
		want = max(want, int64(len(fmt.Sprintf(generatedHead, want, want)))+2)
		if i > 0 && want != sizes[i] {
			t.Errorf("generated %d bytes, want %d", want, sizes[i])
		}
		if got := r.Find(fmt.Sprintf("* %d FETCH", i+2)); got != fmt.Sprintf("* %d FETCH (RFC822.SIZE %d)", i+2, want) {
			t.Errorf("message %d: got %q, want size %d", i+2, got, want)
		}
		var body bytes.Buffer
		if n := must[int64](t)(c.Fetch(i+2, &body)); n != want || int64(body.Len()) != want {
			t.Errorf("message %d: got %d bytes, want %d", i+2, n, want)
		}
		if !bytes.HasSuffix(body.Bytes(), []byte("\r\n")) {
			t.Errorf("message %d does not end in CRLF", i+2)
		}
	}
}

func TestBulk(t *testing.T) {
	const n = 2<<20 + 17
	c := dial(t, newBackend(t, Options{}))
	ok(t, c.Login("a", "b"))
	chunk := 0
	odd := Pace{Chunk: func() int { chunk = (chunk*7 + 13) % 70001; return chunk }}
	ok(t, c.Source(n, 1, odd))
	ok(t, c.Sink(n, 2, odd))
	ok(t, c.Echo(n, 3, Pace{}, odd))
	ok(t, c.Source(0, 4, Pace{}))
}

// A checksum that differs must not go unnoticed: the backend's stream is altered on the way.
func TestBulkNoticesDamage(t *testing.T) {
	damage := Chain(Times(1, SayFirst("X")))
	c := dial(t, newBackend(t, Options{Hooks: Hooks{OnData: damage}}))
	ok(t, c.Login("a", "b"))
	if err := c.Source(1000, 1, Pace{}); err == nil {
		t.Error("XSOURCE: got no error, want differing checksums")
	}
	c = dial(t, newBackend(t, Options{Hooks: Hooks{OnCommand: ForVerb("XSINK", Say("{tag} OK sha256=00\r\n"))}}))
	ok(t, c.Login("a", "b"))
	if err := c.Sink(0, 1, Pace{}); err == nil {
		t.Error("XSINK: got no error, want differing checksums")
	}
}
