package mailfake

import "strings"

// popSession is the POP3 state of a session.
type popSession struct {
	*Session
	user  string // of USER, until PASS
	named bool   // there was a USER
	drop  []*message
	gone  map[int]bool // messages marked by DELE, counted from 0
}

// popHandler carries out one command and writes its answer.
type popHandler struct {
	state popState
	do    func(p *popSession, args string) error
}

// popState says where a command is legal (RFC 1939 3).
type popState uint8

const (
	popAlways popState = iota
	popAuthorization
	popTransaction
)

// popCommands is filled in by init, since handlers refer back to it.
var popCommands map[string]popHandler

func init() {
	popCommands = map[string]popHandler{
		"CAPA":    {popAlways, (*popSession).capa},
		"QUIT":    {popAlways, (*popSession).quit},
		"NOOP":    {popAlways, (*popSession).noop},
		"STLS":    {popAuthorization, (*popSession).stls},
		"UTF8":    {popAuthorization, (*popSession).utf8},
		"XCLIENT": {popAuthorization, (*popSession).xclient},
		"USER":    {popAuthorization, (*popSession).takeUser},
		"PASS":    {popAuthorization, (*popSession).pass},
		"AUTH":    {popAuthorization, (*popSession).auth},
		"STAT":    {popTransaction, (*popSession).stat},
		"LIST":    {popTransaction, (*popSession).list},
		"UIDL":    {popTransaction, (*popSession).uidl},
		"RETR":    {popTransaction, (*popSession).retr},
		"TOP":     {popTransaction, (*popSession).top},
		"DELE":    {popTransaction, (*popSession).dele},
		"RSET":    {popTransaction, (*popSession).rset},
	}
}

// servePOP3 talks POP3 until the session ends.
func servePOP3(s *Session) {
	p := &popSession{Session: s}
	s.converse(p.greet, p.one)
}

func (p *popSession) greet() error {
	if answered, err := p.hook(OnGreeting); answered || err != nil {
		return err
	}
	switch o := &p.b.o; {
	case o.Greeting != "":
		return p.printf("%s", o.Greeting)
	case o.XClient != "":
		return p.printf("+OK [XCLIENT] %s ready.", o.Name)
	default:
		return p.printf("+OK %s ready.", o.Name)
	}
}

// one reads and carries out one command.
func (p *popSession) one() error {
	line, err := p.strictLine()
	if err != nil {
		return err
	}
	verb, args, _ := strings.Cut(line, " ")
	p.verb = strings.ToUpper(verb)
	if answered, err := p.heard(); answered || err != nil {
		return err
	}
	h, known := popCommands[p.verb]
	legal := h.state == popAlways || (h.state == popTransaction) == p.loggedIn
	if !known || !legal {
		return p.no("Unknown command or wrong state")
	}
	return h.do(p, args)
}

func (p *popSession) yes(text string) error { return p.printf("+OK %s", text) }

func (p *popSession) no(text string) error { return p.printf("-ERR %s", text) }

// lines answers with a list, which ends in a dot line. No line of it begins with a dot.
func (p *popSession) lines(text string, list []string) error {
	var out strings.Builder
	out.WriteString("+OK " + text + "\r\n")
	for _, l := range list {
		out.WriteString(l + "\r\n")
	}
	return p.Write(out.String() + ".\r\n")
}

func (p *popSession) capa(string) error {
	if p.b.o.NoCapabilities {
		return p.no("Unknown command")
	}
	return p.lines("Capabilities of "+p.b.o.Name, p.offered())
}

func (p *popSession) noop(string) error { return p.yes("Done") }

func (p *popSession) quit(string) error {
	if !p.b.mail.remove(p.account(), p.marked()) {
		_ = p.no("[SYS/TEMP] Some messages were not removed")
		return errEnd
	}
	_ = p.yes("Logging out of " + p.b.o.Name)
	return errEnd
}

func (p *popSession) stls(args string) error {
	if p.b.o.TLS == nil || p.overTLS() || args != "" {
		return p.no("No TLS here")
	}
	p.user, p.named = "", false
	_, err := p.secure()
	return err
}

// utf8 is RFC 6856 2.
func (p *popSession) utf8(string) error {
	if !p.offers("UTF8", "") {
		return p.no("Unknown command")
	}
	p.b.update(func() { p.rec.UTF8 = true })
	return p.yes("UTF8 enabled")
}

func (p *popSession) xclient(args string) error {
	if p.b.o.XClient == "" {
		return p.no("Unknown command")
	}
	if problem := p.Session.xclient(args, plainXClient); problem != "" {
		return p.no(problem)
	}
	return p.yes("Updated")
}

func (p *popSession) takeUser(args string) error {
	if !p.offers("USER", "") || args == "" {
		return p.no("No USER here, or no name")
	}
	p.user, p.named = args, true
	return p.yes("And the password?")
}

// pass takes everything behind the first blank: a password may have blanks at either end.
func (p *popSession) pass(args string) error {
	if !p.named {
		return p.no("USER first")
	}
	user := p.user
	p.user, p.named = "", false
	return p.decide(Credentials{Method: "USER", User: user, Password: args}, "command")
}

// auth is RFC 5034; alone it lists the mechanisms, as servers do for old clients.
func (p *popSession) auth(args string) error {
	if args == "" {
		return p.lines("Mechanisms", p.mechanisms())
	}
	name, initial, given := strings.Cut(args, " ")
	mech := strings.ToUpper(name)
	if !p.offers("SASL", mech) {
		return p.no("Mechanism not offered")
	}
	var first *string
	form := "prompted"
	if given {
		frame, err := decode64(initial)
		if err != nil {
			return p.no("Invalid base64")
		}
		first, form = &frame, "initial"
	}
	cred, ok, err := exchange(mech, first, p.prompted("+"))
	if err != nil {
		return err
	}
	if !ok {
		return p.no("Malformed or aborted exchange")
	}
	return p.decide(cred, form)
}

func (p *popSession) mechanisms() (list []string) {
	for _, l := range p.offered() {
		if capabilityName(l) == "SASL" {
			list = append(list, strings.Fields(l)[1:]...)
		}
	}
	return list
}

func (p *popSession) decide(c Credentials, form string) error {
	err := p.login(c, form, p.prompted("+"))
	if p.loggedIn {
		p.drop, p.gone = p.b.mail.list(p.account()), map[int]bool{}
	}
	return err
}
