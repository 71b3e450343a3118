package mailfake

import (
	"crypto/tls"
	"errors"
	"strings"
	"time"
)

// Defaults and bounds of a backend.
const (
	defaultTimeout   = 30 * time.Minute // silence of a peer; as long as an idling phone is silent
	proxyTimeout     = 3 * time.Second  // wait for a PROXY header; Dovecot's own haproxy_timeout
	lingerTimeout    = 2 * time.Second  // wait for the peer's FIN after ours
	maxLineBytes     = 64 << 10         // one command line
	maxLiteralBytes  = 64 << 10         // all literals of one command but APPEND's message
	maxStoreBytes    = 128 << 20        // default bound of all appended messages of a backend together
	maxBulkBytes     = 16 << 30         // one XSINK, XSOURCE or XECHO
	maxRecords       = 100_000          // sessions remembered; the oldest ended ones go first
	maxVerbs         = 64               // commands remembered of a session
	maxAttributes    = 64               // XCLIENT attributes remembered of a session
	maxRecipients    = 100              // of one message
	defaultListen    = "127.0.0.1:0"    // loopback, any port
	defaultCaps      = "IMAP4rev1 SASL-IR LITERAL+ ID ENABLE IDLE AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2 AUTH=OAUTHBEARER"
	defaultCapsAfter = "IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE UNSELECT UIDPLUS XBULK"
)

// ProxyMode says whether a PROXY v2 header is expected ahead of everything (SPEC 5.1).
type ProxyMode uint8

// The modes.
const (
	// ProxyOff reads none: a header would be taken for a first command.
	ProxyOff ProxyMode = iota
	// ProxyRequired resets every connection that does not begin with a whole, valid header in one segment, as Dovecot does.
	ProxyRequired
)

// Options describe a backend. The zero value is an IMAP server that accepts every login. They are not changed after
// New and must not be changed by the caller either.
type Options struct {
	Protocol Protocol // what New starts; NewIMAP ignores it
	Name     string   // shown in greeting, ID, EHLO, IMPLEMENTATION and subject; "mailfake" when empty
	Listen   string   // loopback address:port; "127.0.0.1:0" when empty

	// Accounts maps users to passwords; a bearer token is compared with the password too. Nil with a nil Check: every
	// login is accepted.
	Accounts map[string]string
	// Check, when set, decides instead of Accounts. Called by many goroutines.
	Check func(Credentials) Verdict

	// Greeting is the whole greeting without its last CRLF; it may be several lines. Empty: the usual one. An IMAP
	// greeting that begins with "* PREAUTH" means what it says.
	Greeting string
	// NoCapabilities: an IMAP greeting and the login's OK carry no capability code; POP3 refuses CAPA, SMTP and
	// Submission refuse EHLO, so that a client falls back to HELO; a ManageSieve greeting is its OK alone.
	NoCapabilities bool
	// Capabilities before login; empty: a default. IMAP: words. Other protocols: one per line, name and value between
	// blanks, as in "PIPELINING\nAUTH PLAIN LOGIN"; a ManageSieve line is quoted on its way out. What is listed is
	// obeyed: a mechanism (AUTH=X; behind SASL or AUTH) or POP3's USER that is not there is refused, and so is IMAP's
	// LOGIN under LOGINDISABLED.
	Capabilities      string
	CapabilitiesTLS   string // the same inside TLS; empty: Capabilities without STARTTLS, STLS and LOGINDISABLED
	CapabilitiesAfter string // after login; empty: a default
	// XClient, not empty: XCLIENT is offered and obeyed before login, with this attribute list, such as XClientDovecot.
	// POP3 shows it in its banner only, ManageSieve as a bare name, IMAP not at all.
	XClient string

	TLS      *tls.Config // non-nil: STARTTLS (STLS) is advertised and served
	Implicit bool        // with TLS: the handshake comes first, before the greeting
	Proxy    ProxyMode
	// DistrustID answers an IMAP ID as Dovecot does to a peer outside login_trusted_networks: announced addresses are
	// recorded as fields, but not taken as the client's address.
	DistrustID bool

	MessageBytes []int64       // sizes of generated messages after the marker message in every INBOX, see Generated
	StoreBytes   int64         // bound of appended and received messages and scripts together; 0: 128 MiB
	Timeout      time.Duration // silence or a blocked write after which a session is closed; 0: 30 minutes
	Hooks        Hooks
}

// Credentials is one complete login attempt as the backend decoded it. It prints as nothing.
type Credentials struct {
	Method   string // "LOGIN" for IMAP's command, "USER" for POP3's, else the SASL mechanism
	User     string // authentication identity, or the user of an OAuth frame
	Authz    string // SASL PLAIN only
	Password string
	Token    string // OAuth mechanisms only
}

// String keeps credentials out of %v and %s.
func (Credentials) String() string { return "[credentials]" }

// GoString keeps credentials out of %#v.
func (Credentials) GoString() string { return "[credentials]" }

// Verdict is a backend's answer to a login.
type Verdict struct {
	OK bool
	// Temporary words a refusal as one for now: UNAVAILABLE, SYS/TEMP, TRYLATER or 454.
	Temporary bool
	// Text is the answer without CRLF, for IMAP without its tag, such as "NO [REFERRAL imap://elsewhere/] Go away".
	// Empty: the usual words of the protocol.
	Text string
	// Before is sent ahead of the answer: whole lines, CRLF included.
	Before string
	// Challenge, for OAuth mechanisms: this error text is sent first as a continuation (base64 is added), and the
	// client's answer to it awaited (RFC 7628 3.2.2).
	Challenge string
}

// Accept is the plain yes.
func Accept() Verdict { return Verdict{OK: true} }

// Refuse is a permanent no; OAuth attempts get the error challenge first.
func Refuse() Verdict { return Verdict{Challenge: `{"status":"invalid_token","schemes":"bearer"}`} }

// Unavailable is a temporary no.
func Unavailable() Verdict { return Verdict{Temporary: true} }

var (
	errOptions  = errors.New("listen address is not a loopback address")
	errProtocol = errors.New("no such protocol")
)

// withDefaults fills in what the caller left out.
func (o Options) withDefaults(sp *speech) Options {
	o.Name = or(o.Name, "mailfake")
	o.Listen = or(o.Listen, defaultListen)
	o.Capabilities = or(o.Capabilities, sp.before)
	o.CapabilitiesAfter = or(o.CapabilitiesAfter, sp.after)
	if o.TLS != nil && !hasWord(o.Capabilities, sp.startTLS) {
		separator := "\n"
		if o.Protocol == IMAP {
			separator = " "
		}
		o.Capabilities += separator + sp.startTLS
	}
	if o.StoreBytes == 0 {
		o.StoreBytes = maxStoreBytes
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	return o
}

// decide asks Check, or Accounts.
func (o *Options) decide(c Credentials) Verdict {
	if o.Check != nil {
		return o.Check(c)
	}
	if o.Accounts == nil {
		return Accept()
	}
	if want, known := o.Accounts[c.User]; known && want == c.Password+c.Token {
		return Accept()
	}
	return Refuse()
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func hasWord(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}
