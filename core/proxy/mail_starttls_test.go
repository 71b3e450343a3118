package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// clientHello is the first record of a handshake.
func clientHello(t *testing.T) string {
	t.Helper()
	r := &recorder{}
	tls.Client(r, &tls.Config{InsecureSkipVerify: true}).Handshake()
	if !bytes.HasPrefix(r.Bytes(), []byte{22, 3}) {
		t.Fatalf("no ClientHello: %q", r.Bytes())
	}
	return r.String()
}

// recorder is a connection without anybody at the other end.
type recorder struct{ bytes.Buffer }

func (*recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (*recorder) Close() error                     { return nil }
func (*recorder) LocalAddr() net.Addr              { return nil }
func (*recorder) RemoteAddr() net.Addr             { return nil }
func (*recorder) SetDeadline(time.Time) error      { return nil }
func (*recorder) SetReadDeadline(time.Time) error  { return nil }
func (*recorder) SetWriteDeadline(time.Time) error { return nil }

// What is glued behind STARTTLS gets no answer, in TLS or ahead of it: the connection ends (SECURITY 1).
func TestMailInjection(t *testing.T) {
	hello := clientHello(t)
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listenerTLS: "starttls"})
		start, noop := tg.tag+tg.startTLS+"\r\n", tg.tag+"NOOP\r\n"
		for _, c := range []struct {
			name  string
			parts []string // segments
			wait  bool     // for the go-ahead behind the first of them
		}{
			{"command", []string{start + noop}, false},
			{"part of a command", []string{start + noop[:3]}, false},
			{"a byte", []string{start + "\n"}, false},
			{"ClientHello", []string{start + hello}, false},
			{"command and ClientHello", []string{start + noop + hello}, false},
			{"command in two segments", []string{start[:4], start[4:] + noop}, false},
			{"STARTTLS again", []string{start + start}, false},
			{"command behind the go-ahead", []string{start, noop}, true},
			{"command and ClientHello behind the go-ahead", []string{start, noop + hello}, true},
			{"everything in small pieces", pieces(start + noop + hello[:20]), false},
		} {
			cl := r.clear(mailfake.ClientOptions{})
			for i, p := range c.parts {
				if cl.SendRaw(p) != nil {
					break // ended already
				}
				if i == 0 && c.wait {
					if _, err := cl.Expect(tg.goAhead); err != nil {
						t.Fatal(err)
					}
				}
			}
			end := r.ended(cl)
			if max := map[bool]int{true: 0, false: 1}[c.wait]; len(end.Lines) > max || len(end.Lines) == 1 && !strings.HasPrefix(end.Lines[0], tg.goAhead) {
				t.Errorf("%s: got %q, want nothing but the go-ahead", c.name, end.Lines)
			}
			if len(c.parts) == 1 && len(end.Lines) > 0 {
				t.Errorf("%s: got %q, want nothing", c.name, end.Lines)
			}
			cl.Close()
		}
	})
}

func pieces(text string) (list []string) {
	for i := range len(text) {
		list = append(list, text[i:i+1])
	}
	return list
}

// Without TLS nobody logs in or is offered to; inside, nothing is left of what was said before, and there is no second
// STARTTLS (SPEC 3, SECURITY 2 and 3).
func TestMailStartTLS(t *testing.T) {
	needsTLS := map[string]string{"imap": "NO [PRIVACYREQUIRED]", "pop3": "-ERR", "managesieve": "NO (ENCRYPT-NEEDED)", "submission": "538"}
	list := map[string]string{"imap": "CAPABILITY", "pop3": "CAPA", "managesieve": "CAPABILITY", "submission": "EHLO client.example.org"}
	eachTongue(t, func(t *testing.T, tg tongue) {
		r := newMailRig(t, tg, stage{listenerTLS: "starttls", capabilities: "banner = \"ready\"", listener: "max_auth_attempts = 2\nproxy_trusted = [\"127.0.0.1\"]",
			legacyForwarding: "xclient", onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot}})
		c := r.clear(mailfake.ClientOptions{})
		offer := func() string {
			reply := r.says(c, list[tg.name], "")
			return strings.ToUpper(strings.Join(append(reply.Untagged, reply.String()), "\n"))
		}
		if before := offer(); !strings.Contains(before, tg.startTLS) || strings.Contains(before, "PLAIN") || strings.Contains(before, "\nUSER") {
			t.Errorf("offered in the clear:\n%s", before)
		}
		r.plain(c, "alice", password, needsTLS[tg.name])
		introduce(r, c, "ADDR=192.0.2.77 PORT=7")
		if err := c.StartTLS(mode.clientTLS()); err != nil {
			t.Fatal(err)
		}
		if tg.name == "submission" {
			r.says(c, "AUTH PLAIN "+strings.Repeat("A", 8), "503") // EHLO is forgotten: one failed attempt, the other was in the clear
			r.ended(c)
			c = r.client()
		}
		if inside := offer(); strings.Contains(inside, tg.startTLS) || !strings.Contains(inside, "PLAIN") || strings.Contains(inside, "LOGINDISABLED") {
			t.Errorf("offered in TLS:\n%s", inside)
		}
		if reply := r.says(c, tg.startTLS, ""); reply.OK() {
			t.Errorf("%s in TLS: got %q", tg.startTLS, reply)
		}
		r.enter(c, "alice")
		r.lands(c, "legacy")
		if got := r.legacy.Logins()[0].Client; got != c.LocalAddr() {
			t.Errorf("client: got %v, want %v: what was said in the clear is forgotten", got, c.LocalAddr())
		}
		if reply := r.says(c, tg.startTLS, ""); reply.OK() {
			t.Errorf("%s behind the login: got %q", tg.startTLS, reply)
		}
	})
}

