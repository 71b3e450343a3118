package managesieve

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

// authenticate begins an exchange (RFC 5804 2.1). The initial response is base64 in a quoted string or a literal; an
// empty string and "=" are both an empty one.
func (c *ClientSide) authenticate(args []byte) {
	list, err := cutStrings(args, 2)
	if err != nil || len(list) == 0 {
		c.failed(noArguments)
		return
	}
	m, initial := sasl.Parse(list[0]), list[1:]
	switch {
	case !c.o.offers(m):
		c.failed(noMechanism)
	case len(initial) == 0:
		c.try = &attempt{exchange: sasl.Begin(m, c.o.TokenClaim)}
		c.prompt()
	case len(initial[0]) > sasl.MaxLineBytes:
		c.exceeded()
	default:
		c.try = &attempt{exchange: sasl.Begin(m, c.o.TokenClaim)}
		c.judge(c.try.exchange.Initial(initial[0]))
	}
	wipeAll(list)
}

// takeAnswer reads the client's string of the exchange.
func (c *ClientSide) takeAnswer(whole []byte, broken error) {
	text, err := cutAnswer(whole)
	if err != nil || broken != nil {
		c.judge(nil, sasl.ErrSyntax)
	} else {
		c.judge(c.try.exchange.Answer(text))
	}
	clear(text)
}

// answerChallenge hands the client's answer to the backend. One that is none goes as an empty answer, which makes the
// backend end the exchange as RFC 7628 3.2.3 wants; the client then hears NO for it.
func (c *ClientSide) answerChallenge(whole []byte, broken error) {
	text, err := cutAnswer(whole)
	var raw []byte
	if err == nil && string(text) != "*" {
		raw, err = wire.DecodeBase64(text)
	}
	switch {
	case string(text) == "*":
		c.try.spoilt = noAborted
	case err != nil || broken != nil:
		c.try.spoilt = noSASL
		clear(raw)
		raw = nil
	}
	clear(text)
	c.try.relay = raw
	c.next, c.state = dialog.Relay, clientPending
}

// judge goes on from a step of an exchange: a login, an error, or neither, which means another prompt.
func (c *ClientSide) judge(l *dialog.Login, err error) {
	switch {
	case errors.Is(err, sasl.ErrAborted):
		c.failed(noAborted)
	case errors.Is(err, sasl.ErrSyntax):
		c.failed(noSASL)
	case err != nil:
		c.failed(noAuth)
	case l == nil:
		c.prompt()
	default:
		c.offer(l)
	}
}

// prompt asks for a string of the exchange by one; an empty one where the client speaks first.
func (c *ClientSide) prompt() {
	out := c.output()
	out.B = appendString(out.B, c.try.exchange.Prompt())
	c.line()
	c.state = clientExchange
}

// offer hands out a complete login.
func (c *ClientSide) offer(l *dialog.Login) {
	l.Announced = c.said
	c.try.login, c.try.method = l, l.Method
	c.next, c.state = dialog.LoginReady, clientPending
}

// ask relays the backend's challenge.
func (c *ClientSide) ask(text []byte) {
	out := c.output()
	out.B = appendString(out.B, wire.AppendBase64(nil, text))
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
