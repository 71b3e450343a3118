package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestCalls(t *testing.T) {
	tests := []struct {
		name, method, target string
		want                 string
	}{
		{"stats", "GET", "/stats", `{"cache_hits":2,"cache_misses":1,"hit_rate_pct":66.67,"cache_entries":5,"cache_evictions":0,"store_errors":0,"active_connections":7,"preauth_connections":4,"logins_in_progress":0,"log_lines_dropped":0,"uptime_s":0,"draining":false}`},
		{"mapped", "GET", "/mappings?identifier=Alice@example.org", `{"identifier":"Alice@example.org","normalized":"alice@example.org","destination":"new","routed_to_default":false,"cached":true}`},
		{"unmapped", "GET", "/mappings?identifier=bob@example.org", `{"identifier":"bob@example.org","normalized":"bob@example.org","destination":"old","routed_to_default":true,"cached":false}`},
		{"trailing slash", "GET", "/mappings/?identifier=bob", `{"identifier":"bob","normalized":"bob","destination":"old","routed_to_default":true,"cached":false}`},
		{"plus", "GET", "/mappings?identifier=a+b@example.org", `{"identifier":"a+b@example.org","normalized":"a+b@example.org","destination":"old","routed_to_default":true,"cached":false}`},
		{"percent", "GET", "/mappings?identifier=a%2Bb%26c%3D%25d", `{"identifier":"a+b&c=%d","normalized":"a+b&c=%d","destination":"old","routed_to_default":true,"cached":false}`},
		{"master not cut", "GET", "/mappings?identifier=alice@example.org%25root", `{"identifier":"alice@example.org%root","normalized":"alice@example.org%root","destination":"old","routed_to_default":true,"cached":false}`},
		{"put", "PUT", "/mappings?identifier=Bob&destination=new", `{"identifier":"Bob","normalized":"bob","destination":"new"}`},
		{"put and kick", "PUT", "/mappings?identifier=Bob&destination=new&kick=true", `{"identifier":"Bob","normalized":"bob","destination":"new","kicked":3}`},
		{"put without kick", "PUT", "/mappings?identifier=Bob&destination=new&kick=false", `{"identifier":"Bob","normalized":"bob","destination":"new"}`},
		{"delete", "DELETE", "/mappings?identifier=ALICE@example.org", `{"identifier":"ALICE@example.org","normalized":"alice@example.org","existed":true}`},
		{"delete nothing", "DELETE", "/mappings?identifier=bob", `{"identifier":"bob","normalized":"bob","existed":false}`},
		{"reload", "POST", "/mappings/reload", `{"reloaded":true,"added":1,"changed":0,"removed":2}`},
		{"kick", "POST", "/connections/kick?identifier=Alice@example.org", `{"kicked":3}`},
		{"kick alias", "POST", "/connections/alice@example.org", `{"kicked":3}`},
		{"destinations", "GET", "/destinations", `{"destinations":[{"destination":"old","consecutive_failures":0,"failure_sources":0,"host_level_failure":false,"down":false,"down_for_s":0,"sessions":12},{"destination":"new","consecutive_failures":7,"failure_sources":3,"host_level_failure":true,"down":true,"down_for_s":90,"sessions":0}]}`},
		{"reset", "POST", "/destinations/reset?destination=new", `{"destination":"new","reset":true}`},
		{"invalidate one", "POST", "/cache/invalidate?identifier=Alice", `{"identifier":"Alice","normalized":"alice","all":false}`},
		{"invalidate all", "POST", "/cache/invalidate", `{"all":true}`},
		{"summary", "GET", "/mappings/summary", `{"destinations":{"new":1},"undeclared":0,"total":1}`},
		{"nobody unmapped", "GET", "/mappings/unmapped", `{"unmapped":[]}`},
		{"no connections", "GET", "/connections", `{"connections":[],"total":0}`},
		{"delay", "POST", "/connections/delay?identifier=Alice&seconds=20", `{"identifier":"Alice","seconds":20,"clamped":false}`},
		{"longest delay", "POST", "/connections/delay?identifier=Alice&seconds=300", `{"identifier":"Alice","seconds":300,"clamped":false}`},
		{"clamped delay", "POST", "/connections/delay?identifier=Alice&seconds=301", `{"identifier":"Alice","seconds":300,"clamped":true}`},
		{"delay beyond all numbers", "POST", "/connections/delay?identifier=Alice&seconds=99999999999999999999999", `{"identifier":"Alice","seconds":300,"clamped":true}`},
		{"no delay", "POST", "/connections/delay?identifier=Alice&seconds=0", `{"identifier":"Alice","seconds":0,"clamped":false}`},
		{"hold", "POST", "/connections/hold?identifier=Alice&seconds=86400", `{"identifier":"Alice","seconds":86400}`},
		{"no hold", "POST", "/connections/hold?identifier=Alice&seconds=0", `{"identifier":"Alice","seconds":0}`},
		{"configuration", "POST", "/config/reload", `{"reloaded":true,"restart_needed":[]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.mappings.reload = Reload{Reloaded: true, Added: 1, Removed: 2}
			wantAnswer(t, b.ask(tt.method, tt.target), http.StatusOK, tt.want)
		})
	}
}

func TestReloadOfSourceThatCannot(t *testing.T) {
	wantAnswer(t, newBench(t).ask("POST", "/mappings/reload"), http.StatusOK, `{"reloaded":false}`)
}

func TestPutWrites(t *testing.T) {
	b := newBench(t)
	b.ask("PUT", "/mappings?identifier=Bob@example.org&destination=new")
	if got := b.mappings.entries["bob@example.org"]; got != "new" {
		t.Errorf("got %q, want new", got)
	}
}

func TestKickSelects(t *testing.T) {
	tests := []struct {
		name, method, target string
		want                 Kick
	}{
		{"identifier", "POST", "/connections/kick?identifier=Bob@Example.org", Kick{Account: "bob@example.org"}},
		{"default domain", "POST", "/connections/kick?identifier=bob", Kick{Account: "bob@example.org"}},
		{"destination", "POST", "/connections/kick?destination=old", Kick{Destination: "old"}},
		{"a destination that is gone", "POST", "/connections/kick?destination=gone", Kick{Destination: "gone"}},
		{"both", "POST", "/connections/kick?identifier=a@b&destination=old", Kick{Account: "a@b", Destination: "old"}},
		{"masters spared", "POST", "/connections/kick?identifier=a@b&master=false", Kick{Account: "a@b", SpareMasters: true}},
		{"masters too", "POST", "/connections/kick?identifier=a@b&master=true", Kick{Account: "a@b"}},
		{"at a rate", "POST", "/connections/kick?destination=old&rate=100000", Kick{Destination: "old"}},
		{"called hold", "POST", "/connections/%68old", Kick{Account: "hold@example.org"}},
		{"called kick", "POST", "/connections/kick?identifier=kick", Kick{Account: "kick@example.org"}},
		{"alias", "POST", "/connections/bob@example.org", Kick{Account: "bob@example.org"}},
		{"alias with slash and plus", "POST", "/connections/a%2Fb+c@example.org/", Kick{Account: "a/b+c@example.org"}},
		{"alias with parameters", "POST", "/connections/a@b?destination=new&master=false", Kick{Account: "a@b", Destination: "new", SpareMasters: true}},
		{"put", "PUT", "/mappings?identifier=bob&destination=new&kick=true", Kick{Account: "bob@example.org"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			w := b.ask(tt.method, tt.target)
			if got, want := fmt.Sprint(w.Code, b.sessions.kicks), fmt.Sprint(200, []Kick{tt.want}); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	long := strings.Repeat("a", maxIdentifierBytes+1)
	tests := []struct {
		name, method, target string
		status               int
		want                 string
	}{
		{"root", "GET", "/", 404, `{"error":"no such call"}`},
		{"unknown", "GET", "/nothing", 404, `{"error":"no such call"}`},
		{"hold is no identifier", "POST", "/connections/hold", 400, `{"error":"missing parameter \"identifier\""}`},
		{"delay is no identifier", "POST", "/connections/delay", 400, `{"error":"missing parameter \"identifier\""}`},
		{"alias without identifier", "POST", "/connections/", 405, `{"error":"method \"POST\" is not allowed here"}`},
		{"alias of nobody", "POST", "/connections//", 404, `{"error":"no such call"}`},
		{"below a call", "GET", "/mappings/export/x", 404, `{"error":"no such call"}`},
		{"two slashes", "GET", "/stats//", 404, `{"error":"no such call"}`},
		{"alias with a bare slash", "POST", "/connections/a/b", 404, `{"error":"no such call"}`},
		{"method of mappings", "POST", "/mappings?identifier=a", 405, `{"error":"method \"POST\" is not allowed here"}`},
		{"method of alias", "DELETE", "/connections/a", 405, `{"error":"method \"DELETE\" is not allowed here"}`},
		{"method of healthz", "POST", "/healthz", 405, `{"error":"method \"POST\" is not allowed here"}`},
		{"no identifier", "GET", "/mappings", 400, `{"error":"missing parameter \"identifier\""}`},
		{"empty identifier", "GET", "/mappings?identifier=", 400, `{"error":"missing parameter \"identifier\""}`},
		{"no destination", "PUT", "/mappings?identifier=a", 400, `{"error":"missing parameter \"destination\""}`},
		{"unknown destination", "PUT", "/mappings?identifier=a&destination=x", 400, `{"error":"no destination \"x\" is configured"}`},
		{"nothing to kick", "POST", "/connections/kick", 400, `{"error":"missing parameter \"identifier\" or \"destination\""}`},
		{"kick with empty identifier", "POST", "/connections/kick?identifier=&destination=old", 400, `{"error":"missing parameter \"identifier\""}`},
		{"kick with empty destination", "POST", "/connections/kick?identifier=a&destination=", 400, `{"error":"parameter \"destination\" is empty"}`},
		{"rate of nothing", "POST", "/connections/kick?destination=old&rate=0", 400, `{"error":"parameter \"rate\": found \"0\", allowed a whole number from 1 to 100000"}`},
		{"rate too high", "POST", "/connections/kick?destination=old&rate=100001", 400, `{"error":"parameter \"rate\": found \"100001\", allowed a whole number from 1 to 100000"}`},
		{"rate with a point", "POST", "/connections/kick?destination=old&rate=0.5", 400, `{"error":"parameter \"rate\": found \"0.5\", allowed a whole number from 1 to 100000"}`},
		{"rate with a sign", "POST", "/connections/kick?destination=old&rate=+5", 400, `{"error":"parameter \"rate\": found \"+5\", allowed a whole number from 1 to 100000"}`},
		{"rate without a number", "POST", "/connections/a?rate=", 400, `{"error":"parameter \"rate\": found \"\", allowed a whole number from 1 to 100000"}`},
		{"negative limit", "GET", "/connections?limit=-1", 400, `{"error":"parameter \"limit\": found \"-1\", allowed a whole number from 0"}`},
		{"sessions of an empty identifier", "GET", "/connections?identifier=", 400, `{"error":"missing parameter \"identifier\""}`},
		{"sessions of an empty destination", "GET", "/connections?destination=", 400, `{"error":"parameter \"destination\" is empty"}`},
		{"cache of an empty identifier", "POST", "/cache/invalidate?identifier=", 400, `{"error":"missing parameter \"identifier\""}`},
		{"delay without seconds", "POST", "/connections/delay?identifier=a", 400, `{"error":"missing parameter \"seconds\""}`},
		{"delay for ever", "POST", "/connections/delay?identifier=a&seconds=forever", 400, `{"error":"parameter \"seconds\": found \"forever\", allowed a whole number from 0"}`},
		{"delay back in time", "POST", "/connections/delay?identifier=a&seconds=-1", 400, `{"error":"parameter \"seconds\": found \"-1\", allowed a whole number from 0"}`},
		{"hold without seconds", "POST", "/connections/hold?identifier=a&seconds=", 400, `{"error":"missing parameter \"seconds\""}`},
		{"hold for more than a day", "POST", "/connections/hold?identifier=a&seconds=86401", 400, `{"error":"parameter \"seconds\": found \"86401\", allowed a whole number from 0 to 86400"}`},
		{"reset without destination", "POST", "/destinations/reset", 400, `{"error":"missing parameter \"destination\""}`},
		{"reset of a stranger", "POST", "/destinations/reset?destination=x", 404, `{"error":"no destination \"x\" is configured"}`},
		{"bulk flag", "POST", "/mappings/bulk?kick=1", 400, `{"error":"parameter \"kick\": found \"1\", allowed true, false"}`},
		{"alias with another identifier", "POST", "/connections/a?identifier=b", 400, `{"error":"unknown parameter \"identifier\""}`},
		{"mistyped parameter", "PUT", "/mappings?identifier=a&destination=new&kik=true", 400, `{"error":"unknown parameter \"kik\""}`},
		{"flag", "PUT", "/mappings?identifier=a&destination=new&kick=yes", 400, `{"error":"parameter \"kick\": found \"yes\", allowed true, false"}`},
		{"master flag", "POST", "/connections/kick?identifier=a&master=", 400, `{"error":"parameter \"master\": found \"\", allowed true, false"}`},
		{"twice", "GET", "/mappings?identifier=a&identifier=b", 400, `{"error":"parameter \"identifier\" is given twice"}`},
		{"bad escape", "GET", "/mappings?identifier=%zz", 400, `{"error":"parameter \"identifier\": invalid URL escape \"%zz\""}`},
		{"bad escape in a name", "GET", "/mappings?%z=1", 400, `{"error":"parameter name: invalid URL escape \"%z\""}`},
		{"not UTF-8", "GET", "/mappings?identifier=%ff", 400, `{"error":"parameter \"identifier\": not UTF-8"}`},
		{"line feed", "PUT", "/mappings?identifier=a%0ab&destination=new", 400, `{"error":"parameter \"identifier\": holds a space, a quote or a control character"}`},
		{"space", "PUT", "/mappings?identifier=a%20b&destination=new", 400, `{"error":"parameter \"identifier\": holds a space, a quote or a control character"}`},
		{"space in alias", "POST", "/connections/a%20b", 400, `{"error":"parameter \"identifier\": holds a space, a quote or a control character"}`},
		{"quote", "DELETE", "/mappings?identifier=%22", 400, `{"error":"parameter \"identifier\": holds a space, a quote or a control character"}`},
		{"long", "GET", "/mappings?identifier=" + long, 400, `{"error":"parameter \"identifier\": 513 bytes, allowed 512"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			wantAnswer(t, b.ask(tt.method, tt.target), tt.status, tt.want)
			m, c := b.mappings, b.sessions
			if len(c.kicks)+len(c.held)+len(c.asked)+len(m.bulks)+len(m.forgot) != 0 || len(m.entries) != 1 {
				t.Errorf("it had an effect: %v, %v", c, m)
			}
		})
	}
}

