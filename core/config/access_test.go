package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// access loads text from a folder with the files of newDir.
func access(t *testing.T, dir, text string, env map[string]string) (*Access, error) {
	t.Helper()
	write(t, dir, "conf", 0o600, text)
	return LoadAccess(filepath.Join(dir, "conf"), Options{Env: func(name string) string { return env[name] }})
}

// What counts is found, whatever else is wrong with the file (SPEC 9).
func TestAccess(t *testing.T) {
	dir := newDir(t)
	token, other := strings.Repeat("t", 32), strings.Repeat("o", 40)
	const admin = "[admin]\nbind = \"[::]:9443\"\n"
	const file = "bearer_token_file = \"token\"\n"
	cert := func(name, more string) string {
		return "[tls.certificate." + name + "]\ncert = \"" + name + ".pem\"\nkey = \"gone.key\"\n" + more + "\n"
	}
	for _, tt := range []struct {
		name, text         string
		env                map[string]string
		admin, metrics     string
		token, from        string
		certs, destination []string
	}{
		{"token file", admin + file, nil, "[::]:9443", "", token, filepath.Join(dir, "token"), nil, nil},
		{"token in the file", admin + "bearer_token = \" " + other + " \"\n", nil, "[::]:9443", "", other, "admin.bearer_token", nil, nil},
		{"a short token is the proxy's business", admin + "bearer_token = \"short\"\n", nil, "[::]:9443", "", "short", "admin.bearer_token", nil, nil},
		{"environment", admin + file, map[string]string{"PROXY_ADMIN_TOKEN": other + "\n"}, "[::]:9443", "", other, "$PROXY_ADMIN_TOKEN", nil, nil},
		{"environment, both", admin, map[string]string{"PROXY_ADMIN_TOKEN": "x", "MAILSPLICE_ADMIN_TOKEN": other}, "[::]:9443", "", other, "$MAILSPLICE_ADMIN_TOKEN", nil, nil},
		{"environment and a file that is gone", admin + "bearer_token_file = \"gone\"\n", map[string]string{"MAILSPLICE_ADMIN_TOKEN": other}, "[::]:9443", "", other, "$MAILSPLICE_ADMIN_TOKEN", nil, nil},
		{"no admin, token from the environment", "[metrics]\nbind = \"127.0.0.1:9464\"\n", map[string]string{"MAILSPLICE_ADMIN_TOKEN": other}, "", "127.0.0.1:9464", other, "$MAILSPLICE_ADMIN_TOKEN", nil, nil},
		{"wrong elsewhere", admin + file + "nonsense = 1\ntls = \"starttls\"\n[destination.b]\nhost = 5\n[destination.a]\n[server]\nthreads = \"x\"\n[listener.l]\n", nil,
			"[::]:9443", "", token, filepath.Join(dir, "token"), nil, []string{"a", "b"}},
		{"a sole certificate", admin + file + cert("mail", ""), nil, "[::]:9443", "", token, filepath.Join(dir, "token"), []string{"mail.pem"}, nil},
		{"the default one", admin + file + cert("mail", "") + cert("ed", "default = true"), nil, "[::]:9443", "", token, filepath.Join(dir, "token"), []string{"ed.pem"}, nil},
		{"default by subject", admin + file + cert("mail", "") + cert("ed", `subjects = ["*"]`), nil, "[::]:9443", "", token, filepath.Join(dir, "token"), []string{"ed.pem"}, nil},
		{"none is", admin + file + cert("mail", "") + cert("soon", ""), nil, "[::]:9443", "", token, filepath.Join(dir, "token"), []string{"mail.pem", "soon.pem"}, nil},
	} {
		a, err := access(t, dir, tt.text, tt.env)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for i := range tt.certs {
			tt.certs[i] = filepath.Join(dir, tt.certs[i])
		}
		if a.TokenError != nil || a.Token.Reveal() != tt.token || a.TokenFrom != tt.from {
			t.Errorf("%s: got token of %d bytes from %s, %v, want %d from %s", tt.name, len(a.Token.Reveal()), a.TokenFrom, a.TokenError, len(tt.token), tt.from)
		}
		if got := bindText(a.Admin) + " " + bindText(a.Metrics); got != tt.admin+" "+tt.metrics {
			t.Errorf("%s: got addresses %s, want %s %s", tt.name, got, tt.admin, tt.metrics)
		}
		if !slices.Equal(a.Certificates, tt.certs) || !slices.Equal(a.Destinations, tt.destination) {
			t.Errorf("%s: got %q and %q, want %q and %q", tt.name, a.Certificates, a.Destinations, tt.certs, tt.destination)
		}
	}
}

func bindText(b Bind) string {
	if !b.IsValid() {
		return ""
	}
	return b.String()
}

func TestAccessErrors(t *testing.T) {
	dir := newDir(t)
	for _, tt := range []struct{ text, want, token string }{
		{"[admin\n", "(syntax)", ""},
		{"[admin]\n", "admin.bind: found nothing", ""},
		{"admin = 5\n", "admin: found 5", ""},
		{"[metrics]\nbind = \"x\"\n", "metrics.bind: found \"x\"", ""},
		{"[admin]\nbind = \"127.0.0.1:1\"\n", "", "admin.bearer_token: found nothing"},
		{"[admin]\nbind = \"127.0.0.1:1\"\nbearer_token = 5\n", "", "admin.bearer_token: found"},
		{"[admin]\nbind = \"127.0.0.1:1\"\nbearer_token_file = \"gone\"\n", "", "gone\": no such file"},
		{"[admin]\nbind = \"127.0.0.1:1\"\nbearer_token_file = \"token\"\nbearer_token = \"x\"\n", "", "both bearer_token_file and bearer_token"},
		{"", "", "admin.bearer_token: found nothing"},
	} {
		a, err := access(t, dir, tt.text, nil)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q: got %v, want %s", tt.text, err, tt.want)
			}
			continue
		}
		if err != nil || a.TokenError == nil || !strings.Contains(a.TokenError.Error(), tt.token) || !a.Token.Empty() {
			t.Errorf("%q: got %v, %+v, want %s", tt.text, err, a, tt.token)
		}
	}
	if _, err := LoadAccess(filepath.Join(dir, "nowhere"), Options{}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("no file: got %v", err)
	}
	if os.Geteuid() != 0 {
		write(t, dir, "shut.token", 0, "x")
		a, err := access(t, dir, "[admin]\nbind = \"127.0.0.1:1\"\nbearer_token_file = \"shut.token\"\n", nil)
		if err != nil || a.TokenError == nil || !strings.Contains(a.TokenError.Error(), "permission denied") {
			t.Errorf("unreadable token: got %v, %+v", err, a)
		}
	}
}
