package managesieve

import (
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// takeResponse acts on one response of the backend.
func (b *BackendSide) takeResponse(whole []byte) {
	r, ok := parseResponse(whole)
	switch {
	case !ok:
		b.broken()
	case r.status == statusBye && b.state == awaitGreeting:
		b.close(dialog.BadGreeting)
	case r.status == statusBye: // with a referral too, which is not followed (SECURITY 7)
		b.close(dialog.BackendClosed)
	case b.state == awaitGreeting, b.state == awaitSync, b.state == awaitCapabilities:
		b.takeListed(&r)
	case r.status == noStatus:
		b.takePrompt(&r)
	default:
		b.takeStatus(&r)
	}
}

// takeListed reads a list of capabilities and what ends it.
func (b *BackendSide) takeListed(r *response) {
	if r.status == noStatus {
		if !b.listing {
			b.caps = 0
		}
		b.listing = true
		b.caps |= parseCapability(r.strings[0], second(r.strings))
		return
	}
	listed := b.listing
	b.listing = false
	switch {
	case b.state == awaitSync && !listed:
		b.takeSync()
	case r.status != statusOK || !listed: // a list is the least that a server says (RFC 5804 1.7)
		b.broken()
	case b.state != awaitSync: // else NOOP is still to be answered
		b.proceed()
	}
}

// second is the value of a capability, nil if it has none.
func second(list [][]byte) []byte {
	if len(list) < 2 {
		return nil
	}
	return list[1]
}

// takeSync goes on behind the answer to NOOP, which may be a refusal. Without a list before it the backend is one that
// has to be asked.
func (b *BackendSide) takeSync() {
	if !b.caps.has(capsKnown) {
		b.command("CAPABILITY", awaitCapabilities)
		return
	}
	b.proceed()
}

// takePrompt acts on a challenge.
func (b *BackendSide) takePrompt(r *response) {
	switch {
	case len(r.strings) != 1 || r.odd:
		b.close(dialog.Syntax)
	case b.state == awaitPrompt:
		b.sendPiece()
	case b.state == awaitVerdict && b.oauth() && b.challenges < maxChallenges:
		b.relayChallenge(r.strings[0])
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

// takeStatus acts on OK or NO to the command in progress.
func (b *BackendSide) takeStatus(r *response) {
	switch b.state {
	case awaitGoAhead:
		b.takeGoAhead(r.status)
	case awaitXClient:
		// A refusal is no reason to refuse the login (SPEC 5.2): "You are not from trusted IP" at Dovecot.
		b.verdict.ForwardingIgnored = r.status != statusOK
		b.proceed()
	case awaitPrompt, awaitVerdict:
		b.takeVerdict(r)
	}
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

// takeVerdict words what the backend has decided. A refusal with TRYLATER is put off: the credentials are not to blame
// (SPEC 6.1, RFC 5804 1.3).
func (b *BackendSide) takeVerdict(r *response) {
	switch {
	case r.status == statusOK && b.state == awaitPrompt:
		b.close(dialog.Syntax) // it cannot know the credentials yet
		return
	case r.status == statusOK:
		b.verdict.Outcome = dialog.Accepted
	case r.codeIs("TRYLATER"):
		b.verdict.Outcome = dialog.Unavailable
	default:
		b.verdict.Outcome = dialog.Refused
	}
	if r.status == statusOK || !b.o.HideRefusals {
		b.verdict.Answer = r.answer()
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
