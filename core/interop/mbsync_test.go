package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var mbsyncScenes = []scene{
	{kind: "mbsync", name: "both ways by LOGIN", run: mbsyncBothWays("LOGIN", "PLAIN")},
	{kind: "mbsync", name: "both ways by PLAIN", run: mbsyncBothWays("PLAIN", "PLAIN")},
	{kind: "mbsync", name: "wrong password", run: mbsyncWrong},
}

const mbsyncConf = `SyncState *

IMAPAccount there
Host %s
Port %d
User %s
Pass "%s"
%s
AuthMechs %s

IMAPStore far
Account there

MaildirStore near
Path %[7]s/
Inbox %[7]s/INBOX

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
`

// mbsync runs mbsync with a folder as the near side. It cannot choose its address: it comes from 127.0.0.1.
func (s *stage) mbsync(t *testing.T, a account, password, mechanism, dir string) ([]byte, int) {
	t.Helper()
	at := s.entrance(a.home)
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(password)
	conf := filepath.Join(t.TempDir(), "mbsyncrc")
	text := fmt.Sprintf(mbsyncConf, at.Addr(), at.Port(), a.name, quoted, s.mbsyncTLS(), mechanism, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return runProgram(t, "", nil, "mbsync", "-c", conf, "all")
}

// mbsyncTLS is the lines about TLS.
func (s *stage) mbsyncTLS() string {
	kind := map[door]string{implicit: "IMAPS", starttls: "STARTTLS"}[s.door]
	if kind == "" {
		return "SSLType None"
	}
	return fmt.Sprintf("SSLType %s\nSystemCertificates no\nCertificateFile %s", kind, s.proxy.path("ca.pem"))
}

func mbsyncBothWays(mechanism, method string) func(*testing.T, *stage, string) {
	return func(t *testing.T, s *stage, home string) {
		a, dir := s.take(t, home), t.TempDir()
		if out, code := s.mbsync(t, a, a.password, mechanism, dir); code != 0 {
			t.Fatalf("pulling: status %d, %s", code, out)
		}
		files, _ := filepath.Glob(dir + "/INBOX/*/*")
		if len(files) != 1 {
			t.Fatalf("got files %q, want the marker alone", files)
		}
		text, _ := os.ReadFile(files[0])
		if want := "Subject: on " + home; !bytes.Contains(text, []byte(want)) {
			t.Errorf("got %q, want %q", text, want)
		}
		s.loggedIn(t, home, a, replayed(s, method), loopback)
		pushed := "Subject: pushed\nMessage-ID: <pushed@example.org>\n\nfrom the near side\n"
		if err := os.WriteFile(dir+"/INBOX/new/1700000001.M1P1.near", []byte(pushed), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, code := s.mbsync(t, a, a.password, mechanism, dir); code != 0 {
			t.Fatalf("pushing: status %d, %s", code, out)
		}
		c := s.dial(t, home, s.source())
		if err := c.Login(a.name, a.password); err != nil {
			t.Fatal(err)
		}
		r, err := c.Must("SELECT INBOX")
		if err != nil || r.Find("* 2 EXISTS") == "" {
			t.Errorf("got %q (%v), want two messages", r.Untagged, err)
		}
	}
}

func mbsyncWrong(t *testing.T, s *stage, home string) {
	a := s.take(t, home)
	if out, code := s.mbsync(t, a, "wrong", "LOGIN", t.TempDir()); code == 0 {
		t.Errorf("got status 0 and %q, want a failure", out)
	}
	s.refusedThere(t, home, a, loopback)
}
