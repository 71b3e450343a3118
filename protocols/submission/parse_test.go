package submission

import (
	"net/netip"
	"strings"
	"testing"

	"mailsplice/protocols/dialog"
)

func TestLiteral(t *testing.T) {
	for _, c := range []struct {
		addr netip.Addr
		want string
	}{
		{netip.MustParseAddr("192.0.2.1"), "[192.0.2.1]"},
		{netip.MustParseAddr("::ffff:192.0.2.1"), "[192.0.2.1]"},
		{netip.MustParseAddr("2001:db8::1"), "[IPv6:2001:db8::1]"},
		{netip.MustParseAddr("fe80::1%eth0"), "[IPv6:fe80::1]"},
		{netip.Addr{}, ""},
	} {
		if got := Literal(c.addr); got != c.want {
			t.Errorf("%v: got %q, want %q", c.addr, got, c.want)
		}
	}
}

func TestRepeatable(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, name := range []string{"phone", "phone.example.org", "a-b.c", "3com.example", "192.0.2.com", "[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::1]",
		"[IPv6:::ffff:192.0.2.1]", "xn--bcher-kva.example", label + ".org", strings.Repeat("a.", 127) + "a"} {
		if !repeatable(name) || !tolerable([]byte(name)) {
			t.Errorf("%q: not repeatable, want it to be", name)
		}
	}
}

func TestNotRepeatable(t *testing.T) {
	for _, name := range []string{"my_pc", "192.0.2.1", "-a", "a-", "a..b", ".a", "a.", ".", "[192.0.2.1", "192.0.2.1]", "[]", "[IPv6:]", "[2001:db8::1]",
		"[IPv6:192.0.2.1]", "[IPv6:fe80::1%eth0]", "[192.0.2.256]", "[tag:x]", "a=b", "a+b", "<a>", "a;b", "2001:db8::1",
		strings.Repeat("a", 64) + ".org", strings.Repeat("a.", 127) + "aa", "0"} {
		if repeatable(name) {
			t.Errorf("%q: repeatable, want it not to be", name)
		}
		if !tolerable([]byte(name)) {
			t.Errorf("%q: not tolerated, want it to be", name)
		}
	}
}

func TestNotTolerable(t *testing.T) {
	for _, name := range []string{"", "a b", "a\tb", "a\x00", "a\x7f", "b\xc3\xbccher", "a\r"} {
		if tolerable([]byte(name)) || repeatable(name) {
			t.Errorf("%q: tolerated, want it not to be", name)
		}
	}
}

func TestParseReply(t *testing.T) {
	for _, c := range []struct {
		line, code, text string
		last             bool
	}{
		{"250 ok", "250", "ok", true},
		{"250-ok", "250", "ok", false},
		{"250", "250", "", true},
		{"250 ", "250", "", true},
		{"250-", "250", "", false},
		{"535 5.7.8 no", "535", "5.7.8 no", true},
		{"299 x", "299", "x", true},
	} {
		r, ok := parseReply([]byte(c.line))
		if !ok || string(r.code[:]) != c.code || string(r.text) != c.text || r.last != c.last {
			t.Errorf("%q: got %q %q last %t ok %t, want %q %q last %t", c.line, r.code, r.text, r.last, ok, c.code, c.text, c.last)
		}
	}
}

func TestParseReplyRefuses(t *testing.T) {
	for _, line := range []string{"", "2", "25", "25x ok", "x50 ok", "150 ok", "650 ok", "250_ok", "2500 ok", "250\tok", " 250 ok", "* OK"} {
		if r, ok := parseReply([]byte(line)); ok {
			t.Errorf("%q: got %q, want none", line, r.code)
		}
	}
}

func TestParseChunk(t *testing.T) {
	for _, c := range []struct {
		args string
		want int
	}{
		{"0", 0},
		{"86", 86},
		{"86 LAST", 86},
		{"0 last", 0},
		{"2147483647", 1<<31 - 1},
	} {
		if got, err := parseChunk([]byte(c.args)); got != c.want || err != nil {
			t.Errorf("%q: got %d %v, want %d", c.args, got, err, c.want)
		}
	}
}

// SECURITY 14, for the one announcement of data that submission has.
func TestParseChunkRefuses(t *testing.T) {
	for _, args := range []string{"", "-1", "+10", "x", "1 x", "1 LAST x", "1  LAST", "4294967296", "99999999999999999999", "2147483648", "0x10", "1_0"} {
		if got, err := parseChunk([]byte(args)); err == nil {
			t.Errorf("%q: got %d, want an error", args, got)
		}
	}
}

// SECURITY 7: a verdict's answer is one reply of the kind that the verdict says, else it is worded by us.
func TestRelay(t *testing.T) {
	for _, c := range []struct{ code, before, answer, want string }{
		{"5", "", "535 5.7.8 text", "535 5.7.8 text\r\n"},
		{"5", "", "535", "535\r\n"},
		{"5", "535-a\r\n535-b\r\n", "535 c", "535-a\r\n535-b\r\n535 c\r\n"},
		{"5", "535-a\r\n", "534 c", "534 c\r\n"},
		{"5", "535 a\r\n", "535 c", "535 c\r\n"},
		{"5", "535-a\r\n535-b", "535 c", "535 c\r\n"},
		{"5", "535-a\x00\r\n", "535 c", "535 c\r\n"},
		{"5", "535-a\rb\r\n", "535 c", "535 c\r\n"},
		{"5", "535-a\n", "535 c", "535 c\r\n"},
		{"5", "", "", "generic\r\n"},
		{"5", "535-a\r\n", "", "generic\r\n"},
		{"5", "", "535-c", "generic\r\n"},
		{"5", "", "454 c", "generic\r\n"},
		{"5", "", "235 c", "generic\r\n"},
		{"5", "", "535 c\r\n235 d", "generic\r\n"},
		{"5", "", "535 c\x00", "generic\r\n"},
		{"4", "", "432 4.7.12 c", "432 4.7.12 c\r\n"},
		{"4", "", "421 4.3.2 c", "generic\r\n"},
		{"235", "235-a\r\n", "235 c", "235-a\r\n235 c\r\n"},
		{"235", "", "250 c", "generic\r\n"},
		{"235", "", "OK c", "generic\r\n"},
	} {
		m := NewClientSide(&ClientOptions{}, ClientFacts{})
		m.relay(&dialog.Verdict{Before: []byte(c.before), Answer: []byte(c.answer)}, c.code, "generic")
		if got := string(m.out.B); got != c.want {
			t.Errorf("%q %q for %s: got %q, want %q", c.before, c.answer, c.code, got, c.want)
		}
	}
}
