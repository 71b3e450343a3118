package interop

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// terminal is a running command-line peer that a test talks to by its terminal.
type terminal struct {
	t     *testing.T
	crlf  bool // lines are sent as IMAP wants them, but commands to GnuTLS itself
	stdin io.WriteCloser
	mu    sync.Mutex
	moved *sync.Cond
	out   bytes.Buffer // guarded by mu; both streams
	ended bool         // guarded by mu
}

// Write takes the program's output.
func (p *terminal) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved.Broadcast()
	return p.out.Write(b)
}

// start runs a program, and kills it at the test's end or when it takes too long.
func start(t *testing.T, name string, args ...string) *terminal {
	t.Helper()
	p := &terminal{t: t}
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
	late := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		_ = cmd.Process.Kill()
		<-waited
	})
	return p
}

func (p *terminal) wait(cmd *exec.Cmd, waited chan<- struct{}) {
	_ = cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.moved.Broadcast()
	close(waited)
}

// until waits for text and returns the rest of its line, once that is complete.
func (p *terminal) until(text string) string {
	p.t.Helper()
	return p.untilTimes(text, 1)
}

// untilTimes is until for text's n-th time.
func (p *terminal) untilTimes(text string, n int) string {
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
			p.t.Fatalf("ended without saying %q:\n%s", text, p.out.String())
		}
		p.moved.Wait()
	}
}

// end waits until the program is gone and returns all that it has said.
func (p *terminal) end() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended {
		p.moved.Wait()
	}
	return p.out.String()
}

// said is what it has said so far.
func (p *terminal) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// say types a line.
func (p *terminal) say(line string) {
	p.t.Helper()
	if p.crlf && !strings.HasPrefix(line, "^") {
		line += "\r"
	}
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("typing %q: %v\n%s", line, err, p.said())
	}
}
