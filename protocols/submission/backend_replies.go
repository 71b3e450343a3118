package submission

import (
	"bytes"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// takeLine acts on one line of the backend. All lines of a reply have one code (RFC 5321 4.2.1); a mixture would leave it
// to the reader what was meant.
func (b *BackendSide) takeLine(line []byte) {
	r, ok := parseReply(line)
	switch {
	case b.state == awaitGreeting && (!ok || !r.is("220")):
		b.close(dialog.BadGreeting)
	case !ok, b.within && r.code != b.code:
		b.close(dialog.Syntax)
	case r.is("421"): // at any point: it goes (RFC 5321 3.8)
		b.close(dialog.BackendClosed)
	case !r.last:
		b.keep(&r, line)
		b.code, b.within = r.code, true
	default:
		whole := !b.within
		b.noteOffer(&r)
		b.within = false
		b.takeReply(&r, line, whole)
	}
}

// keep takes what matters of a line that is not the last of its reply.
func (b *BackendSide) keep(r *reply, line []byte) {
	switch b.state {
	case awaitHello:
		b.noteOffer(r)
	case awaitPrompt, awaitVerdict:
		b.before = append(append(b.before, line...), "\r\n"...)
	}
}

// noteOffer reads a line of an answer to EHLO; the first one is the backend's name.
func (b *BackendSide) noteOffer(r *reply) {
	if b.state == awaitHello && b.within {
		b.offers.add(r.text)
	}
}

// takeReply acts on a complete reply. line is its last line, whole says that there was no other.
func (b *BackendSide) takeReply(r *reply, line []byte, whole bool) {
	switch b.state {
	case awaitGreeting:
		b.hail()
	case awaitHello:
		b.takeHello(r)
	case awaitGoAhead:
		b.takeGoAhead(r)
	case awaitAnnounce:
		b.takeAnnounce(r)
	case awaitPrompt, awaitVerdict:
		b.takeLogin(r, line, whole)
	}
}

// takeHello goes on, or tries our own name where the client's displeased. A backend that wants neither has given an
// answer all the same, which says nothing about its health (SPEC 6.1).
func (b *BackendSide) takeHello(r *reply) {
	switch {
	case r.is("250"):
		b.proceed()
	case r.class() == '5' && b.name() != b.o.Hostname:
		b.ownName = true
		b.hail()
	case r.class() == '5' || r.class() == '4':
		b.verdict.Outcome = dialog.Unavailable
		b.done()
	default:
		b.close(dialog.Syntax)
	}
}

// takeGoAhead begins TLS. What the backend has sent behind its 220 stays unconsumed and ends the session (SECURITY 6).
func (b *BackendSide) takeGoAhead(r *reply) {
	if !r.is("220") {
		b.close(dialog.NoStartTLS)
		return
	}
	b.state = awaitTLS
	b.then = dialog.Action{Kind: dialog.StartTLS}
}

// takeLogin acts on an answer to AUTH or to a line of its exchange.
func (b *BackendSide) takeLogin(r *reply, line []byte, whole bool) {
	prompt := whole && r.is("334")
	switch {
	case prompt && b.state == awaitPrompt:
		b.sendPiece()
	case prompt && b.oauth() && b.challenges < maxChallenges:
		b.relayChallenge(r.text)
	case r.is("235") && b.state == awaitVerdict: // earlier it cannot know the credentials
		b.verdict.Outcome = dialog.Accepted
		b.answer(line)
	case r.class() == '4':
		b.verdict.Outcome = dialog.Unavailable
		b.answer(line)
	case r.class() == '5':
		b.verdict.Outcome = dialog.Refused
		b.answer(line)
	default:
		b.close(dialog.Syntax)
	}
}

// relayChallenge hands an OAuth challenge to the client (SPEC 6.1).
func (b *BackendSide) relayChallenge(text []byte) {
	challenge, err := wire.DecodeBase64(text)
	if err != nil {
		b.close(dialog.Syntax)
		return
	}
	b.challenges++
	b.then = dialog.Action{Kind: dialog.Relay, Bytes: challenge}
	b.state = awaitRelayed
}

// answerChallenge sends the client's answer; an empty one is an empty line.
func (b *BackendSide) answerChallenge(answer []byte) {
	line := make([]byte, 0, wire.Base64Len(len(answer))+len("\r\n"))
	b.out = piece{text: append(wire.AppendBase64(line, answer), "\r\n"...), secret: true}
	b.state = awaitVerdict
}

// answer ends with the backend's own words, unless they are to be hidden.
func (b *BackendSide) answer(line []byte) {
	if b.verdict.Outcome == dialog.Accepted || !b.o.HideRefusals {
		b.verdict.Before, b.verdict.Answer = b.before, bytes.Clone(line)
	}
	b.done()
}

// notOffered ends without asking the backend (SPEC 6.1).
func (b *BackendSide) notOffered() {
	b.verdict.Outcome = dialog.Refused
	b.verdict.NotOffered = true
	b.done()
}

// done hands out the verdict. What is unconsumed then is the tail for the client.
func (b *BackendSide) done() {
	b.forgetLogin()
	b.state = backendOver
	b.then = dialog.Action{Kind: dialog.Done, Verdict: &b.verdict}
}
