package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// GET /connections shows what a session is, and counts what is left out.
func TestConnectionsCall(t *testing.T) {
	r := newRig(t, stage{mappings: "bob new\n"})
	a, _ := r.login("alice"), r.login("bob")
	r.command(a, "NOOP", "OK")
	answer := r.must("GET", "/connections?identifier=alice")
	list := answer["connections"].([]any)
	if len(list) != 1 || answer["total"] != 1.0 {
		t.Fatalf("got %v", answer)
	}
	x := list[0].(map[string]any)
	want := map[string]any{"identifier": "alice", "protocol": "imap", "listener": "imap", "destination": "legacy",
		"client": a.LocalAddr().String(), "lane": mode.lane(), "master": false}
	for k, v := range want {
		if x[k] != v {
			t.Errorf("%s: got %v, want %v", k, x[k], v)
		}
	}
	if tls := fmt.Sprint(x["client_tls"]); (mode.listener != "plain") != strings.HasPrefix(tls, "TLS 1.") {
		t.Errorf("client_tls: got %q in mode %v", tls, mode)
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(x["since"])); err != nil || x["bytes_out"].(float64) == 0 {
		t.Errorf("got %v", x)
	}
	for query, n := range map[string]float64{"": 2, "?destination=new": 1, "?destination=nowhere": 0, "?limit=1": 2, "?identifier=bob&destination=legacy": 0} {
		if got := r.must("GET", "/connections"+query)["total"]; got != n {
			t.Errorf("%q: total %v, want %v", query, got, n)
		}
	}
}

// A held account's logins get the temporary error, but for master users; 0 lets them in again.
func TestHold(t *testing.T) {
	r := newRig(t, stage{})
	r.must("POST", "/connections/hold?identifier=alice&seconds=60")
	c := r.dial()
	r.command(c, "LOGIN alice "+password, "NO [UNAVAILABLE]")
	r.command(c, "LOGIN bob "+password, "OK")
	m := r.dial()
	r.command(m, "LOGIN alice%master "+password, "OK")
	r.must("POST", "/connections/hold?identifier=alice&seconds=0")
	r.login("alice")
	if n := r.legacy.Counts().Accepted; n != 3 {
		t.Errorf("logins at the backend: got %d, want 3", n)
	}
}

// A delayed login looks its mapping up after the wait, and goes on when the delay is taken back.
func TestDelay(t *testing.T) {
	r := newRig(t, stage{})
	if got := r.must("POST", "/connections/delay?identifier=alice&seconds=100000")["seconds"]; got != 300.0 {
		t.Errorf("clamped: got %v, want 300", got)
	}
	c := r.dial()
	c.Send("a LOGIN alice " + password)
	r.await("the login to wait", func() bool { return r.proxy.sessions.Counts().Preauth == 1 })
	r.must("PUT", "/mappings?identifier=alice&destination=new")
	r.must("POST", "/connections/delay?identifier=alice&seconds=0")
	if got, err := c.Answer("a"); err != nil || got.Status != "OK" {
		t.Fatalf("got %v, %v", got, err)
	}
	r.landed(c, "new")
}

// A backend that is not there is marked down, says so to the administrator, and comes up again by a reset.
func TestBreaker(t *testing.T) {
	r := newRig(t, stage{server: "host_down_threshold = 2\nhost_down_cooldown = \"1h\"\nbackend_connect_retries = 0"})
	addr := r.legacy.Addr().String()
	r.legacy.Close()
	c := r.dial()
	for range 4 {
		r.command(c, "LOGIN alice "+password, "NO [UNAVAILABLE]")
	}
	state := func() map[string]any {
		for _, d := range r.must("GET", "/destinations")["destinations"].([]any) {
			if x := d.(map[string]any); x["destination"] == "legacy" {
				return x
			}
		}
		return nil
	}
	if x := state(); x["down"] != true || x["consecutive_failures"] != 2.0 || x["host_level_failure"] != true {
		t.Errorf("got %v, want down after two", x)
	}
	if len(r.logged("destination is down", 1)) != 1 {
		t.Error("the log does not say so once")
	}
	if got := r.metric(`destination_down{destination="legacy"}`); got != 1 {
		t.Errorf("gauge: got %d", got)
	}
	o := mailfake.Options{Listen: addr}
	r.legacy = backend(t, "legacy", mode.legacy, o)
	r.command(c, "LOGIN alice "+password, "NO [UNAVAILABLE]")
	if got := r.legacy.Counts().Connections; got != 0 {
		t.Errorf("connections while down: got %d", got)
	}
	r.must("POST", "/destinations/reset?destination=legacy")
	r.command(c, "LOGIN alice "+password, "OK")
	if x := state(); x["down"] != false || x["consecutive_failures"] != 0.0 || x["sessions"] != 1.0 {
		t.Errorf("got %v, want up", x)
	}
}

// The newest connection of an address above its limit is refused; a place that is given up is free again.
func TestSessionsPerIP(t *testing.T) {
	r := newRig(t, stage{server: "max_sessions_per_ip = 2"})
	first, _ := r.login("alice"), r.dial()
	end := r.ended(r.dialPlain())
	if worded := end.Bye() != ""; worded != (mode.listener != "implicit") {
		t.Errorf("got %q", end.Lines)
	}
	if got := r.metric(`connections_refused_total{listener="imap",reason="max_sessions_per_ip"}`); got != 1 {
		t.Errorf("counted: got %d, want 1", got)
	}
	first.Close()
	r.await("the place to be free", func() bool {
		c, err := r.try(mailfake.ClientOptions{})
		return err == nil && strings.HasPrefix(c.Greeting, "* OK")
	})
}

