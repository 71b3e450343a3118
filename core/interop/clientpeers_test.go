package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"mailsplice/core/mailfake"
)

// cipher is a suite by its names: the standard one, OpenSSL's and GnuTLS's.
type cipher struct {
	name, openssl, gnutls string
	tls13                 bool
	lane                  string // empty: the usual one
}

var ciphers = []cipher{
	{"TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", "AES-128-GCM", true, ""},
	{"TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", "AES-256-GCM", true, ""},
	{"TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", true, ""},
	{"ECDHE_ECDSA_AES_128_GCM", "ECDHE-ECDSA-AES128-GCM-SHA256", "AES-128-GCM:-KX-ALL:+ECDHE-ECDSA", false, ""},
	{"ECDHE_ECDSA_AES_256_GCM", "ECDHE-ECDSA-AES256-GCM-SHA384", "AES-256-GCM:-KX-ALL:+ECDHE-ECDSA", false, ""},
	{"ECDHE_ECDSA_CHACHA20", "ECDHE-ECDSA-CHACHA20-POLY1305", "CHACHA20-POLY1305:-KX-ALL:+ECDHE-ECDSA", false, ""},
	{"ECDHE_RSA_AES_128_GCM", "ECDHE-RSA-AES128-GCM-SHA256", "AES-128-GCM:-KX-ALL:+ECDHE-RSA", false, ""},
	{"ECDHE_RSA_AES_256_GCM", "ECDHE-RSA-AES256-GCM-SHA384", "AES-256-GCM:-KX-ALL:+ECDHE-RSA", false, ""},
	{"ECDHE_RSA_CHACHA20", "ECDHE-RSA-CHACHA20-POLY1305", "CHACHA20-POLY1305:-KX-ALL:+ECDHE-RSA", false, ""},
	{"ECDHE_RSA_AES_128_CBC", "ECDHE-RSA-AES128-SHA", "AES-128-CBC:-KX-ALL:+ECDHE-RSA", false, "conn"},
	{"ECDHE_ECDSA_AES_256_CBC", "ECDHE-ECDSA-AES256-SHA", "AES-256-CBC:-KX-ALL:+ECDHE-ECDSA", false, "conn"},
}

// opensslFlags make OpenSSL offer, or accept, nothing else.
func (c cipher) opensslFlags() []string {
	if c.tls13 {
		return []string{"-tls1_3", "-ciphersuites", c.openssl}
	}
	return []string{"-tls1_2", "-cipher", c.openssl}
}

func (c cipher) curlFlags() []string {
	if c.tls13 {
		return []string{"--tlsv1.3", "--tls13-ciphers", c.openssl}
	}
	return []string{"--tls-max", "1.2", "--ciphers", c.openssl}
}

func (c cipher) gnutlsPriority() string {
	version := "1.2"
	if c.tls13 {
		version = "1.3"
	}
	return "NORMAL:-VERS-ALL:+VERS-TLS" + version + ":-CIPHER-ALL:+" + c.gnutls
}

// clientPeerScenes are the programs' own TLS on a client's leg. Each scene at one of the two homes, in turn.
func clientPeerScenes() []scene {
	var list []scene
	at := door("") // the stage's choice
	add := func(kind, name string, run func(*testing.T, *stage, string)) {
		list = append(list, scene{kind: kind, name: name, homes: bothHomes[len(list)/2%2:][:1], door: at, run: run})
	}
	for _, c := range ciphers {
		add("openssl", "s_client "+c.name, sClient(c))
		add("gnutls", c.name, gnutlsClient(c))
		add("curl", c.name, curlCipher(c))
	}
	for _, at = range []door{implicit, starttls} {
		add("openssl", "s_client resumption", sClientResumes)
		add("openssl", "s_client group that we do not take part in", sClientRetries)
		add("openssl", "s_client ALPN", sClientALPN)
		add("openssl", "s_client renegotiation", sClientRenegotiates)
		add("openssl", "s_client TLS 1.1", sClientTooOld)
		add("gnutls", "resumption", gnutlsResumes)
		add("gnutls", "rekeying", gnutlsRekeys)
	}
	at = implicit // imaplib's STARTTLS has no way to say which session
	add("imaplib", "resumption", imaplibLands("resume", "PLAIN"))
	return list
}

