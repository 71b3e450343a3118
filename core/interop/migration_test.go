package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"testing"

	"mailsplice/core/mailfake"
)

var migrationKinds = []string{"curl", "swaks", "sieve-connect", "raw"}

// landings show by real clients where an account is, at every listener of the reference scenario.
var landings = []mailScene{
	{kind: "curl", name: "imap", run: curlReads("imaps", "imap", "PLAIN")},
	{kind: "curl", name: "imap-starttls", run: curlReads("imap", "imap-starttls", "PLAIN")},
	{kind: "curl", name: "pop3", run: curlReads("pop3s", "pop3", "PLAIN")},
	{kind: "swaks", name: "submission", run: swaksSends("submission", "PLAIN", "-tls")},
	{kind: "swaks", name: "submissions", run: swaksSends("submissions", "PLAIN", "-tlsc")},
	{kind: "sieve-connect", name: "managesieve", unbound: true, run: sieveConnectLogin},
}

// migration is the story of a few accounts.
type migration struct {
	*testing.T
	s *mailStage
}

// TestMigration is the reference scenario from end to end: its configuration with other addresses, ports, paths and pin, all
// its listeners, both destinations. Everybody starts on legacy. Alice is moved by the mapping file, bob by one call, carol
// not at all; then legacy is switched off.
func TestMigration(t *testing.T) {
	wanted(t)
	t.Parallel()
	s := newMailStage(t, 13, 4)
	s.through(t, "proxy", migrationConf, slices.Collect(maps.Keys(references)), map[string]any{}, nil)
	defer s.autopsy(t)
	m := &migration{t, s}
	alice, bob, carol := m.person(false), m.person(true), m.person(false)

	m.land("at first", alice, bob, carol)
	open, waiting := m.open(alice), m.idle(carol)
	m.live("legacy", map[string]float64{"imap": 2, "pop3": 1, "managesieve": 1, "submission": 1})

	m.edit(alice.name + "\tstalwart\n")
	m.expect("POST", "/mappings/reload", nil, map[string]any{"reloaded": true, "added": 1.0, "changed": 0.0, "removed": 0.0})
	m.expect("GET", "/mappings", who(alice), map[string]any{"destination": "stalwart"})
	alice.home = "stalwart"
	m.land("moved, not yet kicked", alice)
	m.expect("POST", "/connections/kick", who(alice), map[string]any{"kicked": 4.0})
	m.end(open)
	m.land("moved and kicked", alice, carol)

	idling := m.idle(bob)
	m.expect("PUT", "/mappings", url.Values{"identifier": {bob.name}, "destination": {"stalwart"}, "kick": {"true"}},
		map[string]any{"destination": "stalwart", "kicked": 1.0})
	m.end([]talk{idling})
	bob.home = "stalwart"
	m.land("moved by one call", bob)

	m.expect("DELETE", "/mappings", who(bob), map[string]any{"existed": true})
	bob.home = "legacy"
	m.land("moved back", bob)

	if _, err := waiting.Must("NOOP"); err != nil {
		m.Errorf("carol, who was not moved: %v", err)
	}
	waiting.Close()
	m.switchOff(alice, carol)
	m.figures()
	s.checkLanes(t)
	s.sum(t, "migration", migrationKinds)
}

// person is an account on legacy, and where its clients are.
func (m *migration) person(v6 bool) *visit {
	m.Helper()
	return m.s.visit(m.T, m.s.take(m.T, "legacy"), m.s.source(v6))
}

func who(v *visit) url.Values { return url.Values{"identifier": {v.name}} }

// land wants clients of each visitor at each listener to land on the visitor's home.
func (m *migration) land(when string, visitors ...*visit) {
	m.Helper()
	for _, v := range visitors {
		for _, sc := range landings {
			at := m.s.visit(m.T, v.account, m.s.source(v.source.Is6()))
			if sc.unbound && at.source.Is4() {
				at.source = loopback
			}
			name := fmt.Sprintf("%s, %s at %s with %s", when, v.name, v.home, sc.name)
			if m.Run(name, func(t *testing.T) { at.T = t; sc.run(at) }) {
				m.s.counts[sc.kind]++
			}
		}
	}
}

// idle is a client in IDLE.
func (m *migration) idle(v *visit) *mailfake.Client {
	m.Helper()
	c := v.talk("imap-starttls", nil).(*mailfake.Client)
	if err := c.Login(v.name, v.password); err != nil {
		m.Fatal(err)
	}
	landsOn(m.T, c, v.home)
	if v.source.Is6() { // bob
		if _, err := c.Idle(); err != nil {
			m.Fatal(err)
		}
	}
	return c
}

