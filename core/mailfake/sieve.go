package mailfake

import (
	"fmt"
	"io"
	"strings"
)

// sieveSession is the ManageSieve state of a session.
type sieveSession struct {
	*Session
}

// sieveHandler carries out one command and writes its answer.
type sieveHandler struct {
	state sieveState
	do    func(*sieveSession, *command) error
}

// sieveState says where a command is legal.
type sieveState uint8

const (
	sieveAlways sieveState = iota
	sieveBefore            // before login only
	sieveAfter             // after login
)

// sieveCommands is filled in by init, since handlers refer back to it.
var sieveCommands map[string]sieveHandler

func init() {
	sieveCommands = map[string]sieveHandler{
		"CAPABILITY":   {sieveAlways, (*sieveSession).capability},
		"NOOP":         {sieveAlways, (*sieveSession).noop},
		"LOGOUT":       {sieveAlways, (*sieveSession).logout},
		"STARTTLS":     {sieveBefore, (*sieveSession).starttls},
		"AUTHENTICATE": {sieveBefore, (*sieveSession).authenticate},
		"XCLIENT":      {sieveBefore, (*sieveSession).xclient},
		"PUTSCRIPT":    {sieveAfter, (*sieveSession).put},
		"GETSCRIPT":    {sieveAfter, (*sieveSession).get},
		"SETACTIVE":    {sieveAfter, (*sieveSession).setActive},
		"LISTSCRIPTS":  {sieveAfter, (*sieveSession).list},
		"DELETESCRIPT": {sieveAfter, (*sieveSession).delete},
	}
}

// serveSieve talks ManageSieve until the session ends.
func serveSieve(s *Session) {
	v := &sieveSession{Session: s}
	s.converse(v.greet, v.one)
}

func (v *sieveSession) greet() error {
	if answered, err := v.hook(OnGreeting); answered || err != nil {
		return err
	}
	switch o := &v.b.o; {
	case o.Greeting != "":
		return v.printf("%s", o.Greeting)
	case o.NoCapabilities:
		return v.yes(o.Name + " ready.")
	default:
		return v.block(o.Name + " ready.")
	}
}

// one reads and carries out one command.
func (v *sieveSession) one() error {
	c, err := v.read()
	if err != nil {
		return err
	}
	if answered, err := v.heard(); answered || err != nil {
		return err
	}
	h, known := sieveCommands[v.verb]
	legal := h.state == sieveAlways || (h.state == sieveAfter) == v.loggedIn
	if !known || !legal {
		return v.no("Unknown command or wrong state")
	}
	return h.do(v, c)
}

// read reads a command. A PUTSCRIPT stops in front of its script, whose announcement stays at the end of text.
func (v *sieveSession) read() (*command, error) {
	line, err := v.strictLine()
	if err != nil {
		return nil, err
	}
	verb, rest, _ := strings.Cut(line, " ")
	v.verb = strings.ToUpper(verb)
	return v.gather(rest, func(before string) bool { return v.verb == "PUTSCRIPT" && strings.TrimSpace(before) != "" })
}

