package proxy

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// At a limit the newest connection is refused in the protocol's words and counted (SPEC 12).
func TestConnectionLimits(t *testing.T) {
	for _, c := range []struct {
		name  string
		stage stage
		fill  func(*rig) *mailfake.Client // takes a place
	}{
		{"max_connections", stage{listener: "max_connections = 2"}, func(r *rig) *mailfake.Client { return r.login("alice") }},
		{"max_connections", stage{listener: "max_connections = 2"}, (*rig).dial},
		{"max_preauth", stage{server: "max_preauth = 2"}, (*rig).dial},
	} {
		r := newRig(t, c.stage)
		first, _ := c.fill(r), c.fill(r)
		for range 3 {
			end := r.ended(r.dialPlain())
			if worded := len(end.Lines) == 1 && end.Bye() != ""; worded != (mode.listener != "implicit") {
				t.Errorf("%s: got %q, want BYE where it takes no handshake", c.name, end.Lines)
			}
		}
		refused := fmt.Sprintf(`connections_refused_total{listener="imap",reason=%q}`, c.name)
		if got := r.metric(refused); got != 3 {
			t.Errorf("%s: %d counted, want 3", refused, got)
		}
		first.Close()
		r.await("the place to be free", func() bool {
			x, err := r.try(mailfake.ClientOptions{})
			if err != nil {
				return false
			}
			defer x.Close()
			return strings.HasPrefix(x.Greeting, "* OK")
		})
	}
}

// Those who are in do not count for max_preauth.
func TestJoinedAreNotPreauth(t *testing.T) {
	r := newRig(t, stage{server: "max_preauth = 1"})
	for range 3 {
		r.landed(r.login("alice"), "legacy")
	}
	if got := r.metric(`sessions{protocol="imap",destination="legacy",lane="` + mode.lane() + `"}`); got != 3 {
		t.Errorf("sessions: got %d, want 3", got)
	}
}

// The deadline is absolute, not per byte (SECURITY 19).
func TestPreauthTimeout(t *testing.T) {
	r := newRig(t, stage{listener: `preauth_timeout = "1s"`})
	parts := []string{"", "x", "a NOOP\r\n"}
	var clients []*mailfake.Client
	var going []chan struct{}
	for i, part := range parts { // all at the same time
		clients, going = append(clients, r.dial()), append(going, make(chan struct{}))
		if part == "" {
			close(going[i])
		} else {
			go dribble(clients[i], part, going[i]) // until the connection is over
		}
	}
	for i, part := range parts {
		c, gone := clients[i], going[i]
		if end := r.ended(c); end.Bye() != "* BYE Timed out before login." {
			t.Errorf("%q again and again: got %q", part, end.Lines)
		}
		c.Close()
		<-gone
	}
}

// dribble sends part again and again until the connection is closed.
func dribble(c *mailfake.Client, part string, gone chan<- struct{}) {
	defer close(gone)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for c.SendRaw(part) == nil {
		<-tick.C
	}
}

// The deadline stands still during a login, and starts again at a refusal (SPEC 2.3).
func TestPreauthTimeoutRests(t *testing.T) {
	g := newGate()
	r := newRig(t, stage{listener: `preauth_timeout = "1s"`, onLegacy: mailfake.Options{Hooks: g.hooks()}})
	slow := r.dial()
	slow.Send("a LOGIN alice " + wrong)
	r.awaitClosed("the login", g.reached)
	for range 2 { // two deadlines pass
		r.ended(r.dial())
	}
	close(g.open)
	if got, err := slow.Answer("a"); err != nil || got.Status != "NO" {
		t.Fatalf("got %q, %v, want NO", got, err)
	}
	r.command(slow, "NOOP", "OK")
	if end := r.ended(slow); end.Bye() == "" {
		t.Errorf("got %q, want BYE", end.Lines)
	}
}

