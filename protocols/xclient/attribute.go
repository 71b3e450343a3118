package xclient

import "strings"

// Dialect is how a protocol writes attributes.
type Dialect uint8

// The dialects.
const (
	// SMTP is for submission, smtp and lmtp: xtext values, IPv6 as IPV6:…, [UNAVAILABLE] and [TEMPUNAVAIL] allowed.
	SMTP Dialect = iota + 1
	// Plain is for POP3 and ManageSieve: values as they are, IPv6 without prefix.
	Plain
)

// Advertised is the list behind the keyword XCLIENT in our own EHLO answer to a trusted peer: what dialog.Announced
// keeps. What else Parse takes is not worth sending.
const Advertised = "ADDR PORT DESTADDR DESTPORT SESSION TTL CLIENT-TRANSPORT"

// unavailable and tempUnavail stand for a value that the sender does not know, for good or for now.
const (
	unavailable = "[UNAVAILABLE]"
	tempUnavail = "[TEMPUNAVAIL]"
)

// ipv6Prefix is in front of an IPv6 address in the dialect SMTP (RFC 5321 4.1.3).
const ipv6Prefix = "IPV6:"

// maxSessionBytes bounds SESSION: Dovecot takes no longer one (BACKENDS).
const maxSessionBytes = 64

// Offer is the set of attributes that a backend lists in EHLO or LHLO behind XCLIENT, as far as we know them.
type Offer uint16

// The attributes that we send, in SPEC's order (SPEC 5.2).
const (
	addr Offer = 1 << iota
	port
	destAddr
	destPort
	helo
	proto
	name
	session
	ttl
	transport
)

// sendable maps a name as it is listed to its attribute.
var sendable = map[string]Offer{"ADDR": addr, "PORT": port, "DESTADDR": destAddr, "DESTPORT": destPort, "HELO": helo, "PROTO": proto,
	"NAME": name, "SESSION": session, "TTL": ttl, "CLIENT-TRANSPORT": transport}

// ParseOffer reads what follows the keyword XCLIENT on its EHLO line. Unknown names are dropped; an empty list is an
// empty offer.
func ParseOffer(args []byte) Offer {
	var o Offer
	for word := range strings.FieldsSeq(string(args)) {
		o |= sendable[strings.ToUpper(word)]
	}
	return o
}

// Addr reports whether the client's address can be told, without which the rest is worth little (SPEC 3.5).
func (o Offer) Addr() bool { return o.has(addr) }

func (o Offer) has(a Offer) bool { return o&a != 0 }
