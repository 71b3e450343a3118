package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ctl is run with the folder's configuration.
func (d *desk) ctl(line string) (int, string, string) {
	return d.run(append([]string{"ctl", "-c", "@conf"}, strings.Fields(line)...)...)
}

// Every subcommand makes the calls of SPEC 8 and says what came of them.
func TestCtl(t *testing.T) {
	d := newDesk(t)
	d.write("list", "a\tnew\nb\t-\n")
	for _, c := range []struct {
		line, calls, says string
	}{
		{"status", "GET /stats", "serving, up 1d2h"},
		{"status", "GET /stats", "98.00 % of 100 look-ups, 12 entries"},
		{"status", "GET /stats", "odd                 new?[2J"},
		{"destinations", "GET /destinations", "legacy       up     1200      2, from 1 client addresses\nnew          up     34        7, from 3 client addresses, the host itself failed\n"},
		{"destinations reset new", "POST /destinations/reset?destination=new", "new: failures forgotten\n"},
		{"sessions", "GET /connections?limit=100", "2 of 1234 sessions"},
		{"sessions", "GET /connections?limit=100", "a1  alice@example.org               imap      legacy       203.0.113.7:4567"},
		{"sessions", "GET /connections?limit=100", "1.5 kB  2.5 MB  TLS 1.3 TLS_AES_128_GCM_SHA256"},
		{"sessions", "GET /connections?limit=100", "bob?@example.org (master user)"},
		{"sessions alice@example.org --destination legacy --limit 5", "GET /connections?identifier=alice%40example.org&destination=legacy&limit=5", "a1"},
		{"route alice@example.org", "GET /mappings?identifier=alice%40example.org", "alice@example.org -> legacy (no mapping, so the default destination)\n"},
		{"map alice@example.org new", "PUT /mappings?identifier=alice%40example.org&destination=new", "alice@example.org -> new\n"},
		{"route alice@example.org", "GET /mappings?identifier=alice%40example.org", "alice@example.org -> new (mapped; cached)\n"},
		{"map a+b@example.org new --kick", "PUT /mappings?identifier=a%2Bb%40example.org&destination=new&kick=true", "a+b@example.org -> new: kicked 3\n"},
		{"map ä#&% new", "PUT /mappings?identifier=%C3%A4%23%26%25&destination=new", "ä#&% -> new\n"},
		{"unmap ä#&%", "DELETE /mappings?identifier=%C3%A4%23%26%25", "ä#&%: mapping removed\n"},
		{"unmap ä#&%", "DELETE /mappings?identifier=%C3%A4%23%26%25", "ä#&%: there was no mapping\n"},
		{"map --file @list --kick", "POST /mappings/bulk?kick=true <a\tnew\nb\t-\n>", "mappings written: kicked 1, removed 1, written 1\n"},
		{"map --file -", "POST /mappings/bulk <bob@example.org\tnew\n>", "mappings written"},
		{"export", "GET /mappings/export", "a+b@example.org\tnew\nalice@example.org\tnew\n"},
		{"export --json", "GET /mappings/export", "{\"mappings\":[\n{\"identifier\":\"a+b@example.org\",\"destination\":\"new\"},\n{\"identifier\":\"alice@example.org\",\"destination\":\"new\"}\n]}\n"},
		{"kick alice@example.org", "POST /connections/kick?identifier=alice%40example.org", "sessions and logins ended: 2\n"},
		{"kick --destination legacy --rate 50 --spare-masters", "POST /connections/kick?destination=legacy&rate=50&master=false", "ended: 2"},
		{"hold alice@example.org 90", "POST /connections/hold?identifier=alice%40example.org&seconds=90", "alice@example.org: logins are held for 1m30s\n"},
		{"hold alice@example.org 0", "POST /connections/hold?identifier=alice%40example.org&seconds=0", "alice@example.org: logins are not held any more\n"},
		{"delay alice@example.org 2m", "POST /connections/delay?identifier=alice%40example.org&seconds=120", "logins are delayed for 2m0s\n"},
		{"delay alice@example.org 10m", "POST /connections/delay?identifier=alice%40example.org&seconds=600", "delayed for 5m0s (10m0s was asked for, more is not allowed)\n"},
		{"reload", "POST /config/reload", "configuration reloaded\na restart is needed for: threads, ktls\n"},
		{"reload --mappings", "POST /mappings/reload", "mapping file reloaded: added 1, changed 2, removed 3\n"},
		{"status --json", "GET /stats", `"active_connections":1234`},
	} {
		code, out, errOut := d.ctl(c.line)
		calls, body := d.fake.called()
		got := strings.Join(calls, ", ")
		if body != "" {
			got += " <" + body + ">"
		}
		if code != 0 || errOut != "" || got != c.calls || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit code %d, calls %s, want %s\n%s%swant %q", c.line, code, got, c.calls, out, errOut, c.says)
		}
		if strings.ContainsAny(out, "\x07\x1b") {
			t.Errorf("%s: control characters in %q", c.line, out)
		}
	}
}

