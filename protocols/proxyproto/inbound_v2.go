package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"

	pp "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

const (
	// fixedBytes is the length of a version 2 header up to and with its length field.
	fixedBytes = 16
	// maxSession bounds a session id that others are told about, in bytes (BACKENDS).
	maxSession = 64
	// version2 and the commands are the halves of byte 12.
	version2                   = 0x20
	commandLocal, commandProxy = 0, 1
)

// addressBytes is how long the addresses of each family and transport are. Those that are missing are not defined.
var addressBytes = map[byte]int{
	byte(pp.UNSPEC): 0,
	byte(pp.TCPv4):  12, byte(pp.UDPv4): 12,
	byte(pp.TCPv6): 36, byte(pp.UDPv6): 36,
	byte(pp.UnixStream): 216, byte(pp.UnixDatagram): 216,
}

// parseV2 reads a binary header. What can be judged early is judged before the rest is waited for.
func parseV2(p []byte) (Inbound, int, error) {
	const command, family, length = 12, 13, 14
	if len(p) > command && p[command] != version2|commandLocal && p[command] != version2|commandProxy {
		return Inbound{}, 0, ErrMalformed
	}
	if len(p) < fixedBytes {
		return Inbound{}, 0, ErrIncomplete
	}
	n := fixedBytes + int(binary.BigEndian.Uint16(p[length:]))
	if n > MaxBytes {
		return Inbound{}, 0, ErrMalformed
	}
	addresses, known := addressBytes[p[family]]
	local := p[command] == version2|commandLocal // its family and all behind it mean nothing
	if !local && (!known || n < fixedBytes+addresses) {
		return Inbound{}, 0, ErrMalformed
	}
	if len(p) < n {
		return Inbound{}, 0, ErrIncomplete
	}
	if local || addresses == 0 { // UNSPEC: nobody knows what lies in front of the TLVs
		return Inbound{}, n, nil
	}
	var in Inbound
	in.Client, in.Local = readV2Ends(pp.AddressFamilyAndProtocol(p[family]), p[fixedBytes:])
	if !in.readTLVs(p[:n], fixedBytes+addresses) {
		return Inbound{}, 0, ErrMalformed
	}
	return in, n, nil
}

// readV2Ends reads both ends of a TCP connection; there is no other that a mail client could have.
func readV2Ends(family pp.AddressFamilyAndProtocol, p []byte) (client, local netip.AddrPort) {
	switch family {
	case pp.TCPv4:
		client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(p)), binary.BigEndian.Uint16(p[8:]))
		local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[4:])), binary.BigEndian.Uint16(p[10:]))
	case pp.TCPv6:
		client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(p)).Unmap(), binary.BigEndian.Uint16(p[32:]))
		local = netip.AddrPortFrom(netip.AddrFrom16([16]byte(p[16:])).Unmap(), binary.BigEndian.Uint16(p[34:]))
	}
	return client, local
}

// readTLVs reads those of header that begin at from. Types that mean nothing to us are passed over, and the last of
// several of a type counts; lengths must fit exactly. A second checksum cannot be right, since it would cover the first.
func (in *Inbound) readTLVs(header []byte, from int) bool {
	summed := false
	for at := from; at < len(header); {
		kind, value, next, ok := cutTLV(header, at)
		if !ok {
			return false
		}
		switch kind {
		case pp.PP2_TYPE_AUTHORITY:
			in.SNI = text(value, maxNameBytes)
		case pp.PP2_TYPE_UNIQUE_ID:
			in.Session = text(value, maxSession)
		case pp.PP2_TYPE_SSL:
			ok = in.readSSL(value)
		case pp.PP2_TYPE_CRC32C:
			ok = !summed && checksumFits(header, next-len(value), next)
			summed = true
		}
		if !ok {
			return false
		}
		at = next
	}
	return true
}

// cutTLV is the TLV of p at a position, and where the next one begins.
func cutTLV(p []byte, at int) (kind pp.PP2Type, value []byte, next int, ok bool) {
	const head = 3
	if len(p)-at < head {
		return 0, nil, 0, false
	}
	next = at + head + int(binary.BigEndian.Uint16(p[at+1:]))
	if next > len(p) {
		return 0, nil, 0, false
	}
	return pp.PP2Type(p[at]), p[at+head : next], next, true
}

// readSSL reads a PP2_TYPE_SSL: a byte of flags, four of a verification result that we have no use for, and TLVs.
func (in *Inbound) readSSL(p []byte) bool {
	const head = 5
	if len(p) < head {
		return false
	}
	in.TLS, in.TLSSeen = p[0]&tlvparse.PP2_BITFIELD_CLIENT_SSL != 0, true
	in.TLSVersion, in.TLSCipher = "", ""
	for at := head; at < len(p); {
		kind, value, next, ok := cutTLV(p, at)
		if !ok {
			return false
		}
		switch {
		case !in.TLS:
		case kind == pp.PP2_SUBTYPE_SSL_VERSION:
			in.TLSVersion = text(value, maxWordBytes)
		case kind == pp.PP2_SUBTYPE_SSL_CIPHER:
			in.TLSCipher = text(value, maxWordBytes)
		}
		at = next
	}
	return true
}

// text is value if it can be told to others, else empty.
func text(value []byte, limit int) string {
	if !printable(value, limit) {
		return ""
	}
	return string(value)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumFits compares the checksum at [from:to] with that of the header in which these four bytes are zero.
func checksumFits(header []byte, from, to int) bool {
	if to-from != crc32.Size {
		return false
	}
	var zero [crc32.Size]byte
	sum := crc32.Update(0, castagnoli, header[:from])
	sum = crc32.Update(sum, castagnoli, zero[:])
	sum = crc32.Update(sum, castagnoli, header[to:])
	return sum == binary.BigEndian.Uint32(header[from:])
}
