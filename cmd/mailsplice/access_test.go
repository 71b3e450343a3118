package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"mailsplice/core/config"
)

// closedAddr is a loopback address where nobody listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestBound(t *testing.T) {
	for _, c := range []struct{ bind, want string }{
		{"0.0.0.0:9443", "[127.0.0.1:9443]"},
		{"[::]:9443", "[[::1]:9443 127.0.0.1:9443]"},
		{"192.0.2.1:9443", "[192.0.2.1:9443]"},
		{"[2001:db8::1]:9443", "[[2001:db8::1]:9443]"},
	} {
		a, err := config.LoadAccess(confFile(t, c.bind), config.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(bound(a.Admin).dial); got != c.want {
			t.Errorf("%s: got %s, want %s", c.bind, got, c.want)
		}
	}
}

func confFile(t *testing.T, bind string) string {
	t.Helper()
	path := t.TempDir() + "/conf"
	if err := os.WriteFile(path, []byte("[admin]\nbind = \""+bind+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestParseEndpoint(t *testing.T) {
	for _, c := range []struct {
		text string
		port uint16
		want string
	}{
		{"mail.example.org:9443", 0, "mail.example.org:9443"},
		{"mail.example.org", 9444, "mail.example.org:9444"},
		{"192.0.2.1", 9444, "192.0.2.1:9444"},
		{"[2001:db8::1]:1", 0, "[2001:db8::1]:1"},
		{"[2001:db8::1]", 9444, "[2001:db8::1]:9444"},
		{"2001:db8::1", 9444, "[2001:db8::1]:9444"},
		{"mail.example.org", 0, ""},
		{"mail.example.org:0", 1, ""},
		{"mail.example.org:65536", 1, ""},
		{"", 1, ""},
	} {
		e, err := parseEndpoint(c.text, c.port)
		if got := strings.Join(e.dial, " "); got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q: got %q, %v, want %q", c.text, got, err, c.want)
		}
	}
}

// Whom ctl believes, and that it keeps the token from everybody else (SPEC 2.10).
func TestCtlTrust(t *testing.T) {
	d := newDesk(t)
	_, otherPEM, _ := certificate(t, "mail.example.org")
	d.write("other.pem", string(otherPEM))
	at := d.fake.addr()
	none := "[admin]\nbind = \"" + at.String() + "\"\nbearer_token_file = \"token\"\n"
	const cert = "[tls.certificate.a]\nkey = \"x\"\ncert = "
	for _, c := range []struct {
		name, conf, args string
		code             int
		says             string
	}{
		{"the default certificate", d.conf(at.String()), "", 0, "serving"},
		{"by a name", d.conf(at.String()), fmt.Sprintf("--admin localhost:%d", at.Port()), 0, "serving"},
		{"wildcard bind", d.conf(fmt.Sprintf("0.0.0.0:%d", at.Port())), "", 0, "serving"},
		{"another one", none + cert + "\"other.pem\"\n", "", 1, "it shows another certificate \"CN=mail.example.org\""},
		{"none is configured", none, "", 1, "Where the proxy has none it makes one at start: compare the SHA-256 with the warning in the proxy's log"},
		{"none, but --ca holds it", none, "--ca @cert.pem", 0, "serving"},
		{"none, and --ca is for another", none, "--ca @other.pem", 1, "is not vouched for by --ca"},
		{"--ca replaces what is configured", d.conf(at.String()), "--ca @other.pem", 1, "is not vouched for by --ca"},
		{"--ca is gone", none, "--ca @gone.pem", 1, "gone.pem"},
		{"--ca is no certificate", none, "--ca @token", 1, "no PEM certificate in it"},
		{"a certificate file is gone", none + cert + "\"gone.pem\"\n", "", 1, "gone.pem"},
	} {
		d.write("conf", c.conf)
		d.fake.called()
		code, out, errOut := d.ctl("status " + c.args)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("%s: exit code %d, want %d, and %q in\n%s%s", c.name, code, c.code, c.says, out, errOut)
		}
		if calls, _ := d.fake.called(); (len(calls) > 0) != (c.code == 0) {
			t.Errorf("%s: calls %q", c.name, calls)
		}
	}
}

// A certificate of an authority is verified by the name that --admin gives.
func TestCtlAuthority(t *testing.T) {
	d := newDesk(t)
	authority, authorityPEM, _ := certificate(t, "an authority")
	leaf, _, _ := certificate(t, "localhost", authority)
	port := newFakeAdmin(t, "127.0.0.1:0", leaf).addr().Port()
	d.write("ca.pem", string(authorityPEM))
	for _, c := range []struct {
		host string
		code int
		says string
	}{
		{"localhost", 0, "serving"},
		{"127.0.0.1", 1, "is not vouched for by --ca: x509: cannot validate certificate for 127.0.0.1"},
	} {
		code, out, errOut := d.ctl(fmt.Sprintf("status --ca @ca.pem --admin %s:%d", c.host, port))
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("%s: exit code %d, want %d, and %q in\n%s%s", c.host, code, c.code, c.says, out, errOut)
		}
	}
}

