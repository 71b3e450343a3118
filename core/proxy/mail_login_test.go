package proxy

import (
	"encoding/base64"
	"strings"
	"sync"
	"testing"

	"mailsplice/core/mailfake"
)

// seen keeps the credentials that a backend decided about. Who has the password or the token gets in.
type seen struct {
	mu   sync.Mutex
	list []mailfake.Credentials
}

func (s *seen) check(c mailfake.Credentials) mailfake.Verdict {
	s.mu.Lock()
	s.list = append(s.list, c)
	s.mu.Unlock()
	if strings.HasPrefix(c.Token, token) {
		return mailfake.Accept()
	}
	return check(c)
}

// take is what came since the last time, without secrets.
func (s *seen) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, c := range s.list {
		list = append(list, c.Method+" "+c.Authz+"/"+c.User)
	}
	s.list = nil
	return strings.Join(list, ", ")
}

// onlyLogin is a backend's list of capabilities with LOGIN as its only mechanism.
var onlyLogin = map[string]string{
	"imap":        "IMAP4rev1 LOGINDISABLED AUTH=LOGIN",
	"pop3":        "TOP\nUIDL\nSASL LOGIN",
	"managesieve": "VERSION 1.0\nSIEVE fileinto\nSASL LOGIN",
	"submission":  "AUTH LOGIN",
}

func authenticate(mechanism string, first mailfake.Initial, list ...string) func(mailClient) (mailfake.Reply, error) {
	return func(c mailClient) (mailfake.Reply, error) { return c.Authenticate(mechanism, first, list...) }
}

