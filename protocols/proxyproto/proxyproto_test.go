package proxyproto

import (
	"encoding/hex"
	"net/netip"
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
