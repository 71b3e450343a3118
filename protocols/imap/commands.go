package imap

import (
	"bytes"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/sasl"
)

// place says where a command is legal.
type place uint8

const (
	anywhere  place = iota
	plainOnly       // outside TLS, where STARTTLS is offered
	private         // where credentials may be sent: inside TLS or with AllowPlainAuth (SPEC 3)
	nowhere         // after login only
)

// command is a row of the table below.
type command struct {
	verb  string
	place place
	// literals: the arguments may hold some. Others are answered before a literal is asked for.
	literals bool
	run      func(*ClientSide, request)
}

// commands are those of SPEC 3.1. Those that need a login are listed too, since a client that tries one is still a mail
// client; what is not listed is BAD, and as the first command of a connection the end of it.
var commands = [...]command{
	{"CAPABILITY", anywhere, false, (*ClientSide).capability},
	{"NOOP", anywhere, false, (*ClientSide).noop},
	{"ID", anywhere, true, (*ClientSide).id},
	{"LOGOUT", anywhere, false, (*ClientSide).logout},
	{"STARTTLS", plainOnly, false, (*ClientSide).startTLS},
	{"LOGIN", private, true, (*ClientSide).login},
	{"AUTHENTICATE", private, false, (*ClientSide).authenticate},
	{verb: "ENABLE", place: nowhere}, {verb: "NAMESPACE", place: nowhere}, {verb: "LIST", place: nowhere},
	{verb: "LSUB", place: nowhere}, {verb: "SELECT", place: nowhere}, {verb: "EXAMINE", place: nowhere},
	{verb: "STATUS", place: nowhere}, {verb: "IDLE", place: nowhere}, {verb: "APPEND", place: nowhere},
	{verb: "CREATE", place: nowhere}, {verb: "DELETE", place: nowhere}, {verb: "RENAME", place: nowhere},
	{verb: "SUBSCRIBE", place: nowhere}, {verb: "UNSUBSCRIBE", place: nowhere}, {verb: "CLOSE", place: nowhere},
	{verb: "UNSELECT", place: nowhere}, {verb: "EXPUNGE", place: nowhere}, {verb: "SEARCH", place: nowhere},
	{verb: "FETCH", place: nowhere}, {verb: "STORE", place: nowhere}, {verb: "COPY", place: nowhere},
	{verb: "MOVE", place: nowhere}, {verb: "UID", place: nowhere}, {verb: "CHECK", place: nowhere},
	{verb: "COMPRESS", place: nowhere}, {verb: "NOTIFY", place: nowhere}, {verb: "GETQUOTAROOT", place: nowhere},
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
		return badLoginFirst
	case p == plainOnly && c.tls:
		return badTLSUp
	case p == plainOnly && !c.o.StartTLSOffered:
		return badNoTLS
	case p == private && !c.mayLogin():
		return noPrivacy
	}
	return ""
}

// execute answers one complete command. broken says that a line of it held forbidden bytes.
func (c *ClientSide) execute(whole []byte, broken error) {
	first := !c.seen
	c.seen = true
	r, ok := parseRequest(whole)
	cmd := lookUp(r.verb)
	switch {
	case isHTTP(whole):
		c.end(byeNotMail, dialog.NotMail)
	case !ok || cmd == nil:
		c.strange(r, ok, first)
	case broken != nil:
		c.wrong(cmd, r, badBytes)
	case c.refusal(cmd.place) != "":
		c.wrong(cmd, r, c.refusal(cmd.place))
	default:
		cmd.run(c, r)
	}
}

// strange answers what is no command of IMAP. A connection that begins so is not a mail client's (SPEC 12).
func (c *ClientSide) strange(r request, parsed, first bool) {
	switch {
	case parsed:
		c.bad(r.tag, badUnknown)
	case len(r.tag) > 0:
		c.bad(r.tag, badLine)
	default:
		c.bad("*", badLine)
	}
	if first && c.state != clientOver {
		c.end(byeNotMail, dialog.NotMail)
	}
}

// wrong answers a known command that cannot be carried out. One that carries credentials is a failed attempt.
func (c *ClientSide) wrong(cmd *command, r request, text string) {
	if cmd.place == private {
		c.failed(r.tag, text)
		return
	}
	c.bad(r.tag, text)
}

func (c *ClientSide) capability(r request) {
	if !r.bare() {
		c.bad(r.tag, badArguments)
		return
	}
	c.asked = true
	c.listCapabilities()
	c.line(r.tag, " ", okCapability)
}

func (c *ClientSide) noop(r request) {
	if !r.bare() {
		c.bad(r.tag, badArguments)
		return
	}
	c.line(r.tag, " ", okNoop)
}

func (c *ClientSide) logout(r request) {
	if !r.bare() {
		c.bad(r.tag, badArguments)
		return
	}
	c.line(byeLogout)
	c.line(r.tag, " ", okLogout)
	c.close(dialog.Logout)
}

// id keeps what the first ID says, as Dovecot does: a later one is answered and means nothing, so that a client behind a
// trusted proxy cannot replace what the proxy announced.
func (c *ClientSide) id(r request) {
	fields, err := parseID(r.args)
	if err != nil {
		c.bad(r.tag, badArguments)
		return
	}
	if c.said == nil {
		said, err := introduce(fields, c.trusted)
		if err != nil {
			c.bad(r.tag, badArguments)
			return
		}
		c.said = said
	}
	c.line("* ID NIL")
	c.line(r.tag, " ", okID)
}

// startTLS gives the go-ahead and waits. What the client has glued behind the command stays unconsumed, and the driver
// ends the session for it (SECURITY 1).
func (c *ClientSide) startTLS(r request) {
	if !r.bare() {
		c.bad(r.tag, badArguments)
		return
	}
	c.line(r.tag, " ", okStartTLS)
	c.next, c.state = dialog.StartTLS, clientHandshake
}

func (c *ClientSide) login(r request) {
	user, password, err := parseLogin(r.args)
	if err != nil {
		c.failed(r.tag, badArguments)
		return
	}
	c.try = &attempt{tag: r.tag}
	c.judge(sasl.Password(user, password))
}

func (c *ClientSide) authenticate(r request) {
	name, initial, inline := bytes.Cut(bytes.TrimRight(r.args, " "), []byte{' '})
	m := sasl.Parse(name)
	switch {
	case len(name) == 0:
		c.failed(r.tag, badArguments)
		return
	case !c.o.offers(m):
		c.failed(r.tag, noMechanism)
		return
	case len(initial) > sasl.MaxLineBytes:
		c.exceeded(r.tag)
		return
	}
	c.try = &attempt{tag: r.tag, exchange: sasl.Begin(m, c.o.TokenClaim)}
	if !inline {
		c.prompt()
		return
	}
	c.judge(c.try.exchange.Initial(initial))
}
