package peers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mailsplice/bench/child"
	"mailsplice/bench/load"
	"mailsplice/bench/stage"
	"mailsplice/bench/suite"
)

func setting(t *testing.T, clientTLS, backendTLS bool) *stage.Setting {
	t.Helper()
	o := stage.Options{ClientTLS: clientTLS, BackendTLS: backendTLS, Processes: 1, Accounts: 4, Destination: func(i int) int { return i % 2 }}
	cert := &stage.Certificate{CertPEM: []byte("CERT\n"), KeyPEM: []byte("KEY\n")}
	return &stage.Setting{Options: o, Dir: t.TempDir(), Listen: "127.0.0.1:1143", Backends: []string{"127.0.0.1:2001", "127.0.0.1:2002"},
		Front: cert, Back: cert}
}

// Every template is filled completely, for every pair of legs, and says what the legs need.
func TestTemplates(t *testing.T) {
	tests := []struct {
		file                     string
		always                   []string
		clientTLS, clientPlain   string
		backendTLS, backendPlain string
	}{
		{"haproxy.cfg", []string{"bind 127.0.0.1:1143 ", "server b0 127.0.0.1:2001", "server b1 127.0.0.1:2002"},
			" ssl crt ", "4096\n", "verify required ca-file", "2002\n"},
		{"dovecot.conf", []string{"listen = 127.0.0.1\n"}, "imaps {\n    port = 1143", "imap {\n    port = 1143",
			"hostip=127.0.0.1 port=2001 ssl=yes\n", "host=127.0.0.1 port=2001\n"},
		{"nginx.conf", []string{"listen 127.0.0.1:1143", "load_module /m/ngx_mail_module.so", "auth_http 127.0.0.1:80/"},
			"1143 ssl ", "1143 backlog", "", ""},
	}
	for _, tt := range tests {
		for _, legs := range [][2]bool{{true, true}, {true, false}, {false, true}, {false, false}} {
			s := setting(t, legs[0], legs[1])
			v, err := newValues(s)
			if err != nil {
				t.Fatal(err)
			}
			v.Modules, v.Auth = "/m", "127.0.0.1:80"
			path, err := v.write(s, tt.file)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			pick := map[bool]int{true: 0, false: 1}
			client, backend := []string{tt.clientTLS, tt.clientPlain}, []string{tt.backendTLS, tt.backendPlain}
			for _, want := range append(slices.Clone(tt.always), client[pick[legs[0]]], backend[pick[legs[1]]]) {
				if !strings.Contains(string(text), want) {
					t.Errorf("%s, TLS %v: no %q in:\n%s", tt.file, legs, want, text)
				}
			}
			for _, not := range []string{client[pick[!legs[0]]], backend[pick[!legs[1]]], "{{", "<no value>"} {
				if not != "" && strings.Contains(string(text), not) {
					t.Errorf("%s, TLS %v: %q in:\n%s", tt.file, legs, not, text)
				}
			}
		}
	}
}

// A run in TLS 1.2 has its ciphers in every template, and nothing else changes; one in TLS 1.3 leaves them alone.
func TestCiphers(t *testing.T) {
	tests := []struct {
		file  string
		lines []string
	}{
		{"haproxy.cfg", []string{"  ssl-default-bind-ciphers %s\n", "  ssl-default-server-ciphers %s\n"}},
		{"dovecot.conf", []string{"ssl_cipher_list = %s\n"}},
		{"nginx.conf", []string{"  ssl_ciphers %s;\n"}},
	}
	for _, tt := range tests {
		for _, name := range suite.Kinds() {
			kind := suite.Kind(name)
			text := filled(t, tt.file, kind)
			if !strings.Contains(text, "TLS_AES_128_GCM_SHA256") {
				t.Errorf("%s, %s: no suite of TLS 1.3 in:\n%s", tt.file, name, text)
			}
			for _, line := range tt.lines {
				want := fmt.Sprintf(line, kind.OpenSSL())
				if key, _, _ := strings.Cut(line, "%s"); strings.Contains(text, key) != kind.TLS12() || kind.TLS12() && !strings.Contains(text, want) {
					t.Errorf("%s, %s: want %q if it is TLS 1.2, got:\n%s", tt.file, name, want, text)
				}
			}
			if got, want := strings.Count(text, "\n"), strings.Count(filled(t, tt.file, ""), "\n"); !kind.TLS12() && got != want {
				t.Errorf("%s, %s: got %d lines, want %d", tt.file, name, got, want)
			}
		}
	}
}

