package mailfake

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// id answers ID and takes announced addresses from it, as Dovecot does from the first one before login.
func (i *imapSession) id(c *command) error {
	pairs, ok := idPairs(c)
	if !ok {
		return i.bad("Invalid ID")
	}
	i.b.update(func() {
		if i.rec.IDs++; i.rec.IDs > 1 {
			return
		}
		i.rec.ID = pairs
		if i.b.o.DistrustID || i.loggedIn {
			return
		}
		ip, _ := i.rec.Field("x-originating-ip")
		port, _ := i.rec.Field("x-originating-port")
		if addr, err := netip.ParseAddr(ip); err == nil {
			n, _ := strconv.ParseUint(port, 10, 16)
			i.rec.Client = netip.AddrPortFrom(addr.Unmap(), uint16(n))
		}
	})
	// Dovecot 2.4 tells trust apart like this (BACKENDS).
	text := "Trusted ID completed."
	if i.b.o.DistrustID {
		text = "ID completed."
	}
	return i.Write(`* ID ("name" "` + i.b.o.Name + "\")\r\n" + i.tag + " OK " + text + "\r\n")
}

// idPairs reads NIL or a list of names and values.
func idPairs(c *command) ([]Pair, bool) {
	t, ok := c.next()
	if ok && t.kind == atom && strings.EqualFold(t.value, "NIL") {
		return nil, true
	}
	if !ok || t.kind != paren || t.value != "(" {
		return nil, false
	}
	var out []Pair
	for {
		name, ok := c.next()
		if ok && name.kind == paren && name.value == ")" {
			_, more := c.next()
			return out, !more
		}
		value, ok2 := c.word()
		if !ok || !ok2 || name.kind == paren || name.kind == atom {
			return nil, false
		}
		p := Pair{Name: strings.ToLower(name.value), Value: value.value}
		if value.kind == atom {
			if !strings.EqualFold(value.value, "NIL") {
				return nil, false
			}
			p.Value, p.Null = "", true
		}
		out = append(out, p)
	}
}

func (i *imapSession) login(c *command) error {
	user, ok := c.word()
	password, ok2 := c.word()
	if _, more := c.next(); !ok || !ok2 || more {
		return i.bad("LOGIN needs a user and a password")
	}
	if hasWord(i.capabilities(), "LOGINDISABLED") {
		return i.printf("%s NO [PRIVACYREQUIRED] LOGIN is off", i.tag)
	}
	// The clumsier form of the two is the one that matters to a test.
	form := formNames[max(user.kind, password.kind)]
	return i.decide(Credentials{Method: "LOGIN", User: user.value, Password: password.value}, form)
}

func (i *imapSession) authenticate(c *command) error {
	name, ok := c.word()
	mech := strings.ToUpper(name.value)
	if !ok || !hasWord(i.capabilities(), "AUTH="+mech) {
		return i.printf("%s NO [CANNOT] Mechanism not offered", i.tag)
	}
	var first *string
	form := "prompted"
	if t, ok := c.word(); ok {
		if !hasWord(i.capabilities(), "SASL-IR") {
			return i.bad("No initial response, SASL-IR is not offered")
		}
		form = "initial"
		s, err := decode64(t.value)
		if err != nil {
			return i.bad("Invalid base64")
		}
		first = &s
	}
	cred, ok, err := exchange(mech, first, i.prompt)
	if err != nil {
		return err
	}
	if !ok {
		return i.bad("Malformed or aborted exchange")
	}
	return i.decide(cred, form)
}

// prompt asks for one SASL line. ok is false when the client aborts or sends no base64.
func (i *imapSession) prompt(challenge string) (answer string, ok bool, err error) {
	return i.prompted("+")(challenge)
}

// decide gives the verdict on complete credentials.
func (i *imapSession) decide(c Credentials, form string) error {
	v, answered, err := i.judge(c, form, i.prompt)
	if answered || err != nil {
		return err
	}
	o := &i.b.o
	before, text := v.Before, i.verdictText(v)
	switch {
	case !v.OK || o.NoCapabilities:
	case i.askedCaps:
		before += "* CAPABILITY " + o.CapabilitiesAfter + "\r\n"
	case v.Text == "":
		text = fmt.Sprintf("OK [CAPABILITY %s] Logged in on %s", o.CapabilitiesAfter, o.Name)
	}
	if err := i.Write(before + i.tag + " " + text + "\r\n"); err != nil || !v.OK {
		return err
	}
	_, err = i.hook(AfterLogin)
	return err
}
