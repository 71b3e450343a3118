package proxy

import (
	"encoding/base64"
	"strings"
	"testing"

	"mailsplice/core/config"
	"mailsplice/core/mailfake"
)

const mapped = "alice@example.org new\nboss new\ncarl@example.net new\n"

func TestRouting(t *testing.T) {
	r := newRig(t, stage{mapping: `normalize = "lowercase"`, mappings: mapped,
		routing: "master_user_separators = [\"%\", \"*\"]\ndefault_domain = \"Example.Net\""})
	for _, c := range []struct{ name, user, lands string }{
		{"not mapped", "bob@example.org", "legacy"},
		{"mapped", "alice@example.org", "new"},
		{"in other letters", "ALICE@Example.ORG", "new"},
		{"by a master user", "alice@example.org%admin", "new"},
		{"first separator counts", "alice@example.org*x%admin", "new"},
		{"without domain, as it is", "boss", "new"},
		{"without domain, in the default one", "carl", "new"},
		{"without domain, not mapped", "dora", "legacy"},
		{"with the default domain", "carl@example.net", "new"},
	} {
		cl := r.login(c.user)
		r.landed(cl, c.lands)
		cl.Close()
	}
	// The full login string is replayed, whatever it was looked up as.
	var users []string
	for _, s := range append(r.legacy.Logins(), r.new.Logins()...) {
		users = append(users, s.Account)
	}
	want := "bob@example.org dora alice@example.org ALICE@Example.ORG alice@example.org%admin alice@example.org*x%admin boss carl carl@example.net"
	if got := strings.Join(users, " "); got != want {
		t.Errorf("users at the backends:\ngot  %s\nwant %s", got, want)
	}
}