// gather reads the literals that a line announces, and the lines behind them, until last says that one is left unread.
// Literals of a client are all non-synchronising (RFC 5804 4).
func (v *sieveSession) gather(line string, last func(before string) bool) (*command, error) {
	c := &command{}
	total := int64(0)
	for {
		before, n, plus, found := literalAt(line)
		if !found || last(c.text+before) {
			c.text += line
			return c, nil
		}
		if total += n; total > maxLiteralBytes {
			return nil, errLine
		}
		if !plus {
			return nil, errBare
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(v.r, data); err != nil {
			return nil, err
		}
		c.text += before + literalMark
		c.literals = append(c.literals, literal{data, plus})
		var err error
		if line, err = v.strictLine(); err != nil {
			return nil, err
		}
	}
}

// maxSieveQuoted bounds a quoted string (RFC 5804 4); longer ones must be literals.
const maxSieveQuoted = 1024

// string takes one string off a command, quoted or literal.
func (c *command) string() (token, bool) {
	t, ok := c.next()
	return t, ok && (t.kind == quoted && len(t.value) <= maxSieveQuoted || t.kind == nonSynchronising)
}

// end says whether nothing is left.
func (c *command) end() bool { return strings.TrimSpace(c.text) == "" }

func (v *sieveSession) yes(text string) error { return v.printf("OK %s", sieveQuote(text)) }

func (v *sieveSession) no(text string) error { return v.printf("NO %s", sieveQuote(text)) }

func sieveQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// block writes the capabilities and an OK (RFC 5804 1.7).
func (v *sieveSession) block(text string) error {
	var out strings.Builder
	if !v.offers("IMPLEMENTATION", "") {
		fmt.Fprintf(&out, "\"IMPLEMENTATION\" %s\r\n", sieveQuote(v.b.o.Name))
	}
	for _, l := range v.offered() {
		name, value, valued := strings.Cut(l, " ")
		out.WriteString(sieveQuote(name))
		if valued {
			out.WriteString(" " + sieveQuote(value))
		}
		out.WriteString("\r\n")
	}
	if v.b.o.XClient != "" && !v.loggedIn {
		out.WriteString("\"XCLIENT\"\r\n")
	}
	return v.Write(out.String() + "OK " + sieveQuote(text) + "\r\n")
}

func (v *sieveSession) capability(*command) error { return v.block("Capabilities of " + v.b.o.Name) }

// noop tells where the session is; with a tag it gives that back (RFC 5804 2.13).
func (v *sieveSession) noop(c *command) error {
	if c.end() {
		return v.yes("on " + v.b.o.Name)
	}
	t, ok := c.string()
	if !ok || !c.end() {
		return v.no("NOOP takes one string")
	}
	return v.printf("OK (TAG %s) %s", sieveQuote(t.value), sieveQuote("on "+v.b.o.Name))
}

func (v *sieveSession) logout(*command) error {
	_ = v.yes("Logging out of " + v.b.o.Name)
	return errEnd
}

func (v *sieveSession) starttls(c *command) error {
	if v.b.o.TLS == nil || v.overTLS() || !c.end() {
		return v.no("No TLS here")
	}
	if answered, err := v.secure(); answered || err != nil {
		return err
	}
	return v.block("TLS is on")
}

// xclient has bare attributes, as POP3's.
func (v *sieveSession) xclient(c *command) error {
	if v.b.o.XClient == "" {
		return v.no("Unknown command")
	}
	if problem := v.Session.xclient(c.text, plainXClient); problem != "" {
		return v.no(problem)
	}
	return v.yes("Updated")
}

func (v *sieveSession) authenticate(c *command) error {
	name, ok := c.string()
	mech := strings.ToUpper(name.value)
	if !ok || !v.offers("SASL", mech) {
		return v.no("Mechanism not offered")
	}
	var first *string
	form := "prompted"
	if !c.end() {
		t, ok := c.string()
		frame, err := decode64(t.value)
		if !ok || err != nil || !c.end() {
			return v.no("Invalid initial response")
		}
		first, form = &frame, "initial"
		if t.kind == nonSynchronising {
			form = "initial literal"
		}
	}
	cred, ok, err := exchange(mech, first, v.prompt)
	if err != nil {
		return err
	}
	if !ok {
		return v.no("Malformed or aborted exchange")
	}
	return v.login(cred, form, v.prompt)
}

// prompt asks for one SASL frame: both ways it is a string of its own on a line (RFC 5804 2.1).
func (v *sieveSession) prompt(challenge string) (answer string, ok bool, err error) {
	if err := v.printf("%s", sieveQuote(encode64(challenge))); err != nil {
		return "", false, err
	}
	line, err := v.strictLine()
	if err != nil {
		return "", false, err
	}
	c, err := v.gather(line, func(string) bool { return false })
	if err != nil {
		return "", false, err
	}
	t, ok := c.string()
	if !ok || !c.end() || t.value == "*" {
		return "", false, nil
	}
	answer, bad := decode64(t.value)
	return answer, bad == nil, nil
}
