package xclient

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// everything is a backend's list with all that we may send.
const everything = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT SESSION TTL CLIENT-TRANSPORT TIMEOUT"

func forwarding(client, local, session string, ttl int, tls bool) *dialog.Forwarding {
	return &dialog.Forwarding{Client: endpoint(client), Local: endpoint(local), Session: session, TTL: ttl, TLS: tls}
}

func TestParseOffer(t *testing.T) {
	for _, c := range []struct {
		args string
		want Offer
	}{
		{"", 0},
		{"  ", 0},
		{"ADDR", addr},
		{"addr Port", addr | port},
		{"ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT", addr | port | proto | helo | session | ttl},
		{"NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT", name | addr | proto | helo | port | destAddr | destPort},
		{"DESTADDRX ADDR=1 CLIENT-TRANSPORT", transport},
		{everything, 1<<10 - 1},
	} {
		if got := ParseOffer([]byte(c.args)); got != c.want || got.Addr() != (c.want&addr != 0) {
			t.Errorf("%q: got %b, address %t, want %b", c.args, got, got.Addr(), c.want)
		}
	}
}

func TestCommands(t *testing.T) {
	const postfix = "NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
	const dovecot = "ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT"
	v4 := forwarding("192.0.2.7:40000", "198.51.100.1:587", "s1", 6, true)
	v6 := forwarding("[2001:db8::7]:40000", "[2001:db8::1]:587", "s1", 6, false)
	mixed := forwarding("[2001:db8::7]:40000", "198.51.100.1:25", "s1", 6, false)
	for _, c := range []struct {
		name, offer string
		client      Client
		want        []string
	}{
		{"Postfix", postfix, Client{Forwarding: v4, Hello: "laptop.example", Proto: "ESMTP"},
			[]string{"XCLIENT PORT=40000 DESTPORT=587 HELO=laptop.example PROTO=ESMTP NAME=[UNAVAILABLE] DESTADDR=198.51.100.1 ADDR=192.0.2.7\r\n"}},
		{"Dovecot 2.3", dovecot, Client{Forwarding: v6, Hello: "[IPv6:2001:db8::7]", Proto: "ESMTP"},
			[]string{"XCLIENT PORT=40000 HELO=[IPv6:2001:db8::7] PROTO=ESMTP SESSION=s1 TTL=6 ADDR=IPV6:2001:db8::7\r\n"}},
		{"Dovecot 2.4.3", dovecot + " CLIENT-TRANSPORT DESTNAME DESTADDR DESTPORT", Client{Forwarding: v4},
			[]string{"XCLIENT PORT=40000 DESTPORT=587 SESSION=s1 TTL=6 CLIENT-TRANSPORT=TLS DESTADDR=198.51.100.1 ADDR=192.0.2.7\r\n"}},
		{"pass-through", postfix, Client{Forwarding: v6},
			[]string{"XCLIENT PORT=40000 DESTPORT=587 NAME=[UNAVAILABLE] DESTADDR=IPV6:2001:db8::1 ADDR=IPV6:2001:db8::7\r\n"}},
		{"IPv6 unavailable", postfix, Client{Forwarding: v6, AddrUnavailable: true},
			[]string{"XCLIENT PORT=40000 DESTPORT=587 NAME=[UNAVAILABLE] DESTADDR=[UNAVAILABLE] ADDR=[UNAVAILABLE]\r\n"}},
		{"IPv6 client unavailable", postfix, Client{Forwarding: mixed, AddrUnavailable: true},
			[]string{"XCLIENT PORT=40000 DESTPORT=25 NAME=[UNAVAILABLE] DESTADDR=198.51.100.1 ADDR=[UNAVAILABLE]\r\n"}},
		{"mapped", "ADDR DESTADDR", Client{Forwarding: forwarding("[::ffff:192.0.2.7]:1", "[::ffff:198.51.100.1]:2", "", 0, false)},
			[]string{"XCLIENT DESTADDR=198.51.100.1 ADDR=192.0.2.7\r\n"}},
		{"zone", "ADDR", Client{Forwarding: forwarding("[fe80::1%eth0]:1", "-", "", 0, false)}, []string{"XCLIENT ADDR=IPV6:fe80::1\r\n"}},
		{"nothing known", "ADDR PORT DESTADDR DESTPORT HELO PROTO SESSION TTL", Client{Forwarding: forwarding("-", "-", "", 0, false)}, nil},
		{"nothing listed", "", Client{Forwarding: v4, Hello: "x"}, nil},
		{"no forwarding", everything, Client{Hello: "x"}, nil},
		{"encoded", "HELO SESSION", Client{Forwarding: forwarding("-", "-", "a+b=", 0, false), Hello: "a b=c+d\xc3\xa4"},
			[]string{"XCLIENT HELO=a+20b+3Dc+2Bd+C3+A4 SESSION=a+2Bb+3D\r\n"}},
		{"control characters", "HELO PROTO SESSION", Client{Forwarding: forwarding("-", "-", "a\r\nb", 0, false), Hello: "a\nRSET", Proto: "\x00"}, nil},
		{"session with a blank", "SESSION TTL", Client{Forwarding: forwarding("-", "-", "a b", 1, false)}, []string{"XCLIENT TTL=1\r\n"}},
		{"session too long", "SESSION TTL", Client{Forwarding: forwarding("-", "-", strings.Repeat("s", 65), 1, false)}, []string{"XCLIENT TTL=1\r\n"}},
		{"value too long", "HELO TTL", Client{Forwarding: forwarding("-", "-", "", 1, false), Hello: strings.Repeat("+", 86)}, []string{"XCLIENT TTL=1\r\n"}},
		{"split", everything, Client{Forwarding: forwarding("[2001:db8:1111:2222:3333:4444:5555:6666]:40000", "[2001:db8:1111:2222:3333:4444:5555:7777]:25", strings.Repeat("=", 64), 6, true),
			Hello: strings.Repeat("h", 255), Proto: "ESMTP"}, []string{
			"XCLIENT PORT=40000 DESTPORT=25 HELO=" + strings.Repeat("h", 255) + " PROTO=ESMTP NAME=[UNAVAILABLE]\r\n",
			"XCLIENT SESSION=" + strings.Repeat("+3D", 64) + " TTL=6 CLIENT-TRANSPORT=TLS DESTADDR=IPV6:2001:db8:1111:2222:3333:4444:5555:7777 ADDR=IPV6:2001:db8:1111:2222:3333:4444:5555:6666\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, line := range Commands(ParseOffer([]byte(c.offer)), c.client) {
				got = append(got, string(line))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestLine(t *testing.T) {
	for _, c := range []struct {
		name string
		f    *dialog.Forwarding
		want string
	}{
		{"all", forwarding("192.0.2.7:40000", "198.51.100.1:110", "s1", 6, true),
			"XCLIENT ADDR=192.0.2.7 PORT=40000 DESTADDR=198.51.100.1 DESTPORT=110 SESSION=s1 TTL=6 CLIENT-TRANSPORT=TLS\r\n"},
		{"IPv6", forwarding("[2001:db8::7]:1", "[2001:db8::1]:2", "a+b=/", 1, false),
			"XCLIENT ADDR=2001:db8::7 PORT=1 DESTADDR=2001:db8::1 DESTPORT=2 SESSION=a+b=/ TTL=1 CLIENT-TRANSPORT=insecure\r\n"},
		{"mapped", forwarding("[::ffff:192.0.2.7]:1", "-", "", 1, false), "XCLIENT ADDR=192.0.2.7 PORT=1 TTL=1 CLIENT-TRANSPORT=insecure\r\n"},
		{"zone", forwarding("[fe80::1%eth0]:1", "-", "", 1, false), "XCLIENT ADDR=fe80::1 PORT=1 TTL=1 CLIENT-TRANSPORT=insecure\r\n"},
		{"nothing known", forwarding("-", "-", "", 0, false), "XCLIENT CLIENT-TRANSPORT=insecure\r\n"},
		{"session with a blank", forwarding("-", "-", "a ADDR=1.2.3.4", 1, false), "XCLIENT TTL=1 CLIENT-TRANSPORT=insecure\r\n"},
		{"session with a line end", forwarding("-", "-", "a\r\nQUIT", 1, false), "XCLIENT TTL=1 CLIENT-TRANSPORT=insecure\r\n"},
		{"session that opens a literal", forwarding("-", "-", "{99+}", 1, false), "XCLIENT TTL=1 CLIENT-TRANSPORT=insecure\r\n"},
		{"session with a quote", forwarding("-", "-", `a"b`, 1, false), "XCLIENT TTL=1 CLIENT-TRANSPORT=insecure\r\n"},
		{"session too long", forwarding("-", "-", strings.Repeat("s", 65), 1, false), "XCLIENT TTL=1 CLIENT-TRANSPORT=insecure\r\n"},
		{"none", nil, ""},
	} {
		if got := string(Line(c.f)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestReadsBack wants that Parse reads what we word, whatever the values are, and nothing else (SECURITY 9).
func TestReadsBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 2))
	const alphabet = "ab+=[]% {}\"\\:.,-\r\n\x00\x7f\xc3\xa4@<>ADDR=192.0.2.99 TTL=9"
	text := func(n int) string {
		b := make([]byte, rng.IntN(n+1))
		for i := range b {
			b[i] = alphabet[rng.IntN(len(alphabet))]
		}
		return string(b)
	}
	address := func() netip.AddrPort {
		var raw [16]byte
		for i := range raw {
			raw[i] = byte(rng.Uint32())
		}
		ip := netip.AddrFrom16(raw)
		switch rng.IntN(4) {
		case 0:
			return netip.AddrPort{}
		case 1:
			ip = netip.AddrFrom4([4]byte(raw[:4]))
		case 2:
			ip = netip.AddrFrom16(netip.AddrFrom4([4]byte(raw[:4])).As16())
		}
		return netip.AddrPortFrom(ip, uint16(rng.Uint32()))
	}
	for range 20000 {
		checkBack(t, Offer(rng.Uint32())&(1<<10-1), Client{
			Forwarding: &dialog.Forwarding{Client: address(), Local: address(), Session: text(80), TTL: rng.IntN(9), TLS: rng.IntN(2) == 0},
			Hello:      text(300), Proto: text(8), AddrUnavailable: rng.IntN(4) == 0,
		})
	}
}

// checkBack words c in both dialects and reads it back.
func checkBack(t *testing.T, o Offer, c Client) {
	t.Helper()
	var got dialog.Announced
	lines := Commands(o, c)
	for i, line := range lines {
		checkLine(t, line, maxLine, &got, SMTP)
		if last := bytes.Contains(line, []byte("ADDR=")); last != (i == len(lines)-1) && (last || o.has(addr) && c.Client.IsValid()) {
			t.Fatalf("%q: line %d of %d", line, i+1, len(lines))
		}
		for word := range bytes.FieldsSeq(bytes.TrimPrefix(line, []byte(verb))) {
			if key, _, _ := bytes.Cut(word, []byte{'='}); !o.has(sendable[string(key)]) {
				t.Fatalf("%q: %s is not listed", line, key)
			}
		}
	}
	checkSame(t, got, wanted(o, c))
	got = dialog.Announced{}
	checkLine(t, Line(c.Forwarding), 1024, &got, Plain)
	if c.AddrUnavailable = false; !wire.StrictAtom([]byte(c.Session)) {
		f := *c.Forwarding
		f.Session = ""
		c.Forwarding = &f
	}
	checkSame(t, got, wanted(1<<10-1, c))
}

// checkLine wants one line within the bound that Parse takes.
func checkLine(t *testing.T, line []byte, limit int, a *dialog.Announced, d Dialect) {
	t.Helper()
	body, whole := bytes.CutSuffix(line, []byte("\r\n"))
	args, named := bytes.CutPrefix(body, []byte("XCLIENT "))
	if !whole || !named || len(line) > limit || bytes.ContainsAny(body, "\r\n\x00") {
		t.Fatalf("%q is no command of at most %d bytes", line, limit)
	}
	if err := Parse(a, args, d); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
}

// wanted is what a reader of all lines knows.
func wanted(o Offer, c Client) dialog.Announced {
	var a dialog.Announced
	end := func(from netip.AddrPort, ip, port Offer, hidden bool) netip.AddrPort {
		var to netip.AddrPort
		if from.IsValid() && o.has(port) {
			to = netip.AddrPortFrom(to.Addr(), from.Port())
		}
		if from.IsValid() && o.has(ip) && !hidden {
			to = netip.AddrPortFrom(from.Addr().Unmap(), to.Port())
		}
		return to
	}
	a.Client = end(c.Client, addr, port, c.AddrUnavailable)
	a.Local = end(c.Local, destAddr, destPort, c.AddrUnavailable && !c.Local.Addr().Unmap().Is4())
	if o.has(session) && sessionFits(c.Session) {
		a.Session = c.Session
	}
	if o.has(ttl) && c.TTL > 0 {
		a.TTL, a.TTLSeen = c.TTL, true
	}
	if o.has(transport) {
		a.TLS, a.TransportSeen = c.TLS, true
	}
	return a
}

func checkSame(t *testing.T, got, want dialog.Announced) {
	t.Helper()
	if got != want {
		t.Fatalf("read back %+v\nwant %+v", got, want)
	}
}

// TestHelloAddsNothing reads HELO back by itself, since Parse does not keep it (SECURITY 9).
func TestHelloAddsNothing(t *testing.T) {
	const hello = "x LOGIN=root ADDR=10.0.0.1+0D+0A"
	lines := Commands(ParseOffer([]byte(everything)), Client{Forwarding: forwarding("192.0.2.7:1", "-", "", 1, false), Hello: hello})
	var found []string
	for word := range strings.FieldsSeq(string(bytes.Join(lines, nil))) {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "HELO":
			text, ok := unxtext(value)
			if !ok || text != hello {
				t.Errorf("HELO reads back as %q, %t, want %q", text, ok, hello)
			}
			fallthrough
		case "ADDR", "LOGIN":
			found = append(found, key)
		}
	}
	if want := []string{"HELO", "ADDR"}; !slices.Equal(found, want) {
		t.Errorf("attributes %q, want %q", found, want)
	}
}