// introduce announces somebody as a trusted peer does, in XCLIENT's attributes of POP3.
func introduce(r *mailRig, c mailClient, attributes string) {
	r.t.Helper()
	switch r.name {
	case "imap":
		names := map[string]string{"ADDR": "x-originating-ip", "PORT": "x-originating-port", "DESTADDR": "x-connected-ip", "DESTPORT": "x-connected-port",
			"TTL": "x-proxy-ttl", "SESSION": "x-session-id", "CLIENT-TRANSPORT": "x-client-transport"}
		var list []string
		for pair := range strings.FieldsSeq(attributes) {
			key, value, _ := strings.Cut(pair, "=")
			list = append(list, mailfake.Quote(names[key])+" "+mailfake.Quote(value))
		}
		r.says(c, "ID ("+strings.Join(list, " ")+")", "OK")
	case "submission":
		r.says(c, "EHLO proxy.example.org", "250")
		r.says(c, "XCLIENT "+strings.ReplaceAll(attributes, "ADDR=2001", "ADDR=IPV6:2001"), "220")
		r.says(c, "EHLO client.example.org", "250")
	default:
		r.says(c, "XCLIENT "+attributes, strings.Fields(r.hello)[0])
	}
}

// What POP3 and submission keep between commands is gone behind the handshake (SECURITY 2).
func TestStateIsForgotten(t *testing.T) {
	r := newMailRig(t, tongueOf("pop3"), stage{listenerTLS: "starttls"})
	c := r.clear(mailfake.ClientOptions{})
	r.says(c, "USER alice", "+OK")
	r.says(c, "UTF8", "+OK")
	if err := c.StartTLS(mode.clientTLS()); err != nil {
		t.Fatal(err)
	}
	r.says(c, "PASS "+password, "-ERR")
	r.enter(c, "alice")
	r.lands(c, "legacy")
	if r.legacy.Logins()[0].UTF8 {
		t.Error("UTF8 of before the handshake was replayed")
	}
}

