package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"mailsplice/core/mailfake"
)

// switchboard lets a backend behave otherwise from case to case, without a rig for each.
type switchboard struct {
	hooks atomic.Pointer[mailfake.Hooks]
	check atomic.Pointer[func(mailfake.Credentials) mailfake.Verdict]
}

func (b *switchboard) options() mailfake.Options {
	b.set(nil, nil)
	o := mailfake.Options{Hooks: mailfake.Hooks{}, Check: func(c mailfake.Credentials) mailfake.Verdict { return (*b.check.Load())(c) }}
	for _, m := range []mailfake.Moment{mailfake.OnAccept, mailfake.OnGreeting, mailfake.OnCommand, mailfake.OnStartTLS, mailfake.OnCredentials} {
		o.Hooks[m] = func(s *mailfake.Session) mailfake.Move {
			if h := (*b.hooks.Load())[m]; h != nil {
				return h(s)
			}
			return mailfake.Continue
		}
	}
	return o
}

// set is what holds from now on; nil: as usual.
func (b *switchboard) set(h mailfake.Hooks, verdict func(mailfake.Credentials) mailfake.Verdict) {
	if verdict == nil {
		verdict = check
	}
	b.hooks.Store(&h)
	b.check.Store(&verdict)
}

// on is one hook.
func on(m mailfake.Moment, h mailfake.Hook) mailfake.Hooks { return mailfake.Hooks{m: h} }

// atAuth hooks the command that logs in.
func atAuth(h mailfake.Hook) mailfake.Hooks {
	return on(mailfake.OnCommand, mailfake.Chain(mailfake.ForVerb("AUTH", h), mailfake.ForVerb("AUTHENTICATE", h)))
}

func verdict(v mailfake.Verdict) func(mailfake.Credentials) mailfake.Verdict {
	return func(mailfake.Credentials) mailfake.Verdict { return v }
}

// temporaries are refusals of a backend that are no verdict on the credentials.
var temporaries = map[string]string{"pop3": "-ERR [IN-USE] locked", "managesieve": `NO (TRYLATER) "full"`, "submission": "450 4.3.0 queue",
	"imap": "NO [UNAVAILABLE] full"}

// Whatever a backend does, the client hears the temporary error in one piece, can try again, and nothing of it sticks.
func TestMailHostileBackends(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		if tg.name == "imap" {
			return // TestHostileBackends is about it
		}
		b := &switchboard{}
		r := newMailRig(t, tg, stage{onLegacy: b.options(), mappings: "nina new\n", server: "backend_connect_retries = 0\nhost_down_threshold = 0"})
		greeting := func(text string) mailfake.Hooks { return on(mailfake.OnGreeting, mailfake.Say(text)) }
		hello := map[string]string{"pop3": "+OK", "managesieve": "\"SASL\" \"PLAIN\"\r\nOK", "submission": "220"}[tg.name]
		prompt := map[string]string{"pop3": "+ \r\n", "managesieve": "\"\"\r\n", "submission": "334 \r\n"}[tg.name]
		for _, c := range []struct {
			name    string
			hooks   mailfake.Hooks
			verdict func(mailfake.Credentials) mailfake.Verdict
			want    string // answer to the login
		}{
			{"greets half", on(mailfake.OnGreeting, mailfake.SayAndEnd(hello[:2])), nil, tg.down},
			{"closes at once", on(mailfake.OnAccept, mailfake.Finish()), nil, tg.down},
			{"resets at once", on(mailfake.OnAccept, mailfake.Reset()), nil, tg.down},
			{"another protocol", greeting("* OK IMAP4rev1 ready\r\n"), nil, tg.down},
			{"bytes", greeting("\x00\xff\x16\x03\x01\r\n"), nil, tg.down},
			{"bare LF", greeting(hello + " a\n" + hello + " b\n"), nil, tg.down},
			{"long line", greeting(hello + " " + strings.Repeat("x", 100_000)), nil, tg.down},
			{"endless", greeting(strings.Repeat(map[string]string{"submission": "220-x\r\n", "managesieve": "\"X\" \"y\"\r\n", "pop3": "x\r\n"}[tg.name], 50_000)), nil, tg.down},
			{"says nonsense to the login", atAuth(mailfake.Say("what?\r\n")), nil, tg.down},
			{"prompts for ever", atAuth(mailfake.Say(prompt + prompt + prompt)), nil, tg.down},
			{"closes behind credentials", on(mailfake.OnCredentials, mailfake.Finish()), nil, tg.down},
			{"resets behind credentials", on(mailfake.OnCredentials, mailfake.Reset()), nil, tg.down},
			{"half an answer behind credentials", on(mailfake.OnCredentials, mailfake.SayAndEnd("+O")), nil, tg.down},
			{"temporary refusal", nil, verdict(mailfake.Unavailable()), tg.down},
			{"another temporary refusal", nil, verdict(mailfake.Verdict{Text: temporaries[tg.name]}), temporaries[tg.name]},
			{"refusal without a word", nil, verdict(mailfake.Verdict{Text: map[string]string{"pop3": "-ERR", "managesieve": "NO", "submission": "535"}[tg.name]}),
				map[string]string{"pop3": tg.refused, "managesieve": "NO", "submission": "535"}[tg.name]},
			{"every byte by itself", on(mailfake.OnAccept, mailfake.Dribble()), nil, ""},
		} {
			b.set(c.hooks, c.verdict)
			before := r.legacy.Counts().Connections
			cl := r.client()
			if reply := r.plain(cl, "alice", password, c.want); reply.OK() != (c.want == "") {
				t.Errorf("%s: got %q", c.name, reply)
			}
			if got := r.legacy.Counts().Connections - before; got != 1 {
				t.Errorf("%s: connections: got %d, want 1", c.name, got)
			}
			if c.want != "" {
				r.await(c.name+": the backend to be left", func() bool { return r.proxy.engine.OpenFDs() == clientFDs() })
				r.answers(cl)
				r.enter(cl, "nina")
				r.lands(cl, "new")
			}
			cl.Close()
			r.await("the client to be gone", func() bool { return r.proxy.engine.OpenFDs() == 0 })
		}
	})
}

