package proxy

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"mailsplice/core/mailfake"
)

// gate stops the first login that comes to a backend between its credentials and the verdict.
type gate struct{ reached, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func (g gate) hooks() mailfake.Hooks {
	return mailfake.Hooks{mailfake.OnCredentials: mailfake.Times(1, mailfake.Chain(mailfake.Signal(g.reached), mailfake.WaitFor(g.open)))}
}

// A login that began before its account was moved or kicked ends elsewhere or not at all (SECURITY 31).
func TestDelayedVerdict(t *testing.T) {
	ok, no := check, func(mailfake.Credentials) mailfake.Verdict { return mailfake.Refuse() }
	put := func(to string) func(*rig) { return func(r *rig) { r.put("alice", to) } }
	kick := func(query string, n int) func(*rig) { return func(r *rig) { r.kick(query, n) } }
	for _, c := range []struct {
		name      string
		verdict   func(mailfake.Credentials) mailfake.Verdict // of legacy, given late
		meanwhile func(*rig)
		user      string
		want      string // where it lands, or "ends"
	}{
		{"moved, OK", ok, put("new"), "alice", "new"},
		{"moved, NO", no, put("new"), "alice", "new"},
		{"moved, master user", ok, put("new"), "alice%admin", "new"},
		{"moved to where it is", ok, put("legacy"), "alice", "legacy"},
		{"moved there and back", ok, func(r *rig) { put("new")(r); put("legacy")(r) }, "alice", "legacy"},
		{"another account moved", ok, func(r *rig) { r.put("bob", "new") }, "alice", "legacy"},
		{"file reloaded", ok, func(r *rig) {
			r.write("mappings", "alice new\n")
			if got := r.must("POST", "/mappings/reload"); got["reloaded"] != true || got["added"] != 1.0 {
				r.t.Errorf("reload: got %v", got)
			}
		}, "alice", "new"},
		{"kicked, OK", ok, kick("identifier=alice", 1), "alice", "ends"},
		{"kicked, NO", no, kick("identifier=alice", 1), "alice", "ends"},
		{"kicked by destination", ok, kick("destination=legacy", 1), "alice", "ends"},
		{"kicked by account and destination", ok, kick("identifier=alice&destination=legacy", 1), "alice", "ends"},
		{"other destination kicked", ok, kick("destination=new", 0), "alice", "legacy"},
		{"other account kicked", ok, kick("identifier=bob", 0), "alice", "legacy"},
		{"moved and kicked", ok, func(r *rig) {
			if got := r.must("PUT", "/mappings?identifier=alice&destination=new&kick=true"); got["kicked"] != 1.0 {
				r.t.Errorf("PUT with kick: got %v", got)
			}
		}, "alice", "ends"},
		{"kicked, master user", ok, kick("identifier=alice", 1), "alice%admin", "ends"},
		{"kicked, master users spared", ok, kick("identifier=alice&master=false", 0), "alice%admin", "legacy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate()
			r := newRig(t, stage{onLegacy: mailfake.Options{Check: c.verdict, Hooks: g.hooks()}})
			cl := r.dial()
			if err := cl.Send("a LOGIN " + c.user + " " + password); err != nil {
				t.Fatal(err)
			}
			r.awaitClosed("the login at legacy", g.reached)
			c.meanwhile(r)
			if c.want == "ends" {
				if end := r.ended(cl); len(end.Lines) != 2 || !strings.HasPrefix(end.Lines[0], "a NO [UNAVAILABLE]") || end.Bye() == "" {
					t.Errorf("got %q, want NO and BYE", end.Lines)
				}
				r.await("the engine to let go", func() bool { return r.proxy.engine.OpenFDs() <= clientFDs() })
			}
			close(g.open)
			if c.want != "ends" {
				if got, err := cl.Answer("a"); err != nil || got.Status != "OK" {
					t.Fatalf("got %q, %v\n%s", got, err, r.log)
				}
				r.landed(cl, c.want)
			}
			if c.want != "legacy" {
				r.await("legacy to be empty", func() bool { return r.legacy.Counts().Open == 0 })
			}
		})
	}
}

