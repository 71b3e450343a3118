package dialogtest

import (
	"bytes"
	"testing"

	"mailsplice/protocols/dialog"
)

// fault is one way in which a toy breaks the contract.
type fault string

const (
	keepsInput    fault = "keeps input"
	sharesBytes   fault = "shares bytes"
	keepsEvent    fault = "keeps event"
	stalls        fault = "stalls"
	greedy        fault = "greedy"
	overreports   fault = "overreports"
	talksAtEnd    fault = "talks at end"
	eatsAtEnd     fault = "eats at end"
	partialLine   fault = "partial line"
	splitSees     fault = "split sees"
	floods        fault = "floods"
	endless       fault = "endless"
	hoards        fault = "hoards"
	writesNothing fault = "writes nothing"
)

// toy is a server that knows PING, TLS, LOGIN and QUIT, a line each.
type toy struct {
	fault   fault
	kept    []byte
	line    []byte
	queue   []dialog.Action
	blocked bool
	over    bool
	verdict dialog.Verdict
}

var shared = []byte("pong\r\n")

func (m *toy) State() string { return "toy" }

func (m *toy) Release() { clear(m.line) }

func (m *toy) write(text string) {
	m.queue = append(m.queue, dialog.Action{Kind: dialog.Write, Bytes: []byte(text)})
}

func (m *toy) Feed(p []byte) int {
	switch {
	case m.over && m.fault == eatsAtEnd:
		return len(p)
	case m.over:
		return 0
	case m.blocked && m.fault != greedy:
		return 0
	case m.fault == stalls:
		return 0
	case m.fault == overreports:
		return len(p) + 1
	}
	n := bytes.IndexByte(p, '\n') + 1
	if n == 0 {
		if m.fault == keepsInput && m.line == nil {
			m.line = p
			return len(p)
		}
		m.line = append(m.line, p...)
		return len(p)
	}
	command := string(append(m.line, p[:n]...))
	if m.fault == splitSees && len(m.line) > 0 {
		command = string(m.line)
	}
	if m.fault != hoards {
		m.line = nil
	}
	m.do(command)
	return n
}

func (m *toy) do(command string) {
	switch command {
	case "PING\r\n":
		m.ping()
	case "TLS\r\n":
		m.write("go\r\n")
		m.queue = append(m.queue, dialog.Action{Kind: dialog.StartTLS})
		m.blocked = true
	case "LOGIN\r\n":
		m.queue = append(m.queue, dialog.Action{Kind: dialog.LoginReady, Login: &dialog.Login{
			Method: dialog.Password, Identifier: "al ice", Password: []byte("x"),
			ClientID: []dialog.Field{{Name: "os", Value: "a \"b\""}, {Name: "name", Null: true}},
		}})
		m.blocked = true
	case "ASK\r\n":
		m.queue = append(m.queue, dialog.Action{Kind: dialog.Relay, Bytes: []byte(" q\x00")})
		m.blocked = true
	case "DONE\r\n":
		m.verdict = dialog.Verdict{Outcome: dialog.Refused, Before: []byte("* x\r\n"), Answer: []byte("NO y")}
		m.queue = append(m.queue, dialog.Action{Kind: dialog.Done, Verdict: &m.verdict})
		m.end()
	case "QUIT\r\n":
		m.write("bye\r\n")
		m.queue = append(m.queue, dialog.Action{Kind: dialog.Close, Reason: dialog.Logout})
		m.end()
	default:
		m.write("what " + command)
	}
}

func (m *toy) ping() {
	switch m.fault {
	case sharesBytes:
		m.queue = append(m.queue, dialog.Action{Kind: dialog.Write, Bytes: shared})
	case partialLine:
		m.write("pon")
	case floods:
		m.write(string(bytes.Repeat([]byte("x"), maxRepeat)) + "\r\n")
	case endless:
		for range maxActions + 1 {
			m.write("pong\r\n")
		}
	case writesNothing:
		m.write("")
	default:
		m.write("pong\r\n")
	}
}

func (m *toy) end() {
	m.over = true
	if m.fault == talksAtEnd {
		m.write("one more\r\n")
	}
}

func (m *toy) Next() dialog.Action {
	if len(m.queue) == 0 {
		return dialog.Action{}
	}
	a := m.queue[0]
	m.queue = m.queue[1:]
	return a
}

func (m *toy) Tell(e dialog.Event) {
	switch e.Kind {
	case dialog.Begin:
		m.write("hi\r\n")
	case dialog.TLSUp, dialog.Relayed:
		m.blocked = false
		m.kept = e.Bytes
		if m.fault != keepsEvent {
			m.kept = bytes.Clone(e.Bytes)
		}
		m.queue = append(m.queue, dialog.Action{Kind: dialog.Write, Bytes: []byte("up ")},
			dialog.Action{Kind: dialog.Write, Bytes: append(m.kept, "\r\n"...)})
	case dialog.Decided:
		m.blocked = false
		m.write(string(e.Verdict.Before) + string(e.Verdict.Answer) + "\r\n")
		if e.Verdict.Outcome == dialog.Accepted {
			m.over = true
		}
	case dialog.Expire:
		if !m.over {
			m.write("late\r\n")
			m.queue = append(m.queue, dialog.Action{Kind: dialog.Close, Reason: dialog.Timeout})
			m.end()
		}
	}
}

// newToy takes the option "fault".
func newToy(tb testing.TB, options []Option) dialog.Machine {
	m := &toy{}
	for _, o := range options {
		if o.Key != "fault" {
			tb.Fatalf("option %q", o.Key)
		}
		m.fault = fault(o.Value)
	}
	return m
}
