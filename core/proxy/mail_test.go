package proxy

import (
	"crypto/tls"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

// mailClient is what the fake clients have in common.
type mailClient interface {
	Login(user, password string) error
	Authenticate(mechanism string, initial mailfake.Initial, frames ...string) (mailfake.Reply, error)
	Command(text string) (mailfake.Reply, error)
	Landed() (string, error)
	Quit() error
	StartTLS(*tls.Config) error

	Send(line string) error
	SendRaw(text string) error
	Line() (string, error)
	Expect(prefix string) (string, error)
	Read([]byte) (int, error)
	TLS(*tls.Config) error
	LocalAddr() netip.AddrPort
	CloseWrite() error
	Reset()
	Close()
	WaitEnd() (mailfake.End, error)
}

// imapClient is mailfake's with what the others have.
type imapClient struct{ *mailfake.Client }

func (c imapClient) Quit() error {
	_, err := c.Must("LOGOUT")
	return err
}

func (c imapClient) StartTLS(conf *tls.Config) error {
	if _, err := c.Must("STARTTLS"); err != nil {
		return err
	}
	return c.TLS(conf)
}

// tongue is one protocol of the suite.
type tongue struct {
	name     string
	dial     func(addr string, o mailfake.ClientOptions) (mailClient, error)
	hello    string // begins a greeting that serves
	refused  string // our own answer to a wrong password
	down     string // begins our own answer when the backend is down
	bye      string // begins a farewell to somebody who has failed too often
	later    string // begins a farewell to somebody who has done nothing wrong
	limit    string // begins the answer to what is over a limit
	startTLS string // the command
	goAhead  string // begins the answer to it
	tag      string // ahead of a command sent by hand
	login    string // PLAIN with an initial response, up to the frame in base64
}

var tongues = []tongue{
	{"imap", func(a string, o mailfake.ClientOptions) (mailClient, error) {
		c, err := mailfake.DialWith(a, o)
		return wrap(imapClient{c}, err)
	}, "* OK", "NO [AUTHENTICATIONFAILED] Authentication failed.", "NO [UNAVAILABLE]", "* BYE", "* BYE", "* BAD", "STARTTLS", "x OK", "x ", "x AUTHENTICATE PLAIN "},
	{"pop3", func(a string, o mailfake.ClientOptions) (mailClient, error) { return wrap(mailfake.DialPOP3(a, o)) },
		"+OK", "-ERR [AUTH] Authentication failed.", "-ERR [SYS/TEMP]", "-ERR Too many", "-ERR [SYS/TEMP]", "-ERR", "STLS", "+OK", "", "AUTH PLAIN "},
	{"managesieve", func(a string, o mailfake.ClientOptions) (mailClient, error) { return wrap(mailfake.DialSieve(a, o)) },
		"OK", `NO "Authentication failed."`, "NO (TRYLATER)", `BYE "`, "BYE (TRYLATER)", "BYE", "STARTTLS", "OK", "", `AUTHENTICATE "PLAIN" `},
	{"submission", func(a string, o mailfake.ClientOptions) (mailClient, error) { return wrap(mailfake.DialSMTP(a, o)) },
		"220", "535 5.7.8 Authentication failed.", "454 4.7.0", "421 4.7.0", "421 4.3.2", "500", "STARTTLS", "220", "", "AUTH PLAIN "},
}

// loginLine is a login by hand.
func (tg *tongue) loginLine(user, secret string) string {
	frame := base64.StdEncoding.EncodeToString([]byte(mailfake.PlainFrame("", user, secret)))
	if tg.name == "managesieve" {
		frame = mailfake.Quote(frame)
	}
	return tg.login + frame + "\r\n"
}

// wrap keeps a nil pointer out of the interface.
func wrap[C mailClient](c C, err error) (mailClient, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

// mailRig is a proxy with a listener of one protocol, between two backends of it.
type mailRig struct {
	*rig
	tongue
}

func newMailRig(t *testing.T, tg tongue, s stage) *mailRig {
	t.Helper()
	s.protocol = tg.name
	return &mailRig{newRig(t, s), tg}
}

// client connects, in TLS where the rig says so.
func (r *mailRig) client() mailClient {
	r.t.Helper()
	c := r.clear(r.rig.client(mailfake.ClientOptions{}))
	if r.listener == "starttls" {
		if err := c.StartTLS(mode.clientTLS()); err != nil {
			r.t.Fatalf("%s: %v\n%s", r.startTLS, err, r.log)
		}
	}
	return c
}

// clear is client without STARTTLS.
func (r *mailRig) clear(o mailfake.ClientOptions) mailClient {
	r.t.Helper()
	o.Timeout = patience
	c, err := r.tongue.dial(r.addr(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// in is a client that is logged in.
func (r *mailRig) in(user string) mailClient {
	r.t.Helper()
	c := r.client()
	r.enter(c, user)
	return c
}

func (r *mailRig) enter(c mailClient, user string) {
	r.t.Helper()
	if err := c.Login(user, password); err != nil {
		r.t.Fatalf("login of %q: %v\n%s", user, err, r.log)
	}
}

// lands asserts where a client is, and in which lane.
func (r *mailRig) lands(c mailClient, want string) {
	r.t.Helper()
	if got, err := c.Landed(); err != nil || got != want {
		r.t.Fatalf("landed on %q, %v; want %q\n%s", got, err, want, r.log)
	}
	r.assertLane()
}

// plain tries SASL PLAIN and asserts how the answer begins.
func (r *mailRig) plain(c mailClient, user, secret, want string) mailfake.Reply {
	r.t.Helper()
	return r.frame(c, mailfake.PlainFrame("", user, secret), want)
}

func (r *mailRig) frame(c mailClient, frame, want string) mailfake.Reply {
	r.t.Helper()
	reply, err := c.Authenticate("PLAIN", mailfake.InitialResponse, frame)
	if err != nil || !strings.HasPrefix(reply.String(), want) {
		r.t.Fatalf("login: got %q, %v; want %q\n%s", reply, err, want, r.log)
	}
	return reply
}

// says sends a command and asserts how the answer begins.
func (r *mailRig) says(c mailClient, text, want string) mailfake.Reply {
	r.t.Helper()
	reply, err := c.Command(text)
	if err != nil || !strings.HasPrefix(reply.String(), want) {
		r.t.Fatalf("%s: got %q, %v; want %q\n%s", text, reply, err, want, r.log)
	}
	return reply
}

// answers asserts that the dialogue goes on.
func (r *mailRig) answers(c mailClient) {
	r.t.Helper()
	if reply, err := c.Command("NOOP"); err != nil || !reply.OK() {
		r.t.Fatalf("NOOP: got %q, %v\n%s", reply, err, r.log)
	}
}

// bids asserts that a connection ends by FIN behind one farewell.
func (r *mailRig) bids(c mailClient, want string) {
	r.t.Helper()
	if end := r.ended(c); len(end.Lines) != 1 || !strings.HasPrefix(end.Lines[0], want) {
		r.t.Errorf("farewell: got %q, want %q\n%s", end.Lines, want, r.log)
	}
	c.Close()
}

func eachTongue(t *testing.T, f func(t *testing.T, tg tongue)) {
	for _, tg := range tongues {
		t.Run(tg.name, func(t *testing.T) { f(t, tg) })
	}
}

// A wrong password, then a right one, then the account moves and its session is kicked.
func TestMailCutover(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{})
		c := r.client()
		reply, err := c.Authenticate("PLAIN", mailfake.InitialResponse, mailfake.PlainFrame("", "alice", wrong))
		if err != nil || reply.OK() || !strings.HasPrefix(reply.String(), tg.refused) {
			t.Fatalf("wrong password: got %v, %v; want %s", reply, err, tg.refused)
		}
		if err := c.Login("alice", password); err != nil {
			t.Fatal(err)
		}
		if name, err := c.Landed(); err != nil || name != "legacy" {
			t.Fatalf("landed on %q, %v", name, err)
		}
		r.assertLane()
		r.must("PUT", "/mappings?identifier=alice&destination=new&kick=true")
		if end, err := c.WaitEnd(); err != nil || !end.Clean {
			t.Errorf("kicked: got %+v, %v, want a clean end", end, err)
		}
		c = r.client()
		if err := c.Login("alice", password); err != nil {
			t.Fatal(err)
		}
		if name, err := c.Landed(); err != nil || name != "new" {
			t.Errorf("landed on %q, %v", name, err)
		}
		if err := c.Quit(); err != nil {
			t.Error(err)
		}
	})
}