// An account that moves on with every login is put off after three rounds.
func TestRoundsAreBounded(t *testing.T) {
	var r *rig
	flip := func(to string) mailfake.Options {
		return mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnCredentials: func(*mailfake.Session) mailfake.Move {
			r.put("alice", to)
			return mailfake.Continue
		}}}
	}
	r = newRig(t, stage{onLegacy: flip("new"), onNew: flip("legacy")})
	c := r.dial()
	r.command(c, "LOGIN alice "+password, "NO [UNAVAILABLE]")
	if got := r.legacy.Counts().Connections + r.new.Counts().Connections; got != 3 {
		t.Errorf("backends were visited %d times, want 3", got)
	}
	r.command(c, "NOOP", "OK")
	r.await("both backends to be empty", func() bool { return r.legacy.Counts().Open+r.new.Counts().Open == 0 })
}

// Many clients of one account log in all the time. After each move and kick nobody is left on the old side.
func TestCutoverUnderFire(t *testing.T) {
	r := newRig(t, stage{server: "max_preauth = 1000"})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for i := range 8 {
		wg.Add(1)
		go storm(r, i%2 == 0, stop, &wg) // until stop
	}
	sides := []*mailfake.Backend{r.legacy, r.new}
	for i := range 30 {
		to, from := sides[(i+1)%2], sides[i%2]
		began := from.Counts().Accepted
		if !from.Await(patience, func(c mailfake.Counts) bool { return c.Accepted > began+3 }) {
			t.Fatalf("round %d: nobody lands on %s", i, from.Name())
		}
		r.must("PUT", "/mappings?identifier=alice&kick=true&destination="+to.Name())
		// What was accepted at the old side up to now is dropped; nothing is joined there any more.
		r.await("the old side to be empty", func() bool { return from.Counts().Open == 0 })
	}
}

// storm logs in again whenever its session ends, until stop is closed. It leaves at once unless it is to stay.
func storm(r *rig, stay bool, stop <-chan struct{}, wg *sync.WaitGroup) {
	defer wg.Done()
	for {
		select {
		case <-stop:
			return
		default:
		}
		c, err := mailfake.DialWith(r.addr(), r.client(mailfake.ClientOptions{Timeout: patience}))
		if err == nil && r.listener == "starttls" {
			err = startTLS(c)
		}
		if err != nil {
			return
		}
		if c.Login("alice", password) == nil && stay {
			done := make(chan struct{})
			go closeWith(c, stop, done) // until either
			c.WaitEnd()
			close(done)
		}
		c.Close()
	}
}

func closeWith(c *mailfake.Client, stop, done <-chan struct{}) {
	select {
	case <-stop:
		c.Close()
	case <-done:
	}
}

// The backend's challenge is out and the client thinks.
func TestChallenge(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*rig, *mailfake.Client)
	}{
		{"answered", func(r *rig, cl *mailfake.Client) {
			cl.Send("AQ==")
			if got, err := cl.Answer("a"); err != nil || got.Status != "NO" {
				r.t.Errorf("got %q, %v, want NO", got, err)
			}
			r.command(cl, "LOGIN alice "+password, "OK")
		}},
		{"aborted", func(r *rig, cl *mailfake.Client) {
			cl.Send("*")
			if got, err := cl.Answer("a"); err != nil || got.Status != "BAD" {
				r.t.Errorf("got %q, %v, want BAD", got, err)
			}
			r.command(cl, "LOGIN alice "+password, "OK")
		}},
		{"kicked", func(r *rig, cl *mailfake.Client) {
			r.kick("identifier=alice", 1)
			if end := r.ended(cl); end.Bye() == "" {
				r.t.Errorf("no farewell: %+v", end)
			}
		}},
		{"left", func(r *rig, cl *mailfake.Client) { cl.Close() }},
		{"reset", func(r *rig, cl *mailfake.Client) { cl.Reset() }},
		{"moved", func(r *rig, cl *mailfake.Client) {
			r.put("alice", "new")
			cl.Send("AQ==")
			if got, err := cl.Answer("a"); err != nil || got.Status != "OK" {
				r.t.Errorf("got %q, %v, want OK", got, err)
			}
			r.landed(cl, "new")
		}},
		{"not answered in time", func(r *rig, cl *mailfake.Client) {
			if got, err := cl.Answer("a"); err != nil || !strings.HasPrefix(got.String(), "NO [UNAVAILABLE]") {
				r.t.Errorf("got %q, %v, want NO [UNAVAILABLE]", got, err)
			}
			r.command(cl, "NOOP", "OK")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			timeout := "60s"
			if c.name == "not answered in time" {
				timeout = "300ms"
			}
			r := newRig(t, stage{server: fmt.Sprintf("backend_timeout = %q", timeout), onLegacy: mailfake.Options{Check: passwordOnly}})
			cl := r.dial()
			cl.Send("a AUTHENTICATE XOAUTH2")
			cl.Expect("+")
			cl.Send("dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0b2stYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXotOTMBAQ==")
			if line, err := cl.Expect("+ ey"); err != nil {
				t.Fatalf("challenge: got %q, %v\n%s", line, err, r.log)
			}
			c.do(r, cl)
			r.await("no login to be in progress", func() bool { return r.proxy.sessions.Counts().Logins == 0 })
		})
	}
}