// The second failure of an address in a row is answered late, the third later; nobody else waits, and a kick ends the wait.
func TestFailedLoginsAreSlow(t *testing.T) {
	r := newRig(t, stage{listener: "max_auth_attempts = 10", patient: true})
	c := r.dial()
	r.command(c, "LOGIN alice "+wrong, "NO")
	began := time.Now()
	r.command(c, "LOGIN alice "+wrong, "NO")
	if took := time.Since(began); took < time.Second {
		t.Errorf("the second refusal came after %v, want a second", took)
	}
	c.Send("x LOGIN alice " + wrong)
	r.await("the backend's refusal", func() bool { return r.legacy.Counts().Refused >= 3 })
	r.landed(r.login("bob"), "legacy") // in the meantime
	r.must("POST", "/connections/kick?identifier=alice")
	r.ended(c)
}

// What was routed to the default destination for want of a mapping is remembered.
func TestUnmapped(t *testing.T) {
	r := newRig(t, stage{mappings: "bob new\n"})
	r.login("alice")
	r.login("bob")
	list := r.must("GET", "/mappings/unmapped")["unmapped"].([]any)
	if len(list) != 1 || !strings.Contains(fmt.Sprint(list[0]), "alice") {
		t.Errorf("got %v, want alice alone", list)
	}
}

// Bulk writes move and kick; export shows what is there.
func TestBulk(t *testing.T) {
	r := newRig(t, stage{mappings: "carol new\n"})
	c := r.login("alice")
	status, answer := r.send("POST", "/mappings/bulk?kick=true", "alice new\nbob new\ncarol -\n")
	if status != http.StatusOK {
		t.Fatalf("got %d, %v", status, answer)
	}
	r.ended(c)
	r.landed(r.login("alice"), "new")
	r.landed(r.login("carol"), "legacy")
	if status, _ := r.send("POST", "/mappings/bulk", "dave nowhere\nerin new\n"); status != http.StatusBadRequest {
		t.Errorf("a bad line: got %d", status)
	}
	r.landed(r.login("erin"), "legacy")
}

// POST /config/reload is SIGHUP for those who are far away.
func TestReloadCall(t *testing.T) {
	r := newRig(t, stage{})
	text := r.read("conf")
	r.write("conf", strings.Replace(text, "threads = 2", "threads = 3", 1))
	if got := r.must("POST", "/config/reload"); got["reloaded"] != true || fmt.Sprint(got["restart_needed"]) != "[server.threads]" {
		t.Errorf("got %v", got)
	}
	r.write("conf", strings.Replace(text, "threads = 2", "thr = 3\nbla = 4", 1))
	status, got := r.call("POST", "/config/reload")
	if status != http.StatusBadRequest || !strings.Contains(fmt.Sprint(got), "server.thr") || !strings.Contains(fmt.Sprint(got), "server.bla") {
		t.Errorf("got %d, %v, want every error", status, got)
	}
	r.landed(r.login("alice"), "legacy")
}

// [metrics] is a plain listener for a scraper.
func TestMetricsListener(t *testing.T) {
	addr := freePort(t)
	r := newRig(t, stage{rest: fmt.Sprintf("[metrics]\nbind = %q", addr)})
	r.login("alice")
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	buf := make([]byte, 1<<20)
	n := 0
	for err == nil {
		var k int
		k, err = resp.Body.Read(buf[n:])
		n += k
	}
	if !strings.Contains(string(buf[:n]), `mailsplice_sessions{protocol="imap",destination="legacy",lane="`+mode.lane()+`"} 1`) {
		t.Errorf("got %d, %.300s", resp.StatusCode, buf[:n])
	}
}

// A session's lane follows what it moves, in GET /connections, in the metrics and in the log, and no session is counted twice.
func TestLaneOfBulk(t *testing.T) {
	r := newRig(t, stage{})
	c := r.login("alice")
	before, after := mode.lane(), mode.bulkLane()
	series := func(lane string) string { return `sessions{protocol="imap",destination="legacy",lane="` + lane + `"}` }
	if got := r.metric(series(before)); got != 1 {
		t.Errorf("sessions in lane %q before: got %d, want 1", before, got)
	}
	r.await("the lane "+after, func() bool {
		if err := c.Source(4<<20, 1, mailfake.Pace{}); err != nil {
			t.Fatal(err)
		}
		return r.metric(series(after)) == 1
	})
	if got := r.metric(series(before)); before != after && got != 0 {
		t.Errorf("sessions in lane %q afterwards: got %d, want 0", before, got)
	}
	list := r.must("GET", "/connections")["connections"].([]any)
	if got := list[0].(map[string]any)["lane"]; got != after || r.proxy.sessions.Counts().Joined != 1 {
		t.Errorf("got lane %v of %d sessions, want %q", got, r.proxy.sessions.Counts().Joined, after)
	}
	c.Close()
	if line := r.logged("session ended", 1)[0]; !strings.Contains(line, " mode="+after+" ") {
		t.Errorf("got %q, want mode=%s", line, after)
	}
}
