package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"

	pp "github.com/pires/go-proxyproto"
)

func init() { pp.V1AcceptIPv4InTCP6 = true } // as we do

// v2 is a header out of its parts: command, family, and hex of what follows the length.
func v2(command, family byte, rest string) string {
	body, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
	if err != nil {
		panic(err)
	}
	p := append([]byte(signature2), command, family)
	return string(append(binary.BigEndian.AppendUint16(p, uint16(len(body))), body...))
}

// withSum appends a right checksum to a header.
func withSum(header string) string {
	p := append([]byte(header), 3, 0, 4, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(p[14:], uint16(len(p)-fixedBytes))
	binary.BigEndian.PutUint32(p[len(p)-4:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	return string(p)
}

const (
	ends4 = "cb007107 7f000001 11d7 008f"
	ends6 = "20010db8000000000000000000000007 00000000000000000000ffff7f000001 11d7 008f"
)

var (
	client4 = netip.MustParseAddrPort("203.0.113.7:4567")
	client6 = netip.MustParseAddrPort("[2001:db8::7]:4567")
	local4  = netip.MustParseAddrPort("127.0.0.1:143")
)

func TestParse(t *testing.T) {
	plain4 := Inbound{Client: client4, Local: local4}
	unix := strings.Repeat("2f61", 108)
	for _, c := range []struct {
		name, header string
		want         Inbound
	}{
		{"v1", "PROXY TCP4 203.0.113.7 127.0.0.1 4567 143\r\n", plain4},
		{"v1 IPv6", "PROXY TCP6 2001:DB8::7 2001:db8:0:0:0:0:0:1 4567 143\r\n", Inbound{Client: client6, Local: netip.MustParseAddrPort("[2001:db8::1]:143")}},
		{"v1 mapped", "PROXY TCP6 ::ffff:203.0.113.7 ::ffff:127.0.0.1 4567 143\r\n", plain4},
		{"v1 mixed, as nginx has it", "PROXY TCP6 2001:db8::7 127.0.0.1 4567 143\r\n", Inbound{Client: client6, Local: local4}},
		{"v1 ports", "PROXY TCP4 203.0.113.7 127.0.0.1 0 65535\r\n",
			Inbound{Client: netip.MustParseAddrPort("203.0.113.7:0"), Local: netip.MustParseAddrPort("127.0.0.1:65535")}},
		{"v1 unknown", "PROXY UNKNOWN\r\n", Inbound{}},
		{"v1 unknown with addresses", "PROXY UNKNOWN ffff:f:f:f:f:f:f:f ffff::1 65535 65535 more  x\r\n", Inbound{}},
		{"v1 longest", "PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", Inbound{}},
		{"v2", v2(0x21, 0x11, ends4), plain4},
		{"v2 IPv6", v2(0x21, 0x21, ends6), Inbound{Client: client6, Local: local4}},
		{"v2 mapped", v2(0x21, 0x21, "00000000000000000000ffffcb007107 00000000000000000000ffff7f000001 11d7 008f"), plain4},
		{"v2 local", v2(0x20, 0x00, ""), Inbound{}},
		{"v2 local with addresses", v2(0x20, 0x11, ends4+"05 0001 61"), Inbound{}},
		{"v2 local with garbage", v2(0x20, 0xff, "05 ffff"), Inbound{}},
		{"v2 unspec", v2(0x21, 0x00, ""), Inbound{}},
		{"v2 unspec with anything", v2(0x21, 0x00, "05 ffff 61"), Inbound{}},
		{"v2 datagram", v2(0x21, 0x12, ends4), Inbound{}},
		{"v2 datagram IPv6", v2(0x21, 0x22, ends6), Inbound{}},
		{"v2 unix", v2(0x21, 0x31, unix+"05 0001 61"), Inbound{Session: "a"}},
		{"v2 unix datagram", v2(0x21, 0x32, unix), Inbound{}},
		{"session id", v2(0x21, 0x11, ends4+"05 0004 61622d31"), Inbound{Client: client4, Local: local4, Session: "ab-1"}},
		{"session id, binary", v2(0x21, 0x11, ends4+"05 0003 61000a"), plain4},
		{"session id, empty", v2(0x21, 0x11, ends4+"05 0000"), plain4},
		{"session id of 65", v2(0x21, 0x11, ends4+"05 0041"+strings.Repeat("61", 65)), plain4},
		{"last session id", v2(0x21, 0x11, ends4+"05 0001 61 05 0001 62"), Inbound{Client: client4, Local: local4, Session: "b"}},
		{"SNI", v2(0x21, 0x11, ends4+"02 0003 6d2e61"), Inbound{Client: client4, Local: local4, SNI: "m.a"}},
		{"SNI with a blank", v2(0x21, 0x11, ends4+"02 0003 6d2061"), plain4},
		{"unknown, padding, custom", v2(0x21, 0x11, ends4+"01 0002 6832 04 0001 00 30 0001 61 e0 0000 ee 0001 ff"), plain4},
		{"TLS", v2(0x21, 0x11, ends4+"20 001a 01 00000000 21 0007 544c5376312e33 22 0002 434e 23 0003 414553"),
			Inbound{Client: client4, Local: local4, TLS: true, TLSSeen: true, TLSVersion: "TLSv1.3", TLSCipher: "AES"}},
		{"TLS, nothing more", v2(0x21, 0x11, ends4+"20 0005 07 00000000"), Inbound{Client: client4, Local: local4, TLS: true, TLSSeen: true}},
		{"TLS, no texts", v2(0x21, 0x11, ends4+"20 000f 01 00000000 21 0001 20 23 0003 410041"), Inbound{Client: client4, Local: local4, TLS: true, TLSSeen: true}},
		{"no TLS", v2(0x21, 0x11, ends4+"20 000a 00 00000001 21 0002 7878"), Inbound{Client: client4, Local: local4, TLSSeen: true}},
		{"no TLS after all", v2(0x21, 0x11, ends4+"20 0009 01 00000000 21 0001 78 20 0005 00 00000001"), Inbound{Client: client4, Local: local4, TLSSeen: true}},
		{"checksum", withSum(v2(0x21, 0x11, ends4)), plain4},
		{"checksum between others", func() string {
			p := []byte(v2(0x21, 0x21, ends6+"02 0001 61 03 0004 00000000 05 0001 62"))
			binary.BigEndian.PutUint32(p[fixedBytes+36+7:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
			return string(p)
		}(), Inbound{Client: client6, Local: local4, SNI: "a", Session: "b"}},
		{"longest", v2(0x21, 0x11, ends4+"e1 07f1"+strings.Repeat("00", 2048-15)), plain4},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, n, err := Parse([]byte(c.header + "a1 NOOP\r\n"))
			if got != c.want || n != len(c.header) || err != nil {
				t.Errorf("got %+v, %d bytes, error %v\nwant %+v, %d bytes", got, n, err, c.want, len(c.header))
			}
			for i := range c.header {
				if got, n, err := Parse([]byte(c.header[:i])); err != ErrIncomplete || n != 0 || got != (Inbound{}) {
					t.Fatalf("first %d bytes: got %+v, %d bytes, error %v, want it incomplete", i, got, n, err)
				}
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, header string }{
		{"v1 no CR", "PROXY TCP4 203.0.113.7 127.0.0.1 4567 143\n"},
		{"v1 unknown, no CR", "PROXY UNKNOWN\n"},
		{"v1 two CR", "PROXY TCP4 203.0.113.7 127.0.0.1 4567 143\r\r\n"},
		{"v1 CR inside", "PROXY UNKNOWN a\rb\r\n"},
		{"v1 CR inside, no end", "PROXY UNKNOWN a\rb"},
		{"v1 no end", "PROXY UNKNOWN " + strings.Repeat("f", 93)},
		{"v1 end too late", "PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n"},
		{"v1 no blank", "PROXYTCP4"},
		{"v1 alone", "PROXY\r\n"},
		{"v1 nothing behind", "PROXY \r\n"},
		{"v1 two blanks", "PROXY  TCP4 203.0.113.7 127.0.0.1 4567 143\r\n"},
		{"v1 blank at the end", "PROXY TCP4 203.0.113.7 127.0.0.1 4567 143 \r\n"},
		{"v1 tab", "PROXY\tTCP4 203.0.113.7 127.0.0.1 4567 143\r\n"},
		{"v1 lower case", "PROXY tcp4 203.0.113.7 127.0.0.1 4567 143\r\n"},
		{"v1 UDP", "PROXY UDP4 203.0.113.7 127.0.0.1 4567 143\r\n"},
		{"v1 unknown, glued", "PROXY UNKNOWNX\r\n"},
		{"v1 word missing", "PROXY TCP4 203.0.113.7 127.0.0.1 4567\r\n"},
		{"v1 word more", "PROXY TCP4 203.0.113.7 127.0.0.1 4567 143 x\r\n"},
		{"v1 IPv6 as TCP4", "PROXY TCP4 2001:db8::7 2001:db8::1 4567 143\r\n"},
		{"v1 mapped as TCP4", "PROXY TCP4 ::ffff:203.0.113.7 127.0.0.1 4567 143\r\n"},
		{"v1 address with zeros", "PROXY TCP4 203.0.113.07 127.0.0.1 4567 143\r\n"},
		{"v1 address with three parts", "PROXY TCP4 203.0.113 127.0.0.1 4567 143\r\n"},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 ::1 4567 143\r\n"},
		{"v1 name", "PROXY TCP4 localhost 127.0.0.1 4567 143\r\n"},
		{"v1 second address", "PROXY TCP4 203.0.113.7 127.0.0 4567 143\r\n"},
		{"v1 port with zeros", "PROXY TCP4 203.0.113.7 127.0.0.1 04567 143\r\n"},
		{"v1 second port with zeros", "PROXY TCP4 203.0.113.7 127.0.0.1 4567 0143\r\n"},
		{"v1 port beyond", "PROXY TCP4 203.0.113.7 127.0.0.1 65536 143\r\n"},
		{"v1 port signed", "PROXY TCP4 203.0.113.7 127.0.0.1 +4567 143\r\n"},
		{"v1 port negative", "PROXY TCP4 203.0.113.7 127.0.0.1 -1 143\r\n"},
		{"v1 port hex", "PROXY TCP4 203.0.113.7 127.0.0.1 0x1 143\r\n"},
		{"v1 NUL", "PROXY TCP4 203.0.113.7 127.0.0.1 4567 143\x00\r\n"},
		{"v2 version 1", v2(0x11, 0x11, ends4)},
		{"v2 version 3", v2(0x31, 0x11, ends4)},
		{"v2 command", v2(0x22, 0x11, ends4)},
		{"v2 version, early", string(signature2) + "\x11"},
		{"v2 family", v2(0x21, 0x41, ends4)},
		{"v2 transport", v2(0x21, 0x13, ends4)},
		{"v2 UNSPEC stream", v2(0x21, 0x01, ends4)},
		{"v2 too short", v2(0x21, 0x11, ends4[:len(ends4)-2])},
		{"v2 too short for IPv6", v2(0x21, 0x21, ends4)},
		{"v2 too short for unix", v2(0x21, 0x31, ends6)},
		{"v2 nothing", v2(0x21, 0x11, "")},
		{"v2 too long", v2(0x21, 0x11, ends4+"e1 07f2"+strings.Repeat("00", 2048-14))},
		{"v2 too long, early", string(signature2) + "\x21\x11\xff\xff"},
		{"v2 local, too long", string(signature2) + "\x20\x00\x08\x01"},
		{"TLV cut", v2(0x21, 0x11, ends4+"05")},
		{"TLV length cut", v2(0x21, 0x11, ends4+"05 00")},
		{"TLV value cut", v2(0x21, 0x11, ends4+"05 0002 61")},
		{"unknown TLV beyond", v2(0x21, 0x11, ends4+"e0 ffff")},
		{"padding that does not fit", v2(0x21, 0x11, ends4+"04 0000 00 00")},
		{"SSL too short", v2(0x21, 0x11, ends4+"20 0004 01 000000")},
		{"SSL, TLV cut", v2(0x21, 0x11, ends4+"20 0007 01 00000000 21 00")},
		{"SSL, TLV beyond", v2(0x21, 0x11, ends4+"20 0009 01 00000000 21 0002 78")},
		{"no TLS, TLV beyond", v2(0x21, 0x11, ends4+"20 0009 00 00000000 21 0002 78")},
		{"checksum wrong", v2(0x21, 0x11, ends4+"03 0004 00000000")},
		{"checksum of other addresses", strings.Replace(withSum(v2(0x21, 0x11, ends4)), "\xcb\x00\x71\x07", "\xcb\x00\x71\x08", 1)},
		{"checksum of three bytes", v2(0x21, 0x11, ends4+"03 0003 000000")},
		{"two checksums", withSum(withSum(v2(0x21, 0x11, ends4)))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, n, err := Parse([]byte(c.header)); err != ErrMalformed || n != 0 || got != (Inbound{}) {
				t.Errorf("got %+v, %d bytes, error %v, want %v", got, n, err, ErrMalformed)
			}
		})
	}
}

func TestParseNone(t *testing.T) {
	for _, p := range []string{"a1 NOOP\r\n", "PROX1", "PRO\r\n", "PASS x\r\n", "proxy TCP4", "\r\n\r\nEHLO x", "\r\n\r\n\x00\r\nQUIT\r\n", "\x16\x03\x01", "\x00", "\n"} {
		if got, n, err := Parse([]byte(p)); err != ErrNoHeader || n != 0 || got != (Inbound{}) {
			t.Errorf("%q: got %+v, %d bytes, error %v, want %v", p, got, n, err, ErrNoHeader)
		}
	}
}

// TestParseKeepsNothing wants texts that outlive the input.
func TestParseKeepsNothing(t *testing.T) {
	p := []byte(v2(0x21, 0x11, ends4+"02 0001 61 05 0001 62 20 000d 01 00000000 21 0001 63 23 0001 64"))
	got, _, err := Parse(p)
	clear(p)
	if text := got.SNI + got.Session + got.TLSVersion + got.TLSCipher; text != "abcd" || err != nil {
		t.Errorf("got %q, error %v, want abcd", text, err)
	}
}

// FuzzParse wants the same result however much of the input was there before, bounds kept, and the library's opinion.
func FuzzParse(f *testing.F) {
	for _, p := range []string{"PROXY TCP4 203.0.113.7 127.0.0.1 4567 143\r\nx", "PROXY TCP6 ::1 1.2.3.4 1 2\r\n", "PROXY UNKNOWN x\r\n", "PROXY UNKNOWN\n",
		v2(0x21, 0x11, ends4), v2(0x21, 0x21, ends6+"05 0001 61"), v2(0x20, 0, ""), v2(0x21, 0, "00"), v2(0x21, 0x31, strings.Repeat("2f", 216)),
		withSum(v2(0x21, 0x11, ends4+"20 0009 01 00000000 21 0001 78")), "EHLO x\r\n", string(signature2)} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		in, n, err := Parse(p)
		if (n > 0) != (err == nil) || n > len(p) || n > MaxBytes || err != nil && in != (Inbound{}) || err == ErrIncomplete && len(p) >= MaxBytes {
			t.Fatalf("%q: got %+v, %d bytes, error %v", p, in, n, err)
		}
		for i := range p[:min(len(p), MaxBytes)] {
			got, m, early := Parse(p[:i])
			if early != ErrIncomplete && (got != in || m != n || early != err) {
				t.Fatalf("%q: first %d bytes: got %+v, %d bytes, error %v\nall: %+v, %d bytes, error %v", p, i, got, m, early, in, n, err)
			}
		}
		if in.Client.Addr().Is4In6() || in.Local.Addr().Is4In6() || in.Client.IsValid() != in.Local.IsValid() || !in.TLS && in.TLSVersion+in.TLSCipher != "" {
			t.Fatalf("%q: got %+v", p, in)
		}
		judge(t, p, in, n, err)
	})
}

// judge compares with the library. It may take headers that we refuse for their TLVs, their checksum or their length.
func judge(t *testing.T, p []byte, in Inbound, n int, err error) {
	t.Helper()
	r := bytes.NewReader(p)
	buffered := bufio.NewReader(r)
	h, theirs := pp.Read(buffered)
	tcp := theirs == nil && h.Command == pp.PROXY && h.TransportProtocol.IsStream() && !h.TransportProtocol.IsUnix()
	switch {
	case theirs != nil && in.Client.IsValid():
		t.Fatalf("%q: got %+v, the library says %v", p, in, theirs)
	case !tcp && in.Client.IsValid():
		t.Fatalf("%q: got %+v, the library says %+v", p, in, h)
	case tcp && err != nil && (h.Version == 1 || len(p) == fixedBytes+addressBytes[byte(h.TransportProtocol)]):
		t.Fatalf("%q: error %v, the library says %+v", p, err, h)
	case tcp && err == nil:
		client, local := unmapped(h.SourceAddr), unmapped(h.DestinationAddr)
		if used := len(p) - r.Len() - buffered.Buffered(); client != in.Client || local != in.Local || used != n {
			t.Fatalf("%q: got %+v, %d bytes, the library says %v %v, %d bytes", p, in, n, client, local, used)
		}
	}
}

func unmapped(a net.Addr) netip.AddrPort {
	from := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}
