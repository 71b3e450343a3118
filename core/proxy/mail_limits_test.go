package proxy

import (
	"fmt"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

// What is pipelined behind a login comes to the backend once and in order, or is answered here when the login is refused.
func TestMailPipelining(t *testing.T) {
	const many = 2000 // more than what is read ahead
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{mappings: "nina new\n"})
		login := tg.loginLine
		noops := strings.Repeat(tg.tag+"NOOP\r\n", many)
		quit := map[string]string{"imap": "x LOGOUT\r\n", "managesieve": "LOGOUT\r\n"}[tg.name]
		if quit == "" {
			quit = "QUIT\r\n"
		}
		for _, c := range []struct {
			name, say     string
			before, after int // NOOPs that are answered here, and there
			shut          bool
		}{
			{"accepted", login("nina", password) + noops + quit, 0, many, false},
			{"refused, accepted", login("bob", wrong) + noops + login("nina", password) + noops + quit, many, many, false},
			{"FIN behind it", login("nina", password) + noops + quit, 0, many, true},
			{"one command and FIN", login("nina", password) + quit, 0, 0, true},
		} {
			cl := r.client()
			if tg.name == "submission" {
				r.says(cl, "EHLO client.example.org", "250")
			}
			cl.SendRaw(c.say)
			if c.shut {
				cl.CloseWrite()
			}
			ours, theirs := 0, 0
			for _, line := range r.ended(longEnd{cl}).Lines {
				switch answered(tg.name, line) {
				case "here":
					ours++
					if theirs > 0 {
						t.Fatalf("%s: %q behind the login", c.name, line)
					}
				case "there":
					theirs++
				}
			}
			if ours != c.before || theirs != c.after {
				t.Errorf("%s: NOOPs answered here and there: got %d and %d, want %d and %d\n%s", c.name, ours, theirs, c.before, c.after, r.log)
			}
			cl.Close()
		}
	})
}

// longEnd keeps all lines, where WaitEnd has its bound.
type longEnd struct{ mailClient }

func (c longEnd) WaitEnd() (mailfake.End, error) {
	var e mailfake.End
	for {
		line, err := c.Line()
		if err != nil {
			e.Clean = err.Error() == "EOF"
			e.Rest = line
			return e, nil
		}
		e.Lines = append(e.Lines, line)
	}
}

// answered tells who has answered a NOOP; empty: it is an answer to something else.
func answered(protocol, line string) string {
	theirs := map[string]string{"imap": "x OK Done", "pop3": "+OK Done", "managesieve": `OK "on new"`, "submission": "250 2.0.0 on new"}
	ours := map[string]string{"imap": "x OK NOOP completed.", "pop3": "+OK Nothing done.", "managesieve": `OK "NOOP completed."`, "submission": "250 2.0.0 OK"}
	switch {
	case line == ours[protocol]:
		return "here"
	case strings.HasPrefix(line, theirs[protocol]):
		return "there"
	}
	return ""
}

// Whatever goes over a bound before the login ends the connection in the protocol's words (SPEC 3, SECURITY 14, 20).
func TestMailLimits(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listener: "max_connections = 3"})
		for _, c := range []struct{ name, say, want string }{
			{"command line", tg.tag + "NOOP " + strings.Repeat("x", 9000) + "\r\n", tg.limit},
			{"line without an end", tg.tag + "NOOP " + strings.Repeat("x", 20_000), tg.limit},
			{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
			{"another protocol", "\x16\x03\x01 hello\r\n", ""},
		} {
			cl := r.client()
			cl.SendRaw(c.say)
			end := r.ended(cl)
			if len(end.Lines) == 0 || len(end.Lines) > 2 || !strings.HasPrefix(end.Lines[0], c.want) {
				t.Errorf("%s: got %q, want one farewell that begins with %q", c.name, end.Lines, c.want)
			}
			cl.Close()
		}
		one, two, three := r.in("carl"), r.in("alice"), r.in("bob") // those who are in count too
		raw, err := mailfake.DialConn(r.addr(), mailfake.ClientOptions{Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		end := r.ended(raw)
		if worded := len(end.Lines) == 1 && strings.HasPrefix(end.Lines[0], tg.later); worded != (r.listener != "implicit") {
			t.Errorf("over max_connections: got %q, want a farewell where it takes no handshake", end.Lines)
		}
		if got := r.metric(fmt.Sprintf(`connections_refused_total{listener=%q,reason="max_connections"}`, tg.name)); got != 1 {
			t.Errorf("refused connections: got %d, want 1", got)
		}
		for _, c := range []mailClient{one, two, three} {
			c.Close()
		}
	})
}

// Who does not log in in time hears so in the protocol's words. All of them wait at the same time.
func TestMailTimeouts(t *testing.T) {
	var rigs []*mailRig
	var quiet []mailClient
	for _, tg := range tongues {
		r := newMailRig(t, tg, stage{listener: "preauth_timeout = \"300ms\""})
		rigs, quiet = append(rigs, r), append(quiet, r.client())
		r.answers(quiet[len(quiet)-1])
	}
	for i, r := range rigs {
		r.bids(quiet[i], r.later)
	}
}

// A client that is kicked or drained before its verdict hears so, and not that its password was wrong.
func TestMailFarewells(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{server: `backend_timeout = "60s"`, onLegacy: mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnCredentials: mailfake.Hang()}}})
		waits := func() mailClient {
			c := r.client()
			if tg.name == "submission" {
				r.says(c, "EHLO client.example.org", "250")
			}
			n := r.legacy.Counts().Connections
			c.SendRaw(tg.loginLine("alice", password))
			r.await("the login", func() bool { return r.legacy.Counts().Connections > n })
			return c
		}
		heard := func(why string, c mailClient) {
			lines := r.ended(c).Lines
			if len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], tg.later) || strings.Contains(strings.Join(lines, "\n"), "AUTH") {
				t.Errorf("%s: got %q, want %q", why, lines, tg.later)
			}
			c.Close()
		}
		c := waits()
		r.kick("identifier=alice", 1)
		heard("kicked", c)
		waiting, quiet, down := waits(), r.client(), make(chan struct{})
		r.answers(quiet) // its handshake is over at our end, too
		r.stopped = true
		go shutdown(r.proxy, t.Context(), down) // ends with the drain
		heard("drained at login", waiting)
		r.bids(quiet, tg.later)
		r.awaitClosed("the end of the drain", down)
	})
}
