package submission

import (
	"errors"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/sasl"
	"mailsplice/protocols/wire"
)

// attempt is one authentication from its command to its verdict.
type attempt struct {
	exchange sasl.Exchange
	method   dialog.Method
	login    *dialog.Login // until it is handed out
	relay    []byte        // the client's answer to a challenge, until the next call
	// spoilt is the answer when the verdict is a refusal because the client's answer to a challenge was none; or empty.
	spoilt string
}

// wipe zeroes what secrets are left.
func (t *attempt) wipe() {
	t.exchange.Wipe()
	clear(t.relay)
	t.relay = nil
	if t.login != nil {
		t.login.Wipe()
		t.login = nil
	}
}

// feedSASL reads the client's line of the exchange, or its answer to the backend's challenge.
func (c *ClientSide) feedSASL(p []byte) int {
	line, n, err := c.in.Line(p, sasl.MaxLineBytes+len("\r\n"))
	switch {
	case errors.Is(err, wire.ErrLong):
		c.exceeded(badLength)
		return n
	case line == nil:
		return n
	case c.state == clientChallenge:
		c.answerChallenge(line, err)
	case err != nil:
		c.judge(nil, sasl.ErrSyntax)
	default:
		c.judge(c.try.exchange.Answer(line))
	}
	c.in.Reset()
	return n
}

// answerChallenge hands the client's answer to the backend. One that is none goes as an empty answer, which makes the
// backend end the exchange as RFC 7628 3.2.3 wants; the client then hears 501 for it.
func (c *ClientSide) answerChallenge(line []byte, broken error) {
	raw, err := wire.DecodeBase64(line)
	switch {
	case string(line) == "*":
		c.try.spoilt = badAborted
	case err != nil || broken != nil:
		c.try.spoilt = badSASL
		clear(raw)
		raw = nil
	}
	c.try.relay = raw
	c.next, c.state = dialog.Relay, clientPending
}

// judge goes on from a step of an exchange: a login, an error, or neither, which means another prompt.
func (c *ClientSide) judge(l *dialog.Login, err error) {
	switch {
	case errors.Is(err, sasl.ErrAborted):
		c.failed(badAborted)
	case errors.Is(err, sasl.ErrSyntax):
		c.failed(badSASL)
	case err != nil:
		c.failed(noAuth)
	case l == nil:
		c.prompt()
	default:
		c.offer(l)
	}
}

// prompt asks for a line of the exchange. The blank is there even when nothing follows (RFC 4954 4).
func (c *ClientSide) prompt() {
	c.line("334 ", c.try.exchange.Prompt())
	c.state = clientExchange
}

// offer hands out a complete login. What it says of a trusted peer is shared by all logins of the connection, to be read
// only.
func (c *ClientSide) offer(l *dialog.Login) {
	l.Hello, l.Announced = c.hello, c.announced
	c.try.login, c.try.method = l, l.Method
	c.next, c.state = dialog.LoginReady, clientPending
}

// ask relays the backend's challenge.
func (c *ClientSide) ask(text []byte) {
	out := c.output()
	out.B = append(out.B, "334 "...)
	out.B = wire.AppendBase64(out.B, text)
	c.line()
	c.state = clientChallenge
}

// forget drops the attempt, its secrets (SECURITY 18), and the action of it that nobody has taken.
func (c *ClientSide) forget() {
	if c.try != nil {
		c.try.wipe()
		c.try, c.next = nil, dialog.None
	}
}