// A backend that is to do STARTTLS and does not, or says something on the way, gets no credentials, and nothing of what it
// says reaches the client (SECURITY 4 to 7).
func TestMailBackendStartTLS(t *testing.T) {
	eachTongue(t, func(t *testing.T, tg tongue) {
		b := &switchboard{}
		r := newMailRig(t, tg, stage{legacyTLS: "starttls", onLegacy: b.options(), server: "backend_connect_retries = 0", mappings: "nina new\n"})
		answer := func(text string) mailfake.Hooks {
			return on(mailfake.OnCommand, mailfake.ForVerb(tg.startTLS, mailfake.Say(text)))
		}
		listed := map[string]mailfake.Hooks{ // everything but STARTTLS
			"imap":        on(mailfake.OnGreeting, mailfake.Say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")),
			"pop3":        on(mailfake.OnCommand, mailfake.ForVerb("CAPA", mailfake.Say("+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n"))),
			"managesieve": on(mailfake.OnGreeting, mailfake.Say("\"SASL\" \"PLAIN\"\r\n\"SIEVE\" \"fileinto\"\r\nOK \"injected\"\r\n")),
			"submission":  on(mailfake.OnCommand, mailfake.ForVerb("EHLO", mailfake.Say("250-injected\r\n250 AUTH PLAIN LOGIN\r\n"))),
		}[tg.name]
		begun := map[string]string{"imap": "{tag} OK begin\r\n", "pop3": "+OK begin\r\n", "managesieve": "OK \"begin\"\r\n", "submission": "220 begin\r\n"}[tg.name]
		in := map[string]string{"imap": "* OK injected\r\nm1 OK injected\r\nm2 OK injected\r\nm3 OK injected\r\n", "pop3": "+OK injected\r\n+OK injected\r\n",
			"managesieve": "OK \"injected\"\r\nOK \"injected\"\r\n", "submission": "250 injected\r\n235 2.7.0 injected\r\n"}[tg.name]
		cases := []hostile{
			{"not offered", listed},
			{"NO", answer("{tag} NO injected\r\n")}, {"BAD", answer("{tag} BAD injected\r\n")}, {"-ERR", answer("-ERR injected\r\n")},
			{"+", answer("+ injected\r\n")}, {"454", answer("454 4.7.0 injected\r\n")}, {"354", answer("354 injected\r\n")}, {"NO, sieve", answer("NO \"injected\"\r\n")},
			{"login answered", answer(in)},
			{"bytes behind the go-ahead", on(mailfake.OnStartTLS, mailfake.Say(begun+in))},
			{"part of a line behind the go-ahead", on(mailfake.OnStartTLS, mailfake.Say(begun+in[:1]))},
			{"bytes in a segment of their own", on(mailfake.OnStartTLS, mailfake.Chain(mailfake.SayFirst(begun), mailfake.Say(in)))},
			{"closes behind the go-ahead", on(mailfake.OnStartTLS, mailfake.SayAndEnd(begun))},
			{"no TLS behind the go-ahead", on(mailfake.OnStartTLS, mailfake.SayAndEnd(begun+strings.Repeat(in, 10)))},
		}
		for _, c := range append(cases, saidInTheClear[tg.name]...) {
			b.set(c.hooks, nil)
			before := len(r.legacy.Sessions())
			cl := r.client()
			if reply := r.plain(cl, "alice", password, tg.down); strings.Contains(reply.String()+strings.Join(reply.Untagged, ""), "injected") {
				t.Errorf("%s: got %q", c.name, reply)
			}
			r.answers(cl)
			for _, s := range r.legacy.Sessions()[before:] {
				if s.TLS || s.Attempts > 0 || strings.Contains(strings.Join(s.Verbs, " "), "AUTH") || strings.Contains(strings.Join(s.Verbs, " "), "LOGIN") {
					t.Errorf("%s: the backend was sent %q, %d attempts", c.name, s.Verbs, s.Attempts)
				}
			}
			r.enter(cl, "nina")
			r.lands(cl, "new")
			cl.Close()
		}
		b.set(nil, nil)
		r.enter(r.client(), "alice")
		if s := r.legacy.Logins()[0]; !s.TLS {
			t.Error("logged in without TLS")
		}
	})
}

// hostile is a behaviour of a backend.
type hostile struct {
	name  string
	hooks mailfake.Hooks
}

// saidInTheClear ends a login, too.
var saidInTheClear = map[string][]hostile{
	"imap": {
		{"PREAUTH", on(mailfake.OnGreeting, mailfake.Say("* PREAUTH injected\r\n"))},
		{"referral", on(mailfake.OnGreeting, mailfake.Say("* BYE [REFERRAL imap://injected/] injected\r\n"))},
	},
	"pop3":        {{"logged in already", on(mailfake.OnCommand, mailfake.ForVerb("STLS", mailfake.SayAndEnd("-ERR [AUTH] injected\r\n")))}},
	"managesieve": {{"referral", on(mailfake.OnGreeting, mailfake.Say("BYE (REFERRAL \"sieve://injected\") \"injected\"\r\n"))}},
	"submission":  {{"no service", on(mailfake.OnGreeting, mailfake.Say("554 injected\r\n"))}},
}

// Capabilities of before the handshake count for nothing, and untagged data of before it are not relayed (SPEC 6, SECURITY 7).
func TestMailCapabilitiesAnew(t *testing.T) {
	lists := map[string][2]string{ // before and inside TLS
		"imap":        {"IMAP4rev1 STARTTLS SASL-IR AUTH=PLAIN AUTH=XOAUTH2", "IMAP4rev1 LOGINDISABLED AUTH=LOGIN"},
		"pop3":        {"STLS\nUSER\nSASL PLAIN XOAUTH2", "TOP\nSASL LOGIN"},
		"managesieve": {"STARTTLS\nSASL PLAIN XOAUTH2", "SIEVE fileinto\nSASL LOGIN"},
		"submission":  {"STARTTLS\nAUTH PLAIN XOAUTH2", "AUTH LOGIN"},
	}
	eachTongue(t, func(t *testing.T, tg tongue) {
		full := &seen{}
		o := mailfake.Options{Check: full.check, Capabilities: lists[tg.name][0], CapabilitiesTLS: lists[tg.name][1]}
		if tg.name == "imap" {
			o.Greeting = "* OK [ALERT] injected"
		}
		r := newMailRig(t, tg, stage{legacyTLS: "starttls", onLegacy: o})
		c := r.client()
		reply, err := c.Authenticate("XOAUTH2", mailfake.InitialResponse, mailfake.XOAuth2Frame("alice", token))
		if err != nil || reply.String() != tg.refused {
			t.Errorf("mechanism of before TLS: got %q, %v; want %q", reply, err, tg.refused)
		}
		if reply := r.plain(c, "alice", password, ""); !reply.OK() || strings.Contains(strings.Join(reply.Untagged, ""), "injected") {
			t.Errorf("got %q, %q", reply, reply.Untagged)
		}
		if got := full.take(); got != "LOGIN /alice" {
			t.Errorf("the backend was asked %q, want LOGIN", got)
		}
		r.lands(c, "legacy")
	})
}
