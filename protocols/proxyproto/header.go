package proxyproto

import (
	"fmt"
	"net"
	"net/netip"

	pp "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

const (
	// maxUniqueID is the protocol's bound for PP2_TYPE_UNIQUE_ID, in bytes.
	maxUniqueID = 128
	// maxNameBytes bounds a host name (RFC 1035 2.3.4).
	maxNameBytes = 255
	// maxWordBytes bounds the name of a TLS version or cipher: the longest in use have about 40 bytes.
	maxWordBytes = 64
)

// Facts is what a header says.
type Facts struct {
	Client, Local netip.AddrPort // the client, and the address it connected to
	Session       string         // PP2_TYPE_UNIQUE_ID, at most 128 bytes; empty: none
	SNI           string         // PP2_TYPE_AUTHORITY, the name that the client asked for; empty: not known
	// TLSVersion is set when the client's own leg is TLS, and makes a PP2_TYPE_SSL: "TLSv1.2" or "TLSv1.3", as HAProxy
	// writes it. TLSCipher goes along with it; empty: not known.
	TLSVersion, TLSCipher string
}

// Header is a version 2 header, to be sent before anything else and in one piece: Dovecot and Postfix refuse one that
// arrives in two segments. When the families differ both addresses go as IPv6, since backends refuse a mixed header
// and an UNKNOWN one would lose the client. A text that is too long or is no printable ASCII is left out. The header has
// at most 1 KiB.
func Header(f Facts) ([]byte, error) {
	src, dst := sameFamily(f.Client, f.Local)
	h := pp.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(src), net.TCPAddrFromAddrPort(dst))
	if src.Addr().Is6() {
		h.TransportProtocol = pp.TCPv6 // the library would take a mapped address for IPv4
	}
	tlvs, err := f.tlvs()
	if err == nil {
		err = h.SetTLVs(tlvs)
	}
	if err != nil {
		return nil, fmt.Errorf("adding to PROXY header: %w", err)
	}
	b, err := h.Format()
	if err != nil {
		return nil, fmt.Errorf("wording PROXY header for %v: %w", f.Client, err)
	}
	return b, nil
}

// tlvs are the facts beside the addresses, in SPEC's order (SPEC 5.1).
func (f *Facts) tlvs() ([]pp.TLV, error) {
	var list []pp.TLV
	if printable(f.SNI, maxNameBytes) {
		list = append(list, pp.TLV{Type: pp.PP2_TYPE_AUTHORITY, Value: []byte(f.SNI)})
	}
	if printable(f.TLSVersion, maxWordBytes) {
		// No certificate is asked of clients; what does not verify is not zero.
		ssl := tlvparse.PP2SSL{Client: tlvparse.PP2_BITFIELD_CLIENT_SSL, Verify: 1}
		ssl.TLV = append(ssl.TLV, pp.TLV{Type: pp.PP2_SUBTYPE_SSL_VERSION, Value: []byte(f.TLSVersion)})
		if printable(f.TLSCipher, maxWordBytes) {
			ssl.TLV = append(ssl.TLV, pp.TLV{Type: pp.PP2_SUBTYPE_SSL_CIPHER, Value: []byte(f.TLSCipher)})
		}
		tlv, err := ssl.Marshal()
		if err != nil {
			return nil, err
		}
		list = append(list, tlv)
	}
	if printable(f.Session, maxUniqueID) {
		list = append(list, pp.TLV{Type: pp.PP2_TYPE_UNIQUE_ID, Value: []byte(f.Session)})
	}
	return list, nil
}

// printable reports whether text is not empty, at most limit bytes, and ASCII without blanks and control characters.
func printable[S ~string | ~[]byte](text S, limit int) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return len(text) > 0 && len(text) <= limit
}

// sameFamily maps both to IPv6 (::ffff:a.b.c.d) unless both are IPv4.
func sameFamily(a, b netip.AddrPort) (netip.AddrPort, netip.AddrPort) {
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	if !x.Is4() || !y.Is4() {
		x, y = netip.AddrFrom16(x.As16()), netip.AddrFrom16(y.As16())
	}
	return netip.AddrPortFrom(x, a.Port()), netip.AddrPortFrom(y, b.Port())
}