// The forms of SPEC 6.1 end in the same place, each with the identifier of SPEC 4 point 1.
func TestRoutingForms(t *testing.T) {
	r := newRig(t, stage{mappings: mapped})
	const alice = "alice@example.org"
	jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"email":"`+alice+`"}`)) + ".c2ln"
	tokens := map[string]bool{token: true, jwt: true}
	r.legacy.Close()
	r.new.Close()
	loose := mailfake.Options{Check: func(c mailfake.Credentials) mailfake.Verdict {
		if tokens[c.Token] {
			return mailfake.Accept()
		}
		return check(c)
	}}
	loose.Listen = r.legacy.Addr().String()
	r.legacy = backend(t, "legacy", mode.legacy, loose)
	loose.Listen = r.new.Addr().String()
	r.new = backend(t, "new", mode.new, loose)
	for _, c := range []struct {
		name  string
		login func(*mailfake.Client) (mailfake.Reply, error)
		lands string
	}{
		{"LOGIN, literals", func(c *mailfake.Client) (mailfake.Reply, error) { return c.LoginLiteral(alice, password) }, "new"},
		{"LOGIN, literals that do not wait", func(c *mailfake.Client) (mailfake.Reply, error) { return c.LoginLiteralPlus(alice, password) }, "new"},
		{"PLAIN", frames("PLAIN", mailfake.InitialResponse, mailfake.PlainFrame("", alice, password)), "new"},
		{"PLAIN for another", frames("PLAIN", mailfake.Prompted, mailfake.PlainFrame(alice, "root", password)), "new"},
		{"LOGIN by SASL", frames("LOGIN", mailfake.Prompted, alice, password), "new"},
		{"XOAUTH2", frames("XOAUTH2", mailfake.InitialResponse, mailfake.XOAuth2Frame(alice, token)), "new"},
		{"OAUTHBEARER", frames("OAUTHBEARER", mailfake.Prompted, mailfake.OAuthBearerFrame(alice, token)), "new"},
		{"account in the token", frames("OAUTHBEARER", mailfake.InitialResponse, "n,,\x01auth=Bearer "+jwt+"\x01\x01"), "new"},
		{"no identifier", frames("OAUTHBEARER", mailfake.InitialResponse, "n,,\x01auth=Bearer "+token+"\x01\x01"), "legacy"},
	} {
		cl := r.dial()
		if got, err := c.login(cl); err != nil || got.Status != "OK" {
			t.Fatalf("%s: got %q, %v\n%s", c.name, got, err, r.log)
		}
		r.landed(cl, c.lands)
		cl.Close()
	}
}

func frames(mechanism string, first mailfake.Initial, list ...string) func(*mailfake.Client) (mailfake.Reply, error) {
	return func(c *mailfake.Client) (mailfake.Reply, error) { return c.Authenticate(mechanism, first, list...) }
}

func TestSecondTry(t *testing.T) {
	r := newRig(t, stage{mappings: mapped})
	c := r.dial()
	r.command(c, "LOGIN alice@example.org "+wrong, "NO [AUTHENTICATIONFAILED]")
	r.command(c, "NOOP", "OK")
	r.command(c, "LOGIN bob "+password, "OK") // another account, routed afresh
	r.landed(c, "legacy")
	c = r.dial()
	r.command(c, "LOGIN bob "+wrong, "NO [AUTHENTICATIONFAILED]")
	r.command(c, "LOGIN alice@example.org "+password, "OK")
	r.landed(c, "new")
	if got := r.legacy.Counts().Refused + r.new.Counts().Refused; got != 2 {
		t.Errorf("refusals at the backends: got %d, want 2", got)
	}
}

func TestAttempts(t *testing.T) {
	r := newRig(t, stage{listener: "max_auth_attempts = 3"})
	for _, c := range []struct {
		name  string
		tries []string // commands, none of which logs in
		asked int      // how many of them a backend saw
	}{
		{"refused", []string{"LOGIN bob " + wrong, "LOGIN bob " + wrong, "LOGIN al " + wrong}, 3},
		{"malformed", []string{"LOGIN bob", "AUTHENTICATE PLAIN !!!!", "AUTHENTICATE NONE"}, 0},
		{"identifier that cannot be", []string{`LOGIN "b ob" ` + wrong, `LOGIN %admin ` + wrong, "LOGIN bob " + wrong}, 1},
	} {
		before := r.legacy.Counts().Refused
		cl := r.dial()
		for i, text := range c.tries {
			reply, err := cl.Command(text)
			if err != nil || reply.Status == "OK" {
				t.Fatalf("%s, try %d: got %q, %v", c.name, i, reply, err)
			}
		}
		if end := r.ended(cl); end.Bye() == "" {
			t.Errorf("%s: no farewell, got %+v", c.name, end)
		}
		if got := r.legacy.Counts().Refused - before; got != c.asked {
			t.Errorf("%s: backend was asked %d times, want %d", c.name, got, c.asked)
		}
	}
}

func TestHiddenErrors(t *testing.T) {
	own := mailfake.Options{Check: func(mailfake.Credentials) mailfake.Verdict { return mailfake.Verdict{Text: "NO [EXPIRED] secretive"} }}
	r := newRig(t, stage{legacy: "hide_auth_errors = true", onLegacy: own, onNew: own, mappings: "alice new\n"})
	if got := r.command(r.dial(), "LOGIN bob "+wrong, "NO").String(); got != "NO [AUTHENTICATIONFAILED] Authentication failed." {
		t.Errorf("hidden: got %q", got)
	}
	if got := r.command(r.dial(), "LOGIN alice "+wrong, "NO").String(); got != "NO [EXPIRED] secretive" {
		t.Errorf("relayed: got %q", got)
	}
}

// What cannot be served is refused at load (SPEC 2.11).
func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct{ name, mappings, legacy, want string }{
		{"undeclared destination", "alice nowhere\n", "", "nowhere"},
		{"one field", "# head\nalice\n", "", "mappings:2"},
		{"credentials in plain text", "", "allow_plaintext_auth = false", "allow_plaintext_auth"},
	} {
		r := &rig{t: t, dir: t.TempDir()}
		r.write("mappings", c.mappings)
		text := strings.Replace(minimal, "allow_plaintext_auth = true", c.legacy, 1)
		r.write("conf", text)
		if _, _, err := config.Load(r.path("conf"), LoadOptions()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to name %q", c.name, err, c.want)
		}
	}
}

// minimal is a valid configuration without addresses that matter.
const minimal = `
[listener.imap]
protocol = "imap"
bind = ["127.0.0.1:1143"]
tls = "plain"
[destination.legacy]
host = "127.0.0.1"
allow_plaintext_auth = true
[destination.legacy.protocol.imap]
port = 143
tls = "plain"
[mapping]
source = "file"
[mapping.file]
path = "mappings"
[routing]
default_destination = "legacy"
`

func TestMinimalLoads(t *testing.T) {
	r := &rig{t: t, dir: t.TempDir()}
	r.write("mappings", "")
	r.write("conf", minimal)
	if _, _, err := config.Load(r.path("conf"), LoadOptions()); err != nil {
		t.Error(err)
	}
}
