package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

func TestHostileBackends(t *testing.T) {
	hook := func(m mailfake.Moment, h mailfake.Hook) mailfake.Options {
		return mailfake.Options{Hooks: mailfake.Hooks{m: h}}
	}
	greeting := func(text string) mailfake.Options { return hook(mailfake.OnGreeting, mailfake.Say(text)) }
	verb := func(v string, h mailfake.Hook) mailfake.Options {
		return hook(mailfake.OnCommand, mailfake.ForVerb(v, h))
	}
	const later = "NO [UNAVAILABLE]"
	noPassword := "NO [AUTHENTICATIONFAILED]"
	if mode.legacy != "plain" {
		noPassword = "OK" // LOGINDISABLED is for those who come in the clear
	}
	for _, c := range []struct {
		name    string
		backend mailfake.Options
		retries string
		want    string // answer to LOGIN
		visits  int
	}{
		{"never greets", hook(mailfake.OnGreeting, mailfake.Hang()), "1", later, 2},
		{"never greets, no retry", hook(mailfake.OnGreeting, mailfake.Hang()), "0", later, 1},
		{"greets half", greeting("* OK "), "0", later, 1},
		{"closes at once", hook(mailfake.OnAccept, mailfake.Finish()), "1", later, 2},
		{"closes at once, two retries", hook(mailfake.OnAccept, mailfake.Finish()), "2", later, 3},
		{"resets at once", hook(mailfake.OnAccept, mailfake.Reset()), "1", later, 2},
		{"closes once", hook(mailfake.OnAccept, mailfake.Times(1, mailfake.Finish())), "1", "OK", 2},
		{"resets once", hook(mailfake.OnAccept, mailfake.Times(1, mailfake.Reset())), "1", "OK", 2},
		{"says BYE", greeting("* BYE go away\r\n"), "1", later, 1},
		{"PREAUTH", greeting("* PREAUTH you are root\r\n"), "1", later, 1},
		{"SMTP", greeting("220 mail ready\r\n"), "1", later, 1},
		{"bytes", greeting("\x00\xff\x16\x03\x01\r\n"), "1", later, 1},
		{"long line", greeting("* OK " + strings.Repeat("x", 100_000)), "1", later, 1},
		{"endless lines", greeting("* OK [CAPABILITY IMAP4rev1] a\r\n" + strings.Repeat("* OK b\r\n", 100_000)), "1", later, 1},
		{"huge literal", greeting("* OK a\r\n* X {99999999}\r\n"), "1", later, 1},
		{"wrong tag", verb("AUTHENTICATE", mailfake.Say("zz OK in\r\n")), "1", later, 1},
		{"prompts for ever", verb("AUTHENTICATE", mailfake.Say("+ \r\n+ \r\n+ \r\n")), "1", later, 1},
		{"hangs behind credentials", hook(mailfake.OnCredentials, mailfake.Hang()), "3", later, 1},
		{"closes behind credentials", hook(mailfake.OnCredentials, mailfake.Finish()), "3", later, 1},
		{"resets behind credentials", hook(mailfake.OnCredentials, mailfake.Reset()), "3", later, 1},
		{"says BYE behind credentials", hook(mailfake.OnCredentials, mailfake.SayAndEnd("* BYE now\r\n")), "3", later, 1},
		{"half an answer behind credentials", hook(mailfake.OnCredentials, mailfake.SayAndEnd("m1 O")), "3", later, 1},
		{"every byte by itself", hook(mailfake.OnAccept, mailfake.Dribble()), "1", "OK", 1},
		{"takes no password", mailfake.Options{Capabilities: "IMAP4rev1 LOGINDISABLED"}, "1", noPassword, 1},
		{"has the mailbox locked", mailfake.Options{Check: func(mailfake.Credentials) mailfake.Verdict {
			return mailfake.Verdict{Text: "NO [INUSE] locked"}
		}}, "1", "NO [INUSE] locked", 1},
		{"is down itself", mailfake.Options{Check: func(mailfake.Credentials) mailfake.Verdict { return mailfake.Unavailable() }}, "1", later, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			timeout := "20s"
			if strings.Contains(c.name, "never greets") || strings.HasPrefix(c.name, "hangs") || c.name == "greets half" {
				timeout = "400ms"
			}
			r := newRig(t, stage{onLegacy: c.backend, mappings: "nina new\n", server: fmt.Sprintf("backend_timeout = %q\nbackend_connect_retries = %s", timeout, c.retries)})
			cl := r.dial()
			r.command(cl, "LOGIN alice "+password, c.want)
			if got := r.legacy.Counts().Connections; got != c.visits {
				t.Errorf("connections: got %d, want %d\n%s", got, c.visits, r.log)
			}
			if c.want != "OK" {
				r.await("the backend to be left", func() bool { return r.proxy.engine.OpenFDs() == clientFDs() })
				r.command(cl, "LOGIN nina "+password, "OK") // nothing of it sticks to the client
				r.landed(cl, "new")
			}
		})
	}
}

// A temporary refusal is no failed attempt (SPEC 6.1), but does not go on for ever.
func TestTemporaryRefusals(t *testing.T) {
	r := newRig(t, stage{listener: "max_auth_attempts = 1", onLegacy: mailfake.Options{
		Check: func(mailfake.Credentials) mailfake.Verdict { return mailfake.Unavailable() }}})
	c := r.dial()
	for range 9 {
		r.command(c, "LOGIN alice "+password, "NO [UNAVAILABLE]")
	}
	r.command(c, "NOOP", "OK")
	r.command(c, "LOGIN alice "+password, "NO [UNAVAILABLE]")
	if end := r.ended(c); end.Bye() == "" {
		t.Errorf("got %q, want BYE", end.Lines)
	}
}

func TestBackendDown(t *testing.T) {
	r := newRig(t, stage{legacyAddr: netip.MustParseAddrPort(freePort(t))})
	r.command(r.dial(), "LOGIN alice "+password, "NO [UNAVAILABLE]")
	if got := r.metric(`logins_total{protocol="imap",destination="legacy",result="unavailable"}`); got != 1 {
		t.Errorf("unavailable logins: got %d, want 1", got)
	}
}

// A destination that lacks the protocol is the operator's error, not the client's (SPEC 4 point 5).
func TestWrongService(t *testing.T) {
	r := newRig(t, stage{rest: "[destination.web]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n[destination.web.protocol.pop3]\nport = 110\ntls = \"plain\"\n"})
	c := r.dial()
	r.put("alice", "web")
	for range 3 {
		r.command(c, "LOGIN alice "+password, "NO [UNAVAILABLE]")
	}
	r.logged("login unavailable", 3)
	if got := len(r.log.lines("destination does not offer the protocol")); got < 1 || got > 2 {
		t.Errorf("lines in the log: got %d, want one a second", got)
	}
	r.put("alice", "new")
	r.command(c, "LOGIN alice "+password, "OK")
}