// Where address and token come from.
func TestCtlSources(t *testing.T) {
	d := newDesk(t)
	at := d.fake.addr().String()
	d.write("no-admin", "")
	d.write("no-token", "[admin]\nbind = \""+at+"\"\n")
	d.write("broken", "[admin\n")
	for _, c := range []struct {
		name, args string
		env        map[string]string
		code       int
		says       string
	}{
		{"-c", "-c @conf status", nil, 0, "serving"},
		{"environment", "status", map[string]string{"MAILSPLICE_CONFIG": "conf"}, 0, "serving"},
		{"older name", "status", map[string]string{"PROXY_CONFIG": "conf"}, 0, "serving"},
		{"-c wins", "-c @broken status", map[string]string{"MAILSPLICE_CONFIG": "conf"}, 1, "(syntax)"},
		{"nothing", "status", nil, 2, "no configuration file: give one with -c"},
		{"an address without a token", "status --admin " + at, nil, 2, "no configuration file"},
		{"no file is needed", "status --ca @cert.pem --admin " + at, map[string]string{"MAILSPLICE_ADMIN_TOKEN": adminToken}, 0, "serving"},
		{"file is gone", "-c @gone status", nil, 1, "gone"},
		{"no [admin]", "-c @no-admin status", map[string]string{"MAILSPLICE_ADMIN_TOKEN": adminToken}, 1, "no [admin] table"},
		{"no token", "-c @no-token status", nil, 1, "no admin token"},
		{"token from the environment", "-c @no-token --ca @cert.pem status", map[string]string{"PROXY_ADMIN_TOKEN": " " + adminToken + "\n"}, 0, "serving"},
		{"it wins", "-c @conf status", map[string]string{"MAILSPLICE_ADMIN_TOKEN": strings.Repeat("x", 40)}, 1, "the token of $MAILSPLICE_ADMIN_TOKEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, v := range c.env {
				if strings.HasSuffix(name, "_CONFIG") {
					v = d.path(v)
				}
				t.Setenv(name, v)
			}
			code, out, errOut := d.run(append([]string{"ctl"}, strings.Fields(c.args)...)...)
			if code != c.code || !strings.Contains(out+errOut, c.says) {
				t.Errorf("exit code %d, want %d, and %q in\n%s%s", code, c.code, c.says, out, errOut)
			}
		})
	}
}

// What is wrong with the way there.
func TestCtlUnreachable(t *testing.T) {
	d := newDesk(t)
	noTLS := newFakeAdmin(t, "127.0.0.1:0", nil)
	closing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closing.Close()
	go closeAll(closing) // until the listener is closed
	for _, c := range []struct{ at, says string }{
		{closedAddr(t), "connection refused: nothing listens there; is mailsplice running"},
		{noTLS.addr().String(), "does not speak TLS"},
		{closing.Addr().String(), "the connection ended without an answer"},
		{"name.invalid:9443", `the name "name.invalid" cannot be resolved`},
	} {
		code, out, errOut := d.ctl("status --admin " + c.at)
		if code != exitFailed || out != "" || !strings.Contains(errOut, "proxy "+c.at+": ") || !strings.Contains(errOut, c.says) {
			t.Errorf("%s: exit code %d, want 1, and %q in\n%s%s", c.at, code, c.says, out, errOut)
		}
	}
}

func closeAll(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

func TestHealthcheck(t *testing.T) {
	d := newDesk(t)
	plain := newFakeAdmin(t, "127.0.0.1:0", nil)
	d.write("metrics", "[metrics]\nbind = \"0.0.0.0:"+fmt.Sprint(plain.addr().Port())+"\"\n")
	d.write("self-made", "[admin]\nbind = \""+d.fake.addr().String()+"\"\n")
	d.write("gone", "[admin]\nbind = \""+closedAddr(t)+"\"\n")
	d.write("nothing", "")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"@conf", 0, "healthy"},
		{"-c @conf", 0, "healthy"},
		{"@metrics", 0, "healthy"},
		{"@self-made", 0, "healthy"}, // neither token nor a known certificate is needed
		{"@gone", 1, "unhealthy: proxy"},
		{"@nothing", 1, "neither [admin] nor [metrics]"},
		{"@nowhere", 1, "nowhere"},
		{"", 1, "no configuration file"}, // not 2, which Docker reserves
		{"a b", 2, "accepts at most 1 arg"},
	} {
		code, out, errOut := d.run(append([]string{"healthcheck"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("%s: exit code %d, want %d, and %q in\n%s%s", c.args, code, c.code, c.says, out, errOut)
		}
	}
	for _, token := range append(d.fake.tokens, plain.tokens...) {
		if token != "" {
			t.Error("the token was sent")
		}
	}
	d.fake.answers("GET /healthz", http.StatusServiceUnavailable, "draining")
	if code, _, errOut := d.run("healthcheck", "@conf"); code != 1 || !strings.Contains(errOut, "answers 503 draining") {
		t.Errorf("draining: exit code %d\n%s", code, errOut)
	}
}
