package session

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"mailsplice/core/bridge"
	"mailsplice/core/mailfake"
	"mailsplice/protocols/dialog"
)

// A machine that panics costs its own session, nothing more: every descriptor and every count comes back (SPEC 12).
func TestPanicIsolation(t *testing.T) {
	tell := func(kind dialog.EventKind) func(string, dialog.EventKind, []byte) bool {
		var sprung atomic.Bool
		return func(call string, e dialog.EventKind, _ []byte) bool {
			return call == "tell" && e == kind && sprung.CompareAndSwap(false, true)
		}
	}
	feed := func(word string) func(string, dialog.EventKind, []byte) bool {
		return func(call string, _ dialog.EventKind, p []byte) bool { return call == "feed" && contains(p, word) }
	}
	var armed atomic.Bool
	twice := func(call string, _ dialog.EventKind, p []byte) bool {
		boom := call == "feed" && contains(p, "BOOM")
		return boom && armed.CompareAndSwap(false, true) || call == "release" && armed.CompareAndSwap(true, false)
	}
	for _, c := range []struct {
		name            string
		client, backend func(string, dialog.EventKind, []byte) bool
		say             string // what the victim sends
		do              func(*rig)
		lives           bool // the victim gets a temporary failure and may go on
	}{
		{"on a command", feed("BOOM"), nil, "a BOOM", nil, false},
		{"while parting", twice, nil, "a BOOM", nil, false},
		{"at the verdict", tell(dialog.Decided), nil, "a LOGIN victim " + password, nil, false},
		{"when kicked", tell(dialog.Kicked), nil, "a LOGIN hang " + password, func(r *rig) { r.sessions.Kick(KickOptions{Account: "hang"}) }, false},
		{"of the backend's machine", nil, feed("victim"), "a LOGIN victim " + password, nil, true},
		{"as the backend's machine begins", nil, tell(dialog.Begin), "a LOGIN victim " + password, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, shaky{speaker(), c.client, c.backend}, mailfake.Options{Hooks: mailfake.Hooks{
				mailfake.OnCredentials: func(s *mailfake.Session) mailfake.Move {
					switch s.Record().Account {
					case "hang":
						return mailfake.Hang()(s)
					case "victim":
						s.Write("* OK victim\r\n")
					}
					return mailfake.Continue
				}}})
			var other *mailfake.Client
			if c.backend == nil && c.name != "at the verdict" {
				other = r.login("other")
			}
			victim, second := r.dial(), r.dial()
			victim.Send(c.say)
			if c.do != nil {
				second.Send(c.say)
				r.await("two logins", func() bool { return r.backend.Counts().Accepted+r.sessions.Counts().Logins >= 2 })
				r.await("credentials", func() bool { return attempts(r.backend) >= 2+r.backend.Counts().Accepted })
				c.do(r)
				if end, err := second.WaitEnd(); err != nil || !end.Clean { // the one behind it is kicked all the same
					t.Errorf("second: got %+v, %v", end, err)
				}
			}
			if c.lives {
				if got, err := victim.Answer("a"); err != nil || !strings.HasPrefix(got.String(), "NO [UNAVAILABLE]") {
					t.Fatalf("victim: got %q, %v", got, err)
				}
				if _, err := victim.Must("NOOP"); err != nil {
					t.Error(err)
				}
			} else if end, err := victim.WaitEnd(); err != nil || !end.Clean {
				t.Fatalf("victim: got %+v, %v, want a clean end\n%s", end, err, &r.log)
			}
			victim.Close()
			second.Close()
			if other == nil {
				other = r.login("other")
			}
			if _, err := other.Must("NOOP"); err != nil {
				t.Errorf("another session: %v", err)
			}
			r.await("everything of the victim to be given back", func() bool {
				return r.engine.OpenFDs() == 2 && r.sessions.Counts() == Counts{Joined: 1, Lanes: [bridge.Lanes]int{1}} && r.engine.Pending() == 0 && r.engine.Loops()[0].Load() == 1
			})
			if !strings.Contains(r.log.String(), "bug in session") && c.name != "on a command" && c.name != "while parting" {
				t.Errorf("the log says nothing:\n%s", &r.log)
			}
			other.Close()
		})
	}
}

// attempts is how many logins a backend has seen in full.
func attempts(b *mailfake.Backend) (n int) {
	for _, s := range b.Sessions() {
		n += s.Attempts
	}
	return n
}

// Credentials never go over a leg that is not fit for them, whatever the configuration's check has let through (SPEC 6).
func TestUnfitLeg(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(*Destination)
		want   string // phase in the log
		visits int
	}{
		{"plain", func(d *Destination) { d.AllowPlaintextAuth = false }, "allow_plaintext_auth is off", 1},
	} {
		r := newRig(t, speaker(), mailfake.Options{}, c.spoil)
		cl := r.dial()
		if got, err := cl.Command("LOGIN alice " + password); err != nil || !strings.HasPrefix(got.String(), "NO [UNAVAILABLE]") {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
		if got := r.backend.Counts(); got.Connections != c.visits || got.Accepted+got.Refused != 0 {
			t.Errorf("%s: backend has seen %+v", c.name, got)
		}
		for _, s := range r.backend.Sessions() {
			if s.Attempts != 0 {
				t.Errorf("%s: credentials were sent", c.name)
			}
		}
		if !strings.Contains(r.log.String(), c.want) {
			t.Errorf("%s: log: %s", c.name, &r.log)
		}
		cl.Close()
	}
}

// Close ends logins in flight at once, although nothing was drained before.
func TestCloseInFlight(t *testing.T) {
	r := newRig(t, speaker(), mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnGreeting: mailfake.Hang()}})
	for range 10 {
		r.dial().Send("a LOGIN alice " + password)
	}
	r.await("the logins", func() bool { return r.backend.Counts().Open == 10 })
	done := make(chan struct{})
	go closeRig(r, done) // ends with Close
	if !within(func() bool { return closed(done) }) {
		t.Fatal("Close waits for the backend")
	}
}

func closeRig(r *rig, done chan<- struct{}) {
	defer close(done)
	r.close()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// No login's goroutine starts behind Close.
func TestNoLoginBehindClose(t *testing.T) {
	r := newRig(t, speaker(), mailfake.Options{})
	r.close()
	if r.sessions.crew.start((&attempt{lobby: r.sessions.lobbies[0], ctx: context.Background()}).run) {
		t.Error("a login was started")
	}
}