func passwordOnly(c mailfake.Credentials) mailfake.Verdict {
	if c.Password == password {
		return mailfake.Accept()
	}
	return mailfake.Refuse()
}

// A backend that lets in a client which has just aborted must not be joined to it: what the client hears is a farewell.
func TestChallengeAbortedAndAccepted(t *testing.T) {
	yes := func(mailfake.Credentials) mailfake.Verdict { return mailfake.Verdict{OK: true, Challenge: "{}"} }
	r := newRig(t, stage{onLegacy: mailfake.Options{Check: yes}})
	c := r.dial()
	c.Send("a AUTHENTICATE XOAUTH2")
	c.Expect("+")
	c.Send("dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0b2stYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXotOTMBAQ==")
	if _, err := c.Expect("+ "); err != nil {
		t.Fatal(err)
	}
	c.Send("*\r\nb NOOP")
	end := r.ended(c)
	if len(end.Lines) != 2 || !strings.HasPrefix(end.Lines[0], "a NO [UNAVAILABLE]") || end.Bye() == "" {
		t.Errorf("got %q, want NO and BYE", end.Lines)
	}
	r.await("the backend to be empty", func() bool { return r.legacy.Counts().Open == 0 })
	if got := r.proxy.sessions.Counts().Joined; got != 0 {
		t.Errorf("joined sessions: got %d, want 0", got)
	}
}

func TestKick(t *testing.T) {
	r := newRig(t, stage{mappings: "nina new\n"})
	names := []string{"alice", "alice", "alice%admin", "bob", "nina", "nina%admin"}
	live := map[*mailfake.Client]string{}
	for _, name := range names {
		c := r.login(name)
		if _, err := c.Idle(); err != nil {
			t.Fatal(err)
		}
		live[c] = name
	}
	for _, k := range []struct {
		query string
		want  []string // who ends
	}{
		{"identifier=nobody", nil},
		{"identifier=alice&destination=new", nil},
		{"identifier=alice&master=false", []string{"alice", "alice"}},
		{"destination=new&master=false", []string{"nina"}},
		{"identifier=alice&destination=legacy", []string{"alice%admin"}},
		{"destination=new", []string{"nina%admin"}},
		{"identifier=bob", []string{"bob"}},
	} {
		r.kick(k.query, len(k.want))
		for _, name := range k.want {
			for c, who := range live {
				if who == name {
					for _, line := range r.ended(c).Lines {
						if !strings.HasSuffix(line, "EXISTS") {
							t.Errorf("%s: %s got %q in IDLE", k.query, who, line)
						}
					}
					delete(live, c)
				}
			}
		}
		for c, who := range live { // the others idle on
			if !alive(r, c, who) {
				t.Errorf("%s: %s does not idle on", k.query, who)
			}
		}
	}
	if len(live) != 0 {
		t.Errorf("never kicked: %v", live)
	}
}

