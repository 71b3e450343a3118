package interop

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

var cutoverScenes = []scene{
	{kind: "raw", name: "cut-over while idling", proxied: true, homes: []string{"legacy"}, run: rawCutover},
	{kind: "imaplib", name: "cut-over while idling", proxied: true, homes: []string{"legacy"}, run: imaplibCutover},
}

// administer makes one call of the admin API as an administrator would, with curl (SPEC 8).
func (s *stage) administer(t *testing.T, method, path string, query url.Values) map[string]any {
	t.Helper()
	address := fmt.Sprintf("https://%s%s?%s", s.proxy.admin, path, strings.ReplaceAll(query.Encode(), "+", "%20"))
	out, code := runProgram(t, "", nil, "curl", "-sS", "--max-time", "20", "--cacert", s.proxy.path("ca.pem"),
		"-H", "@"+s.proxy.path("header"), "-X", method, "-w", "\n%{http_code}", address)
	body, found := strings.CutSuffix(string(out), "\n200")
	var answer map[string]any
	if code != 0 || !found || json.Unmarshal([]byte(body), &answer) != nil {
		t.Fatalf("%s %s: curl's status %d, answer %q", method, path, code, out)
	}
	return answer
}

// move maps an account to new and kicks it.
func (s *stage) move(t *testing.T, a account) {
	t.Helper()
	answer := s.administer(t, "PUT", "/mappings", url.Values{"identifier": {a.name}, "destination": {"new"}})
	if answer["destination"] != "new" {
		t.Errorf("PUT /mappings: got %v, want destination new", answer)
	}
	answer = s.administer(t, "POST", "/connections/kick", url.Values{"identifier": {a.name}})
	if answer["kicked"] != 1.0 {
		t.Errorf("POST /connections/kick: got %v, want one kicked", answer)
	}
}

// A client in IDLE is moved: its connection ends cleanly, and its next login lands on the new server (SPEC 8).
func rawCutover(t *testing.T, s *stage, home string) {
	c, a, landed := s.enter(t, home)
	if err := c.Login(a.name, a.password); err != nil {
		t.Fatal(err)
	}
	landed("PLAIN")
	if _, err := c.Idle(); err != nil {
		t.Fatal(err)
	}
	s.move(t, a)
	if end, err := c.WaitEnd(); err != nil || !end.Clean {
		t.Errorf("got %+v (%v), want a FIN", end, err)
	}
	from := s.source()
	again := s.dial(t, home, from)
	if err := again.Login(a.name, a.password); err != nil {
		t.Fatal(err)
	}
	landsOn(t, again, "new")
	s.loggedIn(t, "new", a, "PLAIN", from)
}

func imaplibCutover(t *testing.T, s *stage, home string) {
	a, from := s.take(t, home), s.source()
	p := s.python(t, "cutover", a, from)
	p.await("first " + home)
	p.await("idling")
	s.move(t, a)
	p.await("ended")
	p.await("landed new")
	p.end()
	s.loggedIn(t, "new", a, "PLAIN", from)
}
