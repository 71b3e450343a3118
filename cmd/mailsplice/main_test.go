package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// patience bounds every wait of a test.
const patience = 20 * time.Second

// asProgram makes the test binary the program itself, so that exit codes and signals are the real ones.
const asProgram = "MAILSPLICE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

const password = "open-sesame-71"

// files are a folder with a configuration.
type files struct {
	t    *testing.T
	dir  string
	addr string   // of its listener
	env  []string // of serve
}

const conf = `
[server]
shutdown_grace = "1h"
[listener.imap]
protocol = "imap"
bind = ["%s"]
tls = "plain"
[capabilities.imap]
allow_plain_auth_without_tls = true
[destination.legacy]
host = "127.0.0.1"
forwarding = "none"
allow_plaintext_auth = true
[destination.legacy.protocol.imap]
port = %d
tls = "plain"
[mapping]
source = "file"
[mapping.file]
path = "mappings"
[routing]
default_destination = "legacy"
%s
`

// newFiles writes a configuration for a backend, with further lines.
func newFiles(t *testing.T, port uint16, more string) *files {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := &files{t: t, dir: t.TempDir(), addr: ln.Addr().String()}
	for name, text := range map[string]string{"mappings": "", "conf": fmt.Sprintf(conf, f.addr, port, more), "broken": "[server]\nnonsense = 1\n"} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// program is the command line, run in the folder.
func (f *files) program(env []string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	c := exec.Command(os.Args[0], args...)
	c.Dir = f.dir
	c.Env = append([]string{asProgram + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + f.dir, "TMPDIR=" + f.dir}, env...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &bytes.Buffer{}
	c.Stdout, c.Stderr = out, out
	return c, out
}

func TestExitCodes(t *testing.T) {
	f := newFiles(t, 143, "")
	taken, err := net.Listen("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	partial := newFiles(t, 143, "[http]\nrelay_idle = \"1s\"\n")
	for _, c := range []struct {
		name string
		in   *files
		env  []string
		args string
		code int
		says string
	}{
		{"version", f, nil, "version", 0, "mailsplice devel"},
		{"help", f, nil, "help", 0, "run"},
		{"good file", f, nil, "check conf", 0, "ok"},
		{"good file from the environment", f, []string{"MAILSPLICE_CONFIG=conf"}, "check", 0, "ok"},
		{"the older name", f, []string{"PROXY_CONFIG=conf"}, "check", 0, "ok"},
		{"the first name wins", f, []string{"MAILSPLICE_CONFIG=conf", "PROXY_CONFIG=broken"}, "check", 0, "ok"},
		{"the argument wins", f, []string{"MAILSPLICE_CONFIG=conf"}, "check broken", 1, "server.nonsense"},
		{"broken file", f, nil, "run broken", 1, "server.nonsense"},
		{"broken file, short form", f, nil, "broken", 1, "server.nonsense"},
		{"no such file", f, nil, "run nowhere", 1, "nowhere"},
		{"no file", f, nil, "run", 2, "MAILSPLICE_CONFIG"},
		{"no such flag", f, nil, "run --nonsense conf", 2, "nonsense"},
		{"too many", f, nil, "run a b", 2, ""},
		{"taken port", f, nil, "run conf", 3, `listener "imap"`},
		{"key that is not built, check", partial, nil, "check conf", 1, "http"},
		{"key that is not built, run", partial, nil, "run conf", 1, "http"},
		{"key that is not built, partial", partial, nil, "check --partial conf", 0, "http"},
	} {
		cmd, out := c.in.program(c.env, strings.Fields(c.args)...)
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: exit code %d, want %d, and %q in\n%s", c.name, got, c.code, c.says, out)
		}
	}
}

// serving is a running program.
type serving struct {
	cmd  *exec.Cmd
	out  *bytes.Buffer
	done chan struct{}
}

func (f *files) serve(args ...string) *serving {
	f.t.Helper()
	cmd, out := f.program(f.env, args...)
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	s := &serving{cmd, out, make(chan struct{})}
	go s.reap() // ends with the process, at the latest by the cleanup
	f.t.Cleanup(func() {
		cmd.Process.Kill()
		<-s.done
	})
	return s
}

func (s *serving) reap() {
	defer close(s.done)
	s.cmd.Wait()
}

// login waits until the program serves, and is in.
func (f *files) login() *mailfake.Client {
	f.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		c, err := mailfake.DialWith(f.addr, mailfake.ClientOptions{Timeout: patience})
		if err == nil {
			f.t.Cleanup(c.Close)
			if err := c.Login("alice", password); err != nil {
				f.t.Fatal(err)
			}
			return c
		}
		if time.Now().After(end) {
			f.t.Fatal(err)
		}
	}
}