// Who waits for a backend that says nothing waits for backend_timeout, with a login that may have been judged too (SPEC 2.1).
func TestMailHungBackends(t *testing.T) {
	for _, m := range []mailfake.Moment{mailfake.OnGreeting, mailfake.OnCredentials} {
		var rigs []*mailRig
		var waiting []mailClient
		for _, tg := range tongues { // all at the same time
			r := newMailRig(t, tg, stage{onLegacy: mailfake.Options{Hooks: on(m, mailfake.Hang())}, server: "backend_timeout = \"400ms\"\nbackend_connect_retries = 0\nhost_down_threshold = 0"})
			c := r.client()
			if tg.name == "submission" {
				r.says(c, "EHLO client.example.org", "250")
			}
			c.SendRaw(r.loginLine("alice", password))
			rigs, waiting = append(rigs, r), append(waiting, c)
		}
		for i, r := range rigs {
			if _, err := waiting[i].Expect(r.tag + r.down); err != nil {
				t.Errorf("%s: %v\n%s", r.name, err, r.log)
			}
			r.answers(waiting[i])
			r.await("the backend to be left", func() bool { return r.proxy.engine.OpenFDs() == clientFDs() })
		}
	}
}

// A temporary refusal is no failed attempt (SPEC 6.1), keeps its kind under hide_auth_errors, and does not go on for ever.
func TestMailTemporaryRefusals(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listener: "max_auth_attempts = 1", legacy: "hide_auth_errors = true",
			onLegacy: mailfake.Options{Check: verdict(mailfake.Verdict{Temporary: true, Text: temporaries[tg.name]})}})
		c := r.client()
		for range 9 {
			if got := r.plain(c, "alice", password, tg.down).String(); strings.Contains(temporaries[tg.name], got) {
				t.Errorf("got %q, which is the backend's own", got)
			}
		}
		r.answers(c)
		r.plain(c, "alice", password, tg.down)
		r.ended(c)
		if got := r.metric(fmt.Sprintf(`logins_total{protocol=%q,destination="legacy",result="unavailable"}`, tg.name)); got != 10 {
			t.Errorf("unavailable logins: got %d, want 10", got)
		}
	})
}

// Reaching a backend is tried again, but not a login that may have been judged (SPEC 2.1, backend_connect_retries).
func TestMailRetries(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		b := &switchboard{}
		r := newMailRig(t, tg, stage{onLegacy: b.options()})
		for _, c := range []struct {
			name   string
			hooks  mailfake.Hooks
			want   string
			visits int
		}{
			{"closes once", on(mailfake.OnAccept, mailfake.Times(1, mailfake.Finish())), "", 2},
			{"resets behind the greeting, once", on(mailfake.OnCommand, mailfake.Times(1, mailfake.Reset())), "", 2},
			{"closes behind credentials, once", on(mailfake.OnCredentials, mailfake.Times(1, mailfake.Finish())), tg.down, 1},
		} {
			if c.name == "resets behind the greeting, once" && tg.name != "submission" {
				continue // its first command may be the one with the credentials
			}
			b.set(c.hooks, nil)
			before := r.legacy.Counts().Connections
			r.plain(r.client(), "alice", password, c.want)
			if got := r.legacy.Counts().Connections - before; got != c.visits {
				t.Errorf("%s: connections: got %d, want %d\n%s", c.name, got, c.visits, r.log)
			}
		}
	})
}

func TestMailBackendDown(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{legacyAddr: netip.MustParseAddrPort(freePort(t)), mappings: "nina new\n", server: "backend_connect_retries = 0\nhost_down_threshold = 0"})
		c := r.client()
		r.plain(c, "alice", password, tg.down)
		r.enter(c, "nina")
		r.lands(c, "new")
	})
}
