package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

const (
	programTimeout = time.Minute // one run of a client program, 25 MB both ways included
	bulkBytes      = 25 << 20    // a large mail, as issue and README name it
)

// curlDenied is curl's exit status for a refused login.
const curlDenied = 67

// Debian's curl (7.88) sends an initial response to every server with SASL-IR, never LOGIN to one that offers a mechanism,
// and prefers OAUTHBEARER to XOAUTH2 whatever it is told: the other clients do those.
var curlScenes = []scene{
	{kind: "curl", name: "PLAIN initial", run: curlLogin("PLAIN", "--login-options", "AUTH=PLAIN")},
	{kind: "curl", name: "AUTH LOGIN", run: curlLogin("LOGIN", "--login-options", "AUTH=LOGIN")},
	{kind: "curl", name: "OAUTHBEARER", run: curlToken},
	{kind: "curl", name: "expired token", run: curlExpired},
	{kind: "curl", name: "wrong password", run: curlWrong},
	{kind: "curl", name: "APPEND and FETCH of 25 MB", run: curlBulk},
}

// curl runs curl on a folder of an account, from source. Credentials go by a configuration file on standard input.
func (s *stage) curl(t *testing.T, a account, source netip.Addr, folder, config string, args ...string) ([]byte, int) {
	t.Helper()
	scheme, secure := "imap", []string{}
	switch s.door {
	case implicit:
		scheme, secure = "imaps", []string{"--cacert", s.proxy.path("ca.pem")}
	case starttls:
		secure = []string{"--ssl-reqd", "--cacert", s.proxy.path("ca.pem")}
	}
	url := fmt.Sprintf("%s://%s/%s", scheme, s.entrance(a.home), folder)
	args = append([]string{"-sS", "--interface", source.String(), "--max-time", "50", "-K", "-", url}, args...)
	return runProgram(t, config, nil, "curl", append(secure, args...)...)
}

func userConfig(name, password string) string {
	return "user = \"" + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name+":"+password) + "\"\n"
}

// runProgram runs a client program to its end and gives its output and exit status.
func runProgram(t *testing.T, stdin string, env []string, name string, args ...string) ([]byte, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), programTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && (cmd.ProcessState == nil || ctx.Err() != nil) {
		t.Fatalf("running %s: %v", name, err)
	}
	if errs.Len() > 0 {
		t.Logf("%s said: %s", name, errs.String())
	}
	return out.Bytes(), cmd.ProcessState.ExitCode()
}

// firstMessage is the marker, which tells where one has landed.
const firstMessage = "INBOX;MAILINDEX=1"

func (s *stage) curlLands(t *testing.T, a account, source netip.Addr, config string, args ...string) {
	t.Helper()
	out, code := s.curl(t, a, source, firstMessage, config, args...)
	if want := "Subject: on " + a.home; code != 0 || !bytes.Contains(out, []byte(want)) {
		t.Errorf("got status %d and %q, want %q", code, out, want)
	}
}

func curlLogin(method string, args ...string) func(*testing.T, *stage, string) {
	return func(t *testing.T, s *stage, home string) {
		a, from := s.take(t, home), s.source()
		s.curlLands(t, a, from, userConfig(a.name, a.password), args...)
		s.loggedIn(t, home, a, replayed(s, method), from)
	}
}

// replayed is the method that the server logs for a client's: the proxy replays every password by SASL PLAIN where it can
// (SPEC 6.1). The LOGIN command is logged as PLAIN by Dovecot itself.
func replayed(s *stage, method string) string {
	if s.proxy != nil && method == "LOGIN" {
		return "PLAIN"
	}
	return method
}

func curlToken(t *testing.T, s *stage, home string) {
	a, from := s.take(t, home), s.source()
	config := fmt.Sprintf("user = \"%s\"\noauth2-bearer = \"%s\"\n", a.name, s.token(a.name))
	s.curlLands(t, a, from, config)
	s.loggedIn(t, home, a, "OAUTHBEARER", from)
}

func curlExpired(t *testing.T, s *stage, home string) {
	a, from := s.take(t, home), s.source()
	config := fmt.Sprintf("user = \"%s\"\noauth2-bearer = \"%s\"\n", a.name, s.expiredToken(a.name))
	if out, code := s.curl(t, a, from, firstMessage, config); code != curlDenied {
		t.Errorf("got status %d and %q, want %d", code, out, curlDenied)
	}
	s.refusedThere(t, home, a, from)
}

func curlWrong(t *testing.T, s *stage, home string) {
	a, from := s.take(t, home), s.source()
	if out, code := s.curl(t, a, from, firstMessage, userConfig(a.name, "wrong")); code != curlDenied {
		t.Errorf("got status %d and %q, want %d", code, out, curlDenied)
	}
	s.refusedThere(t, home, a, from)
}

func curlBulk(t *testing.T, s *stage, home string) {
	a, from := s.take(t, home), s.source()
	var message bytes.Buffer
	_, _ = message.ReadFrom(mailfake.Generated(bulkBytes)) // neither end fails
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, message.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	config := userConfig(a.name, a.password)
	if out, code := s.curl(t, a, from, "INBOX", config, "-T", file); code != 0 {
		t.Fatalf("appending: status %d, %q", code, out)
	}
	got, code := s.curl(t, a, from, "INBOX;MAILINDEX=2", config)
	if code != 0 || sha256.Sum256(got) != sha256.Sum256(message.Bytes()) {
		t.Errorf("fetching: status %d and %d bytes, want the %d that were appended", code, len(got), message.Len())
	}
}
