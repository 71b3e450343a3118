package mailfake

import (
	"encoding/base64"
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
	cred, ok, err := i.exchange(mech, first)
	if err != nil {
		return err
	}
	if !ok {
		return i.bad("Malformed or aborted exchange")
	}
	return i.decide(cred, form)
}

// decode64 decodes one SASL line; "=" is an empty one.
func decode64(s string) (string, error) {
	if s == "=" {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	return string(b), err
}

// prompt asks for one SASL line. ok is false when the client aborts or sends no base64.
func (i *imapSession) prompt(challenge string) (answer string, ok bool, err error) {
	if err := i.printf("+ %s", base64.StdEncoding.EncodeToString([]byte(challenge))); err != nil {
		return "", false, err
	}
	line, err := i.line()
	if err != nil || line == "*" {
		return "", false, err
	}
	answer, bad := decode64(line)
	return answer, bad == nil, nil
}

// exchange gets the mechanism's frames; first is the initial response, if there was one.
func (i *imapSession) exchange(mech string, first *string) (Credentials, bool, error) {
	frame := ""
	challenge := ""
	if mech == "LOGIN" {
		challenge = "Username:"
	}
	if first != nil {
		frame = *first
	} else {
		var ok bool
		var err error
		if frame, ok, err = i.prompt(challenge); !ok || err != nil {
			return Credentials{}, false, err
		}
	}
	cred := Credentials{Method: mech}
	switch mech {
	case "PLAIN":
		parts := strings.Split(frame, "\x00")
		if len(parts) != 3 {
			return cred, false, nil
		}
		cred.Authz, cred.User, cred.Password = parts[0], parts[1], parts[2]
		return cred, true, nil
	case "LOGIN":
		cred.User = frame
		password, ok, err := i.prompt("Password:")
		cred.Password = password
		return cred, ok, err
	default:
		cred.User, cred.Token = oauthFrame(frame)
		return cred, cred.Token != "", nil
	}
}

// oauthFrame finds user and token in an XOAUTH2 or OAUTHBEARER frame: fields between 0x01, the user in "user=" or, in
// the leading GS2 header, in ",a=".
func oauthFrame(frame string) (user, token string) {
	for f := range strings.SplitSeq(frame, "\x01") {
		switch {
		case strings.HasPrefix(f, "user="):
			user = f[len("user="):]
		case strings.HasPrefix(f, "n,a="):
			name, _, _ := strings.Cut(f[len("n,a="):], ",")
			user = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name)
		case len(f) > 12 && strings.EqualFold(f[:12], "auth=Bearer "):
			token = f[12:]
		}
	}
	return user, token
}

// decide gives the verdict on complete credentials.
func (i *imapSession) decide(c Credentials, form string) error {
	account := or(c.Authz, c.User)
	i.b.update(func() {
		i.rec.Attempts++
		i.rec.Account, i.rec.Method, i.rec.Form = account, c.Method, form
	})
	if answered, err := i.hook(OnCredentials); answered || err != nil {
		return err
	}
	v := i.b.o.decide(c)
	if v.Challenge != "" && c.Token != "" {
		if _, _, err := i.prompt(v.Challenge); err != nil {
			return err
		}
	}
	i.b.update(func() {
		if i.rec.LoggedIn = v.OK; v.OK {
			i.b.counts.Accepted++
		} else {
			i.b.counts.Refused++
		}
	})
	before := v.Before
	if v.OK && i.askedCaps && !i.b.o.NoCapabilities {
		before += "* CAPABILITY " + i.b.o.CapabilitiesAfter + "\r\n"
	}
	i.loggedIn = v.OK
	if err := i.Write(before + i.tag + " " + i.b.o.answer(v, !i.askedCaps) + "\r\n"); err != nil || !v.OK {
		return err
	}
	_, err := i.hook(AfterLogin)
	return err
}
