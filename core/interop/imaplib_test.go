package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

var loopback = netip.MustParseAddr("127.0.0.1")

var imaplibScenes = []scene{
	{kind: "imaplib", name: "LOGIN", run: imaplibLands("login", "PLAIN")},
	{kind: "imaplib", name: "PLAIN prompted", run: imaplibLands("plain", "PLAIN")},
	{kind: "imaplib", name: "AUTH LOGIN", run: imaplibLands("loginmech", "LOGIN")},
	{kind: "imaplib", name: "XOAUTH2", run: imaplibLands("xoauth2", "XOAUTH2")},
	{kind: "imaplib", name: "expired token, then a good one", run: imaplibLands("expired", "XOAUTH2")},
	{kind: "imaplib", name: "wrong password, then the right one", run: imaplibLands("retry", "PLAIN")},
	{kind: "imaplib", name: "IDLE", run: imaplibIdle},
	{kind: "imaplib", name: "APPEND and FETCH of 25 MB", run: imaplibLands("bulk", "PLAIN")},
}

// python is a running testdata/imap.py.
type python struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	errs  *strings.Builder
	said  []string
}

// python starts a scene of testdata/imap.py for an account.
func (s *stage) python(t *testing.T, sceneName string, a account, source netip.Addr) *python {
	t.Helper()
	at := s.entrance(a.home)
	ca := ""
	if s.tls {
		ca = s.proxy.path("ca.pem")
	}
	props, err := json.Marshal(map[string]any{"door": s.door, "ca": ca, "host": at.Addr(), "port": at.Port(), "source": source, "user": a.name,
		"password": a.password, "token": s.token(a.name), "expired": s.expiredToken(a.name), "size": bulkBytes})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), programTimeout)
	t.Cleanup(cancel)
	p := &python{t: t, cmd: exec.CommandContext(ctx, "python3", "testdata/imap.py", sceneName), errs: &strings.Builder{}}
	p.cmd.Env = append(os.Environ(), "SCENE="+string(props))
	p.cmd.Stderr = p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// await reads the program's lines until one is want.
func (p *python) await(want string) {
	p.t.Helper()
	for p.lines.Scan() {
		p.said = append(p.said, p.lines.Text())
		if p.lines.Text() == want {
			return
		}
	}
	_ = p.cmd.Wait()
	p.t.Fatalf("waited for %q, got %q and %s", want, p.said, p.errs)
}

// end wants the program to succeed.
func (p *python) end() {
	p.t.Helper()
	for p.lines.Scan() {
		p.said = append(p.said, p.lines.Text())
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%v after %q: %s", err, p.said, p.errs)
	}
}

func imaplibLands(sceneName, method string) func(*testing.T, *stage, string) {
	return func(t *testing.T, s *stage, home string) {
		a, from := s.take(t, home), s.source()
		p := s.python(t, sceneName, a, from)
		p.await("landed " + home)
		p.end()
		s.loggedIn(t, home, a, replayed(s, method), from)
	}
}

func imaplibIdle(t *testing.T, s *stage, home string) {
	a, from := s.take(t, home), s.source()
	p := s.python(t, "idle", a, from)
	p.await("idling")
	s.appendSmall(t, a)
	p.await("notified")
	p.await("landed " + home)
	p.end()
	s.loggedIn(t, home, a, "PLAIN", from)
}

// appendSmall puts a message into an account's INBOX by a client of its own.
func (s *stage) appendSmall(t *testing.T, a account) {
	t.Helper()
	c := s.dial(t, a.home, s.source())
	if err := c.Login(a.name, a.password); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Append("INBOX", 500, mailfake.Generated(500)); err != nil || r.Status != "OK" {
		t.Fatal(fmt.Errorf("appending: %v, %q", err, r))
	}
	if _, err := c.Must("LOGOUT"); err != nil {
		t.Error(err)
	}
}
