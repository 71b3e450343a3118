package record

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for a process that has nothing to wait for itself.
const patience = 20 * time.Second

// opensslSuites are the suites that OpenSSL is made to use, by its own names.
var opensslSuites = []struct {
	version, suite uint16
	flags          []string
}{
	{version13, tls.TLS_AES_128_GCM_SHA256, []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"}},
	{version13, tls.TLS_AES_256_GCM_SHA384, []string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"}},
	{version13, tls.TLS_CHACHA20_POLY1305_SHA256, []string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}},
	{version12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}},
	{version12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"}},
	{version12, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, []string{"-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"}},
}

// process is a running openssl.
type process struct {
	stdin io.WriteCloser
	mu    sync.Mutex
	moved *sync.Cond
	out   bytes.Buffer // guarded by mu
	ended bool         // guarded by mu
}

// Write takes the output of the process.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved.Broadcast()
	return p.out.Write(b)
}

// start runs openssl, and kills it at the end of the test.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil && os.Getenv("MAILSPLICE_INTEROP") != "1" {
		t.Skip("SKIPPED, NOTHING WAS TESTED: openssl is not installed")
	} else if err != nil {
		t.Fatal(err)
	}
	p := new(process)
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

func (p *process) wait(cmd *exec.Cmd, waited chan<- struct{}) {
	_ = cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.moved.Broadcast()
	close(waited)
}

// until waits for text in the output and returns the output up to the line's end behind it.
func (p *process) until(t *testing.T, text string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if _, behind, ok := strings.Cut(p.out.String(), text); ok {
			if line, _, ok := strings.Cut(behind, "\n"); ok {
				return strings.TrimSpace(line)
			}
		}
		if p.ended {
			t.Fatalf("openssl ended without saying %q:\n%s", text, p.out.String())
		}
		p.moved.Wait()
	}
}

// say types a line.
func (p *process) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, line); err != nil {
		t.Fatal(err)
	}
}

// tcpRig is a rig whose peer is a process.
type tcpRig struct {
	rig
	conn  net.Conn
	input []byte
}

// until reads and opens until the leg is in some state; what failed is returned.
func (r *tcpRig) until(t *testing.T, done func() bool, data *[]byte) error {
	t.Helper()
	buf := make([]byte, MaxRecord)
	for !done() {
		got, err := r.leg.Open(&r.keys, r.input)
		switch {
		case err != nil:
			return err
		case got.Kind != NeedMore:
			if got.Kind == Data {
				*data = append(*data, got.Plain...)
			}
			r.input = r.input[got.Consumed:]
			continue
		}
		n, err := r.conn.Read(buf)
		if err != nil {
			t.Fatalf("reading from openssl: %v", err)
		}
		r.input = append(r.input, buf[:n]...)
	}
	return nil
}

