package mailfake

import (
	"crypto/tls"
	"testing"
)

// player is what a client of every protocol with a login can do.
type player interface {
	Login(user, password string) error
	Authenticate(mechanism string, initial Initial, frames ...string) (Reply, error)
	Command(text string) (Reply, error)
	Answer() (Reply, error)
	Landed() (string, error)
	StartTLS(*tls.Config) error
	Quit() error
	WaitEnd() (End, error)
	Send(string) error
	SendRaw(string) error
	Close()
}

// the protocols that the matrix runs over, beside IMAP with its own tests
var interactive = []Protocol{POP3, ManageSieve, Submission}

// all but IMAP
var newcomers = []Protocol{POP3, ManageSieve, Submission, SMTP, LMTP}

func startWith(t *testing.T, o Options) *Backend {
	t.Helper()
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// connect is a client of the backend's protocol; an error is that of its greeting.
func connect(t *testing.T, b *Backend, o ClientOptions) (player, error) {
	t.Helper()
	addr := b.Addr().String()
	var p player
	var err error
	switch b.Protocol() {
	case POP3:
		p, err = DialPOP3(addr, o)
	case ManageSieve:
		p, err = DialSieve(addr, o)
	case LMTP:
		p, err = DialLMTP(addr, o)
	default:
		p, err = DialSMTP(addr, o)
	}
	if err == nil {
		t.Cleanup(p.Close)
	}
	return p, err
}

func play(t *testing.T, b *Backend) player { return playWith(t, b, ClientOptions{}) }

func playWith(t *testing.T, b *Backend, o ClientOptions) player {
	t.Helper()
	p, err := connect(t, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// each runs a test for several protocols.
func each(t *testing.T, list []Protocol, run func(*testing.T, Protocol)) {
	for _, p := range list {
		t.Run(p.String(), func(t *testing.T) { run(t, p) })
	}
}

// words of each protocol that tests compare with.
var words = map[Protocol]struct{ accepted, refused, unavailable, kicked, tooMuch, malformed, starttls string }{
	POP3: {"+OK Logged in on legacy", "-ERR [AUTH] Authentication failed.", "-ERR [SYS/TEMP] Try again later.",
		"-ERR [SYS/TEMP] Kicked by legacy", "-ERR Too much input", "-ERR Malformed line", "STLS"},
	ManageSieve: {`OK "Logged in on legacy"`, `NO "Authentication failed."`, `NO (TRYLATER) "Try again later."`,
		`BYE "Kicked by legacy"`, `BYE "Too much input"`, `BYE "Malformed line"`, "STARTTLS"},
	Submission: {"235 2.7.0 Logged in on legacy", "535 5.7.8 Authentication failed.", "454 4.7.0 Try again later.",
		"421 4.3.2 Kicked by legacy", "421 4.3.2 Too much input", "421 4.3.2 Malformed line", "STARTTLS"},
}

// insecure trusts the certificates that tests make.
var insecure = &tls.Config{InsecureSkipVerify: true}

func serverTLS(t *testing.T) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
}
