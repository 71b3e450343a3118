package submission

import (
	"bytes"
	"cmp"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/sasl"
	"mailsplice/protocols/xclient"
)

// place says where a command is legal.
type place uint8

const (
	anywhere  place = iota
	plainOnly       // outside TLS, where STARTTLS is offered
	private         // where credentials may be sent: inside TLS or with AllowPlainAuth (SPEC 3); and behind EHLO
	nowhere         // after login only
	chunked         // after login only, and data follows at once
	trusted         // from a trusted peer; to others the command does not exist (SPEC 3)
)

// command is a row of the table below.
type command struct {
	verb  string
	place place
	run   func(*ClientSide, request)
}

// commands are those of SPEC 3.4. Those that need a login are listed too, since a client that tries one is still a mail
// client; what is not listed is unknown, and as the first command of a connection the end of it.
var commands = [...]command{
	{"EHLO", anywhere, (*ClientSide).ehlo},
	{"HELO", anywhere, (*ClientSide).helo},
	{"NOOP", anywhere, (*ClientSide).noop},
	{"RSET", anywhere, (*ClientSide).reset},
	{"VRFY", anywhere, (*ClientSide).verify},
	{"HELP", anywhere, (*ClientSide).help},
	{"QUIT", anywhere, (*ClientSide).quit},
	{"STARTTLS", plainOnly, (*ClientSide).startTLS},
	{"AUTH", private, (*ClientSide).auth},
	{"XCLIENT", trusted, (*ClientSide).announce},
	{"BDAT", chunked, (*ClientSide).bdat},
	{verb: "MAIL", place: nowhere}, {verb: "RCPT", place: nowhere}, {verb: "DATA", place: nowhere},
	{verb: "EXPN", place: nowhere}, {verb: "ETRN", place: nowhere}, {verb: "BURL", place: nowhere},
}

// lookUp finds a verb in any case; nil: unknown to this peer.
func (c *ClientSide) lookUp(verb []byte) *command {
	for i := range commands {
		if cmd := &commands[i]; bytes.EqualFold(verb, []byte(cmd.verb)) && (cmd.place != trusted || c.trusted) {
			return cmd
		}
	}
	return nil
}

// refusal is the answer to a command out of its place, empty when it is legal. Extensions are for those who have said
// EHLO: behind HELO there is no AUTH (RFC 5321 2.2.1).
func (c *ClientSide) refusal(p place) string {
	switch {
	case p == nowhere:
		return badLoginFirst
	case p == plainOnly && c.tls:
		return badTLSUp
	case p == plainOnly && !c.o.StartTLSOffered:
		return badNoTLS
	case p == private && !c.mayLogin():
		return noPrivacy
	case p == private && !c.extended:
		return noHello
	}
	return ""
}

// execute answers one command. broken says that its line held forbidden bytes.
func (c *ClientSide) execute(line []byte, broken error) {
	first := !c.seen
	c.seen = true
	r := parseRequest(line)
	cmd := c.lookUp(r.verb)
	switch {
	case isHTTP(line):
		c.end(byeNotMail, dialog.NotMail)
	case cmd == nil:
		c.strange(first)
	case broken != nil:
		c.wrong(cmd, badBytes)
	case c.refusal(cmd.place) != "":
		c.wrong(cmd, c.refusal(cmd.place))
	default:
		cmd.run(c, r)
	}
}

// strange answers what is no command of submission. A connection that begins so is not a mail client's (SPEC 12).
func (c *ClientSide) strange(first bool) {
	c.bad(badUnknown)
	if first && c.state != clientOver {
		c.end(byeNotMail, dialog.NotMail)
	}
}

// wrong answers a known command that cannot be carried out. One that carries credentials is a failed attempt; behind one
// that announces data nobody can tell where the next command begins.
func (c *ClientSide) wrong(cmd *command, text string) {
	switch cmd.place {
	case private:
		c.failed(text)
	case chunked:
		c.line(text)
		c.end(byeChunk, dialog.Syntax)
	default:
		c.bad(text)
	}
}

func (c *ClientSide) ehlo(r request) {
	if c.hail(r) {
		c.extended = true
		c.list()
	}
}

func (c *ClientSide) helo(r request) {
	if c.hail(r) {
		c.extended = false
		c.line("250 ", c.name)
	}
}

// hail takes what the client calls itself, and keeps it if a backend can be told the same (SPEC 6.1).
func (c *ClientSide) hail(r request) bool {
	if !tolerable(r.args) {
		c.bad(badHello)
		return false
	}
	c.hello = ""
	if name := string(r.args[:min(len(r.args), maxHelloBytes+1)]); repeatable(name) {
		c.hello = name
	}
	return true
}

// noop takes an argument that means nothing (RFC 5321 4.1.1.9).
func (c *ClientSide) noop(request) { c.line(okNoop) }

func (c *ClientSide) reset(r request) {
	if !r.bare() {
		c.bad(badArguments)
		return
	}
	c.line(okReset)
}

// verify tells nothing about anybody (RFC 5321 7.3).
func (c *ClientSide) verify(r request) {
	if r.bare() {
		c.bad(badArguments)
		return
	}
	c.line(okVerify)
}

func (c *ClientSide) help(request) { c.line(okHelp) }

func (c *ClientSide) quit(r request) {
	if !r.bare() {
		c.bad(badArguments)
		return
	}
	c.end(okQuit, dialog.Logout)
}

// startTLS gives the go-ahead and waits. What the client has glued behind the command stays unconsumed, and the driver
// ends the session for it (SECURITY 1). EHLO need not have come: there is nothing that it would protect.
func (c *ClientSide) startTLS(r request) {
	if !r.bare() {
		c.bad(badArguments)
		return
	}
	c.line(okStartTLS)
	c.next, c.state = dialog.StartTLS, clientHandshake
}

// announce takes XCLIENT of a trusted peer. The attributes may come on several lines (BACKENDS), so that a later command
// adds to what is known. The answer is a greeting, and the dialogue begins again behind it.
func (c *ClientSide) announce(r request) {
	var said dialog.Announced
	if c.announced != nil {
		said = *c.announced // a login in the hands of others may share the old one
	}
	if err := xclient.Parse(&said, r.args, xclient.SMTP); err != nil {
		c.bad(badAnnounced)
		return
	}
	c.announced, c.hello, c.extended = &said, "", false
	c.greet()
}

// bdat drops the chunk that the client sends without waiting for an answer. Were it read as commands, the text of a mail
// could log somebody in.
func (c *ClientSide) bdat(r request) {
	size, err := parseChunk(r.args)
	switch {
	case err != nil:
		c.line(badArguments)
		c.end(byeChunk, dialog.Syntax)
	case size > cmp.Or(c.o.MaxCommandBytes, defaultCommandBytes)-len("BDAT \r\n")-len(r.args):
		c.exceeded(badLimit)
	case size == 0:
		c.bad(badLoginFirst)
	default:
		c.chunk, c.state = int32(size), clientChunk
	}
}

func (c *ClientSide) auth(r request) {
	name, initial, inline := bytes.Cut(r.args, []byte{' '})
	m := sasl.Parse(name)
	switch {
	case len(name) == 0:
		c.failed(badArguments)
		return
	case !c.o.offers(m):
		c.failed(noMechanism)
		return
	case len(initial) > sasl.MaxLineBytes:
		c.exceeded(badLength)
		return
	}
	c.try = &attempt{exchange: sasl.Begin(m, c.o.TokenClaim)}
	if !inline {
		c.prompt()
		return
	}
	c.judge(c.try.exchange.Initial(initial))
}
