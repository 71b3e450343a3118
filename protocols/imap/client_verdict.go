package imap

import (
	"cmp"

	"mailsplice/protocols/dialog"
)

// decide answers the login's command with the verdict; nil is taken for Unavailable.
func (c *ClientSide) decide(v *dialog.Verdict) {
	if v == nil {
		v = &dialog.Verdict{Outcome: dialog.Unavailable}
	}
	tag, spoilt := c.try.tag, c.try.spoilt
	switch {
	case v.Outcome == dialog.Accepted && (c.state == clientChallenge || spoilt != ""):
		// The backend accepts what the client has not finished, or has aborted. Bytes of the client's answer may have been
		// consumed, so there is no tail to go on with.
		c.line(tag, " ", noUnavailable)
		c.end(byeDisorder, dialog.Syntax)
	case v.Outcome == dialog.Accepted:
		c.forget()
		c.welcome(tag, v)
		c.state = clientJoined
	case v.Outcome == dialog.Refused && spoilt != "":
		c.failed(tag, spoilt)
	case v.Outcome == dialog.Refused:
		c.failed(tag, string(answerOr(v.Answer, noAuth, "NO ", "BAD ")))
	default:
		c.postpone(tag, string(answerOr(v.Answer, noUnavailable, "NO ")))
	}
}

// failed answers an authentication that counts for max_auth_attempts, and ends the connection at the last one.
func (c *ClientSide) failed(tag, answer string) {
	c.forget()
	c.line(tag, " ", answer)
	c.state = clientReady
	c.attempts++
	if int(c.attempts) >= cmp.Or(c.o.MaxAttempts, defaultMaxAttempts) {
		c.end(byeAttempts, dialog.Attempts)
	}
}

// postpone answers a login with a temporary failure, which is no failed attempt (SPEC 6.1).
func (c *ClientSide) postpone(tag, answer string) {
	c.forget()
	c.line(tag, " ", answer)
	c.state = clientReady
	c.unavailable++
	if c.unavailable >= maxUnavailable {
		c.end(byeUnavailable, dialog.Attempts)
	}
}

// bad answers a command that was none, and ends the connection at the last one.
func (c *ClientSide) bad(tag, answer string) {
	c.line(tag, " ", answer)
	c.bads++
	if c.bads >= maxBad {
		c.end(byeBad, dialog.Syntax)
	}
}

// exceeded ends the connection for a bound of SPEC 3. tag is "*" where none is known.
func (c *ClientSide) exceeded(tag string) {
	c.in.Reset()
	c.line(tag, " ", badLimit)
	c.end(byeLimit, dialog.Limit)
}

// farewell ends the dialogue for an event from outside. In a TLS handshake no word of ours has a place.
func (c *ClientSide) farewell(f parting, waiting bool) {
	switch {
	case c.state == clientJoined || c.state == clientOver:
		return
	case c.state == clientHandshake:
		c.close(f.reason)
		return
	case waiting:
		c.line(c.try.tag, " ", noUnavailable)
	}
	c.in.Reset()
	c.end(f.text, f.reason)
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