func TestCtlUsage(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct{ line, says string }{
		{"", "ctl needs a command"},
		{"nonsense", `unknown command "nonsense"`},
		{"status now", "unknown command"},
		{"kick", "kick whom?"},
		{"map alice", "accepts 2 arg(s)"},
		{"map --file x alice new", "unknown command"},
		{"hold alice", "accepts 2 arg(s)"},
		{"hold alice soon", `"soon": not a duration`},
		{"hold alice -- -5", `"-5": not a duration`},
		{"delay alice 1500ms", "not a duration in whole seconds"},
		{"sessions --limit x", "invalid argument"},
		{"top --json", "top shows no JSON"},
		{"top --interval 0s", "--interval must be above zero"},
		{"export --admin a:1,b:2", "export asks one proxy"},
		{"status --admin mail:x", `--admin "mail:x": not HOST:PORT`},
		{"status --admin https://mail:1", "not HOST:PORT"},
		{"status --admin :9443", "not HOST:PORT"},
	} {
		code, out, errOut := d.ctl(c.line)
		if code != exitUsage || !strings.Contains(errOut, c.says) || out != "" {
			t.Errorf("%s: exit code %d, want 2, and %q in\n%s%s", c.line, code, c.says, out, errOut)
		}
	}
	if calls, _ := d.fake.called(); len(calls) > 0 {
		t.Errorf("calls were made: %q", calls)
	}
}

// What the proxy refuses is said in words that an operator can act on.
func TestCtlRefusals(t *testing.T) {
	d := newDesk(t)
	at := d.fake.addr().String()
	for _, c := range []struct {
		line, call string
		status     int
		body       string
		headers    []string
		says       string
	}{
		{"status", "GET /stats", 401, `{"error":"missing or wrong bearer token"}`, nil, "proxy " + at + ": 401: it does not take the token of " + d.path("token")},
		{"status", "GET /stats", 429, `{"error":"too many failed attempts from this address"}`, []string{"Retry-After", "270"}, "locked out after too many wrong tokens; try again in 4m30s"},
		{"status", "GET /stats", 429, `{"error":"x"}`, nil, "try again later"},
		{"destinations", "GET /destinations", 404, `{"error":"no such call"}`, nil, "404: it does not know GET /destinations; it may be an older version"},
		{"destinations reset odd", "POST /destinations/reset", 404, `{"error":"no destination \"odd\" is configured"}`, nil, `no destination "odd" is configured`},
		{"map alice odd", "PUT /mappings", 400, `{"error":"no destination \"odd\" is configured"}`, nil, `proxy ` + at + `: no destination "odd" is configured`},
		{"map alice new", "PUT /mappings", 501, `{"error":"the mapping source is read-only"}`, nil, "501: the mapping source is read-only"},
		{"map alice new", "PUT /mappings", 500, `{"error":"writing mapping: no space left"}`, nil, "500: writing mapping: no space left; the proxy's log says more"},
		{"reload --mappings", "POST /mappings/reload", 400, `{"error":"mapping file: 2 problems, nothing changed","problems":["maps:1: one field\u001b[2J","maps:7: x"]}`, nil,
			"mapping file: 2 problems, nothing changed\n  maps:1: one field?[2J\n  maps:7: x\n"},
		{"reload", "POST /config/reload", 400, `{"error":"a:1: one\na:2: two","problems":["a:1: one","a:2: two"]}`, nil, ": a:1: one\na:2: two\n"},
		{"export", "GET /mappings/export", 501, `{"error":"no list_query"}`, nil, "501: no list_query"},
		{"status", "GET /stats", 503, `{"error":"draining"}`, nil, "503: draining"},
		{"status", "GET /stats", 302, ``, []string{"Location", "https://192.0.2.1/"}, "this is not the admin API of mailsplice: it answers 302 Found to GET /stats"},
		{"status", "GET /stats", 502, `<html>`, nil, "this is not the admin API of mailsplice: it answers 502"},
		{"status", "GET /stats", 200, `<html>`, nil, "this is not the admin API of mailsplice: its answer is not JSON"},
		{"status", "GET /stats", 200, `[]`, nil, "reading the answer"},
	} {
		d.fake.answers(c.call, c.status, c.body, c.headers...)
		code, out, errOut := d.ctl(c.line)
		if code != exitFailed || out != "" || !strings.Contains(errOut, c.says) {
			t.Errorf("%s: %d: exit code %d, want 1, and %q in\n%s%s", c.line, c.status, code, c.says, out, errOut)
		}
	}
}

