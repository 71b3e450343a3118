package interop

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// program is a server that the test runs in the foreground, with what it says in a file.
type program struct {
	name string
	logs []string // files
	cmd  *exec.Cmd
	done chan error // the process's end
}

// startProgram runs a command; what it prints goes to the first of logs, the others it writes itself.
func startProgram(name string, env []string, logs []string, command ...string) (*program, error) {
	out, err := os.Create(logs[0])
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &program{name: name, logs: logs, cmd: exec.Command(command[0], command[1:]...), done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// Should the test die without its cleanup, the program goes too.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go p.reap() // ends with the process, which stop ends
	return p, nil
}

func (p *program) reap() { p.done <- p.cmd.Wait() }

// stop ends the program and waits for it. It may be called more than once.
func (p *program) stop() { stopProcess(p.cmd, p.done) }

// logText is everything that it has logged.
func (p *program) logText() string {
	var text strings.Builder
	for _, file := range p.logs {
		part, _ := os.ReadFile(file)
		text.Write(part)
	}
	return text.String()
}

// loggedSince waits for a line of the log, behind its first mark bytes, that holds every one of words.
func (p *program) loggedSince(mark int, words ...string) error {
	text := ""
	ok := poll(logTimeout, func() bool {
		text = p.logText()
		text = text[min(mark, len(text)):]
		for line := range strings.Lines(text) {
			if holdsAll(line, words) {
				return true
			}
		}
		return false
	})
	if ok {
		return nil
	}
	return fmt.Errorf("log of %s has no new line with %q; new lines with the first of them:\n%s", p.name, words, grep(text, words[0]))
}
