package session

import (
	"net/netip"

	"mailsplice/protocols/dialog"
)

// Protocol is what a listener speaks and a leg is for.
type Protocol uint8

// The protocols.
const (
	IMAP Protocol = iota + 1
	POP3
	ManageSieve
	Submission
	SMTP
	LMTP
	protocols
)

var protocolNames = [protocols]string{"unknown", "imap", "pop3", "managesieve", "submission", "smtp", "lmtp"}

// String is the name in logs and labels.
func (p Protocol) String() string {
	if p < protocols {
		return protocolNames[p]
	}
	return protocolNames[0]
}

// PassesThrough tells whether sessions have no login: they go to one destination, byte for byte (SPEC 3.5).
func (p Protocol) PassesThrough() bool { return p == SMTP || p == LMTP }

// Speaker makes the machines of one listener's protocol.
type Speaker interface {
	// Client makes the machine that plays the server for a client.
	Client(Facts) dialog.Machine
	// Backend makes the machine that replays a login at a backend.
	Backend(BackendFacts) dialog.Machine
}

// Facts is what is known of a connection before it says a word.
type Facts struct {
	TLS         bool       // the leg is encrypted
	TrustedPeer bool       // may announce a client (SPEC 2.3, proxy_trusted)
	Local       netip.Addr // where the client has connected to; invalid when nobody has yet
}

// BackendFacts is what a machine needs to know to replay a login.
type BackendFacts struct {
	Login        *dialog.Login
	StartTLS     bool // the leg is to be encrypted before anything else
	HideRefusals bool // hide_auth_errors
	// Forward is to be announced in the protocol's words; nil: nothing is.
	Forward *dialog.Forwarding
	Local   netip.Addr // our end of the connection to the backend
}
