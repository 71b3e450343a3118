// Package proxyproto words the PROXY protocol header that tells a backend who the client is (SPEC 5.1; HAProxy's
// proxy-protocol.txt, version 2).
//
// The wire format is github.com/pires/go-proxyproto's. That library speaks in net.Addr, which is why this package alone
// under protocols imports net: for its address types, never for a connection.
package proxyproto

import (
	"fmt"
	"net"
	"net/netip"

	pp "github.com/pires/go-proxyproto"
)

// maxUniqueID is the protocol's bound for PP2_TYPE_UNIQUE_ID, in bytes.
const maxUniqueID = 128

// Facts is what a header says.
type Facts struct {
	Client, Local netip.AddrPort // the client, and the address it connected to
	Session       string         // PP2_TYPE_UNIQUE_ID; empty: none
}

// Header is a version 2 header, to be sent before anything else and in one piece: Dovecot and Postfix refuse one that
// arrives in two segments. When the families differ both addresses go as IPv6, since backends refuse a mixed header
// and an UNKNOWN one would lose the client.
func Header(f Facts) ([]byte, error) {
	src, dst := sameFamily(f.Client, f.Local)
	h := pp.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(src), net.TCPAddrFromAddrPort(dst))
	if src.Addr().Is6() {
		h.TransportProtocol = pp.TCPv6 // the library would take a mapped address for IPv4
	}
	if f.Session != "" && len(f.Session) <= maxUniqueID {
		if err := h.SetTLVs([]pp.TLV{{Type: pp.PP2_TYPE_UNIQUE_ID, Value: []byte(f.Session)}}); err != nil {
			return nil, fmt.Errorf("adding session id to PROXY header: %w", err)
		}
	}
	b, err := h.Format()
	if err != nil {
		return nil, fmt.Errorf("wording PROXY header for %v: %w", f.Client, err)
	}
	return b, nil
}

// sameFamily maps both to IPv6 (::ffff:a.b.c.d) unless both are IPv4.
func sameFamily(a, b netip.AddrPort) (netip.AddrPort, netip.AddrPort) {
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	if !x.Is4() || !y.Is4() {
		x, y = netip.AddrFrom16(x.As16()), netip.AddrFrom16(y.As16())
	}
	return netip.AddrPortFrom(x, a.Port()), netip.AddrPortFrom(y, b.Port())
}
