package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

// aHello is the record that crypto/tls begins with.
func aHello(t *testing.T) string {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	sent := make(chan []byte, 1)
	go func() { // ends with the first write, or with the pipe
		p := make([]byte, 4<<10)
		n, _ := far.Read(p)
		sent <- p[:n]
		far.Close()
	}()
	if err := tls.Client(near, anybody()).Handshake(); err == nil {
		t.Fatal("a handshake with nobody")
	}
	return string(<-sent)
}

// SECURITY 1 (CVE-2011-0411, CVE-2014-3556, CVE-2021-33515): what is glued behind STARTTLS gets no answer, neither in the clear
// nor inside TLS: there is no go-ahead, and the connection ends.
func TestInjectionBehindSTARTTLS(t *testing.T) {
	r := newRig(t, stage{listenerTLS: "starttls"})
	hello := aHello(t)
	for _, c := range []struct {
		name     string
		segments []string
	}{
		{"a command", []string{"A STARTTLS\r\nX NOOP\r\n"}},
		{"a login", []string{"A STARTTLS\r\nX LOGIN alice " + password + "\r\n"}},
		{"a command behind others", []string{"B NOOP\r\nA STARTTLS\r\nX NOOP\r\n"}},
		{"the command split", []string{"A START", "TLS\r\nX NOOP\r\n"}},
		{"what is glued on split", []string{"A STARTTLS\r\nX NO", "OP\r\n"}},
		{"one byte", []string{"A STARTTLS\r\nX"}},
		{"an empty line", []string{"A STARTTLS\r\n\r\n"}},
		{"a line feed", []string{"A STARTTLS\r\n\n"}},
		{"a ClientHello", []string{"A STARTTLS\r\n" + hello}},
		{"the beginning of a ClientHello", []string{"A STARTTLS\r\n\x16\x03\x01"}},
		{"a command and a ClientHello", []string{"A STARTTLS\r\nX NOOP\r\n" + hello}},
		{"a second STARTTLS", []string{"A STARTTLS\r\nX STARTTLS\r\n"}},
	} {
		cl, err := r.connect(mailfake.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		before := strings.Count(r.log.String(), "reason=injection")
		for _, s := range c.segments {
			if err := cl.SendRaw(s); err != nil {
				break // it has ended at the first
			}
		}
		end := r.ended(cl)
		if i := slices.IndexFunc(end.Lines, func(l string) bool { return !strings.HasPrefix(l, "B OK") }); i >= 0 {
			t.Errorf("%s: got %q, want no answer", c.name, end.Lines)
		}
		r.await(c.name+": the reason in the log", func() bool { return strings.Count(r.log.String(), "reason=injection") > before })
		cl.Close()
	}
	if got := r.legacy.Counts().Connections; got != 0 {
		t.Errorf("visits to the backend: got %d, want 0", got)
	}
	r.landed(r.loginBy(anybody()), "legacy")
}

// SECURITY 1, the other half of it: what comes in the clear behind the go-ahead is no ClientHello and no command.
func TestClearTextBehindTheGoAhead(t *testing.T) {
	r := newRig(t, stage{listenerTLS: "starttls"})
	for _, text := range []string{"X NOOP\r\n", "X LOGIN alice " + password + "\r\n", "\r\n", "\x16X NOOP\r\n"} {
		cl, err := r.connect(mailfake.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cl.Must("STARTTLS"); err != nil {
			t.Fatal(err)
		}
		cl.SendRaw(text)
		if end := r.ended(cl); len(end.Lines) != 0 {
			t.Errorf("%q: got %q, want no answer", text, end.Lines)
		}
		cl.Close()
	}
}

// SECURITY 2: nothing said before the handshake counts behind it, and there is no second one.
func TestStateDoesNotSurviveSTARTTLS(t *testing.T) {
	r := newRig(t, stage{listenerTLS: "starttls", legacyTLS: "starttls", legacyForwarding: "xclient"})
	for _, inside := range []string{"", `ID ("name" "inside")`} {
		cl, err := r.connect(mailfake.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r.command(cl, `ID ("name" "clear" "os" "clear")`, "OK")
		r.command(cl, "STARTTLS", "OK")
		if err := cl.TLS(anybody()); err != nil {
			t.Fatal(err)
		}
		r.command(cl, "STARTTLS", "BAD")
		if inside != "" {
			r.command(cl, inside, "OK")
		}
		r.command(cl, "LOGIN alice "+password, "OK")
		s := last(t, r.legacy)
		var fields []string
		for _, f := range s.ID {
			if !strings.HasPrefix(f.Name, "x-") {
				fields = append(fields, f.Name+"="+f.Value)
			}
		}
		if want := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(inside, `ID ("`), `")`), `" "`, "="); strings.Join(fields, " ") != want {
			t.Errorf("the backend was told %q, want %q", fields, want)
		}
		r.command(cl, "STARTTLS", "BAD") // behind the login it is the backend's to refuse
	}
	cl := r.dialBare()
	r.command(cl, "STARTTLS", "OK")
	cl.SendRaw(aHello(t)[:20])
	cl.CloseWrite()
	if end := r.ended(cl); len(end.Lines) != 0 {
		t.Errorf("half a handshake: got %q", end.Lines)
	}
}

// dialBare connects in the clear and reads the greeting.
func (r *rig) dialBare() *mailfake.Client {
	r.t.Helper()
	c, err := r.connect(mailfake.ClientOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// SECURITY 3: capabilities are those of the leg as it is now; before TLS nobody logs in.
func TestCapabilitiesAfterSTARTTLS(t *testing.T) {
	r := newRig(t, stage{listenerTLS: "starttls", plainAuth: "false"})
	cl := r.dialBare()
	check := func(where, list string, want, not []string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(list, w) {
				t.Errorf("%s: got %q, want %q in it", where, list, w)
			}
		}
		for _, w := range not {
			if strings.Contains(list, w) {
				t.Errorf("%s: got %q, want no %q in it", where, list, w)
			}
		}
	}
	clear, sealed := []string{" STARTTLS", " LOGINDISABLED"}, []string{" AUTH=PLAIN", " AUTH=XOAUTH2"}
	check("greeting", cl.Greeting, clear, sealed)
	check("in the clear", r.command(cl, "CAPABILITY", "OK").Find("* CAPABILITY"), clear, sealed)
	r.command(cl, "LOGIN alice "+password, "NO [PRIVACYREQUIRED]")
	r.command(cl, "AUTHENTICATE PLAIN", "NO [PRIVACYREQUIRED]")
	if got := r.legacy.Counts().Connections; got != 0 {
		t.Errorf("visits to the backend: got %d, want 0", got)
	}
	r.command(cl, "STARTTLS", "OK")
	if err := cl.TLS(anybody()); err != nil {
		t.Fatal(err)
	}
	check("inside", r.command(cl, "CAPABILITY", "OK").Find("* CAPABILITY"), sealed, clear)
	r.command(cl, "LOGIN alice "+password, "OK")
}

// evil is what a backend, or somebody in front of it, says in the clear. It must reach nobody.
const evil = "evil-words"

// SECURITY 4, 5 and 6: a backend leg that does not get into TLS by the book is left before credentials, and nothing that was
// said on it reaches the client.
func TestHostileSTARTTLS(t *testing.T) {
	// refused goes on in the clear, so that it hears what is said to it then; behind goes on with TLS.
	refused := func(text string) mailfake.Options {
		return mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnCommand: mailfake.ForVerb("STARTTLS", mailfake.Say(text))}}
	}
	behind := func(text string) mailfake.Options {
		return mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnStartTLS: mailfake.Say("{tag} OK go\r\n" + text)}}
	}
	for _, c := range []struct {
		name    string
		backend mailfake.Options
	}{
		{"SECURITY 4: not offered", mailfake.Options{Greeting: "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] " + evil}},
		{"SECURITY 4: BAD", refused("{tag} BAD " + evil + "\r\n")},
		{"SECURITY 4: NO", refused("{tag} NO " + evil + "\r\n")},
		{"SECURITY 4: prompt", refused("+ " + evil + "\r\n")},
		{"SECURITY 4: 454", refused("454 4.7.0 " + evil + "\r\n")},
		{"SECURITY 4: 354", refused("354 " + evil + "\r\n")},
		{"SECURITY 4: untagged OK, then silence", refused("* OK " + evil + "\r\n")},
		{"SECURITY 4: another tag", refused("zz OK " + evil + "\r\n")},
		{"SECURITY 5: PREAUTH", mailfake.Options{Greeting: "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] " + evil}},
		{"SECURITY 5: PREAUTH without a list", mailfake.Options{Greeting: "* PREAUTH " + evil}},
		{"SECURITY 6: BYE behind the go-ahead", behind("* BYE " + evil + "\r\n")},
		{"SECURITY 6: a verdict behind the go-ahead", behind("m2 OK " + evil + "\r\nm3 OK " + evil + "\r\n")},
		{"SECURITY 6: the rest of a dialogue behind the go-ahead", behind("* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\nm2 OK done\r\n" +
			"m3 OK [CAPABILITY IMAP4rev1] " + evil + "\r\n")},
		{"SECURITY 6: one byte behind the go-ahead", behind("*")},
		{"SECURITY 6: a record's beginning behind the go-ahead", behind("\x16\x03\x03")},
		{"SECURITY 6: a segment behind the go-ahead", mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnStartTLS: mailfake.Chain(
			mailfake.SayFirst("{tag} OK go\r\n"), mailfake.Say("* BYE "+evil+"\r\n"))}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: "starttls", onLegacy: c.backend, mappings: "nina new\n",
				server: "backend_timeout = \"300ms\""})
			cl := r.secure(anybody())
			got := r.command(cl, "LOGIN alice "+password, "NO [UNAVAILABLE]")
			if all := fmt.Sprint(got.Untagged, got); strings.Contains(all, evil) {
				t.Errorf("the client was told %q", all)
			}
			for _, s := range r.legacy.Sessions() {
				if s.Attempts != 0 || slices.Contains(s.Verbs, "LOGIN") || slices.Contains(s.Verbs, "AUTHENTICATE") {
					t.Errorf("the backend was given credentials: %+v", s)
				}
			}
			r.command(cl, "LOGIN nina "+password, "OK")
			r.landed(cl, "new")
			r.command(cl, "LOGOUT", "OK")
			for _, line := range r.ended(cl).Lines {
				if strings.Contains(line, evil) {
					t.Errorf("the client was told %q", line)
				}
			}
		})
	}
}

