package record

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mailsplice/tlsx/tlstest/terminal"
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
func asClient(t *testing.T, c tlsCase, flags ...string) (*tcpRig, *terminal.Terminal) {
	t.Helper()
	cert, key := pemFiles(t)
	args := append([]string{"s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-cert", cert, "-key", key}, flags...)
	p := terminal.OpenSSL(t, patience, args...)
	addr := p.Until("ACCEPT ")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return overTCP(t, conn, c), p
}

// asServer accepts from an s_client and takes over.
func asServer(t *testing.T, c tlsCase, flags ...string) (*tcpRig, *terminal.Terminal) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := terminal.OpenSSL(t, patience, append([]string{"s_client", "-connect", l.Addr().String()}, flags...)...)
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
				var p *terminal.Terminal
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

func checkConversation(t *testing.T, r *tcpRig, p *terminal.Terminal) {
	t.Helper()
	for i := range 3 {
		p.Say(fmt.Sprintf("hello %d\n", i))
		r.hear(t, fmt.Sprintf("hello %d\n", i))
		r.reply(t, fmt.Sprintf("answer %d\n", i))
		p.Until(fmt.Sprintf("answer %d", i))
		if r.leg.Version() == version13 {
			r.checkUpdates(t, p, i)
		}
	}
	if r.leg.role == AsClient && r.leg.Version() == version13 && r.leg.Tickets() != 4 {
		t.Errorf("got %d tickets, want 4", r.leg.Tickets())
	}
	if r.leg.role == AsServer {
		p.Say("Q\n")
	} else { // s_server says close_notify only as an answer
		r.close(t, nil)
		p.Until("CONNECTION CLOSED")
	}
	var data []byte
	if err := r.until(t, r.leg.InClosed, &data); err != nil || len(data) != 0 {
		t.Fatalf("got %q, %v, want close_notify", data, err)
	}
}

// checkUpdates lets OpenSSL change its key, ask for a change of ours, and see both in use.
func (r *tcpRig) checkUpdates(t *testing.T, p *terminal.Terminal, round int) {
	t.Helper()
	var data []byte
	for _, command := range []string{"k", "K"} {
		keys, owed := r.leg.in.material, command == "K"
		p.Say(command + "\n")
		if err := r.until(t, func() bool { return r.leg.in.material != keys }, &data); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if r.leg.Owes() != owed || len(data) != 0 {
			t.Fatalf("%s: owes %v, %q, want %v", command, r.leg.Owes(), data, owed)
		}
		p.Say("after " + command + "\n")
		r.hear(t, "after "+command+"\n")
		text := fmt.Sprintf("answer to %s in round %d", command, round)
		r.reply(t, text+"\n")
		p.Until(text)
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
				p.Say("hello\n")
				r.hear(t, "hello\n")
				p.Say(command + "\n")
				var data []byte
				err := r.until(t, func() bool { return false }, &data)
				var broken *Violation
				if !errors.As(err, &broken) || broken.Alert != NoRenegotiation {
					t.Fatalf("got %v, want a refused renegotiation", err)
				}
				r.close(t, err)
				p.Until("no renegotiation")
			})
		}
	}
}

// TestOpenSSLSeesAlert: the alert for a record that was changed on its way arrives.
func TestOpenSSLSeesAlert(t *testing.T) {
	for _, s := range opensslSuites {
		c := tlsCase{s.version, s.suite, AsServer}
		r, p := asServer(t, c, s.flags...)
		p.Say("hello\n")
		r.leg.in.seq++ // as if a record had been taken out
		var data []byte
		err := r.until(t, func() bool { return false }, &data)
		if err != errTag {
			t.Fatalf("%v: got %v, want %v", c, err, errTag)
		}
		r.close(t, err)
		p.Until("bad record mac")
	}
}
