package mock

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"mailsplice/bench/suite"
)

func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func serve(t *testing.T, config *tls.Config) *Server {
	t.Helper()
	s, err := Serve("b0", config, suite.Suite{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// bytewise sends every byte by itself, so that records arrive in parts.
type bytewise struct{ net.Conn }

func (c bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// The same dialogue over every way to reach a server.
func TestServer(t *testing.T) {
	tests := []struct {
		name  string
		suite suite.Suite // zero: plain
		wrap  func(net.Conn) net.Conn
	}{
		{"plain", suite.Suite{}, nil},
		{"TLS", suite.TLS13GCM.ECDSA(), nil},
		{"TLS, byte by byte", suite.TLS13GCM.ECDSA(), func(c net.Conn) net.Conn { return bytewise{c} }},
		{"TLS 1.2", suite.TLS12GCM.ECDSA(), nil},
		{"TLS 1.2 with CBC", suite.TLS12CBC.ECDSA(), nil},
		{"TLS 1.2 with CBC, byte by byte", suite.TLS12CBC.ECDSA(), func(c net.Conn) net.Conn { return bytewise{c} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var config *tls.Config
			encrypted := tt.suite != suite.Suite{}
			if encrypted {
				config = selfSigned(t)
				tt.suite.Restrict(config)
			}
			s := serve(t, config)
			c := dial(t, s.Addr(), encrypted, tt.wrap)
			c.expect("* OK [CAPABILITY " + capabilities + "] b0 ready")
			c.say("a LOGIN u p\r\n")
			c.expect("a OK [CAPABILITY " + afterwards + "] logged in on b0")
			if joined := s.Counts().Joined; joined != 1 { // counted before the client is told
				t.Errorf("got %d joined, want 1", joined)
			}
			c.say("b XSOURCE 100000\r\n")
			c.expect("* SOURCE 100000")
			if n, err := io.CopyN(io.Discard, c.in, 100000); err != nil {
				t.Fatalf("source: %d bytes, %v", n, err)
			}
			c.expect("b OK done")
			c.say("c XSINK 3000\r\n" + strings.Repeat("\n", 3000) + "d IDLE\r\n")
			c.expect("c OK done")
			c.expect("+ idling")
			if n, err := s.Push("* 1 EXISTS"); n != 1 || err != nil {
				t.Errorf("push: got %d, %v", n, err)
			}
			c.expect("* 1 EXISTS")
			c.say("DONE\r\ne LOGOUT\r\n")
			c.expect("d OK done")
			c.expect("* BYE")
			c.expect("e OK done")
			if line, err := c.in.ReadString('\n'); err != io.EOF {
				t.Errorf("after the end: got %q, %v; want EOF", line, err)
			}
			if c := s.Counts(); c.Logins != 1 {
				t.Errorf("got %d joined, %d logins; want 1 login", c.Joined, c.Logins)
			}
		})
	}
}

// A connection that closes is forgotten; one that sends no handshake does not keep others from being served.
func TestLeaving(t *testing.T) {
	s := serve(t, selfSigned(t))
	silent, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := silent.Write([]byte("no TLS\r\n")); err != nil {
		t.Fatal(err)
	}
	c := dial(t, s.Addr(), true, nil)
	c.expect("* OK [CAPABILITY " + capabilities + "] b0 ready")
	c.say("a LOGIN u p\r\n")
	c.expect("a OK [CAPABILITY " + afterwards + "] logged in on b0")
	c.conn.Close()
	silent.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, silent); err != nil {
		t.Errorf("no TLS: got %v, want the end", err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 10_000 {
		if s.Counts().Joined == 0 {
			return
		}
		<-tick.C
	}
	t.Error("the session that left is still counted")
}

type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string, encrypted bool, wrap func(net.Conn) net.Conn) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if wrap != nil {
		conn = wrap(conn)
	}
	if encrypted {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return &peer{t, conn, bufio.NewReader(conn)}
}

func (p *peer) say(text string) {
	p.t.Helper()
	if _, err := fmt.Fprint(p.conn, text); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) expect(want string) {
	p.t.Helper()
	line, err := p.in.ReadString('\n')
	if got := strings.TrimSuffix(line, "\r\n"); err != nil || got != want {
		p.t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}
