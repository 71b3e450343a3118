package managesieve

import (
	"bytes"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/xclient"
)

// place says where a command is legal.
type place uint8

const (
	anywhere  place = iota
	plainOnly       // outside TLS, where STARTTLS is offered
	private         // where credentials may be sent: inside TLS or with AllowPlainAuth (SPEC 3)
	trusted         // from a peer in proxy_trusted; nobody else is told that it exists (SPEC 3)
	nowhere         // after login only
)

// command is a row of the table below. args are what stands behind the verb and its blank, literals included; they are a
// part of the input.
type command struct {
	verb  string
	place place
	run   func(c *ClientSide, args []byte)
}

// commands are those of SPEC 3.3. Those that need a login are listed too (RFC 5804 2), since a client that tries one is
// still a ManageSieve client; what is not listed is NO, and as the first command of a connection the end of it.
var commands = [...]command{
	{"CAPABILITY", anywhere, (*ClientSide).capability},
	{"NOOP", anywhere, (*ClientSide).noop},
	{"LOGOUT", anywhere, (*ClientSide).logout},
	{"STARTTLS", plainOnly, (*ClientSide).startTLS},
	{"AUTHENTICATE", private, (*ClientSide).authenticate},
	{"XCLIENT", trusted, (*ClientSide).xclient},
	{verb: "HAVESPACE", place: nowhere}, {verb: "PUTSCRIPT", place: nowhere}, {verb: "LISTSCRIPTS", place: nowhere},
	{verb: "SETACTIVE", place: nowhere}, {verb: "GETSCRIPT", place: nowhere}, {verb: "DELETESCRIPT", place: nowhere},
	{verb: "RENAMESCRIPT", place: nowhere}, {verb: "CHECKSCRIPT", place: nowhere}, {verb: "UNAUTHENTICATE", place: nowhere},
}

// lookUp finds a verb in any case; nil: unknown.
func lookUp(verb []byte) *command {
	for i := range commands {
		if bytes.EqualFold(verb, []byte(commands[i].verb)) {
			return &commands[i]
		}
	}
	return nil
}

// refusal is the answer to a command out of its place, empty when it is legal.
func (c *ClientSide) refusal(p place) string {
	switch {
	case p == nowhere:
		return noLoginFirst
	case p == plainOnly && c.tls:
		return noTLSUp
	case p == plainOnly && !c.o.StartTLSOffered:
		return noTLS
	case p == private && !c.mayLogin():
		return noPrivacy
	}
	return ""
}

// execute answers one complete command. broken says that the last line of it held forbidden bytes.
func (c *ClientSide) execute(whole []byte, broken error) {
	first := !c.seen
	c.seen = true
	verb, args := cutVerb(whole)
	cmd := lookUp(verb)
	switch {
	case cmd == nil, cmd.place == trusted && !c.trusted:
		c.strange(first)
	case broken != nil:
		c.wrong(cmd, noBytes)
	case c.refusal(cmd.place) != "":
		c.wrong(cmd, c.refusal(cmd.place))
	default:
		cmd.run(c, args)
	}
}

// strange answers what is no command of ManageSieve. A connection that begins so is not a ManageSieve client's (SPEC 12).
func (c *ClientSide) strange(first bool) {
	c.bad(noUnknown)
	if first && c.state != clientOver {
		c.end(byeNotMail, dialog.NotMail)
	}
}

// wrong answers a known command that cannot be carried out. One that carries credentials is a failed attempt.
func (c *ClientSide) wrong(cmd *command, text string) {
	if cmd.place == private {
		c.failed(text)
		return
	}
	c.bad(text)
}

func (c *ClientSide) capability(args []byte) {
	if !bare(args) {
		c.bad(noArguments)
		return
	}
	c.list(capabilitiesEnd)
}

// noop answers with the tag that the client gave (RFC 5804 2.13), which has no more bytes than a quoted string may have.
func (c *ClientSide) noop(args []byte) {
	list, err := cutStrings(args, 1)
	if err != nil || len(list) == 1 && !echoable(list[0]) {
		c.bad(noArguments)
		return
	}
	if len(list) == 0 {
		c.line(okNoop)
		return
	}
	out := c.output()
	out.B = appendString(append(out.B, okTag...), list[0])
	c.line(tagEnd)
}

func (c *ClientSide) logout(args []byte) {
	if !bare(args) {
		c.bad(noArguments)
		return
	}
	c.line(okLogout)
	c.close(dialog.Logout)
}

// startTLS gives the go-ahead and waits. What the client has glued behind the command stays unconsumed, and the driver
// ends the session for it (SECURITY 1).
func (c *ClientSide) startTLS(args []byte) {
	if !bare(args) {
		c.bad(noArguments)
		return
	}
	c.line(okStartTLS)
	c.next, c.state = dialog.StartTLS, clientHandshake
}

// xclient takes in what a trusted peer says about the client in front of it (SPEC 3). It may come again, and adds to what
// was said then, as at Dovecot (BACKENDS).
func (c *ClientSide) xclient(args []byte) {
	said := &dialog.Announced{}
	if c.said != nil {
		*said = *c.said
	}
	if err := xclient.Parse(said, args, xclient.Plain); err != nil {
		c.bad(noArguments)
		return
	}
	c.said = said
	c.line(okXClient)
}
