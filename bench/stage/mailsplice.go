package stage

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"mailsplice/bench/child"
)

const (
	readyTimeout = 20 * time.Second
	adminTimeout = 10 * time.Second
	tailBytes    = 2 << 10 // of the log, when the proxy did not start
)

// Mailsplice starts the real binary with a configuration made for the stage.
type Mailsplice struct {
	Binary string
	// Extra is lines of configuration to put at the end, whole tables.
	Extra string
}

// Name is "mailsplice".
func (Mailsplice) Name() string { return "mailsplice" }

// BuildMailsplice makes the binary in dir, from the source of the module that the working directory is in.
func BuildMailsplice(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "mailsplice")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "mailsplice/cmd/mailsplice")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building mailsplice: %w: %s", err, out)
	}
	return binary, nil
}

// Start implements Starter. Several processes share the port (SPEC 2, reuse_port); each has files of its own.
func (m Mailsplice) Start(ctx context.Context, s *Setting) (Proxy, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	all := &mailspliceProxy{addr: s.Listen}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for i := range max(s.Processes, 1) {
		p := &mailspliceProcess{token: hex.EncodeToString(secret), dir: filepath.Join(s.Dir, fmt.Sprintf("p%d", i))}
		if err := m.start(ctx, s, p); err != nil {
			all.Stop()
			return nil, err
		}
		all.processes = append(all.processes, p)
	}
	return all, nil
}

// start returns when p takes clients: it binds the port of its admin API last.
func (m Mailsplice) start(ctx context.Context, s *Setting, p *mailspliceProcess) (err error) {
	if p.admin, err = FreeAddr(); err != nil {
		return err
	}
	if err := p.writeFiles(s, m.Extra); err != nil {
		return err
	}
	log, err := os.Create(p.path("log"))
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(m.Binary, "run", p.path("mailsplice.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(withoutMailsplice(os.Environ()), "MAILSPLICE_ADMIN_TOKEN="+p.token)
	if p.Process, err = child.Run(cmd); err != nil {
		return err
	}
	if err := WaitReady(ctx, p.admin, p.Ended()); err != nil {
		p.Stop()
		return fmt.Errorf("%w; its log ends with: %s", err, logTail(p.path("log")))
	}
	return nil
}

// withoutMailsplice drops what would overrule the configuration.
func withoutMailsplice(env []string) (list []string) {
	for _, e := range env {
		if !strings.HasPrefix(e, "MAILSPLICE_") && !strings.HasPrefix(e, "PROXY_") && !strings.HasPrefix(e, "RUST_LOG=") {
			list = append(list, e)
		}
	}
	return list
}

// mailspliceProxy is all processes together.
type mailspliceProxy struct {
	addr      string
	processes []*mailspliceProcess
}

func (a *mailspliceProxy) Addr() string { return a.addr }

func (a *mailspliceProxy) Pids() (pids []int) {
	for _, p := range a.processes {
		pids = append(pids, p.Pid())
	}
	return pids
}

// Goroutines are those of all processes.
func (a *mailspliceProxy) Goroutines(ctx context.Context) (sum int, ok bool) {
	for _, p := range a.processes {
		n, ok := p.goroutines(ctx)
		if !ok {
			return 0, false
		}
		sum += n
	}
	return sum, true
}

func (a *mailspliceProxy) Stop() {
	for _, p := range a.processes {
		p.Stop()
	}
}

// mailspliceProcess is one of them.
type mailspliceProcess struct {
	*child.Process
	admin, token, dir string
}

func (p *mailspliceProcess) path(name string) string { return filepath.Join(p.dir, name) }

func (p *mailspliceProcess) writeFiles(s *Setting, extra string) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	files := map[string]string{
		"mailsplice.toml": configuration(s, p.admin) + extra,
		"mappings.tsv":    mappings(s.Accounts, s.Destination),
		"cert.pem":        string(s.Front.CertPEM),
		"key.pem":         string(s.Front.KeyPEM),
	}
	for name, text := range files {
		if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// logTail is the end of a file, or why there is none.
func logTail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-tailBytes):]))
}

var errAdmin = errors.New("admin API")

// call is one call of the admin API (SPEC 8).
func (p *mailspliceProcess) call(ctx context.Context, method, path string, query url.Values) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	u := url.URL{Scheme: "https", Host: p.admin, Path: path, RawQuery: query.Encode()}
	q, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		cancel()
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+p.token)
	r, err := adminClient.Do(q)
	if err != nil {
		cancel()
		return nil, err
	}
	body := cancelling{r.Body, cancel}
	if r.StatusCode != http.StatusOK {
		body.Close()
		return nil, fmt.Errorf("%w: %s %s: %s", errAdmin, method, path, r.Status)
	}
	return body, nil
}

// cancelling frees the deadline of a request with its body.
type cancelling struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c cancelling) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

// The certificate was made a moment ago, for a process that we have started.
var adminClient = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

// metrics hands each line of /metrics to take, until it returns false.
func (p *mailspliceProcess) metrics(ctx context.Context, take func(line string) bool) error {
	body, err := p.call(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if !take(lines.Text()) {
			return nil
		}
	}
	return lines.Err()
}

// goroutines reads them from /metrics.
func (p *mailspliceProcess) goroutines(ctx context.Context) (n int, ok bool) {
	err := p.metrics(ctx, func(line string) bool {
		rest, found := strings.CutPrefix(line, "go_goroutines ")
		if found {
			_, err := fmt.Sscan(rest, &n)
			ok = err == nil
		}
		return !found
	})
	return n, ok && err == nil
}

// Mover is a proxy that can move an account and end its sessions while people work.
type Mover interface {
	// Move sends the account's logins from one backend to another from now on, and ends its sessions at the former.
	Move(ctx context.Context, account string, from, to int) error
}

// Move implements Mover. Every process has a mapping of its own: a session must not end before all of them are changed, since
// it comes back to any of them; and only those at the old backend end, not what has just come back.
func (a *mailspliceProxy) Move(ctx context.Context, account string, from, to int) error {
	put := url.Values{"identifier": {account}, "destination": {BackendName(to)}}
	kick := url.Values{"identifier": {account}, "destination": {BackendName(from)}}
	if len(a.processes) == 1 {
		put.Set("kick", "true")
		return a.processes[0].order(ctx, http.MethodPut, "/mappings", put)
	}
	for _, p := range a.processes {
		if err := p.order(ctx, http.MethodPut, "/mappings", put); err != nil {
			return err
		}
	}
	for _, p := range a.processes {
		if err := p.order(ctx, http.MethodPost, "/connections/kick", kick); err != nil {
			return err
		}
	}
	return nil
}

// order is a call whose answer says nothing that its status does not.
func (p *mailspliceProcess) order(ctx context.Context, method, path string, query url.Values) error {
	body, err := p.call(ctx, method, path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	return err
}
