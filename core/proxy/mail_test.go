package proxy

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"mailsplice/core/config"
	"mailsplice/core/mailfake"
)

// mailClient is what the fake clients of the other protocols have in common.
type mailClient interface {
	Login(user, password string) error
	Authenticate(mechanism string, initial mailfake.Initial, frames ...string) (mailfake.Reply, error)
	Command(text string) (mailfake.Reply, error)
	Landed() (string, error)
	Quit() error
	Close()
	WaitEnd() (mailfake.End, error)
}

// tongue is one protocol of the suite.
type tongue struct {
	name     string
	protocol mailfake.Protocol
	dial     func(addr string, o mailfake.ClientOptions) (mailClient, error)
	refused  string // answer to a wrong password
	down     string // answer when the backend is down
}

var tongues = []tongue{
	{"pop3", mailfake.POP3, func(a string, o mailfake.ClientOptions) (mailClient, error) { return wrap(mailfake.DialPOP3(a, o)) },
		"-ERR", "-ERR [SYS/TEMP]"},
	{"managesieve", mailfake.ManageSieve, func(a string, o mailfake.ClientOptions) (mailClient, error) { return wrap(mailfake.DialSieve(a, o)) },
		"NO", "NO (TRYLATER)"},
	{"submission", mailfake.Submission, func(a string, o mailfake.ClientOptions) (mailClient, error) { return wrap(mailfake.DialSMTP(a, o)) },
		"535", "454 4.7.0"},
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

const mailConfig = `
[server]
hostname = "mail.example.test"
threads = 2
shutdown_grace = "100ms"
log_level = "debug"
[listener.mail]
protocol = "%[1]s"
bind = ["%[2]s"]
tls = "%[3]s"
%[4]s
[capabilities.%[1]s]
allow_plain_auth_without_tls = true
[destination.legacy]
host = "127.0.0.1"
allow_plaintext_auth = true
forwarding = "%[5]s"
tls_server_name = "legacy.test"
tls_pinned_cert_sha256 = "%[6]s"
[destination.legacy.protocol.%[1]s]
port = %[7]d
tls = "%[8]s"
[destination.new]
host = "127.0.0.1"
allow_plaintext_auth = true
forwarding = "none"
tls_server_name = "new.test"
tls_pinned_cert_sha256 = "%[6]s"
[destination.new.protocol.%[1]s]
port = %[9]d
tls = "%[10]s"
[mapping]
source = "file"
[mapping.file]
path = "mappings"
[routing]
default_destination = "legacy"
[admin]
bind = "%[11]s"
bearer_token = "` + bearer + `"
`

func newMailRig(t *testing.T, tg tongue, s stage) *mailRig {
	t.Helper()
	s.onLegacy.Protocol, s.onNew.Protocol = tg.protocol, tg.protocol
	r := emptyRig(t, s)
	r.write("conf", fmt.Sprintf(mailConfig, tg.name, freePort(t), mode.listener, s.listener, cmp.Or(s.legacyForwarding, "none"),
		pin(backendCertificate()), r.legacy.Addr().Port(), mode.legacy, r.new.Addr().Port(), mode.new, freePort(t)))
	r.start(config.Load(r.path("conf"), LoadOptions()))
	r.entrance = "mail"
	return &mailRig{r, tg}
}

// client connects, in TLS where the mode says so.
func (r *mailRig) client() mailClient {
	r.t.Helper()
	c, err := r.tongue.dial(r.addr(), mode.client(mailfake.ClientOptions{Timeout: patience}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
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