// open logs a visitor in with every protocol. The IMAP client idles.
func (m *migration) open(v *visit) (list []talk) {
	m.Helper()
	for _, entrance := range []string{"imap", "pop3", "managesieve", "submission"} {
		t := v.talk(entrance, nil)
		if err := t.Login(v.name, v.password); err != nil {
			m.Fatalf("%s: %v", entrance, err)
		}
		if c, ok := t.(*mailfake.Client); ok {
			if _, err := c.Must("SELECT INBOX"); err != nil {
				m.Fatal(err)
			}
			if _, err := c.Idle(); err != nil {
				m.Fatal(err)
			}
		}
		list = append(list, t)
	}
	return list
}

// end wants kicked sessions to end as servers end them: no reset, so that mail programs just come back (SPEC 8).
func (m *migration) end(sessions []talk) {
	m.Helper()
	for _, t := range sessions {
		if end, err := t.WaitEnd(); err != nil || !end.Clean {
			m.Errorf("%T: got %+v (%v), want close_notify and FIN", t, end, err)
			continue
		}
		m.s.counts["raw"]++
	}
}

// edit adds to the mapping file as a script does: a new file takes the old one's place.
func (m *migration) edit(lines string) {
	m.Helper()
	path := m.s.proxy.path("mappings.tsv")
	err := os.WriteFile(path+".new", []byte(readFile(m.T, path)+lines), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		m.Fatal(err)
	}
}

// expect makes one call of the admin API, and wants 200 and an answer with these values.
func (m *migration) expect(method, path string, query url.Values, want map[string]any) {
	m.Helper()
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	status, answer := m.s.proxy.call(m.T, method, path)
	var got map[string]any
	if status != "200" || json.Unmarshal([]byte(answer), &got) != nil {
		m.Fatalf("%s %s: %s %s", method, path, status, answer)
	}
	for key, value := range want {
		if got[key] != value {
			m.Errorf("%s %s: got %s, want %v", method, path, answer, want)
		}
	}
}

// live wants the gauge of sessions to say so many, all on lane record.
func (m *migration) live(destination string, want map[string]float64) {
	m.Helper()
	found := map[string]float64{}
	ok := poll(logTimeout, func() bool { // sessions of clients that have just gone may take a moment to end
		found = m.s.proxy.series(m.T, "sessions{")
		for protocol, n := range want {
			if found[fmt.Sprintf("sessions{protocol=%q,destination=%q,lane=\"record\"}", protocol, destination)] != n {
				return false
			}
		}
		return true
	})
	if !ok {
		m.Errorf("got %v, want %v on %s in lane record", found, want, destination)
	}
}

// switchOff stops legacy. Who is there gets the temporary failure in each protocol, which no mail program takes for a wrong
// password; who is not there does not notice.
func (m *migration) switchOff(gone, there *visit) {
	m.Helper()
	m.s.hosts["legacy"].stop()
	for _, sc := range []mailScene{
		{kind: "curl", name: "imap", run: curlDown("imaps", "imap", "NO [UNAVAILABLE]")},
		{kind: "curl", name: "pop3", run: curlDown("pop3s", "pop3", "-ERR [SYS/TEMP]")},
		{kind: "swaks", name: "submission", run: swaksDown},
		{kind: "raw", name: "managesieve", run: sieveDown},
	} {
		at := m.s.visit(m.T, there.account, there.source)
		if m.Run("legacy switched off, "+there.name+" with "+sc.name, func(t *testing.T) { at.T = t; sc.run(at) }) {
			m.s.counts[sc.kind]++
		}
	}
	m.land("legacy switched off", gone)
}

// figures wants /metrics to have counted logins of each protocol at both destinations.
func (m *migration) figures() {
	m.Helper()
	logins := m.s.proxy.series(m.T, "logins_total{")
	for _, protocol := range []string{"imap", "pop3", "managesieve", "submission"} {
		for _, destination := range bothMailHomes {
			name := fmt.Sprintf("logins_total{protocol=%q,destination=%q,result=\"accepted\"}", protocol, destination)
			if logins[name] < 2 {
				m.Errorf("got %s %v, want 2 or more", name, logins[name])
			}
		}
		name := fmt.Sprintf("logins_total{protocol=%q,destination=\"legacy\",result=\"unavailable\"}", protocol)
		if logins[name] != 1 {
			m.Errorf("got %s %v, want 1", name, logins[name])
		}
	}
}
