package managesieve

import (
	"slices"
	"strings"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// Everything the client side can say of its own accord is in this file; it repeats nothing that a client has sent but
// the tag of NOOP. Codes are those of RFC 5804 1.3.

// Answers that end a command well.
const (
	okNoop     = `OK "NOOP completed."`
	okTag      = `OK (TAG `
	tagEnd     = `) "NOOP with tag completed."`
	okLogout   = `OK "Logging out."`
	okStartTLS = `OK "Begin TLS negotiation now."`
	okXClient  = `OK "Client announced."`
	okLogin    = `OK "Logged in."`
)

// What stands behind the OK that ends a list of capabilities, as the banner does in the greeting.
const (
	capabilitiesEnd = `Capability completed.`
	tlsUp           = `TLS negotiation successful.`
)

// Answers to commands that are none or have no place here. They count for maxBad.
const (
	noUnknown    = `NO "Unknown command."`
	noBytes      = `NO "NUL, bare CR or bare LF in the line."`
	noArguments  = `NO "Wrong arguments."`
	noLoginFirst = `NO "Log in first."`
	noTLSUp      = `NO "TLS is already active."`
	noTLS        = `NO "TLS is not available here."`
)

// Answers to authentications that went no further. They count for max_auth_attempts (SPEC 3).
const (
	noPrivacy   = `NO (ENCRYPT-NEEDED) "Authentication is only allowed under TLS."`
	noMechanism = `NO "Unsupported authentication mechanism."`
	noAuth      = `NO "Authentication failed."`
	noAborted   = `NO "Authentication aborted."`
	noSASL      = `NO "Malformed authentication data."`
)

// noUnavailable answers a login that nobody could judge (SPEC 3.3). It counts for maxUnavailable.
const noUnavailable = `NO (TRYLATER) "Temporary failure, please try again later."`

// Farewells. TRYLATER goes to clients that have done nothing wrong (SPEC 3, RFC 5804 1.3).
const (
	byeLimit       = `BYE "Command exceeds a limit."`
	byeSync        = `BYE "Literals must be announced as {size+}."`
	byeBad         = `BYE "Too many bad commands."`
	byeAttempts    = `BYE "Too many failed logins."`
	byeNotMail     = `BYE "This is a ManageSieve server."`
	byeUnavailable = `BYE (TRYLATER) "Too many attempts, please try again later."`
	byeTimeout     = `BYE (TRYLATER) "Timed out before login."`
	byeDrain       = `BYE (TRYLATER) "Server is shutting down, please reconnect."`
	byeBusy        = `BYE (TRYLATER) "Too many connections, please try again later."`
	byeKicked      = `BYE (TRYLATER) "Session ended by the administrator, please reconnect."`
	byeDisorder    = `BYE (TRYLATER) "Session cannot go on, please reconnect."`
)

// parting is a farewell and the reason that goes with it.
type parting struct {
	text   string
	reason dialog.Reason
}

// farewells words the events that end a dialogue from outside.
var farewells = [...]parting{
	dialog.Expire: {byeTimeout, dialog.Timeout},
	dialog.Drain:  {byeDrain, dialog.Draining},
	dialog.Busy:   {byeBusy, dialog.TooBusy},
	dialog.Kicked: {byeKicked, dialog.KickedOut},
}

// line queues the parts and a CRLF for writing.
func (c *ClientSide) line(parts ...string) {
	out := c.output()
	for _, part := range parts {
		out.B = append(out.B, part...)
	}
	out.B = append(out.B, '\r', '\n')
}

// list queues the capabilities that hold at this moment, and the OK with text behind them (RFC 5804 1.7): mechanisms only
// where they are taken, STARTTLS only where it can be had (SPEC 3, SECURITY 3), XCLIENT only for whom it is. The RFC wants
// IMPLEMENTATION, SASL (even empty) and VERSION from everybody, SIEVE too, and NOTIFY beside enotify: sieve-connect complains
// without it. Pigeonhole and Stalwart both have mailto, and no other method by default.
func (c *ClientSide) list(text string) {
	c.capable("IMPLEMENTATION", c.o.Implementation)
	c.capable("SIEVE", strings.Join(c.o.Sieve, " "))
	if slices.Contains(c.o.Sieve, "enotify") {
		c.capable("NOTIFY", "mailto")
	}
	c.capable("SASL", c.mechanisms())
	if c.o.StartTLSOffered && !c.tls {
		c.line(`"STARTTLS"`)
	}
	if c.trusted {
		c.line(`"XCLIENT"`)
	}
	c.line(`"VERSION" "1.0"`)
	out := c.output()
	out.B = wire.AppendQuoted(append(out.B, "OK "...), text)
	c.line()
}

// capable queues one capability with its value.
func (c *ClientSide) capable(name, value string) {
	out := c.output()
	out.B = append(wire.AppendQuoted(out.B, name), ' ')
	out.B = appendString(out.B, value)
	c.line()
}

// mechanisms are those that may be used on the leg as it is.
func (c *ClientSide) mechanisms() string {
	if !c.mayLogin() {
		return ""
	}
	names := make([]string, 0, len(c.o.Mechanisms))
	for _, m := range c.o.Mechanisms {
		names = append(names, m.String())
	}
	return strings.Join(names, " ")
}

// answerOr is the backend's answer if it is a single line that begins with word and announces no literal, else the
// generic text.
func answerOr(answer []byte, word, generic string) string {
	first, _ := cutVerb(answer)
	if _, found, _ := wire.ParseLiteral(answer); found || !equalFold(first, word) || !oneLine(answer) {
		return generic
	}
	return string(answer)
}
