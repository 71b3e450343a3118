package mailfake

import (
	"encoding/base64"
	"strings"
)

// prompter asks for one SASL line. ok is false when the client aborts or sends no base64.
type prompter func(challenge string) (answer string, ok bool, err error)

// decode64 decodes one SASL line; "=" is an empty one.
func decode64(s string) (string, error) {
	if s == "=" {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	return string(b), err
}

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// prompted is a prompter for protocols that ask on a line of their own, such as "+ BASE64".
func (s *Session) prompted(prefix string) prompter {
	return func(challenge string) (answer string, ok bool, err error) {
		if err := s.printf("%s %s", prefix, encode64(challenge)); err != nil {
			return "", false, err
		}
		line, err := s.strictLine()
		if err != nil || line == "*" {
			return "", false, err
		}
		answer, bad := decode64(line)
		return answer, bad == nil, nil
	}
}

// exchange gets the mechanism's frames; first is the initial response, if there was one.
func exchange(mech string, first *string, ask prompter) (Credentials, bool, error) {
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
		if frame, ok, err = ask(challenge); !ok || err != nil {
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
		password, ok, err := ask("Password:")
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

// judge records complete credentials and gives the verdict on them, the error challenge of an OAuth mechanism included.
// answered: a hook has said it all.
func (s *Session) judge(c Credentials, form string, ask prompter) (v Verdict, answered bool, err error) {
	account := or(c.Authz, c.User)
	s.b.update(func() {
		s.rec.Attempts++
		s.rec.Account, s.rec.Method, s.rec.Form = account, c.Method, form
	})
	if answered, err := s.hook(OnCredentials); answered || err != nil {
		return Verdict{}, answered, err
	}
	v = s.b.o.decide(c)
	if v.Challenge != "" && c.Token != "" {
		if _, _, err := ask(v.Challenge); err != nil {
			return v, false, err
		}
	}
	s.b.update(func() {
		if s.rec.LoggedIn = v.OK; v.OK {
			s.b.counts.Accepted++
		} else {
			s.b.counts.Refused++
		}
	})
	s.loggedIn = v.OK
	return v, false, nil
}

// login is judge with the answer: what all protocols but IMAP do with complete credentials.
func (s *Session) login(c Credentials, form string, ask prompter) error {
	v, answered, err := s.judge(c, form, ask)
	if answered || err != nil {
		return err
	}
	if err := s.Write(v.Before + s.verdictText(v) + "\r\n"); err != nil || !v.OK {
		return err
	}
	_, err = s.hook(AfterLogin)
	return err
}

// verdictText words a verdict, for IMAP without its tag.
func (s *Session) verdictText(v Verdict) string {
	sp := &s.b.speech
	switch {
	case v.Text != "":
		return v.Text
	case v.OK:
		return s.fill(sp.accepted)
	case v.Temporary:
		return s.fill(sp.unavailable)
	default:
		return s.fill(sp.refused)
	}
}

// fill puts name and tag into a text.
func (s *Session) fill(text string) string {
	return strings.NewReplacer("{name}", s.b.o.Name, "{tag}", s.tag).Replace(text)
}