// sClientArgs are for the present door.
func (s *stage) sClientArgs(home string, args ...string) []string {
	out := append([]string{"s_client", "-connect", s.entrance(home).String(), "-servername", proxyHost, "-CAfile", s.proxy.path("ca.pem"),
		"-verify_return_error", "-verify_hostname", proxyHost, "-crlf"}, args...)
	if s.door == starttls {
		out = append(out, "-starttls", "imap")
	}
	return out
}

// visit types a whole session into a TLS client at a terminal; amid is typed by its caller in the middle.
func (s *stage) visit(t *testing.T, p *mailTerminal, a account, amid func()) {
	t.Helper()
	p.say(fmt.Sprintf("t1 LOGIN %s %s", mailfake.Quote(a.name), mailfake.Quote(a.password)))
	p.Until("t1 OK")
	if amid != nil {
		amid()
	}
	p.say("t2 EXAMINE INBOX")
	p.Until("t2 OK")
	p.say("t3 FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
	if got := p.Until("Subject: on "); got != a.home {
		t.Errorf("landed on %q, want %q", got, a.home)
	}
	p.Until("t3 OK")
	p.say("t4 LOGOUT")
	p.Until("t4 OK")
}

// loggedInOpenly is loggedIn for a program that comes from 127.0.0.1.
func (s *stage) loggedInOpenly(t *testing.T, home string, a account) {
	t.Helper()
	s.loggedIn(t, home, a, "PLAIN", loopback)
}

// sClient: the suite at the peer, padding in TLS 1.3, and KeyUpdates, asked back and not.
func sClient(c cipher) func(*testing.T, *stage, string) {
	return func(t *testing.T, s *stage, home string) {
		a := s.take(t, home)
		s.lanes[a.name] = c.lane
		args := append(c.opensslFlags(), "-msg")
		if c.tls13 {
			args = append(args, "-record_padding", "512")
		}
		p := start(t, "openssl", s.sClientArgs(home, args...)...)
		if got := p.Until("Cipher is "); got != c.openssl {
			t.Errorf("got suite %q, want %q", got, c.openssl)
		}
		s.visit(t, p, a, func() {
			if !c.tls13 {
				return
			}
			for i, command := range []string{"k", "K", "K", "k"} {
				p.say(command)
				p.UntilTimes("KEYUPDATE", i+1) // it drops what it reads behind a command
				p.say(fmt.Sprintf("u%d NOOP", i))
				p.Until(fmt.Sprintf("u%d OK", i))
			}
			sent, got := strings.Count(p.Said(), ">>> TLS 1.3, Handshake [length 0005], KeyUpdate"), strings.Count(p.Said(), "<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
			if sent != 4 || got != 2 {
				t.Errorf("got %d KeyUpdates sent, %d answered, want 4 and 2", sent, got)
			}
		})
		s.loggedInOpenly(t, home, a)
	}
}

func sClientResumes(t *testing.T, s *stage, home string) {
	file := filepath.Join(t.TempDir(), "session")
	for _, c := range []struct{ flag, want string }{{"-sess_out", "New, TLSv1.3"}, {"-sess_in", "Reused, TLSv1.3"}} {
		a := s.take(t, home)
		p := start(t, "openssl", s.sClientArgs(home, "-tls1_3", c.flag, file)...)
		s.visit(t, p, a, nil)
		if !strings.Contains(p.End(), c.want) {
			t.Errorf("got no %q:\n%s", c.want, p.Said())
		}
		s.loggedInOpenly(t, home, a)
	}
}

// RFC 8446 4.1.4: it offers a share of a group that we do not take part in.
func sClientRetries(t *testing.T, s *stage, home string) {
	a := s.take(t, home)
	p := start(t, "openssl", s.sClientArgs(home, "-tls1_3", "-groups", "X448:P-384", "-msg")...)
	s.visit(t, p, a, nil)
	if got := strings.Count(p.Said(), ", ServerHello"); got != 2 {
		t.Errorf("got %d ServerHellos, want HelloRetryRequest and another:\n%s", got, p.Said())
	}
	s.loggedInOpenly(t, home, a)
}

// SECURITY 21.
func sClientALPN(t *testing.T, s *stage, home string) {
	for _, foreign := range []string{"http/1.1", "h2,http/1.1", "pop3", "smtp"} {
		if out := start(t, "openssl", s.sClientArgs(home, "-alpn", foreign)...).End(); !strings.Contains(out, "no application protocol") {
			t.Errorf("%s: got no alert:\n%s", foreign, out)
		}
	}
	a := s.take(t, home)
	p := start(t, "openssl", s.sClientArgs(home, "-alpn", "http/1.1,imap")...)
	if got := p.Until("ALPN protocol: "); got != "imap" {
		t.Errorf("got ALPN %q, want imap", got)
	}
	s.visit(t, p, a, nil)
	s.loggedInOpenly(t, home, a)
}

// SECURITY 23, before the login and behind it.
func sClientRenegotiates(t *testing.T, s *stage, home string) {
	p := start(t, "openssl", s.sClientArgs(home, "-tls1_2")...)
	p.say("t0 NOOP")
	p.Until("t0 OK")
	p.say("R")
	p.Until("no renegotiation")
	p.End()
	a := s.take(t, home)
	p = start(t, "openssl", s.sClientArgs(home, "-tls1_2")...)
	p.say(fmt.Sprintf("t1 LOGIN %s %s", mailfake.Quote(a.name), mailfake.Quote(a.password)))
	p.Until("t1 OK")
	p.say("R")
	p.Until("no renegotiation")
	p.End()
	s.loggedInOpenly(t, home, a)
}

// SECURITY 23.
func sClientTooOld(t *testing.T, s *stage, home string) {
	for _, version := range []string{"-tls1_1", "-tls1"} {
		out := start(t, "openssl", s.sClientArgs(home, version, "-cipher", "ALL@SECLEVEL=0")...).End()
		if !strings.Contains(out, "alert protocol version") {
			t.Errorf("%s: got no alert:\n%s", version, out)
		}
	}
}

// gnutls starts gnutls-cli for the present door.
func (s *stage) gnutls(t *testing.T, home, priority string, args ...string) *mailTerminal {
	t.Helper()
	at := s.entrance(home)
	out := append([]string{"--x509cafile", s.proxy.path("ca.pem"), "--sni-hostname", proxyHost, "--verify-hostname", proxyHost,
		"--priority", priority, "-p", fmt.Sprint(at.Port()), at.Addr().String()}, args...)
	if s.door == starttls {
		out = append(out, "--starttls-proto", "imap")
	}
	p := start(t, "gnutls-cli", out...)
	p.crlf = true // with its own --crlf it knows no inline commands
	return p
}

func gnutlsClient(c cipher) func(*testing.T, *stage, string) {
	return func(t *testing.T, s *stage, home string) {
		a := s.take(t, home)
		s.lanes[a.name] = c.lane
		p := s.gnutls(t, home, c.gnutlsPriority())
		suite, _, _ := strings.Cut(c.gnutls, ":")
		if got := p.Until("- Description: "); !strings.Contains(got, "("+suite+")") {
			t.Errorf("got %q, want suite %q", got, suite)
		}
		s.visit(t, p, a, nil)
		s.loggedInOpenly(t, home, a)
	}
}

func gnutlsResumes(t *testing.T, s *stage, home string) {
	a := s.take(t, home)
	p := s.gnutls(t, home, "NORMAL", "--resume", "--waitresumption")
	p.Until("*** This is a resumed session")
	s.visit(t, p, a, nil)
	s.loggedInOpenly(t, home, a)
}

// KeyUpdates of GnuTLS, one that asks for ours among them.
func gnutlsRekeys(t *testing.T, s *stage, home string) {
	a := s.take(t, home)
	p := s.gnutls(t, home, "NORMAL:-VERS-ALL:+VERS-TLS1.3", "--inline-commands")
	s.visit(t, p, a, func() {
		for i, command := range []string{"^rekey^", "^rekey1^", "^rekey^"} {
			p.say(command)
			p.UntilTimes("- Rekey was completed", i+1)
			p.say(fmt.Sprintf("u%d NOOP", i))
			p.Until(fmt.Sprintf("u%d OK", i))
		}
	})
	s.loggedInOpenly(t, home, a)
}

func curlCipher(c cipher) func(*testing.T, *stage, string) {
	return func(t *testing.T, s *stage, home string) {
		a, from := s.take(t, home), s.source()
		s.lanes[a.name] = c.lane
		args := append(c.curlFlags(), "-v", "--stderr", "-")
		out, code := s.curl(t, a, from, firstMessage, userConfig(a.name, a.password), args...)
		if want := "Subject: on " + a.home; code != 0 || !strings.Contains(string(out), want) {
			t.Fatalf("got status %d and %q, want %q", code, out, want)
		}
		if !strings.Contains(string(out), " / "+c.openssl+"\n") {
			t.Errorf("got %q, want suite %s", grep(string(out), "SSL connection using"), c.openssl)
		}
		s.loggedIn(t, home, a, "PLAIN", from)
	}
}
