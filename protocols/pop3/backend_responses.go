package pop3

import (
	"bytes"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// takeLine acts on one line of the backend. Every line answers something: POP3 has none that comes unasked.
func (b *BackendSide) takeLine(line []byte) {
	if b.state == awaitList {
		b.takeCapability(line)
		return
	}
	status, text := cutStatus(line)
	switch {
	case b.state == awaitGreeting:
		b.takeGreeting(status, text)
	case status == noStatus, status == statusPrompt && b.state != awaitPrompt && b.state != awaitVerdict:
		b.refuseLine()
	case b.state == awaitCapa:
		b.takeCapa(status)
	case b.state == awaitGoAhead:
		b.takeGoAhead(status)
	case b.state == awaitXclient:
		b.takeXclient(status, text)
	case b.state == awaitUTF8:
		b.takeUTF8(status)
	case b.state == awaitUser && status == statusOK:
		b.sendPiece(awaitUser)
	case status == statusPrompt:
		b.takePrompt(text)
	default:
		b.takeVerdict(status, text, line)
	}
}

// refuseLine ends the dialogue with a backend whose line is no answer to what it was asked.
func (b *BackendSide) refuseLine() {
	if b.state == awaitGoAhead {
		b.close(dialog.NoStartTLS)
		return
	}
	b.close(dialog.Syntax)
}

// takeGreeting wants +OK, and notes whether XCLIENT is shown.
func (b *BackendSide) takeGreeting(status backendStatus, text []byte) {
	if status != statusOK {
		b.close(dialog.BadGreeting)
		return
	}
	b.xclient = equalFold(code(text), "XCLIENT")
	b.proceed()
}

// takeCapa begins the list of capabilities. A backend without CAPA can do what RFC 1939 says.
func (b *BackendSide) takeCapa(status backendStatus) {
	if status == statusErr {
		b.caps = capsOld
		b.proceed()
		return
	}
	b.caps = capsKnown
	b.state = awaitList
}

// takeCapability takes a line of the list, a leading dot doubled if it has one (RFC 1939 3).
func (b *BackendSide) takeCapability(line []byte) {
	if string(line) == "." {
		b.proceed()
		return
	}
	b.caps |= parseCapability(line)
}

// takeGoAhead begins TLS. What the backend has sent behind its OK stays unconsumed and ends the session (SECURITY 6).
func (b *BackendSide) takeGoAhead(status backendStatus) {
	if status != statusOK {
		b.refuseLine()
		return
	}
	b.state = awaitTLS
	b.then = dialog.Action{Kind: dialog.StartTLS}
}

// takeXclient notes whether the announcement was taken for what it is. That it was not is no reason to refuse the login.
func (b *BackendSide) takeXclient(status backendStatus, text []byte) {
	if status != statusOK || ignored(text) {
		b.verdict.ForwardingIgnored = true
	}
	b.proceed()
}

// takeUTF8 wants that the backend has switched.
func (b *BackendSide) takeUTF8(status backendStatus) {
	if status != statusOK {
		b.notOffered()
		return
	}
	b.utf8 = true
	b.proceed()
}

// takePrompt acts on a line that asks for more.
func (b *BackendSide) takePrompt(text []byte) {
	switch {
	case b.state == awaitPrompt:
		b.sendPiece(awaitPrompt)
	case b.oauth() && b.challenges < maxChallenges:
		b.relayChallenge(text)
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

// takeVerdict words what the backend has decided: its line as it is.
func (b *BackendSide) takeVerdict(status backendStatus, text, line []byte) {
	if status == statusOK && b.state == awaitPrompt {
		b.close(dialog.Syntax) // it cannot know the credentials yet
		return
	}
	b.verdict.Answer = bytes.Clone(bytes.TrimRight(line, " "))
	b.verdict.Outcome = dialog.Accepted
	if status == statusErr {
		b.refuse(text)
	}
	b.done()
}

// refuse makes the verdict a refusal, or a temporary one where the code says that the credentials are not to blame. One
// without a word gets the client side's own.
func (b *BackendSide) refuse(text []byte) {
	b.verdict.Outcome = dialog.Refused
	if temporary(text) {
		b.verdict.Outcome = dialog.Unavailable
	}
	if b.o.HideRefusals || len(bytes.TrimSpace(text)) == 0 {
		b.verdict.Answer = nil
	}
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
