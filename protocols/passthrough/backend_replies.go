package passthrough

import (
	"bytes"

	"mailsplice/protocols/dialog"
)

// takeLine takes one line of a reply. All lines of a reply have one code (RFC 5321 4.2.1).
func (b *BackendSide) takeLine(line []byte) {
	code, last, ok := parseReply(line)
	switch {
	case !ok && b.state == awaitGreeting:
		b.close(dialog.BadGreeting)
		return
	case !ok, b.code != 0 && code != b.code:
		b.close(dialog.Syntax)
		return
	case b.state == awaitHello && b.code != 0 && code == codeOK:
		b.offers.note(line)
	}
	b.code = code
	if !last {
		b.keep(line)
		return
	}
	b.code = 0
	b.takeReply(code, line)
	b.notes = nil
}

// keep holds the line for the client if it is part of what may become its greeting.
func (b *BackendSide) keep(line []byte) {
	if b.state == awaitXclient {
		b.notes = append(append(b.notes, line...), "\r\n"...)
	}
}

// Codes of RFC 5321 4.2.3 and RFC 7504.
const (
	codeReadyOrGo  = 220
	codeOK         = 250
	codeGoingDown  = 421
	codeBadArg     = 501
	codeNoMail     = 521
	codeNoSMTPHere = 554
)

// takeReply goes on behind a whole reply.
func (b *BackendSide) takeReply(code int, line []byte) {
	switch {
	case b.state == awaitGreeting && code == codeReadyOrGo:
		b.hello()
	case b.state == awaitGreeting:
		b.close(dialog.BadGreeting)
	case b.state == awaitXclient:
		b.takeForwarded(code, line)
	case code == codeGoingDown:
		b.close(dialog.BackendClosed)
	case b.state == awaitHello:
		b.proceed(code)
	case code == codeReadyOrGo:
		b.state = awaitTLS
		b.then = dialog.Action{Kind: dialog.StartTLS}
	default:
		b.close(dialog.NoStartTLS)
	}
}

// proceed takes the next step, as far as is known what the backend offers. One that does not take EHLO offers nothing.
func (b *BackendSide) proceed(code int) {
	switch {
	case b.o.StartTLS && !b.tlsUp && b.offers.startTLS:
		b.command([]byte("STARTTLS\r\n"), awaitGoAhead)
	case b.o.StartTLS && !b.tlsUp:
		b.close(dialog.NoStartTLS)
	case temporary(code):
		b.done(dialog.Verdict{Outcome: dialog.Unavailable})
	default:
		b.announce()
	}
}

// takeForwarded judges an answer to XCLIENT. 220 is what Postfix and Dovecot say, and the only one that can stand for a
// greeting. What refuses the command is told from what refuses the client by the codes with which a server may greet.
func (b *BackendSide) takeForwarded(code int, line []byte) {
	switch {
	case code == codeReadyOrGo:
		b.greeted(dialog.Accepted, line)
	case code == codeBadArg && !b.hidden && b.hasIPv6():
		b.hidden = true
		b.announce()
	case refusesClient(code):
		b.greeted(dialog.Refused, line)
	case temporary(code):
		b.done(dialog.Verdict{Outcome: dialog.Unavailable})
	default:
		b.done(dialog.Verdict{Outcome: dialog.Unavailable, ForwardingIgnored: true})
	}
}

// greeted ends with the backend's greeting for the client.
func (b *BackendSide) greeted(o dialog.Outcome, line []byte) {
	b.done(dialog.Verdict{Outcome: o, Before: b.notes, Answer: bytes.Clone(line), ForwardingIgnored: b.hidden})
}

// hasIPv6 reports whether an address was sent that a backend with inet_protocols = ipv4 refuses (BACKENDS).
func (b *BackendSide) hasIPv6() bool {
	f := b.o.Forward
	return f.Client.Addr().Unmap().Is6() || f.Local.Addr().Unmap().Is6()
}

// temporary reports whether a reply asks to come back later.
func temporary(code int) bool { return code/100 == 4 }

// refusesClient reports whether a reply is a greeting that serves nobody: 554 (RFC 5321 3.1), 521 (RFC 7504).
func refusesClient(code int) bool { return code == codeNoSMTPHere || code == codeNoMail }
