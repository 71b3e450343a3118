package imap

import (
	"bytes"
	"slices"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// takeLine acts on one line of the backend.
func (b *BackendSide) takeLine(line []byte) {
	if b.inData {
		b.dropData(line)
		return
	}
	untagged, isUntagged := bytes.CutPrefix(line, []byte("* "))
	switch {
	case b.state == awaitGreeting && isUntagged:
		b.takeGreeting(untagged)
	case b.state == awaitGreeting:
		b.close(dialog.BadGreeting)
	case isUntagged:
		b.takeUntagged(untagged)
	case len(line) > 0 && line[0] == '+':
		b.takePrompt(bytes.TrimPrefix(line[1:], []byte(" ")))
	default:
		b.takeTagged(line)
	}
}

// takeGreeting wants OK. PREAUTH would be a login as somebody whom no client has named (SECURITY 5).
func (b *BackendSide) takeGreeting(text []byte) {
	status, rest := cutStatus(text)
	if status != statusOK {
		b.close(dialog.BadGreeting)
		return
	}
	b.noteCode(rest)
	b.proceed()
}

// takeUntagged acts on an untagged response. Before credentials went out nothing of it is kept for the client
// (SECURITY 7), afterwards what a client that is not logged in yet can use: capabilities and human-readable notes.
func (b *BackendSide) takeUntagged(text []byte) {
	status, rest := cutStatus(text)
	switch status {
	case statusBye:
		b.close(dialog.BackendClosed)
	case statusPreauth:
		b.close(dialog.Syntax)
	case statusOK, statusNo:
		if !b.noteCode(rest) && b.sent && !isReferral(rest) {
			b.notes = append(append(append(b.notes, "* "...), text...), "\r\n"...)
		}
	case statusBad: // about some command line, none of the client's
	default:
		if list, ok := cutCapability(text); ok {
			b.noteList(list)
			return
		}
		b.dropData(text)
	}
}

// noteCode takes a capability list out of the code at the start of text; false if there is none.
func (b *BackendSide) noteCode(text []byte) bool {
	list, ok := codeCapability(text)
	if ok {
		b.noteList(list)
	}
	return ok
}

// noteList takes an untagged capability list.
func (b *BackendSide) noteList(list []byte) {
	if !b.sent {
		b.caps = parseBackendCaps(list)
		return
	}
	b.list = append(b.list[:0], list...)
	b.listed = b.listed || b.state != awaitNewList
}

// dropData passes over an untagged response that means nothing here, literals included.
func (b *BackendSide) dropData(line []byte) {
	lit, found, err := wire.ParseLiteral(line)
	b.inData = found
	switch {
	case err != nil:
		b.close(dialog.Syntax)
	case found && lit.Size > b.o.MaxBytes-b.spent:
		b.close(dialog.Limit)
	case found:
		b.skip = lit.Size
		b.spent += lit.Size
	}
}

// takePrompt acts on a continuation request.
func (b *BackendSide) takePrompt(text []byte) {
	switch {
	case b.state == awaitPrompt:
		b.sendPiece()
	case b.state == awaitVerdict && b.oauth() && b.challenges < maxChallenges:
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

// takeTagged acts on the answer to the command in progress.
func (b *BackendSide) takeTagged(line []byte) {
	text, ok := bytes.CutPrefix(line, append(b.appendTag(make([]byte, 0, ownTagBytes+1)), ' '))
	status, rest := cutStatus(text)
	if !ok || status != statusOK && status != statusNo && status != statusBad {
		b.close(dialog.Syntax)
		return
	}
	switch b.state {
	case awaitCapabilities:
		b.takeCapabilities(status)
	case awaitGoAhead:
		b.takeGoAhead(status)
	case awaitID:
		b.takeID(status, rest)
	case awaitPrompt, awaitVerdict:
		b.takeVerdict(status, rest)
	case awaitNewList:
		b.accept()
	}
}

// takeCapabilities wants that a list came.
func (b *BackendSide) takeCapabilities(status backendStatus) {
	if status != statusOK || !b.caps.has(capsKnown) {
		b.close(dialog.Syntax)
		return
	}
	b.proceed()
}

// takeGoAhead begins TLS. What the backend has sent behind its OK stays unconsumed and ends the session (SECURITY 6).
func (b *BackendSide) takeGoAhead(status backendStatus) {
	if status != statusOK {
		b.close(dialog.NoStartTLS)
		return
	}
	b.state = awaitTLS
	b.then = dialog.Action{Kind: dialog.StartTLS}
}

// takeVerdict words what the backend has decided.
func (b *BackendSide) takeVerdict(status backendStatus, text []byte) {
	if status == statusOK && b.state == awaitPrompt {
		b.close(dialog.Syntax) // it cannot know the credentials yet
		return
	}
	list, coded := codeCapability(text)
	b.forgetLogin()
	b.verdict.Answer = answerOf(status, text)
	switch {
	case status != statusOK:
		b.refuse(text)
	case coded:
		b.list = append(b.list[:0], list...)
		b.accept()
	case b.listed:
		b.accept()
	default:
		b.command("CAPABILITY", awaitNewList)
	}
}

// accept ends with the login accepted.
func (b *BackendSide) accept() {
	b.verdict.Outcome = dialog.Accepted
	b.verdict.Before = b.notes
	b.verdict.Capabilities = b.list
	if b.listed {
		b.verdict.Before = slices.Concat(b.notes, []byte("* CAPABILITY "), b.list, []byte("\r\n"))
	}
	b.done()
}

// refuse ends with the login refused, or put off where the code says that the credentials are not to blame. Lists of
// capabilities are for a client that is let in only.
func (b *BackendSide) refuse(text []byte) {
	b.verdict.Outcome = dialog.Refused
	if temporary(text) {
		b.verdict.Outcome = dialog.Unavailable
	}
	b.verdict.Before = b.notes
	if b.o.HideRefusals {
		b.verdict.Before, b.verdict.Answer = nil, nil
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