// SECURITY 7: untagged data, alerts and referrals from before TLS are nobody's, and a referral is not followed.
func TestClearTextIsNotRelayed(t *testing.T) {
	r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: "starttls", mappings: "nina new\n",
		onLegacy: mailfake.Options{
			Greeting: "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=XOAUTH2] [ALERT] " + evil,
			Hooks: mailfake.Hooks{mailfake.OnStartTLS: mailfake.SayFirst("* OK [ALERT] " + evil + "\r\n* CAPABILITY IMAP4rev1 " + evil +
				"\r\n* NO [REFERRAL imap://" + evil + "/] " + evil + "\r\n")},
			Check: func(c mailfake.Credentials) mailfake.Verdict {
				if c.Password != password {
					return mailfake.Verdict{Text: "NO [REFERRAL imap://nina@127.0.0.1/] not here"}
				}
				return mailfake.Accept()
			}}})
	cl := r.secure(anybody())
	for _, c := range []struct{ login, want string }{{wrong, "NO"}, {password, "OK"}} {
		got := r.command(cl, "LOGIN alice "+c.login, c.want)
		if all := fmt.Sprint(got.Untagged, got); strings.Contains(all, evil) || strings.Contains(all, "REFERRAL") {
			t.Errorf("the client was told %q", all)
		}
	}
	r.landed(cl, "legacy")
	if got := r.new.Counts().Connections; got != 0 {
		t.Errorf("the referral was followed: %d visits", got)
	}
}
