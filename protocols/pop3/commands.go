package pop3

import (
	"bytes"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/sasl"
	"mailsplice/protocols/xclient"
)

// place says where a command is legal.
type place uint8

const (
	anywhere  place = iota
	plainOnly       // outside TLS, where STLS is offered
	private         // where credentials may be sent: inside TLS or with AllowPlainAuth (SPEC 3)
	trusted         // for a peer that may announce clients; to others the command is unknown (SPEC 3)
	nowhere         // after login only
)

// command is a row of the table below.
type command struct {
	verb  string
	place place
	run   func(*ClientSide, request)
	// fail answers and counts the command when it cannot be carried out: as a failed attempt where it carries credentials.
	fail func(*ClientSide, string)
}

// commands are those of SPEC 3.2. Those that need a login are listed too, since a client that tries one is still a mail
// client; what is not listed is unknown, and as the first command of a connection the end of it.
var commands = [...]command{
	{"CAPA", anywhere, (*ClientSide).capa, (*ClientSide).bad},
	{"NOOP", anywhere, (*ClientSide).noop, (*ClientSide).bad},
	{"UTF8", anywhere, (*ClientSide).switchUTF8, (*ClientSide).bad},
	{"QUIT", anywhere, (*ClientSide).quit, (*ClientSide).bad},
	{"STLS", plainOnly, (*ClientSide).startTLS, (*ClientSide).bad},
	{"XCLIENT", trusted, (*ClientSide).xclient, (*ClientSide).bad},
	{"USER", private, (*ClientSide).user, (*ClientSide).failedUser},
	{"PASS", private, (*ClientSide).pass, (*ClientSide).failedPass},
	{"AUTH", anywhere, (*ClientSide).auth, (*ClientSide).failed}, // its list is for everybody
	{"APOP", anywhere, (*ClientSide).apop, (*ClientSide).failed},
	after("STAT"), after("LIST"), after("RETR"), after("DELE"), after("RSET"), after("TOP"), after("UIDL"), after("LAST"),
	after("LANG"),
}

// after is a row for a command that needs a login.
func after(verb string) command { return command{verb: verb, place: nowhere, fail: (*ClientSide).bad} }

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
		return errLoginFirst
	case p == trusted && !c.trusted:
		return errUnknown
	case p == plainOnly && c.tls:
		return errTLSUp
	case p == plainOnly && !c.o.StartTLSOffered:
		return errNoTLS
	case p == private && !c.mayLogin():
		return errPrivacy
	}
	return ""
}

// execute answers one command. broken says that its line held forbidden bytes.
func (c *ClientSide) execute(line []byte, broken error) {
	first := !c.seen
	c.seen = true
	r := parseRequest(line)
	cmd := lookUp(r.verb)
	switch {
	case cmd == nil && (first || isHTTP(r)): // such a connection is not a mail client's (SPEC 12)
		c.end(byeNotMail, dialog.NotMail)
	case cmd == nil:
		c.bad(errUnknown)
	case broken != nil:
		cmd.fail(c, errBytes)
	case c.refusal(cmd.place) != "":
		cmd.fail(c, c.refusal(cmd.place))
	default:
		cmd.run(c, r)
	}
}

func (c *ClientSide) capa(r request) {
	if !r.bare() {
		c.bad(errArguments)
		return
	}
	c.listCapabilities()
}

func (c *ClientSide) noop(r request) {
	if !r.bare() {
		c.bad(errArguments)
		return
	}
	c.line(okNoop)
}

// switchUTF8 notes the mode for the backend, which may lack it: then the login is refused (SPEC 3.2).
func (c *ClientSide) switchUTF8(r request) {
	if !r.bare() {
		c.bad(errArguments)
		return
	}
	c.utf8 = true
	c.line(okUTF8)
}

func (c *ClientSide) quit(r request) {
	if !r.bare() {
		c.bad(errArguments)
		return
	}
	c.end(byeLogout, dialog.Logout)
}

// startTLS gives the go-ahead and waits. What the client has glued behind the command stays unconsumed, and the driver
// ends the session for it (SECURITY 1).
func (c *ClientSide) startTLS(r request) {
	if !r.bare() {
		c.bad(errArguments)
		return
	}
	c.line(okStartTLS)
	c.next, c.state = dialog.StartTLS, clientHandshake
}

// xclient takes in what a trusted peer says about the client in front of it; a later one adds to an earlier one.
func (c *ClientSide) xclient(r request) {
	a := c.announced
	if a == nil {
		a = &dialog.Announced{}
	}
	if err := xclient.Parse(a, r.args, xclient.Plain); err != nil {
		c.bad(errXclient)
		return
	}
	c.announced = a
	c.line(okXclient)
}

// user keeps the name for PASS. Whether it may be an identifier is judged with the password (SPEC 4 point 2), but that
// no more of it is kept than one may have. Blanks around it are forgiven; no identifier has any.
func (c *ClientSide) user(r request) {
	name := bytes.Trim(r.args, " ")
	switch {
	case len(name) == 0:
		c.failedUser(errArguments)
		return
	case len(name) > sasl.MaxIdentifierBytes:
		c.failedUser(errAuth)
		return
	}
	c.forget()
	c.try = &attempt{user: bytes.Clone(name)}
	c.orphan = false
	c.line(okUser)
}

func (c *ClientSide) pass(r request) {
	switch {
	case c.try == nil:
		c.failedPass(errUserFirst)
		return
	case !r.spaced:
		c.failed(errArguments)
		return
	}
	user := c.try.user
	c.try.user = nil
	c.judge(sasl.Password(user, bytes.Clone(r.args)))
}

// auth begins an exchange, or lists the mechanisms when it stands alone: clients from before CAPA ask so.
func (c *ClientSide) auth(r request) {
	name, initial, inline := bytes.Cut(bytes.Trim(r.args, " "), []byte{' '})
	m := sasl.Parse(name)
	switch {
	case len(name) == 0:
		c.listMechanisms()
		return
	case !c.mayLogin():
		c.failed(errPrivacy)
		return
	case !c.o.offers(m):
		c.failed(errMechanism)
		return
	case len(initial) > sasl.MaxLineBytes:
		c.exceeded()
		return
	}
	c.forget()
	c.try = &attempt{exchange: sasl.Begin(m, c.o.TokenClaim)}
	if !inline {
		c.prompt()
		return
	}
	c.judge(c.try.exchange.Initial(initial))
}

// apop is refused: a digest over our own banner cannot be replayed to anybody (SPEC 3.2).
func (c *ClientSide) apop(request) { c.failed(errAPOP) }