func TestAllow(t *testing.T) {
	tests := []struct{ name, method, target, want string }{
		{"healthz", "PUT", "/healthz", "GET, HEAD"},
		{"stats", "PUT", "/stats", "GET, HEAD"},
		{"mappings", "POST", "/mappings", "DELETE, GET, HEAD, PUT"},
		{"reload", "GET", "/mappings/reload", "POST"},
		{"kick", "GET", "/connections/kick", "POST"},
		{"alias", "GET", "/connections/a", "POST"},
		{"connections", "DELETE", "/connections", "GET, HEAD"},
		{"delay", "HEAD", "/connections/delay", "POST"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newBench(t).ask(tt.method, tt.target)
			if got := w.Header().Get("Allow"); w.Code != 405 || got != tt.want {
				t.Errorf("got %d Allow %q, want 405 %q", w.Code, got, tt.want)
			}
		})
	}
}

func TestStoreErrors(t *testing.T) {
	down := errors.New(`looking up "Alice@example.org" in the file: input/output error`)
	tests := []struct {
		name, method, target string
		err                  error
		status               int
		want                 string
	}{
		{"peek", "GET", "/mappings?identifier=Alice@example.org", down, 500, `{"error":"looking up \"Alice@example.org\" in the file: input/output error"}`},
		{"put", "PUT", "/mappings?identifier=Alice@example.org&destination=new", down, 500, `{"error":"looking up \"Alice@example.org\" in the file: input/output error"}`},
		{"delete", "DELETE", "/mappings?identifier=Alice@example.org", down, 500, `{"error":"looking up \"Alice@example.org\" in the file: input/output error"}`},
		{"reload", "POST", "/mappings/reload", errors.New("reading the file: gone"), 500, `{"error":"reading the file: gone"}`},
		{"put refused by the store", "PUT", "/mappings?identifier=%23a&destination=new", fmt.Errorf("%w: it begins with #", ErrInvalid), 400, `{"error":"invalid: it begins with #"}`},
		{"put read-only after all", "PUT", "/mappings?identifier=a&destination=new", ErrReadOnly, 501, `{"error":"the mapping source is read-only"}`},
		{"bad lines", "POST", "/mappings/reload", fmt.Errorf("reloading: %w", Problems{"m.tsv:1: one field", "m.tsv:7: one field"}), 400, `{"error":"reloading: refused as a whole, nothing changed","problems":["m.tsv:1: one field","m.tsv:7: one field"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.mappings.err = tt.err
			wantAnswer(t, b.ask(tt.method, tt.target), tt.status, tt.want)
			if got, want := strings.Contains(b.log.String(), "level=ERROR"), tt.status == 500; got != want {
				t.Errorf("logged as an error: got %v, want %v: %s", got, want, b.log)
			}
			if strings.Contains(strings.ToLower(b.log.String()), "alice") {
				t.Errorf("the log names the account: %s", b.log)
			}
		})
	}
}

func TestReadOnly(t *testing.T) {
	const want = `{"error":"the mapping source is read-only"}`
	for _, target := range []string{"/mappings", "/mappings?identifier=a&destination=new", "/mappings?x=y"} {
		for _, method := range []string{"PUT", "DELETE"} {
			t.Run(method+" "+target, func(t *testing.T) {
				b := newBench(t)
				b.mappings.readOnly = true
				wantAnswer(t, b.ask(method, target), http.StatusNotImplemented, want)
			})
		}
	}
	b := newBench(t)
	b.mappings.readOnly = true
	if w := b.ask("GET", "/mappings?identifier=a"); w.Code != 200 {
		t.Errorf("reading: got %d, want 200", w.Code)
	}
}

func TestPanicIsThatCallsFailure(t *testing.T) {
	b := newBench(t)
	b.mappings.entries = nil // a write into it panics
	wantAnswer(t, b.ask("PUT", "/mappings?identifier=a&destination=new"), http.StatusInternalServerError, `{"error":"internal error"}`)
	if got := b.ask("GET", "/stats").Code; got != 200 {
		t.Errorf("the next call: got %d, want 200", got)
	}
}

func TestHealthz(t *testing.T) {
	tests := []struct {
		name, method, target string
		draining             bool
		status               int
		want                 string
	}{
		{"up", "GET", "/healthz", false, 200, "ok"},
		{"trailing slash", "GET", "/healthz/", false, 200, "ok"},
		{"head", "HEAD", "/healthz", false, 200, "ok"}, // net/http drops the body
		{"draining", "GET", "/healthz", true, 503, "draining"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.draining = tt.draining
			w := b.ask(tt.method, tt.target, withToken(""))
			if w.Code != tt.status || w.Body.String() != tt.want {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}

func TestLogLines(t *testing.T) {
	tests := []struct {
		name, method, target string
		want                 []string // parts of the line
	}{
		{"a change", "PUT", "/mappings?identifier=Alice@example.org&destination=new", []string{"level=INFO", `msg="admin call"`, `call="PUT /mappings"`, "status=200", "client=192.0.2.1", "account=Al~"}},
		{"a kick by path", "POST", "/connections/alice@example.org", []string{"level=INFO", `call="POST /connections/{identifier}"`, "count=3", "account=al~"}},
		{"a refused change", "PUT", "/mappings?identifier=alice", []string{"level=INFO", "status=400", "account=al~"}},
		{"a kick of a destination", "POST", "/connections/kick?destination=old", []string{"level=INFO", "destination=old", "count=3"}},
		{"a reset", "POST", "/destinations/reset?destination=old", []string{"level=INFO", "destination=old", "status=200"}},
		{"an export", "GET", "/mappings/export", []string{"level=DEBUG", "count=1", "status=200"}},
		{"a question", "GET", "/mappings?identifier=alice", []string{"level=DEBUG", "account=al~"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.ask(tt.method, tt.target)
			line := b.log.String()
			if i := slices.IndexFunc(tt.want, func(part string) bool { return !strings.Contains(line, part) }); i >= 0 {
				t.Errorf("got %s, want %s in it", line, tt.want[i])
			}
			if strings.Contains(strings.ToLower(line), "alice") || strings.Contains(line, testToken) {
				t.Errorf("the log tells too much: %s", line)
			}
		})
	}
}

func TestHitRate(t *testing.T) {
	tests := []struct {
		name string
		s    Stats
		want float64
	}{
		{"none", Stats{}, 0},
		{"all", Stats{CacheHits: 9}, 100},
		{"rounded", Stats{CacheHits: 1, CacheMisses: 2}, 33.33},
		{"huge", Stats{CacheHits: 1 << 63, CacheMisses: 1 << 63}, 50},
	}
	for _, tt := range tests {
		if got := tt.s.HitRatePct(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