// Each form of login (SPEC 3) reaches a backend that has everything, and one that knows LOGIN alone, in the form that SPEC
// 6.1 has for it.
func TestMailForms(t *testing.T) {
	long := token + strings.Repeat("x", 5000)
	eachTongue(t, func(t *testing.T, tg tongue) {
		full, poor := &seen{}, &seen{}
		r := newMailRig(t, tg, stage{mappings: "nina new\n", listener: "max_auth_attempts = 100",
			onLegacy: mailfake.Options{Check: full.check}, onNew: mailfake.Options{Check: poor.check, Capabilities: onlyLogin[tg.name]}})
		for _, c := range []struct {
			name          string
			login         func(user string) func(mailClient) (mailfake.Reply, error)
			legacy, onNew string // what the backend is asked
		}{
			{"PLAIN", func(u string) func(mailClient) (mailfake.Reply, error) {
				return authenticate("PLAIN", mailfake.InitialResponse, mailfake.PlainFrame("", u, password))
			}, "PLAIN /alice", "LOGIN /nina"},
			{"PLAIN, prompted", func(u string) func(mailClient) (mailfake.Reply, error) {
				return authenticate("PLAIN", mailfake.Prompted, mailfake.PlainFrame("", u, password))
			}, "PLAIN /alice", "LOGIN /nina"},
			{"PLAIN, for oneself", func(u string) func(mailClient) (mailfake.Reply, error) {
				return authenticate("PLAIN", mailfake.InitialResponse, mailfake.PlainFrame(u, u, password))
			}, "PLAIN alice/alice", "LOGIN /nina"},
			{"PLAIN, for another", func(u string) func(mailClient) (mailfake.Reply, error) {
				return authenticate("PLAIN", mailfake.InitialResponse, mailfake.PlainFrame(u, "root", password))
			}, "PLAIN alice/root", ""},
			{"LOGIN", func(u string) func(mailClient) (mailfake.Reply, error) {
				return authenticate("LOGIN", mailfake.Prompted, u, password)
			}, "PLAIN /alice", "LOGIN /nina"},
			{"LOGIN, user inline", func(u string) func(mailClient) (mailfake.Reply, error) {
				return authenticate("LOGIN", mailfake.InitialResponse, u, password)
			}, "PLAIN /alice", "LOGIN /nina"},
			{"OAUTHBEARER", func(u string) func(mailClient) (mailfake.Reply, error) {
				return authenticate("OAUTHBEARER", mailfake.InitialResponse, mailfake.OAuthBearerFrame(u, token))
			}, "OAUTHBEARER /alice", ""},
			{"XOAUTH2, prompted", func(u string) func(mailClient) (mailfake.Reply, error) {
				return authenticate("XOAUTH2", mailfake.Prompted, mailfake.XOAuth2Frame(u, token))
			}, "XOAUTH2 /alice", ""},
			{"XOAUTH2, long", func(u string) func(mailClient) (mailfake.Reply, error) {
				return authenticate("XOAUTH2", mailfake.InitialResponse, mailfake.XOAuth2Frame(u, long))
			}, "XOAUTH2 /alice", ""},
			{"the protocol's own", func(u string) func(mailClient) (mailfake.Reply, error) {
				return func(c mailClient) (mailfake.Reply, error) {
					err := c.Login(u, password)
					return mailfake.Reply{Status: "OK"}, err
				}
			}, "PLAIN /alice", "LOGIN /nina"},
		} {
			cl := r.client()
			if reply, err := c.login("alice")(cl); err != nil || !reply.OK() {
				t.Fatalf("%s: got %q, %v\n%s", c.name, reply, err, r.log)
			}
			r.lands(cl, "legacy")
			cl.Close()
			cl = r.client()
			reply, err := c.login("nina")(cl)
			switch {
			case c.onNew == "" && (err != nil || reply.String() != tg.refused):
				t.Errorf("%s, not offered: got %q, %v; want %q", c.name, reply, err, tg.refused)
			case c.onNew != "" && (err != nil || !reply.OK()):
				t.Errorf("%s at LOGIN: got %q, %v\n%s", c.name, reply, err, r.log)
			case c.onNew != "":
				r.lands(cl, "new")
			}
			cl.Close()
			if got := full.take(); got != c.legacy {
				t.Errorf("%s: legacy was asked %q, want %q", c.name, got, c.legacy)
			}
			if got := poor.take(); got != c.onNew {
				t.Errorf("%s: new was asked %q, want %q", c.name, got, c.onNew)
			}
		}
		if got := len(r.logged("login refused", 4)); got != 4 || strings.Count(r.log.String(), "mechanism not offered") != 4 {
			t.Errorf("refusals in the log: %d, want 4 for a mechanism that is not offered\n%s", got, r.log)
		}
	})
}

// What POP3 alone has: USER and PASS with a backend that knows nothing else, a password with blanks at its ends, and UTF8.
func TestPOP3Forms(t *testing.T) {
	const odd = "  open sesame  "
	old := &seen{}
	r := newMailRig(t, tongueOf("pop3"), stage{mappings: "nina new\nutf legacy\n", onNew: mailfake.Options{NoCapabilities: true,
		Check: func(c mailfake.Credentials) mailfake.Verdict {
			old.check(c)
			return mailfake.Verdict{OK: c.Password == odd}
		}}})
	c := r.client()
	r.says(c, "CAPA", "+OK")
	r.says(c, "USER nina", "+OK")
	if mode.new == "starttls" { // a backend without CAPA cannot say that it has STLS, and nothing goes there in the clear
		r.says(c, "PASS "+odd, "-ERR [SYS/TEMP]")
		return
	}
	r.says(c, "PASS "+odd, "+OK")
	r.lands(c, "new")
	if got := old.take(); got != "USER /nina" {
		t.Errorf("new was asked %q", got)
	}
}

func tongueOf(name string) tongue {
	for _, tg := range tongues {
		if tg.name == name {
			return tg
		}
	}
	panic("no such tongue")
}

