package interop

import (
	"strings"
	"testing"

	"mailsplice/tlsx/tlstest/terminal"
)

// mailTerminal is a command-line peer that is given lines.
type mailTerminal struct {
	*terminal.Terminal
	crlf bool // lines are sent as IMAP wants them, but commands to GnuTLS itself
}

func start(t *testing.T, name string, args ...string) *mailTerminal {
	t.Helper()
	return &mailTerminal{Terminal: terminal.Start(t, startTimeout, name, args...)}
}

// say types a line.
func (p *mailTerminal) say(line string) {
	if p.crlf && !strings.HasPrefix(line, "^") {
		line += "\r"
	}
	p.Say(line + "\n")
}
