package proxy

import (
	"regexp"
	"strings"
	"testing"

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