// Several proxies: all are asked, and those that fail are named.
func TestCtlSeveral(t *testing.T) {
	d := newDesk(t)
	cert, certPEM, _ := certificate(t, "mail2.example.org")
	second := newFakeAdmin(t, "127.0.0.1:0", cert)
	mine, err := os.ReadFile(d.path("cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	d.write("both.pem", string(mine)+string(certPEM))
	first, other, gone := d.fake.addr().String(), second.addr().String(), closedAddr(t)
	code, out, errOut := d.ctl("route alice --ca @both.pem --admin " + first + "," + other)
	if code != 0 || errOut != "" || out != "== "+first+"\nalice -> legacy (no mapping, so the default destination)\n== "+other+"\nalice -> legacy (no mapping, so the default destination)\n" {
		t.Errorf("two: exit code %d\n%s%s", code, out, errOut)
	}
	code, out, errOut = d.ctl("kick alice --ca @both.pem --admin " + first + " --admin " + gone + " --admin " + other)
	if code != exitFailed || strings.Count(out, "ended: 2") != 2 || strings.Contains(out, gone) ||
		!strings.Contains(errOut, "proxy "+gone+": connection refused") || !strings.Contains(errOut, "1 of 3 proxies failed") {
		t.Errorf("one is gone: exit code %d\n%s%s", code, out, errOut)
	}
	code, out, errOut = d.ctl("kick alice --json --ca @both.pem --admin " + first + " --admin " + gone)
	var all struct {
		Proxies []struct {
			Admin, Error string
			Answer       json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != exitFailed || len(all.Proxies) != 2 || string(all.Proxies[0].Answer) != `{"kicked":2}` ||
		all.Proxies[0].Admin != first || !strings.Contains(all.Proxies[1].Error, "connection refused") {
		t.Errorf("JSON: exit code %d, %v\n%s%s", code, err, out, errOut)
	}
}

// An export appears whole or not at all.
func TestExportFile(t *testing.T) {
	d := newDesk(t)
	d.fake.mappings["alice@example.org"] = "new"
	if code, out, errOut := d.ctl("export -o @list"); code != 0 || out+errOut != "" {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	if got, err := os.ReadFile(d.path("list")); err != nil || string(got) != "alice@example.org\tnew\n" {
		t.Errorf("got %q, %v", got, err)
	}
	d.fake.answers("GET /mappings/export", 200, "cut sho", "Content-Length", "100")
	code, _, errOut := d.ctl("export -o @cut")
	if code != exitFailed || !strings.Contains(errOut, "exporting from") {
		t.Errorf("cut short: exit code %d\n%s", code, errOut)
	}
	if left, err := filepath.Glob(d.path("*cut*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if left, err := filepath.Glob(d.path(".mailsplice*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
