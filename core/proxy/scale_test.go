package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"mailsplice/core/config"
	"mailsplice/core/mailfake"
)

// asProxy makes the test binary a proxy that serves the configuration it names, in a process of its own: what a session
// costs is seen without its client and backend.
const asProxy = "MAILSPLICE_TEST_AS_PROXY"

func TestMain(m *testing.M) {
	if path := os.Getenv(asProxy); path != "" {
		if err := child(path); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := 0
	for _, mode = range modes[skipped:] {
		fmt.Println("legs:", mode)
		code = max(code, m.Run())
	}
	os.Exit(code)
}

// child serves until its input ends. Each line of input is answered by what it costs at the moment.
func child(path string) error {
	cfg, _, err := config.Load(path, LoadOptions())
	if err != nil {
		return err
	}
	p, err := Start(cfg, Options{LogWriter: io.Discard})
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		debug.FreeOSMemory() // what earlier logins left is not the sessions' cost
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		kib := 0
		fmt.Sscan(rest, &kib)
		fmt.Println(kib<<10, runtime.NumGoroutine(), p.sessions.Counts().Joined)
	}
	p.Shutdown(context.Background())
	return nil
}

// load is a child with everything around it.
type load struct {
	t       *testing.T
	addr    string
	in      io.WriteCloser
	out     *bufio.Reader
	clients []net.Conn
}

func newLoad(t *testing.T, port uint16) *load {
	t.Helper()
	l := &load{t: t, addr: freePort(t)}
	dir := t.TempDir()
	text := strings.NewReplacer(`"127.0.0.1:1143"`, `"`+l.addr+`"`, "port = 143", fmt.Sprintf("port = %d", port)).Replace(minimal) +
		"[capabilities.imap]\nallow_plain_auth_without_tls = true\n[server]\nshutdown_grace = \"10ms\"\n"
	text = strings.Replace(text, "allow_plaintext_auth = true", "allow_plaintext_auth = true\nforwarding = \"none\"", 1)
	for name, content := range map[string]string{"conf": text, "mappings": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asProxy+"="+filepath.Join(dir, "conf"))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if l.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	l.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range l.clients {
			c.Close()
		}
		l.in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// cost asks the child.
func (l *load) cost() (rss, goroutines, joined int) {
	l.t.Helper()
	io.WriteString(l.in, "?\n")
	line, err := l.out.ReadString('\n')
	if n, _ := fmt.Sscan(line, &rss, &goroutines, &joined); err != nil || n != 3 {
		l.t.Fatalf("child: got %q, %v", line, err)
	}
	return rss, goroutines, joined
}

// grow logs more clients in until there are n.
func (l *load) grow(n int) {
	l.t.Helper()
	const atOnce = 200 // below what one destination takes at once
	for len(l.clients) < n {
		from := len(l.clients)
		for i := range min(atOnce, n-from) {
			c, err := net.Dial("tcp", l.addr)
			if err != nil {
				l.t.Fatal(err)
			}
			l.clients = append(l.clients, c)
			fmt.Fprintf(c, "a LOGIN user%09d@mail.example.org %s\r\n", from+i, password)
		}
		for _, c := range l.clients[from:] {
			for r, line := bufio.NewReaderSize(c, 512), ""; !strings.HasPrefix(line, "a "); {
				var err error
				if line, err = r.ReadString('\n'); err != nil || strings.HasPrefix(line, "a NO") {
					l.t.Fatalf("login: got %q, %v", line, err)
				}
			}
		}
	}
}

// Idle sessions cost no goroutine and little memory (DESIGN 6). The number is for the reader; bench/ holds the budget.
func TestIdleSessions(t *testing.T) {
	if mode != modes[0] {
		return // its legs are not the mode's: once is enough
	}
	b, err := mailfake.NewIMAP(mailfake.Options{Name: "legacy", Check: check})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l := newLoad(t, b.Addr().Port())
	const few, many = 1000, 5000
	within(func() bool {
		c, err := net.Dial("tcp", l.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	l.grow(few)
	rssFew, goFew, _ := l.cost()
	l.grow(many)
	rssMany, goMany, joined := l.cost()
	if joined != many {
		t.Errorf("joined sessions: got %d, want %d", joined, many)
	}
	if goMany > goFew+2 || goMany > 60 {
		t.Errorf("goroutines: %d with %d sessions, %d with %d", goFew, few, goMany, many)
	}
	t.Logf("idle session: %d bytes (RSS of %d and %d sessions, garbage collected); goroutines: %d", (rssMany-rssFew)/(many-few), few, many, goMany)
}
