package pop3

import (
	"cmp"

	"mailsplice/protocols/dialog"
)

// decide answers the login with the verdict; nil is taken for Unavailable. Lines before the answer and capabilities have
// no place in POP3 and are not sent.
func (c *ClientSide) decide(v *dialog.Verdict) {
	if v == nil {
		v = &dialog.Verdict{Outcome: dialog.Unavailable}
	}
	spoilt := c.try.spoilt
	switch {
	case v.Outcome == dialog.Accepted && (c.state == clientChallenge || spoilt != ""):
		// The backend accepts what the client has not finished, or has aborted. Bytes of the client's answer may have been
		// consumed, so there is no tail to go on with.
		c.in.Reset()
		c.end(byeDisorder, dialog.Syntax)
	case v.Outcome == dialog.Accepted:
		c.forget()
		c.line(string(answerOr(v.Answer, "+OK", okLogin)))
		c.state = clientJoined
	case v.Outcome == dialog.Refused && spoilt != "":
		c.failed(spoilt)
	case v.Outcome == dialog.Refused:
		c.failed(string(answerOr(v.Answer, "-ERR", errAuth)))
	default:
		c.postpone(string(answerOr(v.Answer, "-ERR", errUnavailable)))
	}
}

// failed answers an authentication that counts for max_auth_attempts, and ends the connection at the last one.
func (c *ClientSide) failed(answer string) {
	c.forget()
	c.line(answer)
	c.state, c.orphan = clientReady, false
	c.attempts++
	if int(c.attempts) >= cmp.Or(c.o.MaxAttempts, defaultMaxAttempts) {
		c.end(byeAttempts, dialog.Attempts)
	}
}

// failedUser is failed for USER: the PASS that a client has sent behind it belongs to the same attempt.
func (c *ClientSide) failedUser(answer string) {
	c.failed(answer)
	c.orphan = true
}

// failedPass is failed for PASS, unless its USER has been counted already. That needs no bound of its own: each such
// PASS has a counted USER in front of it.
func (c *ClientSide) failedPass(answer string) {
	if !c.orphan {
		c.failed(answer)
		return
	}
	c.orphan = false
	c.line(answer)
}

// postpone answers a login with a temporary failure, which is no failed attempt (SPEC 6.1).
func (c *ClientSide) postpone(answer string) {
	c.forget()
	c.line(answer)
	c.state = clientReady
	c.unavailable++
	if c.unavailable >= maxUnavailable {
		c.end(byeUnavailable, dialog.Attempts)
	}
}

// bad answers a command that was none, and ends the connection at the last one.
func (c *ClientSide) bad(answer string) {
	c.line(answer)
	c.bads++
	if c.bads >= maxBad {
		c.end(byeBad, dialog.Syntax)
	}
}

// exceeded ends the connection for a bound of SPEC 3.
func (c *ClientSide) exceeded() {
	c.in.Reset()
	c.end(byeLimit, dialog.Limit)
}

// farewell ends the dialogue for an event from outside; it is the answer to a command in progress, too. In a TLS
// handshake no word of ours has a place.
func (c *ClientSide) farewell(f parting) {
	switch c.state {
	case clientJoined, clientOver:
	case clientHandshake:
		c.close(f.reason)
	default:
		c.in.Reset()
		c.end(f.text, f.reason)
	}
}

// end says goodbye and closes.
func (c *ClientSide) end(text string, reason dialog.Reason) {
	c.line(text)
	c.close(reason)
}

// close ends the leg once everything queued is written.
func (c *ClientSide) close(reason dialog.Reason) {
	c.forget()
	c.next, c.reason, c.state = dialog.Close, reason, clientOver
}