// UTF8 is replayed ahead of the login, and a backend without it gets none (SPEC 3.2).
func TestPOP3UTF8(t *testing.T) {
	r := newMailRig(t, tongueOf("pop3"), stage{mappings: "nina new\n", onNew: mailfake.Options{Capabilities: "USER\nSASL PLAIN"}})
	c := r.client()
	r.says(c, "UTF8", "+OK")
	r.enter(c, "alice")
	r.lands(c, "legacy")
	if !r.legacy.Logins()[0].UTF8 {
		t.Error("UTF8 was not replayed")
	}
	c = r.client()
	r.says(c, "UTF8", "+OK")
	r.plain(c, "nina", password, "-ERR")
	if got := r.new.Sessions()[0].Attempts; got != 0 {
		t.Errorf("attempts at a backend without UTF8: got %d, want 0", got)
	}
	r.lands(r.in("nina"), "new")
}

// The backend's error goes to the client and its answer back; then the verdict (SPEC 6.1).
func TestMailChallenge(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{})
		c := r.client()
		for _, m := range []struct{ mechanism, frame string }{
			{"XOAUTH2", mailfake.XOAuth2Frame("alice", wrong)}, {"OAUTHBEARER", mailfake.OAuthBearerFrame("alice", wrong)},
		} {
			reply, err := c.Authenticate(m.mechanism, mailfake.InitialResponse, m.frame)
			if err != nil || reply.OK() {
				t.Fatalf("%s: got %q, %v\n%s", m.mechanism, reply, err, r.log)
			}
			got := strings.Join(reply.Untagged, "\n")
			if code, ok := strings.CutPrefix(got, "+ "); ok {
				raw, err := base64.StdEncoding.DecodeString(code)
				if err != nil {
					t.Fatal(err)
				}
				got = string(raw)
			}
			if got != mailfake.Refuse().Challenge {
				t.Errorf("%s: challenge: got %q, want %q", m.mechanism, got, mailfake.Refuse().Challenge)
			}
		}
		r.enter(c, "alice")
		r.lands(c, "legacy")
	})
}

// A refused client may try again, as somebody else too, and is routed afresh (SPEC 3).
func TestMailSecondTry(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{mappings: "nina new\n"})
		c := r.client()
		r.plain(c, "nina", wrong, tg.refused)
		r.answers(c)
		r.plain(c, "bob", wrong, tg.refused)
		r.enter(c, "bob")
		r.lands(c, "legacy")
		c = r.client()
		r.plain(c, "bob", wrong, tg.refused)
		r.enter(c, "nina")
		r.lands(c, "new")
		if l, n := r.legacy.Counts().Refused, r.new.Counts().Refused; l != 2 || n != 1 {
			t.Errorf("refusals at legacy and new: got %d and %d, want 2 and 1", l, n)
		}
	})
}

// Refused, malformed and aborted attempts count; the last one is answered and followed by the farewell (SPEC 3).
func TestMailAttempts(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listener: "max_auth_attempts = 3"})
		frame := func(f string) func(mailClient) (mailfake.Reply, error) {
			return authenticate("PLAIN", mailfake.InitialResponse, f)
		}
		bad := frame(mailfake.PlainFrame("", "bob", wrong))
		for _, c := range []struct {
			name  string
			tries []func(mailClient) (mailfake.Reply, error)
			asked int // how many of them a backend saw
		}{
			{"refused", []func(mailClient) (mailfake.Reply, error){bad, frame(mailfake.PlainFrame("", "al", wrong)), bad}, 3},
			{"malformed", []func(mailClient) (mailfake.Reply, error){frame("x"), authenticate("CRAM-MD5", mailfake.InitialResponse, "x"), frame("\x00\x00")}, 0},
			{"identifier that cannot be", []func(mailClient) (mailfake.Reply, error){frame(mailfake.PlainFrame("", "b ob", wrong)),
				frame(mailfake.PlainFrame("", "%admin", wrong)), bad}, 1},
			{"CR and LF", []func(mailClient) (mailfake.Reply, error){frame(mailfake.PlainFrame("", "bob", wrong+"\r\nQUIT")),
				frame(mailfake.PlainFrame("a\nb", "bob", wrong)), frame(mailfake.PlainFrame("", "b\rob", wrong))}, 0},
			{"aborted", []func(mailClient) (mailfake.Reply, error){abort, abort, abort}, 0},
		} {
			before := r.legacy.Counts().Refused
			cl := r.client()
			if tg.name == "submission" {
				r.says(cl, "EHLO client.example.org", "250")
			}
			for i, try := range c.tries {
				if reply, err := try(cl); err != nil || reply.OK() {
					t.Fatalf("%s, try %d: got %q, %v\n%s", c.name, i, reply, err, r.log)
				}
			}
			r.bids(cl, tg.bye)
			if got := r.legacy.Counts().Refused - before; got != c.asked {
				t.Errorf("%s: the backend was asked %d times, want %d", c.name, got, c.asked)
			}
		}
	})
}

