package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mailsplice/core/config"
	"mailsplice/core/mailfake"
)

// probed probes one leg of a destination "back" and returns what was written. more are lines of the destination.
func probed(t *testing.T, protocol string, port uint16, tlsMode, more string) (string, error) {
	t.Helper()
	return probedConf(t, fmt.Sprintf("%s\n[destination.back.protocol.%s]\nport = %d\ntls = %q\n", more, protocol, port, tlsMode))
}

// probedConf probes what a configuration declares behind [destination.back].
func probedConf(t *testing.T, text string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := Probe(context.Background(), probeConf(t, text), &out)
	return out.String(), err
}

func probeConf(t *testing.T, text string) *config.Config {
	t.Helper()
	const frame = `[server]
backend_timeout = "%s"
hostname = "proxy.example.org"
[mapping]
source = "file"
[mapping.file]
path = "maps"
[routing]
default_destination = "back"
[admin]
bind = "127.0.0.1:9443"
bearer_token = "` + bearer + `"
[destination.back]
allow_plaintext_auth = true
`
	dir := t.TempDir()
	timeout := "20s"
	if rest, ok := strings.CutPrefix(text, "hasty\n"); ok {
		timeout, text = "500ms", rest
	}
	if !strings.Contains(text, "host = ") && !strings.Contains(text, "hosts = ") {
		text = "host = \"127.0.0.1\"\n" + text
	}
	for name, content := range map[string]string{"maps": "", "conf": fmt.Sprintf(frame, timeout) + text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, _, err := config.Load(filepath.Join(dir, "conf"), LoadOptions())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// leavesNothing asserts that no goroutine and no descriptor is left at the test's end, when the backends are closed.
func leavesNothing(t *testing.T) {
	t.Helper()
	freePort(t) // Go's own poller makes its descriptors before they are counted
	ignore, fds := goleak.IgnoreCurrent(), openFDs(t)
	t.Cleanup(func() {
		goleak.VerifyNone(t, ignore)
		if now := openFDs(t); now > fds {
			t.Errorf("%d descriptors are open, %d were before", now, fds)
		}
	})
}

// fake is a backend of a protocol, with TLS or without.
func fake(t *testing.T, p mailfake.Protocol, tlsMode string, o mailfake.Options) *mailfake.Backend {
	t.Helper()
	o.Name, o.Protocol = "back", p
	if tlsMode != "plain" {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{backendCertificate()}}
		o.Implicit = tlsMode == "implicit"
	}
	b, err := mailfake.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Every protocol, every kind of TLS and of forwarding: the leg is found good, no login was tried, and the backend was told
// of us where it should be.
func TestProbe(t *testing.T) {
	leavesNothing(t)
	pinned := "tls_server_name = \"backend.test\"\ntls_pinned_cert_sha256 = \"" + pin(backendCertificate()) + "\"\n"
	caps := map[mailfake.Protocol]string{mailfake.IMAP: "IMAP4rev1", mailfake.POP3: "RESP-CODES", mailfake.ManageSieve: "VERSION 1.0",
		mailfake.Submission: "AUTH PLAIN", mailfake.SMTP: "8BITMIME", mailfake.LMTP: "8BITMIME"}
	for p, capability := range caps {
		for _, mode := range []string{"plain", "starttls", "implicit"} {
			for _, forwarding := range []string{"none", "proxy", "xclient"} {
				o := mailfake.Options{}
				trust := "not asked"
				switch {
				case forwarding == "proxy":
					o.Proxy, trust = mailfake.ProxyRequired, "it took the PROXY header"
				case forwarding == "xclient":
					o.XClient, trust = mailfake.XClientDovecot, "it takes our word about clients"
				}
				b := fake(t, p, mode, o)
				name := fmt.Sprintf("%s %s %s", p, mode, forwarding)
				out, err := probed(t, p.String(), b.Addr().Port(), mode, pinned+"forwarding = \""+forwarding+"\"\n")
				wants := []string{fmt.Sprintf("back %s  127.0.0.1:%d %s\n", p, b.Addr().Port(), mode), "forwarding    " + forwarding + "\n", capability,
					"trust         " + trust, "result        ok\n1 legs probed, 0 failed\n"}
				if mode != "plain" {
					wants = append(wants, "tls           TLS 1.3 ", `certificate   "backend.test"`, "WARNING: in 0 days", "sha256        "+pin(backendCertificate())+"\n")
				}
				for _, want := range wants {
					if !strings.Contains(out, want) {
						t.Errorf("%s: %q is not in\n%s", name, want, out)
					}
				}
				if err != nil || strings.Contains(out, "sha256") != (mode != "plain") {
					t.Errorf("%s: %v\n%s", name, err, out)
				}
				checkTold(t, name, forwarding, b)
			}
		}
	}
}

// checkTold looks at what the backend saw of a probe.
func checkTold(t *testing.T, name, forwarding string, b *mailfake.Backend) {
	t.Helper()
	if !b.Await(patience, func(c mailfake.Counts) bool { return c.Open == 0 }) {
		t.Errorf("%s: the connection stays open", name)
	}
	s := b.Sessions()
	if len(s) != 1 || s[0].Attempts != 0 {
		t.Fatalf("%s: got sessions %+v, want one without a login", name, s)
	}
	id, _ := s[0].Field("x-session-id")
	session, _ := s[0].Attribute("SESSION")
	told := s[0].Proxy != nil && s[0].Proxy.Source == s[0].Peer || id == probeSession || session == probeSession
	if told != (forwarding != "none") || s[0].Client != s[0].Peer {
		t.Errorf("%s: told %v, client %v of %v", name, told, s[0].Client, s[0].Peer)
	}
	if forwarding == "xclient" && b.Protocol() != mailfake.IMAP && s[0].XClients == 0 {
		t.Errorf("%s: no XCLIENT", name)
	}
}

// Legs that do not do what the configuration asks of them.
func TestProbeFailures(t *testing.T) {
	checked := "tls_server_name = \"backend.test\"\nforwarding = \"none\"\n"
	const plainProxy, plainXClient = "forwarding = \"proxy\"\n", "forwarding = \"xclient\"\n"
	say := func(m mailfake.Moment, text string) mailfake.Options {
		return mailfake.Options{Hooks: mailfake.Hooks{m: mailfake.SayAndEnd(text)}}
	}
	for _, c := range []struct {
		name     string
		protocol mailfake.Protocol
		mode     string
		backend  mailfake.Options
		conf     string
		says     string
	}{
		{"nobody vouches for it", mailfake.IMAP, "implicit", mailfake.Options{}, checked, "checking certificate: "},
		{"the same by STARTTLS", mailfake.POP3, "starttls", mailfake.Options{}, checked, "checking certificate: "},
		{"another pin", mailfake.IMAP, "implicit", mailfake.Options{}, checked + "tls_pinned_cert_sha256 = \"" + strings.Repeat("ab", 32) + "\"\n", "pinned is abab"},
		{"imap, ID is not offered", mailfake.IMAP, "plain", mailfake.Options{Capabilities: "IMAP4rev1 AUTH=PLAIN"}, plainXClient, "NO: it does not offer ID"},
		{"imap, distrusted", mailfake.IMAP, "plain", mailfake.Options{DistrustID: true, Capabilities: "IMAP4rev1 ID LOGINDISABLED"}, plainXClient, "NO: it took the ID, but still forbids logins"},
		{"imap, ID refused", mailfake.IMAP, "plain", mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnCommand: mailfake.ForVerb("ID", mailfake.Say("{tag} NO not you\r\n"))}}, plainXClient, `NO: to ID it says "NO not you"`},
		{"pop3, no XCLIENT", mailfake.POP3, "plain", mailfake.Options{}, plainXClient, "NO: its greeting does not offer XCLIENT"},
		{"managesieve, no XCLIENT", mailfake.ManageSieve, "plain", mailfake.Options{}, plainXClient, "NO: it does not offer XCLIENT"},
		{"submission, no XCLIENT", mailfake.Submission, "plain", mailfake.Options{}, plainXClient, "NO: it does not offer XCLIENT"},
		{"smtp, XCLIENT without ADDR", mailfake.SMTP, "plain", mailfake.Options{XClient: "PORT HELO"}, plainXClient, "NO: its XCLIENT takes no ADDR"},
		{"lmtp, XCLIENT refused", mailfake.LMTP, "plain", mailfake.Options{XClient: mailfake.XClientPostfix, Hooks: mailfake.Hooks{mailfake.OnCommand: mailfake.ForVerb("XCLIENT", mailfake.Say("550-5.7.14 no\r\n550 never\r\n"))}},
			plainXClient, `NO: to XCLIENT it says "550 5.7.14 no / never"`},
		{"pop3, XCLIENT refused", mailfake.POP3, "plain", mailfake.Options{XClient: "x", Hooks: mailfake.Hooks{mailfake.OnCommand: mailfake.ForVerb("XCLIENT", mailfake.Say("-ERR no\r\n"))}}, plainXClient, `NO: to XCLIENT it says "-ERR no"`},
		{"managesieve, XCLIENT refused", mailfake.ManageSieve, "plain", mailfake.Options{XClient: "x", Hooks: mailfake.Hooks{mailfake.OnCommand: mailfake.ForVerb("XCLIENT", mailfake.Say("NO \"no\"\r\n"))}}, plainXClient, `NO: to XCLIENT it says "NO \"no\""`},
		{"PREAUTH", mailfake.IMAP, "plain", mailfake.Options{Greeting: "* PREAUTH hello"}, "forwarding = \"none\"\n", `greeting: it says "* PREAUTH hello"`},
		{"BYE", mailfake.IMAP, "plain", say(mailfake.OnGreeting, "* BYE \x1b[2J full\r\n"), "forwarding = \"none\"\n", `greeting: it says "* BYE \x1b[2J full"`},
		{"421", mailfake.SMTP, "plain", say(mailfake.OnGreeting, "421 busy\r\n"), "forwarding = \"none\"\n", `greeting: it says "421 busy"`},
		{"garbage", mailfake.Submission, "plain", say(mailfake.OnGreeting, "2\r\n"), "forwarding = \"none\"\n", `greeting: it says "2"`},
		{"no line end", mailfake.POP3, "plain", say(mailfake.OnGreeting, strings.Repeat("x", 20<<10)), "forwarding = \"none\"\n", "greeting: line too long"},
		{"talks without end", mailfake.ManageSieve, "plain", say(mailfake.OnGreeting, strings.Repeat("\"A\" \"b\"\r\n", 40<<10)), "forwarding = \"none\"\n", "more than 262144 bytes without an end"},
		{"a literal without end", mailfake.IMAP, "plain", say(mailfake.OnGreeting, "* OK {99999999}\r\n"), "forwarding = \"none\"\n", "more than 262144 bytes"},
		{"closes at once", mailfake.POP3, "plain", mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnGreeting: mailfake.Finish()}}, "forwarding = \"none\"\n", "the connection was ended; it may wait for a PROXY header, which forwarding = \"none\" does not send"},
		{"wants PROXY", mailfake.POP3, "plain", mailfake.Options{Proxy: mailfake.ProxyRequired}, "hasty\nforwarding = \"xclient\"\n", "it may wait for a PROXY header"},
		{"says nothing", mailfake.IMAP, "plain", mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnGreeting: mailfake.Hang()}}, "hasty\nforwarding = \"none\"\n", "greeting: no answer in time"},
		{"imap wants no PROXY", mailfake.IMAP, "plain", mailfake.Options{}, plainProxy, "it may not expect the PROXY header"},
		{"pop3 wants no PROXY", mailfake.POP3, "plain", mailfake.Options{}, plainProxy, "it may not expect the PROXY header"},
		{"managesieve wants no PROXY", mailfake.ManageSieve, "plain", mailfake.Options{}, plainProxy, "it may not expect the PROXY header"},
		{"lmtp wants no PROXY", mailfake.LMTP, "plain", mailfake.Options{}, plainProxy, "it may not expect the PROXY header"},
		{"imaps wants no PROXY", mailfake.IMAP, "implicit", mailfake.Options{}, "tls_server_name = \"backend.test\"\n" + plainProxy, "it may not expect the PROXY header"},
		{"imaps wants PROXY", mailfake.IMAP, "implicit", mailfake.Options{Proxy: mailfake.ProxyRequired}, checked, "it may wait for a PROXY header"},
		{"smtp wants no PROXY", mailfake.SMTP, "plain", mailfake.Options{}, plainProxy, "it may not expect the PROXY header"},
		{"EHLO is refused", mailfake.Submission, "plain", mailfake.Options{NoCapabilities: true}, "forwarding = \"none\"\n", `capabilities: EHLO: it says "50`},
		{"STARTTLS: injection", mailfake.IMAP, "starttls", mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnStartTLS: mailfake.Inject("* OK injected\r\n")}}, checked, "STARTTLS: unexpected bytes before the handshake"},
		{"STARTTLS: refused", mailfake.Submission, "starttls", mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnCommand: mailfake.ForVerb("STARTTLS", mailfake.Say("454 no\r\n"))}}, checked, `STARTTLS: it says "454 no"`},
		{"STARTTLS: refused, sieve", mailfake.ManageSieve, "starttls", mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnCommand: mailfake.ForVerb("STARTTLS", mailfake.Say("NO {2}\r\nno\r\n"))}}, checked, `STARTTLS: it says "NO {2}"`},
	} {
		b := fake(t, c.protocol, c.mode, c.backend)
		out, err := probed(t, c.protocol.String(), b.Addr().Port(), c.mode, c.conf)
		if !errors.Is(err, ErrProbe) || !strings.Contains(out, c.says) || !strings.Contains(out, "result        FAILED: ") || !strings.Contains(out, "1 failed") {
			t.Errorf("%s: %v, want %q in\n%s", c.name, err, c.says, out)
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("%s: control characters in %q", c.name, out)
		}
		if shown := strings.Contains(out, "sha256        "+pin(backendCertificate())); shown != strings.Contains(c.says, "certificate") && !strings.Contains(c.says, "pinned") {
			t.Errorf("%s: the certificate is shown: %v\n%s", c.name, shown, out)
		}
		if logins := b.Counts().Accepted + b.Counts().Refused; logins > 0 {
			t.Errorf("%s: %d logins were tried", c.name, logins)
		}
	}
}