// A client that sends and never reads pins one answer; the others go on.
func TestReaderThatNeverReads(t *testing.T) {
	r := newRig(t, stage{})
	before := heap()
	c := r.dial()
	c.SetTimeout(200 * time.Millisecond)
	lines, sent := strings.Repeat("a CAPABILITY\r\n", 1000), 0
	for err := error(nil); err == nil; sent++ {
		if err = c.SendRaw(lines); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if sent > 5000 {
			t.Fatal("70 MB of commands were taken without a reader")
		}
	}
	r.landed(r.login("alice"), "legacy")
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	c.SetTimeout(patience)
	for range 1000 { // what was said first is answered first, and nothing is lost
		if _, err := c.Expect("* CAPABILITY IMAP4rev1"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Expect("a OK"); err != nil {
			t.Fatal(err)
		}
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestPipelining(t *testing.T) {
	many := 3000 // more than what is read ahead
	for _, c := range []struct {
		name, say  string
		shut       bool // FIN behind it
		want, last string
	}{
		{"behind LOGIN", "a LOGIN alice " + password + "\r\n" + noops(many), false, "a OK", fmt.Sprintf("t%d OK", many-1)},
		{"behind a refusal", "a LOGIN alice " + wrong + "\r\nb LOGIN alice " + password + "\r\n" + noops(many), false, "a NO", fmt.Sprintf("t%d OK", many-1)},
		{"then FIN", "a LOGIN alice " + password + "\r\n" + noops(many) + "z LOGOUT\r\n", true, "a OK", "z OK"},
		{"one command, then FIN", "a LOGIN alice " + password + "\r\nz LOGOUT\r\n", true, "a OK", "z OK"},
		{"no login, then FIN", noops(many), true, "t0 OK", fmt.Sprintf("t%d OK", many-1)},
		{"LOGOUT", "a NOOP\r\nz LOGOUT\r\nb NOOP\r\n", false, "a OK", "z OK"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, stage{})
			cl := r.dial()
			if err := cl.SendRaw(c.say); err != nil {
				t.Fatal(err)
			}
			if c.shut {
				cl.CloseWrite()
			}
			line, err := cl.Line()
			if strings.HasPrefix(line, "* CAPABILITY") { // from a backend that was asked, as behind STARTTLS
				line, err = cl.Line()
			}
			if err != nil || !strings.HasPrefix(line, c.want) {
				t.Fatalf("got %q, %v, want %q\n%s", line, err, c.want, r.log)
			}
			next := 0
			if c.want == "t0 OK" {
				next = 1
			}
			for line := ""; !strings.HasPrefix(line, c.last); {
				var err error
				if line, err = cl.Line(); err != nil {
					t.Fatalf("got %q, %v\n%s", line, err, r.log)
				}
				if strings.HasPrefix(line, "t") {
					if !strings.HasPrefix(line, fmt.Sprintf("t%d OK", next)) {
						t.Fatalf("got %q, want the answer to t%d", line, next)
					}
					next++
				}
			}
			if c.shut {
				r.ended(cl)
			}
		})
	}
}

func noops(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "t%d NOOP\r\n", i)
	}
	return b.String()
}

// A hung destination takes its share of logins and not one more; the others are served (DESIGN 5).
func TestHungDestination(t *testing.T) {
	const most = 1024 // logins in flight at one destination
	r := newRig(t, stage{server: `backend_timeout = "5m"`, mappings: "nina new\n", onLegacy: mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnGreeting: mailfake.Hang()}}})
	for range most {
		if err := r.dial().Send("a LOGIN alice " + password); err != nil {
			t.Fatal(err)
		}
	}
	r.await("the destination to be full", func() bool { return r.legacy.Counts().Open == most })
	r.command(r.dial(), "LOGIN bob "+password, "NO [UNAVAILABLE]")
	r.landed(r.login("nina"), "new")
	// Clients that leave free the destination at once, long before backend_timeout.
	for _, c := range r.clients {
		c.Close()
	}
	r.await("the destination to be free", func() bool { return r.proxy.engine.OpenFDs() == 0 && r.proxy.sessions.Counts().Logins == 0 })
}

func TestClientLeavesDuringLogin(t *testing.T) {
	r := newRig(t, stage{onLegacy: mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnCredentials: mailfake.Hang()}}})
	for i, c := range []struct {
		name  string
		leave func(*mailfake.Client)
	}{
		{"FIN both ways", (*mailfake.Client).Close},
		{"RST", (*mailfake.Client).Reset},
		{"FIN, nothing pipelined", func(c *mailfake.Client) { c.CloseWrite() }},
		{"RST with commands pipelined", func(c *mailfake.Client) { c.Send("b NOOP"); c.Reset() }},
	} {
		cl := r.dial()
		cl.Send("a LOGIN alice " + password)
		r.await("the login at legacy", func() bool { return r.legacy.Counts().Connections == i+1 && r.proxy.sessions.Counts().Logins == 1 })
		c.leave(cl)
		r.await(c.name+": the end of the backend connection", func() bool {
			return r.proxy.sessions.Counts().Logins == 0 && r.proxy.engine.OpenFDs() <= clientFDs() // a socket may linger until the client's own FIN
		})
		cl.Close()
	}
	if got := r.metric(`logins_total{protocol="imap",destination="",result="canceled"}`); got != 4 {
		t.Errorf("canceled logins: got %d, want 4", got)
	}
}