// abort breaks an exchange off at its prompt.
func abort(c mailClient) (mailfake.Reply, error) {
	begin, star := "AUTH PLAIN", "*"
	switch c.(type) {
	case imapClient:
		begin = "x AUTHENTICATE PLAIN"
	case *mailfake.SieveClient:
		begin, star = `AUTHENTICATE "PLAIN"`, `"*"`
	}
	if err := c.Send(begin); err != nil {
		return mailfake.Reply{}, err
	}
	if _, err := c.Line(); err != nil {
		return mailfake.Reply{}, err
	}
	if err := c.Send(star); err != nil {
		return mailfake.Reply{}, err
	}
	line, err := c.Line()
	status, text, _ := strings.Cut(strings.TrimPrefix(line, "x "), " ")
	return mailfake.Reply{Status: status, Text: text}, err
}

// hide_auth_errors replaces a refusal's words, and nothing else (SPEC 2.4).
func TestMailHiddenErrors(t *testing.T) {
	own := map[string]string{"imap": "NO [EXPIRED] secretive", "pop3": "-ERR secretive", "managesieve": `NO "secretive"`, "submission": "535 5.7.1 secretive"}
	eachTongue(t, func(t *testing.T, tg tongue) {
		o := mailfake.Options{Check: func(c mailfake.Credentials) mailfake.Verdict {
			if c.Password == password {
				return mailfake.Accept()
			}
			return mailfake.Verdict{Text: own[tg.name]}
		}}
		r := newMailRig(t, tg, stage{legacy: "hide_auth_errors = true", onLegacy: o, onNew: o, mappings: "nina new\n"})
		c := r.client()
		if got := r.plain(c, "bob", wrong, "").String(); got != tg.refused {
			t.Errorf("hidden: got %q, want %q", got, tg.refused)
		}
		if got := r.plain(c, "nina", wrong, "").String(); got != own[tg.name] {
			t.Errorf("relayed: got %q, want %q", got, own[tg.name])
		}
		r.enter(c, "bob")
		r.lands(c, "legacy")
	})
}

// A master user opens the account ahead of the separator, with all of it replayed (SPEC 4 point 3).
func TestMailMasterUser(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		full := &seen{}
		r := newMailRig(t, tg, stage{mapping: `normalize = "lowercase"`, mappings: "nina new\n", onNew: mailfake.Options{Check: full.check}})
		c := r.client()
		r.enter(c, "NINA%Admin")
		r.lands(c, "new")
		c = r.client()
		r.frame(c, mailfake.PlainFrame("Nina", "Admin", password), "")
		r.lands(c, "new") // the mailbox that is opened decides (SPEC 4 point 1)
		if got := full.take(); got != "PLAIN /NINA%Admin, PLAIN Nina/Admin" {
			t.Errorf("new was asked %q", got)
		}
		r.kick("identifier=nina&master=false", 1)
		r.await("the end of the session without a master", func() bool { return r.proxy.sessions.Counts().Joined == 1 })
		r.kick("identifier=nina", 1)
	})
}