// What fails before a word is said, and STARTTLS that is not there.
func TestProbeUnreachable(t *testing.T) {
	const none = "tls_server_name = \"backend.test\"\nforwarding = \"none\"\n"
	if out, err := probed(t, "imap", mustPort(t).Port(), "plain", none); !errors.Is(err, ErrProbe) || !strings.Contains(out, "connection refused") {
		t.Errorf("nobody listens: %v\n%s", err, out)
	}
	b := fake(t, mailfake.IMAP, "plain", mailfake.Options{})
	if out, err := probed(t, "imap", b.Addr().Port(), "starttls", none); !errors.Is(err, ErrProbe) || !strings.Contains(out, "FAILED: it does not offer STARTTLS") {
		t.Errorf("no STARTTLS: %v\n%s", err, out)
	}
	if out, err := probed(t, "imap", b.Addr().Port(), "implicit", none); !errors.Is(err, ErrProbe) || !strings.Contains(out, "FAILED: TLS handshake with backend") {
		t.Errorf("no TLS: %v\n%s", err, out)
	}
}

// A backend that does not tell is no failure: Dovecot up to 2.3 tells nobody.
func TestProbeUntold(t *testing.T) {
	b := fake(t, mailfake.IMAP, "plain", mailfake.Options{DistrustID: true})
	out, err := probed(t, "imap", b.Addr().Port(), "plain", "forwarding = \"xclient\"\n")
	if err != nil || !strings.Contains(out, `it does not tell: to ID it says "ID completed."`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// An http leg answers a request for the root, whatever it says.
func TestProbeHTTP(t *testing.T) {
	seen := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Method + " " + r.URL.Path + " " + r.Host
		w.Header().Set("Server", "back/1")
		w.WriteHeader(http.StatusNotFound)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{backendCertificate()}}
	server.StartTLS()
	defer server.Close()
	port := netip.MustParseAddrPort(server.Listener.Addr().String()).Port()
	const trusting = "tls_server_name = \"web.test\"\ntls_allow_invalid_certs = true\nforwarding = \"xclient\"\n"
	out, err := probed(t, "http", port, "implicit", trusting)
	for _, want := range []string{"forwarding    none on this leg (xclient on the destination)\n", "HTTP/1.1 404 Not Found | Server: back/1", "not asked", "result        ok"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if len(seen) != 1 {
		t.Fatalf("got %d requests, %v, want one", len(seen), err)
	}
	if got := <-seen; err != nil || got != "HEAD / web.test" {
		t.Errorf("got request %q, %v", got, err)
	}
	b := fake(t, mailfake.POP3, "plain", mailfake.Options{})
	if out, err = probed(t, "http", b.Addr().Port(), "plain", "forwarding = \"none\"\n"); !errors.Is(err, ErrProbe) || !strings.Contains(out, `it says "+OK back ready."`) {
		t.Errorf("no HTTP: %v\n%s", err, out)
	}
}

// All hosts of a list, in the order of the configuration, however long each takes.
func TestProbeOrder(t *testing.T) {
	b := fake(t, mailfake.IMAP, "plain", mailfake.Options{})
	port := b.Addr().Port()
	text := "hosts = [\"127.0.0.1\", \"localhost\"]\nforwarding = \"none\"\n" + fmt.Sprintf("[destination.back.protocol.imap]\nport = %d\ntls = \"plain\"\n", port)
	text += fmt.Sprintf("[destination.another]\nhost = \"127.0.0.1\"\nproxy_protocol = false\nallow_plaintext_auth = true\n[destination.another.protocol.imap]\nport = %d\ntls = \"plain\"\n", port)
	out, err := probedConf(t, text)
	var heads []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, " ") {
			heads = append(heads, strings.TrimSpace(line))
		}
	}
	want := fmt.Sprintf("another imap  127.0.0.1:%[1]d plain\nback imap  127.0.0.1:%[1]d plain\nback imap  localhost:%[1]d plain\n3 legs probed, 0 failed", port)
	if got := strings.Join(heads, "\n"); err != nil || got != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
	}
}

// An end of ctx ends the probe; a writer that fails does, too.
func TestProbeCanceled(t *testing.T) {
	leavesNothing(t)
	greeting := make(chan struct{})
	b := fake(t, mailfake.IMAP, "plain", mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnGreeting: mailfake.Chain(mailfake.Signal(greeting), mailfake.Hang())}})
	cfg := probeConf(t, fmt.Sprintf("forwarding = \"none\"\n[destination.back.protocol.imap]\nport = %d\ntls = \"plain\"\n", b.Addr().Port()))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the probe's first connection
		<-greeting
		cancel()
	}()
	if err := Probe(ctx, cfg, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it canceled", err)
	}
	good := fake(t, mailfake.IMAP, "plain", mailfake.Options{})
	cfg = probeConf(t, fmt.Sprintf("forwarding = \"none\"\n[destination.back.protocol.imap]\nport = %d\ntls = \"plain\"\n", good.Addr().Port()))
	if err := Probe(context.Background(), cfg, brokenWriter{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want the writer's error", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, net.ErrClosed }