// alive: the backend's news of an idling account still reach the client.
func alive(r *rig, c *mailfake.Client, who string) bool {
	if !within(func() bool { return r.legacy.Notify(who)+r.new.Notify(who) > 0 }) { // it idles a moment after its "+"
		return false
	}
	_, err := c.Expect("* ")
	return err == nil
}

// What the backend had sent before the kick still arrives, then FIN.
func TestKickLosesNothing(t *testing.T) {
	r := newRig(t, stage{})
	c := r.login("alice")
	const size = 8 << 20
	if err := c.Send(fmt.Sprintf("a XSOURCE %d 1", size)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Expect("* SOURCE"); err != nil {
		t.Fatal(err)
	}
	pattern, got, want := mailfake.Pattern(1), make([]byte, 64<<10), make([]byte, 64<<10)
	read, kicked := 0, false
	for {
		n, err := c.Read(got)
		ours := min(n, max(size-read, 0)) // a kick that comes late finds the command answered
		pattern.Read(want[:ours])
		if string(got[:ours]) != string(want[:ours]) {
			t.Fatalf("bytes differ behind %d", read)
		}
		if ours < n && ours > 0 && !strings.HasPrefix(string(got[ours:n]), "a") {
			t.Fatalf("behind the last byte: got %q, want the answer", got[ours:n])
		}
		if read += n; read > size/4 && !kicked {
			r.kick("identifier=alice", 1)
			kicked = true
		}
		if err != nil {
			if err.Error() != "EOF" {
				t.Fatalf("end of the stream: got %v, want EOF", err)
			}
			break
		}
	}
	if read < size/4 || read > size+1000 {
		t.Errorf("got %d bytes", read)
	}
}

// on_change = "kick" ends those who are elsewhere now, and nobody else (SPEC 2.5).
func TestOnChange(t *testing.T) {
	for _, c := range []struct {
		name, mappings string
		users          string // who idle
		change         func(*rig)
		end            string // those of them who are ended
	}{
		{"moved", "", "alice bob alice%admin", func(r *rig) { r.put("alice", "new") }, "alice alice%admin"},
		{"moved to where it is", "", "alice", func(r *rig) { r.put("alice", "legacy") }, ""},
		{"mapping removed", "alice new\n", "alice", func(r *rig) { r.must("DELETE", "/mappings?identifier=alice") }, "alice"},
		{"reload", "alice new\nbob new\n", "alice bob carl", func(r *rig) {
			r.write("mappings", "bob new\ncarl new\n")
			r.must("POST", "/mappings/reload")
		}, "alice carl"},
		{"short form moved", "", "carl carl@d", func(r *rig) { r.put("carl", "new") }, "carl"},
		{"full form moved", "", "carl carl@d", func(r *rig) { r.put("carl@d", "new") }, "carl carl@d"},
		{"short form wins", "carl legacy\n", "carl carl@d", func(r *rig) { r.put("carl@d", "new") }, "carl@d"},
		{"short form is there already", "carl new\n", "carl", func(r *rig) { r.put("carl", "new") }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, stage{mapping: `on_change = "kick"`, mappings: c.mappings, routing: `default_domain = "d"`})
			idle := map[string]*mailfake.Client{}
			for name := range strings.FieldsSeq(c.users) {
				idle[name] = r.login(name)
				if _, err := idle[name].Idle(); err != nil {
					t.Fatal(err)
				}
			}
			c.change(r)
			// The change of a last account shows that everything before it is done.
			last := r.login("last")
			if _, err := last.Idle(); err != nil {
				t.Fatal(err)
			}
			for name := range strings.FieldsSeq(c.end) {
				r.ended(idle[name])
				delete(idle, name)
			}
			r.put("last", "new")
			r.ended(last)
			for name, cl := range idle {
				if !alive(r, cl, name) {
					t.Errorf("%s was ended", name)
				}
			}
		})
	}
}

// on_change = "keep" moves nobody who is in.
func TestOnChangeKeep(t *testing.T) {
	r := newRig(t, stage{})
	c := r.login("alice")
	r.put("alice", "new")
	r.landed(c, "legacy")
	r.landed(r.login("alice"), "new")
}