// filled is a template's text for both legs in TLS.
func filled(t *testing.T, file string, kind suite.Kind) string {
	t.Helper()
	s := setting(t, true, true)
	s.Suite = kind
	v, err := newValues(s)
	if err != nil {
		t.Fatal(err)
	}
	path, err := v.write(s, file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The documentation shows what is measured.
func TestDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := templates.ReadDir("templates")
	if err != nil || len(files) != len(All()) {
		t.Fatalf("got %d templates, %v; want one for each of %d peers", len(files), err, len(All()))
	}
	for _, f := range files {
		text, err := templates.ReadFile("templates/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(docs), "```\n"+string(text)+"```\n") {
			t.Errorf("docs/benchmarks.md does not show bench/peers/templates/%s as it is", f.Name())
		}
	}
}

func TestAccounts(t *testing.T) {
	s := setting(t, true, true)
	v, err := newValues(s)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(v.accounts(s), "\n"), "\n")
	if len(lines) != s.Accounts {
		t.Fatalf("got %d lines, want %d", len(lines), s.Accounts)
	}
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if port := []string{" port=2001 ", " port=2002 "}[i%2]; len(fields) != 8 || fields[0] != load.Account(i) || !strings.Contains(fields[7], port) {
			t.Errorf("account %d: got %q, want 8 fields and%s", i, line, port)
		}
	}
}

// nginx is told each account's backend; one that is not in the mapping goes to the first.
func TestAuth(t *testing.T) {
	handler := authHandler(setting(t, true, false))
	tests := []struct{ user, port string }{
		{load.Account(0), "2001"}, {load.Account(3), "2002"}, {load.Account(5), "2001"}, {"someone", "2001"}, {"", "2001"},
	}
	for _, tt := range tests {
		q, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		q.Header.Set("Auth-User", tt.user)
		handler.ServeHTTP(w, q)
		h := w.Result().Header
		if h.Get("Auth-Status") != "OK" || h.Get("Auth-Server") != "127.0.0.1" || h.Get("Auth-Port") != tt.port {
			t.Errorf("%q: got %v, want port %s", tt.user, h, tt.port)
		}
	}
}

// A program that is not there, or does not work, is an error that names it.
func TestVersion(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, p := range All() {
		if version, err := p.Version(t.Context()); err == nil || !strings.Contains(err.Error(), p.Name()+" is not installed (bench/install.sh)") {
			t.Errorf("%s, not there: got %q, %v", p.Name(), version, err)
		}
	}
	for _, p := range All() {
		if err := os.WriteFile(filepath.Join(dir, p.Name()), []byte("#!/bin/sh\nexit 3\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if version, err := p.Version(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("%s, broken: got %q, %v", p.Name(), version, err)
		}
	}
	text := "#!/bin/sh\necho nginx version: x >&2\necho --modules-path=/nonexistent\n"
	if err := os.WriteFile(filepath.Join(dir, "nginx"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if version, err := (Nginx{}).Version(t.Context()); err == nil || !strings.Contains(err.Error(), "mail module is not installed") {
		t.Errorf("nginx without its mail module: got %q, %v", version, err)
	}
}

// A peer that ends at once is an error with what it said.
func TestLaunchFails(t *testing.T) {
	s := setting(t, true, true)
	var err error
	if s.Listen, err = stage.FreeAddr(); err != nil {
		t.Fatal(err)
	}
	r, err := launch(t.Context(), s, "sh", "-c", "echo no such thing >&2")
	if err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("got %v, %v", r, err)
	}
}

// The processes of a peer are counted with their children, and gone when Stop returns, also those that ignore their end.
func TestStop(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sh -c 'trap \"\" TERM; echo; sleep 1000; sleep 1000' & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := child.Run(cmd)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{p, ""}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	pids := r.Pids()
	if len(pids) < 2 || pids[0] != p.Pid() {
		t.Errorf("got processes %v, want %d and its child", pids, p.Pid())
	}
	r.Stop()
	for _, pid := range pids {
		if state, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat")); err == nil && !strings.Contains(string(state), ") Z ") {
			t.Errorf("process %d is left: %s", pid, state)
		}
	}
}

func TestTail(t *testing.T) {
	var w tail
	for range 3 {
		w.Write([]byte(strings.Repeat("x", tailBytes)))
	}
	w.Write([]byte(" the end\n"))
	if got := w.String(); len(got) != tailBytes-1 || !strings.HasSuffix(got, "x the end") {
		t.Errorf("got %d bytes that end with %q", len(got), got[len(got)-20:])
	}
}
