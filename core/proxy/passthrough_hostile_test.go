package proxy

import (
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

// A backend that believes XCLIENT and does not offer or take it would be given the world as its own network: it gets no
// client, and an error stands in the log (SPEC 3.5).
func TestPassThroughWithoutXClient(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		for _, c := range []struct {
			name    string
			backend mailfake.Options
		}{
			{"not offered", mailfake.Options{}},
			{"offered without ADDR", mailfake.Options{XClient: "PORT HELO"}},
			{"refused", mailfake.Options{XClient: mailfake.XClientDovecot, Hooks: on(mailfake.OnCommand, mailfake.ForVerb("XCLIENT", mailfake.Say("550 5.7.14 not you\r\n")))}},
		} {
			r := newMailRig(t, tg, stage{legacyForwarding: "xclient", onLegacy: c.backend})
			for range 2 {
				raw := r.raw()
				raw.Send("EHLO a")
				if end := r.ended(raw); len(end.Lines) != 1 || !strings.HasPrefix(end.Lines[0], tg.later) {
					t.Errorf("%s: got %q, want %s", c.name, end.Lines, tg.later)
				}
				raw.Close()
			}
			if line := r.logged("backend does not offer or accept XCLIENT: nobody is passed through", 1)[0]; !strings.Contains(line, "level=ERROR") {
				t.Errorf("%s: got %s", c.name, line)
			}
			if got := r.proxy.sessions.Counts().Joined; got != 0 {
				t.Errorf("%s: joined sessions: got %d, want 0", c.name, got)
			}
		}
	})
}

// A greeting that refuses the client itself is the client's to hear; everything else is 421 of ours.
func TestPassThroughHostile(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		b := &switchboard{}
		o := b.options()
		o.XClient = mailfake.XClientDovecot
		r := newMailRig(t, tg, stage{legacyForwarding: "xclient", onLegacy: o, server: "backend_connect_retries = 0\nhost_down_threshold = 0"})
		hello := map[string]string{"smtp": "EHLO", "lmtp": "LHLO"}[tg.name]
		verb := func(v string, h mailfake.Hook) mailfake.Hooks { return on(mailfake.OnCommand, mailfake.ForVerb(v, h)) }
		for _, c := range []struct {
			name  string
			hooks mailfake.Hooks
			want  string
		}{
			{"closes at once", on(mailfake.OnAccept, mailfake.Finish()), "421 4.3.2 localhost"},
			{"resets at once", on(mailfake.OnAccept, mailfake.Reset()), "421 4.3.2 localhost"},
			{"goes down", on(mailfake.OnGreeting, mailfake.SayAndEnd("421 4.3.2 injected\r\n")), "421 4.3.2 localhost"},
			{"greets badly", on(mailfake.OnGreeting, mailfake.Say("* OK injected\r\n")), "421 4.3.2 localhost"},
			{"endless greeting", on(mailfake.OnGreeting, mailfake.Say(strings.Repeat("220-injected\r\n", 20_000))), "421 4.3.2 localhost"},
			{"refuses our name", verb(hello, mailfake.Say("550 5.7.1 injected\r\n")), "421 4.3.2 localhost"},
			{"closes behind " + hello, verb(hello, mailfake.Finish()), "421 4.3.2 localhost"},
			{"too busy for XCLIENT", verb("XCLIENT", mailfake.Say("421 4.7.0 injected\r\n")), "421 4.3.2 localhost"},
			{"does not serve this client", verb("XCLIENT", mailfake.SayAndEnd("554-5.7.1 go\r\n554 5.7.1 away\r\n")), "554-5.7.1 go"},
			{"greets this client at length", verb("XCLIENT", mailfake.Say("220-legacy\r\n220 ready\r\n")), "220-legacy"},
		} {
			b.set(c.hooks, nil)
			raw := r.raw()
			line, err := raw.Line()
			if err != nil || !strings.HasPrefix(line, c.want) {
				t.Errorf("%s: got %q, %v; want %q\n%s", c.name, line, err, c.want, r.log)
			}
			if strings.HasPrefix(c.want, "421") {
				if end := r.ended(raw); len(end.Lines) != 0 {
					t.Errorf("%s: behind the farewell: got %q", c.name, end.Lines)
				}
			}
			raw.Close()
			r.await("everything to be closed", func() bool { return r.proxy.engine.OpenFDs() == 0 })
		}
		if strings.Contains(r.log.String(), "injected") {
			t.Errorf("a backend's words are in the log:\n%s", r.log)
		}
	})
}

// The backend's STARTTLS is as strict here as with a login (SECURITY 4, 6, 7).
func TestPassThroughStartTLS(t *testing.T) {
	eachPassed(t, func(t *testing.T, tg tongue) {
		for _, way := range []string{"none", "proxy", "xclient"} {
			b := &switchboard{}
			o := b.options()
			o.XClient, o.Proxy = ways[way].XClient, ways[way].Proxy
			r := newMailRig(t, tg, stage{legacyTLS: "starttls", legacyForwarding: way, onLegacy: o, server: "backend_connect_retries = 0\nhost_down_threshold = 0"})
			hello := map[string]string{"smtp": "EHLO", "lmtp": "LHLO"}[tg.name]
			for _, c := range []hostile{
				{"not offered", on(mailfake.OnCommand, mailfake.ForVerb(hello, mailfake.Say("250-injected\r\n250 SIZE\r\n")))},
				{"454", on(mailfake.OnCommand, mailfake.ForVerb("STARTTLS", mailfake.Say("454 4.7.0 injected\r\n")))},
				{"250", on(mailfake.OnCommand, mailfake.ForVerb("STARTTLS", mailfake.Say("250 injected\r\n")))},
				{"bytes behind the go-ahead", on(mailfake.OnStartTLS, mailfake.Inject("250 injected\r\n"))},
				{"bytes in a segment of their own", on(mailfake.OnStartTLS, mailfake.Chain(mailfake.SayFirst("220 go\r\n"), mailfake.Say("250 injected\r\n")))},
			} {
				b.set(c.hooks, nil)
				raw := r.raw()
				if end := r.ended(raw); len(end.Lines) != 1 || !strings.HasPrefix(end.Lines[0], "421 4.3.2 localhost") {
					t.Errorf("%s, %s: got %q, want 421", way, c.name, end.Lines)
				}
				raw.Close()
			}
			b.set(nil, nil)
			c := r.smtp()
			if _, err := c.Deliver("a@example.org", []string{"b@example.org"}, mailfake.Generated(1000)); err != nil {
				t.Fatalf("%s: %v", way, err)
			}
			r.lands(c, "legacy")
			sessions := r.legacy.Sessions()
			if s := sessions[len(sessions)-1]; !s.TLS || way != "none" && s.Client != c.LocalAddr() {
				t.Errorf("%s: TLS %t, client %v", way, s.TLS, s.Client)
			}
			c.Close()
		}
	})
}
