package main

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// here runs the command line in this process on the files of f, and wants an exit code.
func (f *files) here(code int, line string) string {
	f.t.Helper()
	d := &desk{t: f.t, dir: f.dir}
	got, out, errOut := d.run(strings.Fields(line)...)
	if got != code {
		f.t.Errorf("%s: exit code %d, want %d\n%s%s", line, got, code, out, errOut)
	}
	return out + errOut
}

// await waits until somebody listens: mail listeners open before the admin API does.
func (f *files) await(addr string) {
	f.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			f.t.Fatal(err)
		}
	}
}

// ctl and healthcheck meet the real admin API.
func TestCtlRunning(t *testing.T) {
	for _, name := range []string{"MAILSPLICE_CONFIG", "PROXY_CONFIG", "MAILSPLICE_ADMIN_TOKEN", "PROXY_ADMIN_TOKEN"} {
		t.Setenv(name, "")
	}
	backend, err := mailfake.NewIMAP(mailfake.Options{Name: "legacy"})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	cert, certPEM, keyPEM := certificate(t, "mail.example.org")
	for _, configured := range []bool{true, false} {
		admin := closedAddr(t)
		more := "[admin]\nbind = \"" + admin + "\"\nbearer_token = \"" + adminToken + "\"\n"
		if configured {
			more += "[tls.certificate.main]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n"
		}
		f := newFiles(t, backend.Addr().Port(), more)
		f.write("cert.pem", string(certPEM))
		f.write("key.pem", string(keyPEM))
		f.here(1, "healthcheck @conf")
		f.serve("run", "conf")
		c := f.login()
		f.await(admin)
		f.here(0, "healthcheck @conf")
		trust := ""
		if !configured {
			if said := f.here(1, "ctl -c @conf status"); !strings.Contains(said, "Where the proxy has none it makes one at start") {
				t.Errorf("self-made certificate: got %s", said)
			}
			f.write("proxy.pem", shownBy(t, admin))
			trust = " --ca @proxy.pem"
		} else if shownBy(t, admin) != string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})) {
			t.Error("the configured certificate is not shown")
		}
		for _, x := range []struct{ line, says string }{
			{"status", "sessions            1\n"},
			{"route alice", "alice -> legacy (no mapping, so the default destination"},
			{"map alice legacy", "alice -> legacy\n"},
			{"route alice", "alice -> legacy (mapped"},
			{"reload --mappings", "mapping file reloaded"},
			{"kick alice", "sessions and logins ended: 1\n"},
			{"unmap alice", "alice: mapping removed\n"},
			{"unmap alice", "alice: there was no mapping\n"},
		} {
			if got := f.here(0, "ctl -c @conf "+x.line+trust); !strings.Contains(got, x.says) {
				t.Errorf("%s: %q is not in\n%s", x.line, x.says, got)
			}
		}
		if got := f.here(1, "ctl -c @conf map alice nowhere"+trust); !strings.Contains(got, "nowhere") {
			t.Errorf("unknown destination: got %s", got)
		}
		if end, err := c.WaitEnd(); err != nil || !end.Clean {
			t.Errorf("the kicked session: got %+v, %v", end, err)
		}
	}
}

func (f *files) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// shownBy is the certificate that a TLS server shows to a client without a name.
func shownBy(t *testing.T, addr string) string {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: conn.ConnectionState().PeerCertificates[0].Raw}))
}

// What check warns about (SPEC 2), without being an error.
func TestCheckWarnings(t *testing.T) {
	f := newFiles(t, 143, `
[tls.certificate.main]
cert = "cert.pem"
key = "key.pem"
[destination.other]
host = "127.0.0.1"
tls_allow_invalid_certs = true
[destination.other.protocol.imap]
port = 993
tls = "implicit"
[admin]
bind = "127.0.0.1:9443"
bearer_token_file = "token"
[listener.big]
protocol = "imap"
bind = ["127.0.0.1:9444"]
tls = "plain"
max_connections = 900000000
`)
	soon := time.Now().Add(13 * 24 * time.Hour)
	_, certPEM, keyPEM := certificateUntil(t, "mail.example.org", soon)
	f.write("cert.pem", string(certPEM))
	f.write("key.pem", string(keyPEM))
	f.write("token", adminToken)
	for _, name := range []string{"key.pem", "token"} {
		if err := os.Chmod(filepath.Join(f.dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := f.here(0, "check @conf")
	for _, want := range []string{"tls.certificate.main.cert: found a certificate that expires at " + soon.UTC().Format("2006-01-02"),
		`tls.certificate.main.key: found "key.pem" readable by everybody`, `admin.bearer_token_file: found "token" readable by everybody`,
		"destination.other.tls_allow_invalid_certs: found true", "warning: open file limit is "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "warning:"); n != 5 || !strings.HasSuffix(strings.Split(got, "\n")[0], "conf: ok") {
		t.Errorf("got %d warnings, want 5, in\n%s", n, got)
	}
}

// check --probe says what the backends are like, and its exit code is theirs.
func TestCheckProbe(t *testing.T) {
	backend, err := mailfake.NewIMAP(mailfake.Options{Name: "legacy"})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	f := newFiles(t, backend.Addr().Port(), "")
	if got := f.here(0, "check --probe @conf"); !strings.Contains(got, "conf: ok\nlegacy imap  ") || !strings.Contains(got, "1 legs probed, 0 failed\n") {
		t.Errorf("got\n%s", got)
	}
	backend.Close()
	if got := f.here(1, "check --probe @conf"); !strings.Contains(got, "connection refused") || !strings.Contains(got, "a backend does not do what the configuration asks of it") {
		t.Errorf("backend is gone: got\n%s", got)
	}
	if got := f.here(1, "check --probe @broken"); !strings.Contains(got, "server.nonsense") || strings.Contains(got, "probed") {
		t.Errorf("broken configuration: got\n%s", got)
	}
}
