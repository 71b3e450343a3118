package proxy

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// One line for each result of a login and for each end of a session, with the keys of SPEC 10.
func TestLogLines(t *testing.T) {
	for _, c := range []struct{ name, server, account string }{
		{"redacted", "", `al~[0-9a-f]{8}`},
		{"whole", "log_accounts = true", `alice@example\.org`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, stage{server: c.server, mapping: `normalize = "lowercase"`})
			cl := r.dial()
			r.command(cl, "LOGIN ALICE@example.org "+wrong, "NO")
			r.command(cl, `LOGIN %admin `+wrong, "NO")
			r.command(cl, "LOGIN ALICE@example.org "+password, "OK")
			r.command(cl, "NOOP", "OK")
			r.command(cl, "LOGOUT", "OK")
			r.ended(cl)
			cl.Close()
			head := `session=[0-9a-f]{12}-[0-9a-z]+ listener=imap protocol=imap client=127\.0\.0\.1:\d+ destination=`
			for message, want := range map[string]string{
				"login refused":  head + `legacy account=` + c.account + ` reason=verdict\n`,
				"login accepted": head + `legacy account=` + c.account + ` reason=verdict\n`,
				"session ended": head + `legacy account=` + c.account + ` bytes_in=\d\d bytes_out=\d+ duration=[0-9.µm]+s ` +
					`mode=` + mode.lane() + ` reason="backend closed"\n`,
			} {
				if line := r.logged(message, 1)[0]; !regexp.MustCompile(want).MatchString(line) {
					t.Errorf("got  %s\nwant %s", line, want)
				}
			}
			if got := len(r.log.lines("login refused")); got != 2 { // the second without a destination
				t.Errorf("lines about refusals: got %d, want 2", got)
			}
			if got := len(r.log.lines("login accepted")) + len(r.log.lines("session ended")); got != 2 {
				t.Errorf("lines about login and session: got %d, want 2", got)
			}
			if strings.Contains(strings.ToLower(r.log.String()), "alice@") != (c.name == "whole") {
				t.Errorf("the account in the log:\n%s", r.log)
			}
		})
	}
}

// A login that is given up has its line too.
func TestLogCanceled(t *testing.T) {
	r := newRig(t, stage{onLegacy: mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnGreeting: mailfake.Hang()}}})
	c := r.dial()
	c.Send("a LOGIN alice " + password)
	r.await("the login", func() bool { return r.proxy.sessions.Counts().Logins == 1 })
	c.Close()
	if line := r.logged("login canceled", 1)[0]; !strings.Contains(line, `account=al~`) || !strings.Contains(line, `reason="client left"`) {
		t.Errorf("got %s", line)
	}
}

// What clients and administrators say in confidence stands in no line, at debug either: the rig's end looks for it.
func TestLogsKeepSecrets(t *testing.T) {
	r := newRig(t, stage{legacyForwarding: "xclient"})
	c := r.dial()
	r.command(c, `ID ("name" "`+idValue+`" "x-session-id" "`+idValue+`")`, "OK")
	for _, x := range []struct{ mechanism, frame, want string }{
		{"PLAIN", "\x00alice@example.org\x00" + wrong, "NO"},
		{"PLAIN", "\x00al\x01ce@example.org\x00" + password, "NO"}, // by the proxy
		{"XOAUTH2", "user=alice@example.org\x01auth=Bearer " + token + "\x01\x01", "OK"},
		{"OAUTHBEARER", "n,a=alice@example.org,\x01auth=Bearer " + token + "\x01\x01", "OK"},
	} {
		c := r.dial()
		c.Send("a AUTHENTICATE " + x.mechanism + " " + base64.StdEncoding.EncodeToString([]byte(x.frame)))
		if got, err := c.Answer("a"); err != nil || got.Status != x.want {
			t.Errorf("%s: got %q, %v, want %s", x.mechanism, got, err, x.want)
		}
	}
	r.command(c, "LOGIN alice@example.org "+password, "OK")
	for range 7 { // more than lockout_threshold
		req, err := http.NewRequest("GET", "https://"+r.proxy.AdminAddr()+"/stats?token="+badToken, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+badToken)
		resp, err := r.https.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	r.logged("admin token refused", 1)
	r.logged("admin address locked out", 1)
	r.logged("login accepted", 3)
	r.logged("login refused", 1)
	if got := r.legacy.Sessions(); !strings.Contains(fmt.Sprint(got), idValue) {
		t.Errorf("the ID value did not reach the backend: this test sees nothing\n%v", got)
	}
}

// What a peer can bring about with every login is said once a second, beside the login's own line (SPEC 10).
func TestLogStorm(t *testing.T) {
	r := newRig(t, stage{server: "proxy_ttl = 1"}) // no hop is left: each login is a forwarding loop
	const logins = 40
	began := time.Now()
	c := r.dial()
	for i := range logins {
		if reply, err := c.Command("LOGIN alice " + password); err == nil && reply.OK() {
			t.Fatalf("got %q", reply)
		}
		if i%5 == 4 { // before the proxy has enough of it
			c = r.dial()
		}
	}
	seconds := int(time.Since(began).Seconds()) + 2
	r.logged("login unavailable", logins)
	if got := len(r.log.lines("login refused: forwarding loop")); got == 0 || got > seconds {
		t.Errorf("lines about the loop: got %d within %d seconds, want at most one for each", got, seconds)
	}
}

func TestStats(t *testing.T) {
	r := newRig(t, stage{mappings: "alice new\n"})
	r.landed(r.login("alice"), "new")
	r.login("alice")
	r.dial()
	got := r.must("GET", "/stats")
	for key, want := range map[string]float64{"active_connections": 2, "preauth_connections": 1, "logins_in_progress": 0, "cache_hits": 1,
		"cache_misses": 1, "cache_entries": 1, "hit_rate_pct": 50} {
		if got[key] != want {
			t.Errorf("%s: got %v, want %v", key, got[key], want)
		}
	}
	for series, want := range map[string]int{
		`connections_accepted_total{listener="imap"}`:                            3,
		`preauth_connections{listener="imap"}`:                                   1,
		`logins_total{protocol="imap",destination="new",result="accepted"}`:      2,
		`sessions{protocol="imap",destination="new",lane="` + mode.lane() + `"}`: 2,
	} {
		if got := r.metric(series); got != want {
			t.Errorf("%s: got %d, want %d", series, got, want)
		}
	}
}
