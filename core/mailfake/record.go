package mailfake

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"slices"
	"time"
)

// Record is what a backend remembers of one session.
type Record struct {
	Number   int            // counts from 1 in the order of arrival
	Peer     netip.AddrPort // other end of the TCP connection
	Client   netip.AddrPort // from XCLIENT or a trusted ID, else from PROXY, else Peer
	Began    time.Time
	Ended    time.Time // zero while the session lasts
	Proxy    *ProxyHeader
	ID       []Pair   // fields of the first IMAP ID
	IDs      int      // how many IDs came
	XClient  []Pair   // the first 64 attributes of all XCLIENTs that were accepted, in order, values decoded
	XClients int      // how many were accepted
	Hello    string   // argument of the last EHLO, HELO or LHLO
	Hellos   int      // how many came
	UTF8     bool     // POP3's UTF8 was accepted (RFC 6856)
	Verbs    []string // the first 64 commands, upper case
	Commands int      // how many came; lines of a SASL exchange or a message are none
	Received int64    // bytes, inside TLS and behind a PROXY header
	Sent     int64
	TLS      bool
	State    tls.ConnectionState // as the handshake left it; zero without TLS
	Attempts int                 // complete logins that were decided
	Account  string              // of the accepted login, else of the last attempt
	Method   string              // "LOGIN", "USER", "PLAIN", "XOAUTH2", ... of that attempt
	// Form is how it came: "atom quoted literal literal+" for IMAP's LOGIN, "command" for USER, "initial prompted" for
	// SASL, and "initial literal" when ManageSieve's initial response was one.
	Form     string
	LoggedIn bool
}

// clone is a copy that shares nothing that still grows.
func (r *Record) clone() Record {
	c := *r
	c.ID, c.XClient, c.Verbs = slices.Clone(r.ID), slices.Clone(r.XClient), slices.Clone(r.Verbs)
	return c
}

// Attribute is the value of an XCLIENT attribute, of the last one if it came twice, and whether it came.
func (r Record) Attribute(name string) (string, bool) {
	for _, p := range slices.Backward(r.XClient) {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Pair is one field of an IMAP ID, its name in lower case, or one XCLIENT attribute, its name in upper case. A NIL value
// of an ID has Null set.
type Pair struct {
	Name, Value string
	Null        bool
}

// Field is the value of an ID field by its lower-case name, and whether it came.
func (r Record) Field(name string) (string, bool) {
	for _, p := range r.ID {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Append is what a backend remembers of one appended message.
type Append struct {
	Account string
	Bytes   int64
	Sum     string // hex SHA-256
}

// Message is what a backend remembers of one message that it took by DATA.
type Message struct {
	Session int      // Record.Number
	Account string   // logged in, or empty
	From    string   // between the angle brackets of MAIL
	To      []string // of each RCPT that was accepted
	// Raw is the message byte for byte as it came, dots still doubled, without the final ".\r\n". It is not a copy.
	Raw []byte
	Sum string // hex SHA-256 of Content
}

// Content is the message as it was before the dots of its lines were doubled (RFC 5321 4.5.2).
func (m Message) Content() []byte {
	line := []byte("\r\n.")
	out := bytes.ReplaceAll(append([]byte("\r\n"), m.Raw...), line, line[:2])
	return out[2:]
}

// Counts sums up a backend's life so far.
type Counts struct {
	Connections       int // ever accepted
	Open              int // not ended
	LoggedIn          int // of those, logged in
	Idle              int // of those, in IDLE
	Accepted, Refused int // verdicts ever, by kind
	Appended          int // messages ever, by APPEND
	Messages          int // messages ever, by DATA
	Commands          int // commands ever
}
