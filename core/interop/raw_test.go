package interop

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

// client is short for the scripted client.
type client = mailfake.Client

var rawScenes = []scene{
	{kind: "raw", name: "LOGIN atoms", run: rawAtoms},
	{kind: "raw", name: "LOGIN quoted", run: rawLands("PLAIN", func(c *client, s *stage, a account) (mailfake.Reply, error) {
		return c.Command("LOGIN " + mailfake.Quote(a.name) + " " + mailfake.Quote(a.password))
	})},
	{kind: "raw", name: "LOGIN literal", run: rawLands("PLAIN", func(c *client, s *stage, a account) (mailfake.Reply, error) {
		return c.LoginLiteral(a.name, a.password)
	})},
	{kind: "raw", name: "LOGIN non-synchronising literal", run: rawLands("PLAIN", func(c *client, s *stage, a account) (mailfake.Reply, error) {
		return c.LoginLiteralPlus(a.name, a.password)
	})},
	{kind: "raw", name: "PLAIN initial", run: rawLands("PLAIN", func(c *client, s *stage, a account) (mailfake.Reply, error) {
		return c.Authenticate("PLAIN", mailfake.InitialResponse, mailfake.PlainFrame("", a.name, a.password))
	})},
	{kind: "raw", name: "PLAIN prompted", run: rawLands("PLAIN", func(c *client, s *stage, a account) (mailfake.Reply, error) {
		return c.Authenticate("PLAIN", mailfake.Prompted, mailfake.PlainFrame("", a.name, a.password))
	})},
	{kind: "raw", name: "AUTH LOGIN", run: rawLands("LOGIN", func(c *client, s *stage, a account) (mailfake.Reply, error) {
		return c.Authenticate("LOGIN", mailfake.Prompted, a.name, a.password)
	})},
	{kind: "raw", name: "XOAUTH2", run: rawLands("XOAUTH2", func(c *client, s *stage, a account) (mailfake.Reply, error) {
		return c.Authenticate("XOAUTH2", mailfake.Prompted, mailfake.XOAuth2Frame(a.name, s.token(a.name)))
	})},
	{kind: "raw", name: "OAUTHBEARER", run: rawLands("OAUTHBEARER", func(c *client, s *stage, a account) (mailfake.Reply, error) {
		return c.Authenticate("OAUTHBEARER", mailfake.InitialResponse, mailfake.OAuthBearerFrame(a.name, s.token(a.name)))
	})},
	{kind: "raw", name: "challenge to an expired token", run: rawChallenge},
	{kind: "raw", name: "wrong password, then the right one", run: rawRetry},
	{kind: "raw", name: "another account after a refusal", proxied: true, run: rawAnotherAccount},
	{kind: "raw", name: "commands behind LOGIN", run: rawPipelined},
	{kind: "raw", name: "forged ID", run: rawForgedID, proxied: true},
	{kind: "raw", name: "IDLE", run: rawIdle},
	{kind: "raw", name: "APPEND and FETCH of 25 MB", run: rawBulk},
	{kind: "raw", name: "LOGOUT", run: rawLogout},
	{kind: "raw", name: "server down", proxied: true, homes: []string{"down"}, run: rawDown},
}

// enter connects an unused account's client.
func (s *stage) enter(t *testing.T, home string) (*client, account, func(method string)) {
	t.Helper()
	a, from := s.take(t, home), s.source()
	c := s.dial(t, home, from)
	return c, a, func(method string) {
		t.Helper()
		landsOn(t, c, home)
		s.loggedIn(t, home, a, replayed(s, method), from)
		s.checkGauge(t, home)
	}
}

func landsOn(t *testing.T, c *client, home string) {
	t.Helper()
	if got, err := c.Landed(); err != nil || got != home {
		t.Errorf("landed on %q (%v), want %q", got, err, home)
	}
}

func wantStatus(t *testing.T, r mailfake.Reply, err error, want string) {
	t.Helper()
	if err != nil || !strings.HasPrefix(r.String(), want) {
		t.Fatalf("got %q after %q (%v), want %q", r, r.Untagged, err, want)
	}
}

func rawLands(method string, login func(*client, *stage, account) (mailfake.Reply, error)) func(*testing.T, *stage, string) {
	return func(t *testing.T, s *stage, home string) {
		// One account with an ordinary password, one with a password that needs care.
		for range 2 {
			c, a, landed := s.enter(t, home)
			r, err := login(c, s, a)
			wantStatus(t, r, err, "OK ")
			landed(method)
		}
	}
}

// An atom holds neither blanks nor quotes: only the ordinary password can be one.
func rawAtoms(t *testing.T, s *stage, home string) {
	for {
		c, a, landed := s.enter(t, home)
		if a.password == specialPassword {
			continue
		}
		r, err := c.Command("LOGIN " + a.name + " " + a.password)
		wantStatus(t, r, err, "OK ")
		landed("PLAIN")
		return
	}
}

// The error text of the server reaches the client, and its answer the server, whose refusal follows (SPEC 6.1).
func rawChallenge(t *testing.T, s *stage, home string) {
	for _, initial := range []mailfake.Initial{mailfake.Prompted, mailfake.InitialResponse} {
		c, a, landed := s.enter(t, home)
		r, err := c.Authenticate("OAUTHBEARER", initial, mailfake.OAuthBearerFrame(a.name, s.expiredToken(a.name)))
		wantStatus(t, r, err, "NO ")
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Untagged[len(r.Untagged)-1], "+ "))
		var got struct{ Status string }
		if err != nil || json.Unmarshal(challenge, &got) != nil || got.Status == "" {
			t.Errorf("got challenge %q (%v), want JSON with a status", challenge, err)
		}
		r, err = c.Authenticate("OAUTHBEARER", initial, mailfake.OAuthBearerFrame(a.name, s.token(a.name)))
		wantStatus(t, r, err, "OK ")
		landed("OAUTHBEARER")
	}
}

