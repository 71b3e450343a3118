package managesieve

import (
	"cmp"

	"mailsplice/protocols/dialog"
)

// decide answers the login's command with the verdict; nil is taken for Unavailable.
func (c *ClientSide) decide(v *dialog.Verdict) {
	if v == nil {
		v = &dialog.Verdict{Outcome: dialog.Unavailable}
	}
	spoilt := c.try.spoilt
	switch {
	case v.Outcome == dialog.Accepted && (c.state == clientChallenge || spoilt != ""):
		// The backend accepts what the client has not finished, or has aborted. Bytes of the client's answer may have been
		// consumed, so there is no tail to go on with.
		c.end(byeDisorder, dialog.Syntax)
	case v.Outcome == dialog.Accepted:
		c.forget()
		c.welcome(v)
		c.state = clientJoined
	case v.Outcome == dialog.Refused && spoilt != "":
		c.failed(spoilt)
	case v.Outcome == dialog.Refused:
		c.failed(answerOr(v.Answer, "NO", noAuth))
	default:
		c.postpone(answerOr(v.Answer, "NO", noUnavailable))
	}
}

// welcome answers an accepted login. ManageSieve knows nothing that a server says ahead of its OK; whole lines from a
// backend side are passed on all the same.
func (c *ClientSide) welcome(v *dialog.Verdict) {
	if wholeLines(v.Before) {
		out := c.output()
		out.B = append(out.B, v.Before...)
	}
	c.line(answerOr(v.Answer, "OK", okLogin))
}

// failed answers an authentication that counts for max_auth_attempts, and ends the connection at the last one.
func (c *ClientSide) failed(answer string) {
	c.forget()
	c.line(answer)
	c.state = clientReady
	c.attempts++
	if int(c.attempts) >= cmp.Or(c.o.MaxAttempts, defaultMaxAttempts) {
		c.end(byeAttempts, dialog.Attempts)
	}
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

// exceeded ends the connection for a bound of SPEC 3. BYE is the answer to the command (RFC 5804 1.2).
func (c *ClientSide) exceeded() { c.end(byeLimit, dialog.Limit) }

// farewell ends the dialogue for an event from outside; a login in progress hears BYE as its answer. In a TLS handshake
// no word of ours has a place.
func (c *ClientSide) farewell(f parting) {
	switch c.state {
	case clientJoined, clientOver:
	case clientHandshake:
		c.close(f.reason)
	default:
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
	c.in.Reset()
	c.forget()
	c.next, c.reason, c.state = dialog.Close, reason, clientOver
}