// reply seals and sends.
func (r *tcpRig) reply(t *testing.T, text string) {
	t.Helper()
	out, err := r.leg.Seal(&r.keys, nil, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.conn.Write(out); err != nil {
		t.Fatal(err)
	}
}

// close sends the last record.
func (r *tcpRig) close(t *testing.T, cause error) {
	t.Helper()
	out, err := r.leg.AppendClose(&r.keys, nil, cause)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.conn.Write(out); err != nil {
		t.Fatal(err)
	}
}

// hear waits for a line from the peer.
func (r *tcpRig) hear(t *testing.T, want string) {
	t.Helper()
	var got []byte
	if err := r.until(t, func() bool { return len(got) >= len(want) }, &got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// asClient dials an s_server and takes over.
func asClient(t *testing.T, c tlsCase, flags ...string) (*tcpRig, *process) {
	t.Helper()
	cert, key := pemFiles(t)
	args := append([]string{"s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-cert", cert, "-key", key}, flags...)
	p := start(t, args...)
	addr := p.until(t, "ACCEPT ")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return overTCP(t, conn, c), p
}

// asServer accepts from an s_client and takes over.
func asServer(t *testing.T, c tlsCase, flags ...string) (*tcpRig, *process) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, append([]string{"s_client", "-connect", l.Addr().String()}, flags...)...)
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return overTCP(t, conn, c), p
}

func overTCP(t *testing.T, conn net.Conn, c tlsCase) *tcpRig {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	r := &tcpRig{conn: conn}
	r.takeOver(t, conn, c)
	return r
}

func pemFiles(t *testing.T) (cert, key string) {
	t.Helper()
	pair := identity()[1] // RSA
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

// TestOpenSSL: data both ways, padding, tickets, KeyUpdates requested and not, close_notify both ways.
func TestOpenSSL(t *testing.T) {
	for _, s := range opensslSuites {
		for _, role := range []Role{AsServer, AsClient} {
			c := tlsCase{s.version, s.suite, role}
			t.Run(c.String(), func(t *testing.T) {
				flags := s.flags
				if s.version == version13 {
					flags = append([]string{"-record_padding", "512"}, flags...)
				}
				var r *tcpRig
				var p *process
				if role == AsServer {
					r, p = asServer(t, c, flags...)
				} else {
					r, p = asClient(t, c, append([]string{"-num_tickets", "4"}, flags...)...)
				}
				checkConversation(t, r, p)
			})
		}
	}
}

func checkConversation(t *testing.T, r *tcpRig, p *process) {
	t.Helper()
	for i := range 3 {
		p.say(t, fmt.Sprintf("hello %d\n", i))
		r.hear(t, fmt.Sprintf("hello %d\n", i))
		r.reply(t, fmt.Sprintf("answer %d\n", i))
		p.until(t, fmt.Sprintf("answer %d", i))
		if r.leg.Version() == version13 {
			r.checkUpdates(t, p, i)
		}
	}
	if r.leg.role == AsClient && r.leg.Version() == version13 && r.leg.Tickets() != 4 {
		t.Errorf("got %d tickets, want 4", r.leg.Tickets())
	}
	if r.leg.role == AsServer {
		p.say(t, "Q\n")
	} else { // s_server says close_notify only as an answer
		r.close(t, nil)
		p.until(t, "CONNECTION CLOSED")
	}
	var data []byte
	if err := r.until(t, r.leg.InClosed, &data); err != nil || len(data) != 0 {
		t.Fatalf("got %q, %v, want close_notify", data, err)
	}
}

// checkUpdates lets OpenSSL change its key, ask for a change of ours, and see both in use.
func (r *tcpRig) checkUpdates(t *testing.T, p *process, round int) {
	t.Helper()
	var data []byte
	for _, command := range []string{"k", "K"} {
		key, owed := r.leg.in.key, command == "K"
		p.say(t, command+"\n")
		if err := r.until(t, func() bool { return r.leg.in.key != key }, &data); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if r.leg.Owes() != owed || len(data) != 0 {
			t.Fatalf("%s: owes %v, %q, want %v", command, r.leg.Owes(), data, owed)
		}
		p.say(t, "after "+command+"\n")
		r.hear(t, "after "+command+"\n")
		text := fmt.Sprintf("answer to %s in round %d", command, round)
		r.reply(t, text+"\n")
		p.until(t, text)
	}
}

// TestOpenSSLRenegotiation: asked for by either side of TLS 1.2 it ends the session, in words that OpenSSL understands.
func TestOpenSSLRenegotiation(t *testing.T) {
	for _, s := range opensslSuites {
		if s.version != version12 {
			continue
		}
		for role, command := range map[Role]string{AsServer: "R", AsClient: "r"} {
			c := tlsCase{s.version, s.suite, role}
			t.Run(c.String(), func(t *testing.T) {
				open := asServer
				if role == AsClient {
					open = asClient
				}
				r, p := open(t, c, s.flags...)
				p.say(t, "hello\n")
				r.hear(t, "hello\n")
				p.say(t, command+"\n")
				var data []byte
				err := r.until(t, func() bool { return false }, &data)
				var broken *Violation
				if !errors.As(err, &broken) || broken.Alert != NoRenegotiation {
					t.Fatalf("got %v, want a refused renegotiation", err)
				}
				r.close(t, err)
				p.until(t, "no renegotiation")
			})
		}
	}
}

// TestOpenSSLSeesAlert: the alert for a record that was changed on its way arrives.
func TestOpenSSLSeesAlert(t *testing.T) {
	for _, s := range opensslSuites {
		c := tlsCase{s.version, s.suite, AsServer}
		r, p := asServer(t, c, s.flags...)
		p.say(t, "hello\n")
		r.leg.in.seq++ // as if a record had been taken out
		var data []byte
		err := r.until(t, func() bool { return false }, &data)
		if err != errTag {
			t.Fatalf("%v: got %v, want %v", c, err, errTag)
		}
		r.close(t, err)
		p.until(t, "bad record mac")
	}
}