func (s *serving) wait(t *testing.T, code int) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatal("the program does not end")
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d\n%s", got, code, s.out)
	}
	if strings.Contains(s.out.String(), password) || strings.Contains(s.out.String(), "bug in") {
		t.Errorf("output:\n%s", s.out)
	}
}

// The first signal drains, the second ends the program at once (SPEC 9).
func TestSignals(t *testing.T) {
	backend, err := mailfake.NewIMAP(mailfake.Options{Name: "legacy"})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	for _, c := range []struct {
		name          string
		first, second os.Signal // second: nil when the client leaves by itself
		args          string
		code          int
	}{
		{"TERM, then the client leaves", syscall.SIGTERM, nil, "run conf", 0},
		{"INT, short form", syscall.SIGINT, nil, "conf", 0},
		{"TERM twice", syscall.SIGTERM, syscall.SIGTERM, "run conf", 130},
		{"INT, then TERM", syscall.SIGINT, syscall.SIGTERM, "run conf", 130},
	} {
		f := newFiles(t, backend.Addr().Port(), "")
		s := f.serve(strings.Fields(c.args)...)
		joined := f.login()
		fresh, err := mailfake.DialWith(f.addr, mailfake.ClientOptions{Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		s.cmd.Process.Signal(c.first)
		if end, err := fresh.WaitEnd(); err != nil || !end.Clean || end.Bye() == "" {
			t.Errorf("%s: before login: got %+v, %v, want BYE and FIN", c.name, end, err)
		}
		fresh.Close()
		if _, err := joined.Must("NOOP"); err != nil {
			t.Errorf("%s: joined session: %v", c.name, err)
		}
		if c.second != nil {
			s.cmd.Process.Signal(c.second)
		} else {
			joined.Must("LOGOUT")
			joined.Close()
		}
		s.wait(t, c.code)
	}
}

// The demo shows both landings in each protocol, and leaves no file behind.
func TestDemo(t *testing.T) {
	f := newFiles(t, 143, "")
	cmd, out := f.program(nil, "demo")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f.showsDemo(out.String())
	if n := strings.Count(out.String(), "\n"); n > 60 {
		t.Errorf("%d lines, which nobody reads", n)
	}
}

func (f *files) showsDemo(text string) {
	f.t.Helper()
	text = strings.ReplaceAll(text, `"kicked": 4`, `"kicked":4`)
	wants := []string{"it landed on legacy", "a clean FIN", `"kicked":4`, "-X PUT", "-X POST"}
	for _, protocol := range []string{"pop3", "submission", "managesieve"} {
		wants = append(wants, fmt.Sprintf("    %-12s it landed on legacy, which was told that the client is 127.0.0.1:", protocol))
	}
	for _, protocol := range []string{"imap", "pop3", "submission", "managesieve"} {
		wants = append(wants, fmt.Sprintf("    %-12s it landed on new, which was told that the client is 127.0.0.1:", protocol))
	}
	for _, want := range wants {
		if !strings.Contains(text, want) {
			f.t.Errorf("%q is not in\n%s", want, text)
		}
	}
	story, _, _ := strings.Cut(text, "Everything keeps running")
	if strings.Contains(story, demoPassword) {
		f.t.Errorf("the password is in\n%s", story)
	}
	if left, err := filepath.Glob(filepath.Join(f.dir, "mailsplice-demo-*")); err != nil || len(left) > 0 {
		f.t.Errorf("left behind: %q, %v", left, err)
	}
}

// With --stay it says what to type, where that works, and keeps running until a signal.
func TestDemoStays(t *testing.T) {
	f := newFiles(t, 143, "")
	cmd, errs := f.program(nil, "demo", "--stay")
	cmd.Stdout = nil
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer killer.Stop()
	text := ""
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		text += lines.Text() + "\n"
		if strings.HasPrefix(lines.Text(), "Configuration: ") {
			cmd.Process.Signal(syscall.SIGINT)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, text, errs)
	}
	f.showsDemo(text)
	for _, want := range []string{"'imaps://127.0.0.1:", "pop3s://127.0.0.1:", "smtp://127.0.0.1:", "-starttls sieve", "&destination=legacy&kick=true'"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
