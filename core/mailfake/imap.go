package mailfake

import "strings"

// imapSession is the IMAP state of a session.
type imapSession struct {
	*Session
	selected  bool
	askedCaps bool // the client read CAPABILITY itself and ignores response codes (BACKENDS)
}

// handler carries out one command and writes its tagged answer.
type handler struct {
	state imapState
	do    func(*imapSession, *command) error
}

// imapState says where a command is legal.
type imapState uint8

const (
	always   imapState = iota
	preLogin           // before login only
	loggedIn           // after login
	inBox              // with a mailbox open
)

// imapCommands is filled in by init, since handlers refer back to it.
var imapCommands map[string]handler

func init() {
	imapCommands = map[string]handler{
		"CAPABILITY":   {always, (*imapSession).capability},
		"NOOP":         {always, (*imapSession).noop},
		"ID":           {always, (*imapSession).id},
		"LOGOUT":       {always, (*imapSession).logout},
		"STARTTLS":     {preLogin, (*imapSession).starttls},
		"LOGIN":        {preLogin, (*imapSession).login},
		"AUTHENTICATE": {preLogin, (*imapSession).authenticate},
		"SELECT":       {loggedIn, (*imapSession).selectBox},
		"EXAMINE":      {loggedIn, (*imapSession).selectBox},
		"STATUS":       {loggedIn, (*imapSession).status},
		"LIST":         {loggedIn, (*imapSession).list},
		"LSUB":         {loggedIn, (*imapSession).list},
		"NAMESPACE":    {loggedIn, (*imapSession).namespace},
		"ENABLE":       {loggedIn, (*imapSession).noop},
		"CREATE":       {loggedIn, (*imapSession).noop},
		"SUBSCRIBE":    {loggedIn, (*imapSession).noop},
		"APPEND":       {loggedIn, (*imapSession).append},
		"IDLE":         {loggedIn, (*imapSession).idle},
		"XSOURCE":      {loggedIn, (*imapSession).source},
		"XSINK":        {loggedIn, (*imapSession).sink},
		"XECHO":        {loggedIn, (*imapSession).echo},
		"FETCH":        {inBox, (*imapSession).fetch},
		"UID FETCH":    {inBox, (*imapSession).fetch},
		"SEARCH":       {inBox, (*imapSession).search},
		"UID SEARCH":   {inBox, (*imapSession).search},
		"STORE":        {inBox, (*imapSession).noop},
		"UID STORE":    {inBox, (*imapSession).noop},
		"CHECK":        {inBox, (*imapSession).noop},
		"EXPUNGE":      {inBox, (*imapSession).noop},
		"CLOSE":        {inBox, (*imapSession).closeBox},
		"UNSELECT":     {inBox, (*imapSession).closeBox},
	}
}

// serveIMAP talks IMAP until the session ends.
func serveIMAP(s *Session) {
	i := &imapSession{Session: s}
	s.converse(i.greet, i.one)
}

func (i *imapSession) greet() error {
	answered, err := i.hook(OnGreeting)
	if answered || err != nil {
		return err
	}
	o := &i.b.o
	switch {
	case o.Greeting != "":
		i.loggedIn = strings.HasPrefix(o.Greeting, "* PREAUTH")
		return i.printf("%s", o.Greeting)
	case o.NoCapabilities:
		return i.printf("* OK %s ready.", o.Name)
	default:
		return i.printf("* OK [CAPABILITY %s] %s ready.", i.capabilities(), o.Name)
	}
}

// capabilities is the list for the present state.
func (i *imapSession) capabilities() string {
	if i.loggedIn {
		return i.b.o.CapabilitiesAfter
	}
	if !i.overTLS() {
		return i.b.o.Capabilities
	}
	if i.b.o.CapabilitiesTLS != "" {
		return i.b.o.CapabilitiesTLS
	}
	var out []string
	for w := range strings.FieldsSeq(i.b.o.Capabilities) {
		if w != "STARTTLS" && w != "LOGINDISABLED" {
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// one reads and carries out one command.
func (i *imapSession) one() error {
	c, err := i.readCommand()
	if err != nil {
		return err
	}
	if answered, err := i.heard(); answered || err != nil {
		return err
	}
	h, known := imapCommands[i.verb]
	if !known || !i.legal(h.state) {
		return i.bad("Unknown command or wrong state")
	}
	return h.do(i, c)
}

func (i *imapSession) legal(st imapState) bool {
	switch st {
	case preLogin:
		return !i.loggedIn
	case loggedIn:
		return i.loggedIn
	case inBox:
		return i.selected
	default:
		return true
	}
}

func (i *imapSession) bad(text string) error {
	tag := i.tag
	if tag == "" {
		tag = "*"
	}
	return i.printf("%s BAD %s", tag, text)
}

func (i *imapSession) capability(*command) error {
	i.askedCaps = true
	return i.Write("* CAPABILITY " + i.capabilities() + "\r\n" + i.tag + " OK Done\r\n")
}

func (i *imapSession) noop(*command) error { return i.ok("Done") }

func (i *imapSession) logout(*command) error {
	_ = i.Write("* BYE Logging out of " + i.b.o.Name + "\r\n" + i.tag + " OK Bye\r\n")
	return errEnd
}

func (i *imapSession) starttls(*command) error {
	if i.b.o.TLS == nil || i.overTLS() {
		return i.bad("No TLS here")
	}
	i.askedCaps = false
	_, err := i.secure()
	return err
}
