package limits

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
)

// kind tells what the prefix of a key means.
type kind uint8

const (
	none   kind = iota // an empty slot, no key
	host4              // an IPv4 address
	site64             // an IPv6 /64
	site48             // an IPv6 /48, for addresses that found no room of their own
)

// key is what one entry counts: the upper half of an IPv6 address, or an IPv4 address.
type key struct {
	prefix uint64
	kind   kind
}

// keyOf is the key of an address; mapped IPv4 addresses are IPv4, zones are ignored. The zero Addr has none.
func keyOf(a netip.Addr) key {
	if !a.IsValid() {
		return key{}
	}
	b := a.As16()
	if a.Is4() || a.Is4In6() {
		return key{uint64(binary.BigEndian.Uint32(b[12:])), host4}
	}
	return key{binary.BigEndian.Uint64(b[:]), site64}
}

// folded is the key to use when k finds no room; none when there is no such.
func (k key) folded() key {
	if k.kind != site64 {
		return key{}
	}
	return key{k.prefix &^ 0xffff, site48}
}

// hash keeps peers, who choose their addresses, from choosing their slots.
func (k key) hash(seed maphash.Seed) uint64 { return maphash.Comparable(seed, k) }