func rawRetry(t *testing.T, s *stage, home string) {
	c, a, landed := s.enter(t, home)
	r, err := c.Command("LOGIN " + a.name + " wrong")
	wantStatus(t, r, err, "NO [AUTHENTICATIONFAILED]")
	r, err = c.Command("LOGIN " + mailfake.Quote(a.name) + " " + mailfake.Quote(a.password))
	wantStatus(t, r, err, "OK ")
	landed("PLAIN")
}

// After a refusal the next account is routed afresh, to the other server (SPEC 3).
func rawAnotherAccount(t *testing.T, s *stage, home string) {
	other := map[string]string{"legacy": "new", "new": "legacy"}[home]
	refused, a, from := s.take(t, other), s.take(t, home), s.source()
	c := s.dial(t, home, from)
	r, err := c.Command("LOGIN " + refused.name + " wrong")
	wantStatus(t, r, err, "NO [AUTHENTICATIONFAILED]")
	r, err = c.Command("LOGIN " + mailfake.Quote(a.name) + " " + mailfake.Quote(a.password))
	wantStatus(t, r, err, "OK ")
	landsOn(t, c, home)
	s.refusedThere(t, other, refused, from)
	s.loggedIn(t, home, a, "PLAIN", from)
}

// What is sent behind the login in one segment is answered by the server, in order (SPEC 3).
func rawPipelined(t *testing.T, s *stage, home string) {
	c, a, landed := s.enter(t, home)
	script := fmt.Sprintf("x1 NOOP\r\nx2 LOGIN %s %s\r\nx3 SELECT INBOX\r\nx4 NOOP\r\n", mailfake.Quote(a.name), mailfake.Quote(a.password))
	if err := c.SendRaw(script); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"x1", "x2", "x3", "x4"} {
		r, err := c.Answer(tag)
		wantStatus(t, r, err, "OK ")
	}
	landed("PLAIN")
}

// An address that the client itself announces must not reach the server (SECURITY 11).
func rawForgedID(t *testing.T, s *stage, home string) {
	c, a, landed := s.enter(t, home)
	r, err := c.Command(`ID ("name" "forger" "x-originating-ip" "203.0.113.66" "x-originating-port" "1")`)
	wantStatus(t, r, err, "OK ")
	if err := c.Login(a.name, a.password); err != nil {
		t.Fatal(err)
	}
	landed("PLAIN")
	if got := grep(s.servers[home].logText(), "203.0.113.66"); got != "" {
		t.Errorf("the forged address reached %s: %s", home, got)
	}
}

func rawIdle(t *testing.T, s *stage, home string) {
	c, a, landed := s.enter(t, home)
	if err := c.Login(a.name, a.password); err != nil {
		t.Fatal(err)
	}
	landed("PLAIN")
	tag, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	s.appendSmall(t, a)
	if _, err := c.Await("* 2 EXISTS"); err != nil {
		t.Fatal(err)
	}
	if err := c.Send("DONE"); err != nil {
		t.Fatal(err)
	}
	r, err := c.Answer(tag)
	wantStatus(t, r, err, "OK ")
}

func rawBulk(t *testing.T, s *stage, home string) {
	c, a, landed := s.enter(t, home)
	if err := c.Login(a.name, a.password); err != nil {
		t.Fatal(err)
	}
	want, got := sha256.New(), sha256.New()
	r, err := c.Append("INBOX", bulkBytes, io.TeeReader(mailfake.Generated(bulkBytes), want))
	wantStatus(t, r, err, "OK ")
	landed("PLAIN")
	n, err := c.Fetch(2, got)
	if err != nil || n != bulkBytes || string(got.Sum(nil)) != string(want.Sum(nil)) {
		t.Errorf("fetched %d bytes (%v), want the %d that were appended", n, err, bulkBytes)
	}
}

// The last answer arrives although the server closes behind it (BACKENDS).
func rawLogout(t *testing.T, s *stage, home string) {
	c, a, landed := s.enter(t, home)
	if err := c.Login(a.name, a.password); err != nil {
		t.Fatal(err)
	}
	landed("PLAIN")
	r, err := c.Must("LOGOUT")
	if err != nil || r.Find("* BYE") == "" {
		t.Fatalf("got %q (%v), want BYE first", r.Untagged, err)
	}
	if end, err := c.WaitEnd(); err != nil || !end.Clean || len(end.Lines) > 0 {
		t.Errorf("got %+v (%v), want a FIN and no word", end, err)
	}
}

// A server that is down is a temporary failure, never a refusal, and the connection stays usable (SPEC 3.1, SECURITY 27).
func rawDown(t *testing.T, s *stage, _ string) {
	lost, a, from := s.take(t, "down"), s.take(t, "new"), s.source()
	c := s.dial(t, "down", from)
	r, err := c.Command("LOGIN " + mailfake.Quote(lost.name) + " " + mailfake.Quote(lost.password))
	wantStatus(t, r, err, "NO [UNAVAILABLE]")
	if err := c.Login(a.name, a.password); err != nil {
		t.Fatal(err)
	}
	landsOn(t, c, "new")
	s.loggedIn(t, "new", a, "PLAIN", from)
}
