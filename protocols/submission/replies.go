package submission

import (
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/xclient"
)

// Everything the client side can say of its own accord is in this file; it repeats nothing that a client has sent.
// Codes are those of RFC 5321 4.2.3, RFC 4954 6 and RFC 3207 4, enhanced ones those of RFC 3463.

// Answers that end a command well.
const (
	okNoop     = "250 2.0.0 OK"
	okReset    = "250 2.0.0 Nothing is left to reset."
	okVerify   = "252 2.5.0 Cannot verify here, log in and try to send."
	okHelp     = "214 2.0.0 EHLO HELO NOOP RSET VRFY HELP STARTTLS AUTH QUIT"
	okQuit     = "221 2.0.0 Goodbye."
	okStartTLS = "220 2.0.0 Ready to start TLS."
	okLogin    = "235 2.7.0 Authentication succeeded."
)

// Answers to commands that are none or have no place here. They count for maxBad.
const (
	badUnknown    = "500 5.5.1 Unknown command."
	badBytes      = "500 5.5.2 NUL, bare CR or bare LF in the line."
	badArguments  = "501 5.5.4 Wrong arguments."
	badHello      = "501 5.5.4 A domain or an address literal is wanted."
	badAnnounced  = "501 5.5.4 Bad XCLIENT attribute."
	badLoginFirst = "530 5.7.0 Authentication required."
	badTLSUp      = "503 5.5.1 TLS is already active."
	badNoTLS      = "502 5.5.1 TLS is not available here."
)

// Answers to authentications that went no further. They count for max_auth_attempts (SPEC 3).
const (
	noPrivacy   = "538 5.7.11 Encryption required for requested authentication mechanism."
	noHello     = "503 5.5.1 Send EHLO first."
	noMechanism = "504 5.5.4 Unrecognized authentication type."
	noAuth      = "535 5.7.8 Authentication failed."
	badAborted  = "501 5.7.0 Authentication aborted."
	badSASL     = "501 5.5.2 Malformed authentication data."
)

// noUnavailable answers a login that nobody could judge (SPEC 3.4). It counts for maxUnavailable.
const noUnavailable = "454 4.7.0 Temporary failure, please try again later."

// Answers before a farewell when a bound of SPEC 3 was overrun. The second is the one of RFC 4954 6.
const (
	badLimit  = "500 5.5.2 Command exceeds a limit."
	badLength = "500 5.5.6 Authentication exchange line is too long."
)

// Farewells. A 421 may stand in for the answer to any command (RFC 5321 3.8).
const (
	byeLimit       = "421 4.3.2 A limit was exceeded, closing connection."
	byeChunk       = "421 4.3.2 Cannot tell data from commands, closing connection."
	byeBad         = "421 4.7.0 Too many bad commands."
	byeAttempts    = "421 4.7.0 Too many failed logins."
	byeNotMail     = "421 4.7.0 This is a mail submission server."
	byeUnavailable = "421 4.7.0 Too many attempts, please try again later."
	byeTimeout     = "421 4.3.2 Timed out before login."
	byeDrain       = "421 4.3.2 Server is shutting down, please reconnect."
	byeBusy        = "421 4.3.2 Too many connections, please try again later."
	byeKicked      = "421 4.3.2 Session ended by the administrator, please reconnect."
	byeDisorder    = "421 4.3.2 Session cannot go on, please reconnect."
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

// greet queues the greeting. Neither it nor the answer to EHLO carries an enhanced code (RFC 2034 4).
func (c *ClientSide) greet() { c.line("220 ", c.name, " ", c.o.Banner) }

// list queues the answer to EHLO: what holds at this moment. Mechanisms stand in it only where they are taken, STARTTLS
// where it can be had (SPEC 3, SECURITY 3), XCLIENT for a trusted peer (SPEC 3).
func (c *ClientSide) list() {
	c.line("250-", c.name)
	for _, keyword := range c.o.Advertise {
		c.line("250-", keyword)
	}
	if c.o.StartTLSOffered && !c.tls {
		c.line("250-STARTTLS")
	}
	if c.trusted {
		c.line("250-XCLIENT ", xclient.Advertised)
	}
	if c.mayLogin() {
		c.listMechanisms()
	}
	c.endList()
}

func (c *ClientSide) listMechanisms() {
	out := c.output()
	out.B = append(out.B, "250-AUTH"...)
	for _, m := range c.o.Mechanisms {
		out.B = append(append(out.B, ' '), m.String()...)
	}
	c.line()
}

// endList makes the last line queued the last one of its reply.
func (c *ClientSide) endList() {
	out := c.output()
	at := len(out.B) - len("\r\n")
	for at > 0 && out.B[at-1] != '\n' {
		at--
	}
	out.B[at+len("250")] = ' '
}

// relay queues the backend's answer if it is a reply of that code or, where code is a digit, of that class; else generic.
// Never 421, which would say that the connection ends. Lines ahead of the answer go with it if they are of one reply.
func (c *ClientSide) relay(v *dialog.Verdict, code, generic string) {
	r, ok := parseReply(v.Answer)
	if !ok || !r.last || !oneLine(v.Answer) || r.is("421") || string(r.code[:len(code)]) != code {
		c.line(generic)
		return
	}
	if continues(v.Before, string(r.code[:])) {
		out := c.output()
		out.B = append(out.B, v.Before...)
	}
	c.line(string(v.Answer))
}
