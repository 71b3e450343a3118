package proxyproto

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

// The wire bytes, written out from the protocol's text: signature, version and command, family, length, addresses, TLVs.
func TestHeader(t *testing.T) {
	const sig = "0d0a0d0a000d0a515549540a" + "21"
	for _, c := range []struct{ name, client, local, session, want string }{
		{"IPv4", "203.0.113.7:4567", "127.0.0.1:143", "", sig + "11" + "000c" + "cb007107" + "7f000001" + "11d7" + "008f"},
		{"IPv6", "[2001:db8::7]:4567", "[::1]:143", "",
			sig + "21" + "0024" + "20010db8000000000000000000000007" + "00000000000000000000000000000001" + "11d7" + "008f"},
		{"IPv6 client, IPv4 listener", "[2001:db8::7]:4567", "127.0.0.1:143", "",
			sig + "21" + "0024" + "20010db8000000000000000000000007" + "00000000000000000000ffff7f000001" + "11d7" + "008f"},
		{"IPv4 client, IPv6 listener", "203.0.113.7:4567", "[::1]:143", "",
			sig + "21" + "0024" + "00000000000000000000ffffcb007107" + "00000000000000000000000000000001" + "11d7" + "008f"},
		{"mapped is IPv4", "[::ffff:203.0.113.7]:4567", "127.0.0.1:143", "", sig + "11" + "000c" + "cb007107" + "7f000001" + "11d7" + "008f"},
		{"session id", "203.0.113.7:4567", "127.0.0.1:143", "ab-1", sig + "11" + "0013" + "cb007107" + "7f000001" + "11d7" + "008f" + "05" + "0004" + "61622d31"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Header(Facts{Client: netip.MustParseAddrPort(c.client), Local: netip.MustParseAddrPort(c.local), Session: c.session})
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(got) != c.want {
				t.Errorf("header\n got %x\nwant %s", got, c.want)
			}
		})
	}
}

// TLVs written out: type, length, value; within the SSL one its flags, the verification result and its own TLVs.
func TestHeaderTLVs(t *testing.T) {
	const start = "0d0a0d0a000d0a515549540a" + "21" + "11"
	const ends = "cb007107" + "7f000001" + "11d7" + "008f"
	for _, c := range []struct {
		name   string
		f      Facts
		length string
		want   string
	}{
		{"none", Facts{}, "000c", ""},
		{"SNI", Facts{SNI: "mx.a"}, "0013", "02" + "0004" + "6d782e61"},
		{"TLS", Facts{TLSVersion: "TLSv1.3"}, "001e", "20" + "000f" + "01" + "00000001" + "21" + "0007" + "544c5376312e33"},
		{"TLS with cipher", Facts{TLSVersion: "TLSv1.3", TLSCipher: "AES"}, "0024",
			"20" + "0015" + "01" + "00000001" + "21" + "0007" + "544c5376312e33" + "23" + "0003" + "414553"},
		{"all", Facts{SNI: "a", TLSVersion: "x", TLSCipher: "y", Session: "s"}, "0024",
			"02" + "0001" + "61" + "20" + "000d" + "01" + "00000001" + "21" + "0001" + "78" + "23" + "0001" + "79" + "05" + "0001" + "73"},
		{"cipher without TLS", Facts{TLSCipher: "AES"}, "000c", ""},
		{"texts that are none", Facts{SNI: "a b", TLSVersion: "\x00", Session: "a\r\n"}, "000c", ""},
		{"cipher that is none", Facts{TLSVersion: "x", TLSCipher: "a b"}, "0018", "20" + "0009" + "01" + "00000001" + "21" + "0001" + "78"},
		{"texts too long", Facts{SNI: strings.Repeat("a", 256), TLSVersion: strings.Repeat("a", 65), Session: strings.Repeat("a", 129)}, "000c", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f.Client, c.f.Local = netip.MustParseAddrPort("203.0.113.7:4567"), netip.MustParseAddrPort("127.0.0.1:143")
			got, err := Header(c.f)
			if want := start + c.length + ends + c.want; err != nil || hex.EncodeToString(got) != want {
				t.Errorf("header\n got %x, error %v\nwant %s", got, err, want)
			}
		})
	}
}

// TestReadsBack wants that Parse reads what Header words.
func TestReadsBack(t *testing.T) {
	for _, f := range []Facts{
		{Client: netip.MustParseAddrPort("203.0.113.7:4567"), Local: netip.MustParseAddrPort("127.0.0.1:143")},
		{Client: netip.MustParseAddrPort("203.0.113.7:4567"), Local: netip.MustParseAddrPort("[2001:db8::1]:143"), Session: "ab-1", SNI: "imap.example.org"},
		{Client: netip.MustParseAddrPort("[2001:db8::7]:0"), Local: netip.MustParseAddrPort("127.0.0.1:65535"), TLSVersion: "TLSv1.3", TLSCipher: "TLS_AES_128_GCM_SHA256"},
		{Client: netip.MustParseAddrPort("[2001:db8::7]:1"), Local: netip.MustParseAddrPort("[2001:db8::1]:2"), SNI: strings.Repeat("a", 255),
			TLSVersion: strings.Repeat("v", 64), TLSCipher: strings.Repeat("c", 64), Session: strings.Repeat("s", 64)},
	} {
		p, err := Header(f)
		if err != nil || len(p) > 1<<10 {
			t.Fatalf("%+v: %d bytes, error %v", f, len(p), err)
		}
		want := Inbound{Client: f.Client, Local: f.Local, Session: f.Session, SNI: f.SNI, TLS: f.TLSVersion != "", TLSSeen: f.TLSVersion != "",
			TLSVersion: f.TLSVersion, TLSCipher: f.TLSCipher}
		got, n, err := Parse(append(p, "a1 NOOP\r\n"...))
		if got != want || n != len(p) || err != nil {
			t.Errorf("got %+v, %d bytes, error %v\nwant %+v, %d bytes", got, n, err, want, len(p))
		}
	}
}
