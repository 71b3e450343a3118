package interop

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestDemo types what `mailsplice demo --stay` tells its reader to type (SPEC 13).
func TestDemo(t *testing.T) {
	wanted(t)
	t.Parallel()
	for _, p := range []string{"curl", "openssl"} {
		if err := lookPath(p); err != nil {
			t.Fatalf("%v; core/interop/install.sh installs it", err)
		}
	}
	binary, err := buildProxy(t.TempDir(), os.Getenv("MAILSPLICE_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	commands := startDemo(t, binary)
	for _, step := range []struct{ kind, begins, holds, types, want string }{
		{"curl", "curl", "imaps://", "", "Subject: on new"},
		{"curl", "curl", "pop3s://", "", "Subject: on new"},
		{"curl", "echo", "smtp://", "", "235 "},
		{"openssl", "openssl", "-connect", "a LOGIN alice@example.org wonderland\nb LOGOUT\n", "a OK "},
		{"openssl", "openssl", "-starttls sieve", "NOOP\nLOGOUT\n", `OK "NOOP completed."`},
		{"curl", "curl", "-X PUT", "", `"destination":"legacy"`},
		{"curl", "curl", "imaps://", "", "Subject: on legacy"},
		{"curl", "curl", "/metrics", "", "mailsplice_logins_total{"},
	} {
		command := pick(t, commands, step.begins, step.holds)
		out, code := runProgram(t, step.types, nil, "sh", "-c", command+" 2>&1")
		if code != 0 || !strings.Contains(string(out), step.want) {
			t.Errorf("%s: got status %d and\n%s\nwant %q", command, code, out, step.want)
		}
		fmt.Printf("case %s demo %s ok\n", step.kind, step.holds)
	}
	if !t.Failed() {
		fmt.Println("interop: demo: 8 cases: curl 6, openssl 2")
	}
}

// startDemo runs the demo until the end of the test, and gives the commands that it prints.
func startDemo(t *testing.T, binary string) (commands []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), programTimeout)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, "demo", "--stay")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the demo's end: %v", err)
		}
	})
	text := ""
	for lines := bufio.NewScanner(out); !strings.Contains(text, "\nConfiguration: ") && lines.Scan(); {
		text += lines.Text() + "\n"
	}
	_, manual, _ := strings.Cut(text, "In another terminal:")
	for line := range strings.Lines(strings.ReplaceAll(manual, "\\\n", "")) {
		if command, ok := strings.CutPrefix(line, "  "); ok && !strings.HasPrefix(command, "#") {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	return commands
}

// pick is the first command that begins with one text and holds another.
func pick(t *testing.T, commands []string, begins, holds string) string {
	t.Helper()
	for _, c := range commands {
		if strings.HasPrefix(c, begins) && strings.Contains(c, holds) {
			return c
		}
	}
	t.Fatalf("no command begins with %q and holds %q: %q", begins, holds, commands)
	return ""
}
