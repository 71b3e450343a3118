package submission

import (
	"cmp"

	"mailsplice/protocols/dialog"
)

// decide answers AUTH with the verdict; nil is taken for Unavailable.
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
		c.relay(v, "235", okLogin)
		c.state = clientJoined
	case v.Outcome == dialog.Refused && spoilt != "":
		c.failed(spoilt)
	case v.Outcome == dialog.Refused:
		c.relay(v, "5", noAuth)
		c.countFailure()
	default:
		c.relay(v, "4", noUnavailable)
		c.countUnavailable()
	}
}

// failed answers an authentication that counts for max_auth_attempts.
func (c *ClientSide) failed(answer string) {
	c.line(answer)
	c.countFailure()
}

// countFailure goes back to commands, and ends the connection at the last failure.
func (c *ClientSide) countFailure() {
	c.forget()
	c.state = clientReady
	c.attempts++
	if int(c.attempts) >= cmp.Or(c.o.MaxAttempts, defaultMaxAttempts) {
		c.end(byeAttempts, dialog.Attempts)
	}
}

// countUnavailable goes back to commands: a temporary failure is no failed attempt (SPEC 6.1).
func (c *ClientSide) countUnavailable() {
	c.forget()
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
func (c *ClientSide) exceeded(answer string) {
	c.in.Reset()
	c.line(answer)
	c.end(byeLimit, dialog.Limit)
}

// farewell ends the dialogue for an event from outside; in the place of an answer, if the client waits for one (SPEC
// 3.4). In a TLS handshake no word of ours has a place.
func (c *ClientSide) farewell(f parting) {
	switch c.state {
	case clientJoined, clientOver:
		return
	case clientHandshake:
		c.close(f.reason)
		return
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
