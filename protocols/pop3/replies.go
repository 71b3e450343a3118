package pop3

import (
	"bytes"

	"mailsplice/protocols/dialog"
)

// Everything the client side can say of its own accord is in this file; it repeats nothing that a client has sent.
// Codes are those of RFC 3206.

// Answers that end a command well.
const (
	okCapa     = "+OK Capability list follows."
	okMechs    = "+OK List of mechanisms follows."
	okNoop     = "+OK Nothing done."
	okUTF8     = "+OK UTF8 enabled."
	okUser     = "+OK Send the password."
	okXclient  = "+OK Updated."
	okStartTLS = "+OK Begin TLS negotiation now."
	okLogin    = "+OK Logged in."
)

// Answers to commands that are none or have no place here. They count for maxBad, and errBytes and errArguments to a
// command with credentials for max_auth_attempts.
const (
	errUnknown    = "-ERR Unknown command."
	errBytes      = "-ERR NUL, bare CR or bare LF in the line."
	errArguments  = "-ERR Wrong arguments."
	errLoginFirst = "-ERR Log in first."
	errTLSUp      = "-ERR TLS is already active."
	errNoTLS      = "-ERR TLS is not available here."
	errXclient    = "-ERR Invalid parameters."
)

// Answers to authentications that went no further. They count for max_auth_attempts (SPEC 3). None but errAuth has the
// code AUTH, at which a client asks its user for another password (RFC 3206 5).
const (
	errPrivacy   = "-ERR Authentication is only allowed under TLS."
	errMechanism = "-ERR Unsupported authentication mechanism."
	errAuth      = "-ERR [AUTH] Authentication failed."
	errAborted   = "-ERR Authentication aborted."
	errSASL      = "-ERR Malformed authentication data."
	errUserFirst = "-ERR Send USER first."
	errAPOP      = "-ERR APOP is not supported."
)

// errUnavailable answers a login that nobody could judge (SPEC 3.2). It counts for maxUnavailable.
const errUnavailable = "-ERR [SYS/TEMP] Temporary failure, please try again later."

// Farewells.
const (
	byeLogout      = "+OK Logging out."
	byeLimit       = "-ERR Command exceeds a limit."
	byeBad         = "-ERR Too many bad commands."
	byeAttempts    = "-ERR Too many failed logins."
	byeNotMail     = "-ERR This is a POP3 server."
	byeUnavailable = "-ERR [SYS/TEMP] Too many attempts, please try again later."
	byeTimeout     = "-ERR [SYS/TEMP] Timed out before login."
	byeDrain       = "-ERR [SYS/TEMP] Server is shutting down, please reconnect."
	byeBusy        = "-ERR [SYS/TEMP] Too many connections, please try again later."
	byeKicked      = "-ERR [SYS/TEMP] Session ended by the administrator, please reconnect."
	byeDisorder    = "-ERR [SYS/TEMP] Session cannot go on, please reconnect."
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

// greet queues the greeting. XCLIENT is shown here and nowhere else, as Dovecot does (BACKENDS).
func (c *ClientSide) greet() {
	if c.trusted {
		c.line("+OK [XCLIENT] ", c.o.Banner)
		return
	}
	c.line("+OK ", c.o.Banner)
}

// listCapabilities queues the answer to CAPA with what holds at this moment: logins only where they are taken, STLS only
// where it can be had (SPEC 3, SECURITY 3).
func (c *ClientSide) listCapabilities() {
	c.line(okCapa)
	for _, capability := range c.o.Advertise {
		c.line(capability)
	}
	if c.o.StartTLSOffered && !c.tls {
		c.line("STLS")
	}
	if c.mayLogin() {
		c.line("USER")
	}
	if c.mayLogin() && len(c.o.Mechanisms) > 0 {
		out := c.output()
		out.B = append(out.B, "SASL"...)
		for _, m := range c.o.Mechanisms {
			out.B = append(append(out.B, ' '), m.String()...)
		}
		c.line()
	}
	c.line(".")
}

// listMechanisms queues the answer to a lone AUTH.
func (c *ClientSide) listMechanisms() {
	c.line(okMechs)
	if c.mayLogin() {
		for _, m := range c.o.Mechanisms {
			c.line(m.String())
		}
	}
	c.line(".")
}

// answerOr is the backend's answer if it is a single line that begins with status, else the generic text.
func answerOr(answer []byte, status, generic string) []byte {
	word, _, _ := bytes.Cut(answer, []byte{' '})
	if string(word) == status && oneLine(answer) {
		return answer
	}
	return []byte(generic)
}
