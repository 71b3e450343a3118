// Package terminal runs command-line peers for tests, which talk to them as people do: by what they type and what they read.
//
//	p := terminal.OpenSSL(t, time.Minute, "s_client", "-connect", addr)
//	p.Say("hello\n")
//	p.Until("answer: ") // the rest of that line
package terminal

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Terminal is a running program. Any goroutine of the test may use it.
type Terminal struct {
	t     testing.TB
	name  string
	stdin io.WriteCloser
	mu    sync.Mutex
	moved *sync.Cond
	out   bytes.Buffer // guarded by mu; both streams
	ended bool         // guarded by mu
}

// OpenSSL starts openssl. A machine without it is told so, and the test is skipped; with MAILSPLICE_INTEROP=1 it fails.
func OpenSSL(t testing.TB, patience time.Duration, args ...string) *Terminal {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil && os.Getenv("MAILSPLICE_INTEROP") != "1" {
		t.Skip("SKIPPED, NOTHING WAS TESTED: openssl is not installed")
	}
	return Start(t, patience, "openssl", args...)
}

// Start runs a program, and kills it at the test's end or when it takes too long.
func Start(t testing.TB, patience time.Duration, name string, args ...string) *Terminal {
	t.Helper()
	p := &Terminal{t: t, name: name}
	p.moved = sync.NewCond(&p.mu)
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = p, p
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go p.wait(cmd, waited) // ends with the process
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		_ = cmd.Process.Kill()
		<-waited
	})
	return p
}

func (p *Terminal) wait(cmd *exec.Cmd, waited chan<- struct{}) {
	_ = cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.moved.Broadcast()
	close(waited)
}

// Write takes the program's output.
func (p *Terminal) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved.Broadcast()
	return p.out.Write(b)
}

// Until waits for text and returns the rest of its line, once that is complete.
func (p *Terminal) Until(text string) string {
	p.t.Helper()
	return p.UntilTimes(text, 1)
}

// UntilTimes is Until for text's n-th time.
func (p *Terminal) UntilTimes(text string, n int) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if parts := strings.SplitN(p.out.String(), text, n+1); len(parts) > n {
			if line, _, ok := strings.Cut(parts[n], "\n"); ok || p.ended {
				return strings.TrimSpace(line)
			}
		}
		if p.ended {
			p.t.Fatalf("%s ended without saying %q:\n%s", p.name, text, p.out.String())
		}
		p.moved.Wait()
	}
}

// End waits until the program is gone and returns all that it has said.
func (p *Terminal) End() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended {
		p.moved.Wait()
	}
	return p.out.String()
}

// Said is what it has said so far.
func (p *Terminal) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// Say types text as it is.
func (p *Terminal) Say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		p.t.Fatalf("typing %q: %v\n%s", text, err, p.Said())
	}
}

// Close is the end of what is typed.
func (p *Terminal) Close() error { return p.stdin.Close() }
