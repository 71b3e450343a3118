package stores

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mailsplice/core/mailfake"
)

// proxyToken of the admin APIs.
const proxyToken = "0123456789abcdef0123456789abcdef"

const proxyConf = `
[server]
shutdown_grace = "1s"
[listener.imap]
protocol = "imap"
bind = ["%[1]s"]
tls = "plain"
[capabilities.imap]
allow_plain_auth_without_tls = true
[destination.legacy]
host = "127.0.0.1"
forwarding = "none"
allow_plaintext_auth = true
protocol.imap = { port = %[2]d, tls = "plain" }
[destination.new]
host = "127.0.0.1"
forwarding = "none"
allow_plaintext_auth = true
protocol.imap = { port = %[3]d, tls = "plain" }
[mapping]
source = "redis"
normalize = "lowercase"
positive_ttl = "1h"
negative_ttl = "1h"
on_change = "kick"
[mapping.redis]
url = "%[4]s"
[routing]
default_destination = "legacy"
[admin]
bind = "%[5]s"
bearer_token = "` + proxyToken + `"
`

// mailsplice is the real program.
type mailsplice struct {
	t           *testing.T
	addr, admin string
	http        *http.Client
	log         string
}

// program is the binary to test; it is built unless the suite was given one.
func program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("MAILSPLICE_BIN"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "mailsplice")
	run(t, []string{"CGO_ENABLED=0"}, "go", "build", "-o", path, "mailsplice/cmd/mailsplice")
	return path
}

// startProxy runs one that serves, and hears of changes.
func startProxy(t *testing.T, binary, redis string, legacy, new *mailfake.Backend) *mailsplice {
	t.Helper()
	dir := t.TempDir()
	m := &mailsplice{t: t, addr: freePort(t), admin: freePort(t), log: filepath.Join(dir, "log"),
		http: &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	conf := fmt.Sprintf(proxyConf, m.addr, legacy.Addr().Port(), new.Addr().Port(), redis, m.admin)
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "run", filepath.Join(dir, "conf"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.http.CloseIdleConnections()
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("proxy: %v\n%s", err, m.logText())
		}
	})
	until(t, "the proxy serves and hears of changes", func() bool {
		c, err := net.Dial("tcp", m.addr)
		if err == nil {
			c.Close()
		}
		return err == nil && strings.Contains(m.logText(), "mapping store sends notices of changes")
	})
	return m
}

func (m *mailsplice) logText() string {
	text, err := os.ReadFile(m.log)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// call asks the admin API.
func (m *mailsplice) call(method, path, body string) (answer map[string]any) {
	m.t.Helper()
	req, err := http.NewRequest(method, "https://"+m.admin+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+proxyToken)
	resp, err := m.http.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		m.t.Fatalf("%s %s: got %s %s (%v)\n%s", method, path, resp.Status, text.String(), err, m.logText())
	}
	if err := json.Unmarshal(text.Bytes(), &answer); err != nil {
		m.t.Fatal(err)
	}
	return answer
}

// login is a session of an account, and where it landed.
func (m *mailsplice) login(account string) (*mailfake.Client, string) {
	m.t.Helper()
	c, err := mailfake.DialWith(m.addr, mailfake.ClientOptions{Timeout: patience})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(c.Close)
	if err := c.Login(account, "pass"); err != nil {
		m.t.Fatalf("login: %v\n%s", err, m.logText())
	}
	at, err := c.Landed()
	if err != nil {
		m.t.Fatal(err)
	}
	return c, at
}

// lands wants the next login of an account at a destination.
func (m *mailsplice) lands(account, want string) *mailfake.Client {
	m.t.Helper()
	c, got := m.login(account)
	if got != want {
		m.t.Fatalf("%s landed on %s, want %s\n%s", account, got, want, m.logText())
	}
	return c
}

// ended wants a clean end of a session that lives elsewhere now: that takes a notice, since the answer by which it went was
// to be kept for an hour.
func (m *mailsplice) ended(c *mailfake.Client) {
	m.t.Helper()
	if end, err := c.WaitEnd(); err != nil || !end.Clean {
		m.t.Fatalf("session on the old side: got %+v, %v, want a clean end\n%s", end, err, m.logText())
	}
}

// Two proxies, each a process of its own, on one Redis. What is written through either, or by redis-cli, is what the next
// login at the other goes by, and its sessions elsewhere end; the answers before were to be kept for an hour (SPEC 4.2, 2.5).
func TestTwoProxies(t *testing.T) {
	wanted(t)
	srv := startRedis(t)
	var backends []*mailfake.Backend
	for _, name := range []string{"legacy", "new"} {
		b, err := mailfake.NewIMAP(mailfake.Options{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		backends = append(backends, b)
	}
	binary := program(t)
	scene(t, "redis", "two proxies", func(t *testing.T) {
		a := startProxy(t, binary, redisURL(srv), backends[0], backends[1])
		b := startProxy(t, binary, redisURL(srv), backends[0], backends[1])
		both := []*mailsplice{a, b}
		for _, x := range []struct {
			name   string
			change func(account string)
			to     string
		}{
			{"a mapping written through the first", func(i string) { a.call("PUT", "/mappings?identifier="+i+"&destination=new", "") }, "new"},
			{"changed by redis-cli", func(i string) { srv.cli("SET", "route:"+i, "legacy") }, "legacy"},
			{"changed through the second", func(i string) { b.call("PUT", "/mappings?identifier="+i+"&destination=new", "") }, "new"},
			{"removed through the first", func(i string) { a.call("DELETE", "/mappings?identifier="+i, "") }, "legacy"},
			{"in bulk through the second", func(i string) { b.call("POST", "/mappings/bulk", i+"\tnew\n") }, "new"},
			{"removed by redis-cli", func(i string) { srv.cli("DEL", "route:"+i) }, "legacy"},
		} {
			const account = "alice@example.org"
			var live []*mailfake.Client
			for _, m := range both {
				c, _ := m.login(account) // the answer is in the cache now
				live = append(live, c)
			}
			x.change(account)
			for i, m := range both {
				m.ended(live[i]) // so it has heard of the change
				m.lands(account, x.to).Close()
			}
			t.Logf("%s: both proxies lead to %s", x.name, x.to)
		}
	})
}
