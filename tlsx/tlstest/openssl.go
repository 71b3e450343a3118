package tlstest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsplice/tlsx/record"
)

// OpenSSL is a running openssl at the far end of a connection.
type OpenSSL struct {
	t     testing.TB
	stdin io.WriteCloser
	mu    sync.Mutex
	moved *sync.Cond
	out   bytes.Buffer // guarded by mu
	ended bool         // guarded by mu
}

// OpenSSLPeer starts s_client or s_server and takes over the near end, in a role. A machine without openssl is told so, and the
// test is skipped; with MAILSPLICE_INTEROP=1 it fails.
func (s Suite) OpenSSLPeer(t testing.TB, role record.Role) (*net.TCPConn, *record.Leg, *OpenSSL) {
	t.Helper()
	var conn net.Conn
	var p *OpenSSL
	var err error
	if role == record.AsServer {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		p = start(t, append([]string{"s_client", "-connect", ln.Addr().String()}, s.OpenSSL...))
		ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		if conn, err = ln.Accept(); err != nil {
			t.Fatal(err)
		}
	} else {
		cert, key := pemFiles(t)
		p = start(t, append([]string{"s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-cert", cert, "-key", key}, s.OpenSSL...))
		if conn, err = net.Dial("tcp", p.Until("ACCEPT ")); err != nil {
			t.Fatal(err)
		}
	}
	return conn.(*net.TCPConn), s.Take(t, conn, role), p
}

func start(t testing.TB, args []string) *OpenSSL {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil && os.Getenv("MAILSPLICE_INTEROP") != "1" {
		t.Skip("SKIPPED, NOTHING WAS TESTED: openssl is not installed")
	} else if err != nil {
		t.Fatal(err)
	}
	p := &OpenSSL{t: t}
	p.moved = sync.NewCond(&p.mu)
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = p, p
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go p.wait(cmd, waited) // ends with the process
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		_ = cmd.Process.Kill()
		<-waited
	})
	return p
}

func (p *OpenSSL) wait(cmd *exec.Cmd, waited chan<- struct{}) {
	_ = cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.moved.Broadcast()
	close(waited)
}

// Write takes the output of the process.
func (p *OpenSSL) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved.Broadcast()
	return p.out.Write(b)
}

// Until waits for text in the output and returns what follows it on its line.
func (p *OpenSSL) Until(text string) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if _, behind, ok := strings.Cut(p.out.String(), text); ok {
			if line, _, ok := strings.Cut(behind, "\n"); ok {
				return strings.TrimSpace(line)
			}
		}
		if p.ended {
			p.t.Fatalf("openssl ended without saying %q:\n%s", text, p.out.String())
		}
		p.moved.Wait()
	}
}

// Say types text, of which a line of one letter is a command.
func (p *OpenSSL) Say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		p.t.Fatal(err)
	}
}

// pemFiles are Certificate and its key as openssl reads them.
func pemFiles(t testing.TB) (cert, key string) {
	t.Helper()
	pair := Certificate()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
