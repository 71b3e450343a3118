package dialog

import "net/netip"

// Method says how a login is replayed (SPEC 6.1).
type Method uint8

// The methods.
const (
	// Password: SASL PLAIN, SASL LOGIN or the protocol's own command, whatever the client used.
	Password Method = iota + 1
	// OAuthBearer is RFC 7628, replayed frame for frame.
	OAuthBearer
	// XOAuth2 is Google's XOAUTH2, replayed frame for frame.
	XOAuth2
)

// Field is one IMAP ID pair (RFC 2971). A NIL value has Null set.
type Field struct {
	Name, Value string
	Null        bool
}

// Announced is what a trusted peer said about the client in front of it (SPEC 3, 5). Zero fields were not announced.
type Announced struct {
	Client, Local netip.AddrPort
	Session       string
	TTL           int // hops left as received; 0: not announced, since 0 on the wire is invalid
	TTLSeen       bool
	TLS           bool // CLIENT-TRANSPORT was TLS
	TransportSeen bool
}

// Forwarding is what the backend is to be told about the client in the protocol's own words (SPEC 5.2, 5.3).
type Forwarding struct {
	Client, Local netip.AddrPort
	Session       string // at most 64 bytes
	TTL           int    // hops left, at least 1
	TLS           bool   // the client's own connection was encrypted
}

// Login is one complete authentication attempt: the credentials and what the client said along with them. It prints as
// nothing. Whoever owns it calls Wipe when the verdict is in.
type Login struct {
	Method Method
	// Identifier is what is looked up (SPEC 4), checked as 4.2 demands, not yet normalised or cut at a master separator.
	// Empty: no identifier could be derived (OAuth only), the default destination serves.
	Identifier string
	// AuthcID, AuthzID and Password belong to Method Password; AuthzID is empty when none was given.
	AuthcID, AuthzID, Password []byte
	// Frame is the decoded initial response of an OAuth mechanism exactly as the client sent it.
	Frame []byte
	// ClientID holds the fields of the client's own IMAP ID, without x- ones, in its order.
	ClientID []Field
	// Hello is what the client called itself in EHLO, checked as a domain or an address literal (submission).
	Hello string
	// UTF8: the client has switched to UTF-8 (POP3, RFC 6856), which is replayed before the login (SPEC 3.2).
	UTF8 bool
	// Announced is set when a trusted peer announced the client.
	Announced *Announced
}

// Wipe zeroes every secret. It may be called more than once.
func (l *Login) Wipe() {
	clear(l.Password)
	clear(l.Frame)
	clear(l.AuthcID)
	clear(l.AuthzID)
	l.Password, l.Frame, l.AuthcID, l.AuthzID = nil, nil, nil, nil
}

// String keeps credentials out of %v and %s.
func (*Login) String() string { return "[login]" }

// GoString keeps credentials out of %#v.
func (*Login) GoString() string { return "[login]" }
