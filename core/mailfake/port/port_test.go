package port

import (
	"net"
	"net/netip"
	"testing"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// A port that is in use is passed over, and none is handed out twice.
func TestFree(t *testing.T) {
	seen := map[netip.AddrPort]bool{}
	for range 200 {
		taken, err := net.Listen("tcp", netip.AddrPortFrom(loopback, uint16(first+(next.Load()+1)%count)).String())
		if err == nil {
			defer taken.Close()
		}
		addr, err := Free(loopback)
		if err != nil {
			t.Fatal(err)
		}
		if p := addr.Port(); seen[addr] || p < first || p >= first+count || taken != nil && taken.Addr().String() == addr.String() {
			t.Errorf("got %s, which was handed out before, is in use or outside the range", addr)
		}
		seen[addr] = true
	}
}

// An address that is not this machine's has no port.
func TestNoneFree(t *testing.T) {
	if addr, err := Free(netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Errorf("got %s", addr)
	}
}
