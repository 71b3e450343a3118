package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzCall sends any path, query and body: no crash, documented statuses only, JSON where it is promised, and nothing
// happens on a refusal.
func FuzzCall(f *testing.F) {
	for name, target := range targets {
		path, query, _ := strings.Cut(target, "?")
		verb, _, _ := strings.Cut(name, " ")
		f.Add(verb, path, query, "alice new\n")
	}
	f.Add("POST", "/connections/a%2Fb+c", "rate=5&master=false", "")
	f.Add("GET", "/connections", "limit=99999999999999999999&%zz", "")
	f.Fuzz(func(t *testing.T, verb, path, query, body string) {
		u, err := url.ParseRequestURI("http://x" + path)
		if err != nil || u.Host != "x" || strings.ContainsAny(verb, "\r\n") {
			t.Skip() // net/http refuses it
		}
		u.RawQuery = query
		b := newBench(t)
		r := &http.Request{Method: verb, URL: u, Header: http.Header{"Authorization": {"Bearer " + testToken}}, RemoteAddr: "192.0.2.1:1"}
		with(body)(r)
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		wantDocumented(t, r, w.Code)
		if w.Header().Get("Content-Type") == jsonMedia && !json.Valid(w.Body.Bytes()) {
			t.Errorf("got %q, want JSON", w.Body)
		}
		if n := len(b.sessions.kicks) + len(b.sessions.held) + len(b.mappings.bulks) + len(b.mappings.forgot); w.Code != 200 && n != 0 {
			t.Errorf("%d, and it had an effect: %v %v", w.Code, b.sessions, b.mappings)
		}
		if strings.Contains(b.log.String(), "panicked") {
			t.Error(b.log)
		}
	})
}

// FuzzBulk reads any body: every change is one that a login could ask for, each identifier comes once, and what is read
// back from lines made of it is the same.
func FuzzBulk(f *testing.F) {
	for _, seed := range []string{"", "a new\nb -\n", "\ufeff# x\r\nA@b\told rest\r\na@b new", "a\n", "a gone\n", "a\x00 new\n", strings.Repeat("x", 5000), "ȺȺ new\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		m := &fakeMappings{}
		p, err := readChanges(strings.NewReader(body), m, 100)
		if err != nil {
			if problems, ok := err.(Problems); ok && len(problems) == 0 {
				t.Error("refused without a reason")
			}
			return
		}
		var lines strings.Builder
		for i, c := range p.changes {
			if checkIdentifier(c.Identifier) != nil || c.Identifier == "" || c.Destination != "" && !m.Declared(c.Destination) || p.at[c.Identifier] != i {
				t.Errorf("got %+v", c)
			}
			lines.WriteString(c.Identifier + "\t" + map[bool]string{true: remove, false: c.Destination}[c.Destination == ""] + "\n")
		}
		again, err := readChanges(strings.NewReader(lines.String()), m, 100)
		if err != nil || len(again.changes) != len(p.changes) {
			t.Fatalf("read back: got %v, %v, want %v", again, err, p.changes)
		}
		for i, c := range again.changes {
			if c != p.changes[i] {
				t.Errorf("read back: got %+v, want %+v", c, p.changes[i])
			}
		}
	})
}
