package mailfake

import (
	"slices"
	"strings"
)

// smtpSession is the state of a session of Submission, SMTP or LMTP.
type smtpSession struct {
	*Session
	greeted bool     // by EHLO, HELO or LHLO
	esmtp   bool     // not by HELO, so that extensions are there
	mail    bool     // a transaction is open
	from    string   // its sender
	to      []string // its recipients
}

// smtpHandler carries out one command and writes its answer.
type smtpHandler func(m *smtpSession, args string) error

// smtpCommands is filled in by init, since handlers refer back to it.
var smtpCommands map[string]smtpHandler

func init() {
	smtpCommands = map[string]smtpHandler{
		"EHLO":     (*smtpSession).ehlo,
		"HELO":     (*smtpSession).helo,
		"LHLO":     (*smtpSession).lhlo,
		"STARTTLS": (*smtpSession).starttls,
		"XCLIENT":  (*smtpSession).xclient,
		"AUTH":     (*smtpSession).auth,
		"MAIL":     (*smtpSession).mailFrom,
		"RCPT":     (*smtpSession).rcptTo,
		"DATA":     (*smtpSession).data,
		"RSET":     (*smtpSession).rset,
		"NOOP":     (*smtpSession).noop,
		"VRFY":     (*smtpSession).vrfy,
		"HELP":     (*smtpSession).help,
		"QUIT":     (*smtpSession).quit,
	}
}

// serveSMTP talks Submission, SMTP or LMTP until the session ends.
func serveSMTP(s *Session) {
	m := &smtpSession{Session: s}
	s.converse(m.greet, m.one)
}

func (m *smtpSession) greet() error {
	if answered, err := m.hook(OnGreeting); answered || err != nil {
		return err
	}
	return m.banner()
}

func (m *smtpSession) banner() error {
	return m.printf("%s", or(m.b.o.Greeting, "220 "+m.b.o.Name+" "+m.kind()+" ready."))
}

func (m *smtpSession) lmtp() bool { return m.b.o.Protocol == LMTP }

func (m *smtpSession) kind() string {
	if m.lmtp() {
		return "LMTP"
	}
	return "ESMTP"
}

// one reads and carries out one command.
func (m *smtpSession) one() error {
	line, err := m.strictLine()
	if err != nil {
		return err
	}
	verb, args, _ := strings.Cut(line, " ")
	m.verb = strings.ToUpper(verb)
	if answered, err := m.heard(); answered || err != nil {
		return err
	}
	do, known := smtpCommands[m.verb]
	if !known {
		return m.say("500 5.5.1 Unknown command")
	}
	return do(m, strings.TrimRight(args, " "))
}

func (m *smtpSession) say(text string) error { return m.printf("%s", text) }

func (m *smtpSession) reset() { m.mail, m.from, m.to = false, "", nil }

// hello notes a greeting; false: it was refused.
func (m *smtpSession) hello(name string, legal bool) (bool, error) {
	switch {
	case !legal:
		return false, m.say("500 5.5.1 Unknown command")
	case name == "" || strings.Contains(name, " "):
		return false, m.say("501 5.5.4 One name")
	}
	m.greeted, m.esmtp = true, m.verb != "HELO"
	m.reset()
	m.b.update(func() { m.rec.Hello, m.rec.Hellos = name, m.rec.Hellos+1 })
	return true, nil
}

func (m *smtpSession) ehlo(name string) error {
	return m.extended(name, !m.lmtp() && !m.b.o.NoCapabilities)
}

func (m *smtpSession) lhlo(name string) error { return m.extended(name, m.lmtp()) }

// extended answers with the capabilities.
func (m *smtpSession) extended(name string, legal bool) error {
	if ok, err := m.hello(name, legal); !ok {
		return err
	}
	list := append([]string{m.b.o.Name}, m.offered()...)
	if m.b.o.XClient != "" && !m.loggedIn {
		list = append(list, "XCLIENT "+m.b.o.XClient)
	}
	var out strings.Builder
	for _, l := range list[:len(list)-1] {
		out.WriteString("250-" + l + "\r\n")
	}
	return m.Write(out.String() + "250 " + list[len(list)-1] + "\r\n")
}

func (m *smtpSession) helo(name string) error {
	if ok, err := m.hello(name, !m.lmtp()); !ok {
		return err
	}
	return m.say("250 " + m.b.o.Name)
}

func (m *smtpSession) starttls(args string) error {
	switch {
	case args != "":
		return m.say("501 5.5.4 No parameters")
	case m.overTLS() || m.loggedIn || m.mail:
		return m.say("503 5.5.1 Not now")
	case m.b.o.TLS == nil:
		return m.say("502 5.5.1 No TLS here")
	}
	m.greeted, m.esmtp = false, false
	_, err := m.secure()
	return err
}

// xclient resets the session to its greeting, as Postfix and Dovecot do.
func (m *smtpSession) xclient(args string) error {
	rules := smtpXClient
	if m.lmtp() {
		rules = lmtpXClient
	}
	switch {
	case m.b.o.XClient == "":
		return m.say("500 5.5.1 Unknown command")
	case m.mail || m.loggedIn:
		return m.say("503 5.5.1 Not now")
	}
	if problem := m.Session.xclient(args, rules); problem != "" {
		return m.say("501 5.5.4 " + problem)
	}
	m.greeted, m.esmtp = false, false
	return m.banner()
}

func (m *smtpSession) auth(args string) error {
	name, initial, given := strings.Cut(args, " ")
	mech := strings.ToUpper(name)
	switch {
	case !m.esmtp || m.mail || m.loggedIn:
		return m.say("503 5.5.1 Not now")
	case !m.offers("AUTH", ""):
		return m.say("502 5.5.1 No AUTH here")
	case mech == "" || !m.offers("AUTH", mech):
		return m.say("504 5.5.4 Mechanism not offered")
	}
	var first *string
	form := "prompted"
	if given {
		frame, err := decode64(initial)
		if err != nil {
			return m.say("501 5.5.2 Invalid base64")
		}
		first, form = &frame, "initial"
	}
	cred, ok, err := exchange(mech, first, m.prompted("334"))
	if err != nil {
		return err
	}
	if !ok {
		return m.say("501 5.5.2 Malformed or aborted exchange")
	}
	return m.login(cred, form, m.prompted("334"))
}

func (m *smtpSession) rset(string) error {
	m.reset()
	return m.say("250 2.0.0 Reset")
}

// noop tells where the session is.
func (m *smtpSession) noop(string) error { return m.say("250 2.0.0 on " + m.b.o.Name) }

func (m *smtpSession) vrfy(string) error { return m.say("252 2.5.0 Perhaps") }

func (m *smtpSession) help(string) error { return m.say("214 2.0.0 RFC 5321") }

func (m *smtpSession) quit(string) error {
	_ = m.say("221 2.0.0 Leaving " + m.b.o.Name)
	return errEnd
}

// path takes the address out of MAIL's or RCPT's argument, such as "FROM:<a@example.org> SIZE=1".
func path(args, key string) (string, bool) {
	if len(args) < len(key) || !strings.EqualFold(args[:len(key)], key) {
		return "", false
	}
	inner, opened := strings.CutPrefix(args[len(key):], "<")
	address, parameters, closed := strings.Cut(inner, ">")
	valid := opened && closed && (parameters == "" || parameters[0] == ' ')
	return address, valid && !slices.ContainsFunc([]byte(address), func(c byte) bool { return c <= ' ' || c == '<' })
}
