package imap

import (
	"bytes"

	"mailsplice/protocols/dialog"
)

// Everything the client side can say of its own accord is in this file; it repeats nothing that a client has sent but
// a checked tag. Codes are those of RFC 5530 and RFC 9051 7.1.

// Answers that end a command well.
const (
	okCapability = "OK Capability completed."
	okNoop       = "OK NOOP completed."
	okID         = "OK ID completed."
	okLogout     = "OK Logout completed."
	okStartTLS   = "OK Begin TLS negotiation now."
	okLogin      = "OK Logged in."
)

// Answers to commands that are none or have no place here. They count for maxBad.
const (
	badUnknown    = "BAD Unknown command."
	badLine       = "BAD Command is not <tag> <verb> in one line."
	badBytes      = "BAD NUL, bare CR or bare LF in the line."
	badArguments  = "BAD Wrong arguments."
	badLoginFirst = "BAD Log in first."
	badTLSUp      = "BAD TLS is already active."
	badNoTLS      = "BAD TLS is not available here."
)

// Answers to authentications that went no further. They count for max_auth_attempts (SPEC 3).
const (
	noPrivacy   = "NO [PRIVACYREQUIRED] Authentication is only allowed under TLS."
	noMechanism = "NO Unsupported authentication mechanism."
	noAuth      = "NO [AUTHENTICATIONFAILED] Authentication failed."
	badAborted  = "BAD Authentication aborted."
	badSASL     = "BAD Malformed authentication data."
)

// noUnavailable answers a login that nobody could judge (SPEC 3.1). It counts for maxUnavailable.
const noUnavailable = "NO [UNAVAILABLE] Temporary failure, please try again later."

// badLimit goes before a farewell when a bound of SPEC 3 was overrun.
const badLimit = "BAD Command exceeds a limit."

// goOn asks for a literal. A + with nothing behind it breaks clients (BACKENDS).
const goOn = "+ Ready for literal data."

// Farewells.
const (
	byeLogout      = "* BYE Logging out."
	byeLimit       = "* BYE Command exceeds a limit."
	byeBad         = "* BYE Too many bad commands."
	byeAttempts    = "* BYE Too many failed logins."
	byeNotMail     = "* BYE This is an IMAP server."
	byeUnavailable = "* BYE [UNAVAILABLE] Too many attempts, please try again later."
	byeTimeout     = "* BYE Timed out before login."
	byeDrain       = "* BYE [UNAVAILABLE] Server is shutting down, please reconnect."
	byeBusy        = "* BYE [UNAVAILABLE] Too many connections, please try again later."
	byeKicked      = "* BYE Session ended by the administrator, please reconnect."
	byeDisorder    = "* BYE [UNAVAILABLE] Session cannot go on, please reconnect."
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

// greet queues the greeting: capabilities as a code saves most clients a round trip.
func (c *ClientSide) greet() {
	out := c.output()
	out.B = append(out.B, "* OK [CAPABILITY "...)
	out.B = c.appendCapabilities(out.B)
	out.B = append(out.B, "] "...)
	c.line(c.o.Banner)
}

// listCapabilities queues the untagged answer to CAPABILITY.
func (c *ClientSide) listCapabilities() {
	out := c.output()
	out.B = append(out.B, "* CAPABILITY "...)
	out.B = c.appendCapabilities(out.B)
	c.line()
}

// appendCapabilities appends what holds at this moment: mechanisms only where they are taken, STARTTLS only where it can
// be had (SPEC 3, SECURITY 3).
func (c *ClientSide) appendCapabilities(dst []byte) []byte {
	had := len(dst)
	for _, name := range c.o.Advertise {
		dst = append(append(dst, name...), ' ')
	}
	if c.o.StartTLSOffered && !c.tls {
		dst = append(dst, "STARTTLS "...)
	}
	if !c.mayLogin() {
		dst = append(dst, "LOGINDISABLED "...)
		return dst[:len(dst)-1]
	}
	for _, m := range c.o.Mechanisms {
		dst = append(dst, "AUTH="...)
		dst = append(append(dst, m.String()...), ' ')
	}
	if len(dst) > had {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// welcome queues what an accepted login brings: what the backend said ahead, its capabilities if they are not among it,
// its answer. A client that asked for capabilities before ignores the code in the tagged answer, and one that did not
// still holds those of our greeting (BACKENDS): either gets the list untagged.
func (c *ClientSide) welcome(tag string, v *dialog.Verdict) {
	before := v.Before
	if !wholeLines(before) {
		before = nil
	}
	answer := answerOr(v.Answer, okLogin, "OK ")
	list := codeList(answer)
	told := listed(before) || (len(list) > 0 && !c.asked)
	if len(list) == 0 {
		list = v.Capabilities
	}
	out := c.output()
	out.B = append(out.B, before...)
	if !told && len(list) > 0 && oneLine(list) {
		out.B = append(out.B, "* CAPABILITY "...)
		out.B = append(append(out.B, list...), "\r\n"...)
	}
	c.line(tag, " ", string(answer))
}

// answerOr is the backend's answer if it is a single line that begins with one of the words, else the generic text.
func answerOr(answer []byte, generic string, words ...string) []byte {
	for _, word := range words {
		if len(answer) >= len(word) && bytes.EqualFold(answer[:len(word)], []byte(word)) && oneLine(answer) {
			return answer
		}
	}
	return []byte(generic)
}
