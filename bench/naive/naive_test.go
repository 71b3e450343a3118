package naive

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// backend is one connection to a backend, played by the test.
type backend struct {
	peer
	tcp *net.TCPConn
}

type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func newPeer(t *testing.T, c net.Conn) peer {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return peer{t, c, bufio.NewReader(c)}
}

func (p peer) say(text string) {
	p.t.Helper()
	if _, err := fmt.Fprint(p.conn, text); err != nil {
		p.t.Fatal(err)
	}
}

func (p peer) expect(want string) {
	p.t.Helper()
	line, err := p.in.ReadString('\n')
	if got := strings.TrimSuffix(line, "\r\n"); err != nil || got != want {
		p.t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func (p peer) expectEnd() {
	p.t.Helper()
	if rest, err := io.ReadAll(p.in); err != nil || len(rest) > 0 {
		p.t.Fatalf("got %q, %v; want the end", rest, err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// setup is a proxy before some backends, and a client that has been greeted.
func setup(t *testing.T, backends ...net.Listener) peer {
	t.Helper()
	o := Options{Listen: "127.0.0.1:0"}
	for _, ln := range backends {
		o.Backends = append(o.Backends, ln.Addr().String())
	}
	p, err := Serve(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		p.sessions.Wait() // every session has ended with the test's connections
	})
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	client := newPeer(t, c)
	client.expect("* OK [CAPABILITY " + capabilities + "] ready")
	return client
}

func accept(t *testing.T, ln net.Listener) backend {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return backend{newPeer(t, c), c.(*net.TCPConn)}
}

func TestBeforeLogin(t *testing.T) {
	c := setup(t, listen(t))
	c.say("a CAPABILITY\r\nb noop\r\nc SELECT INBOX\r\nd LOGOUT\r\n")
	for _, want := range []string{"* CAPABILITY " + capabilities, "a OK done", "b OK done", "c BAD unknown", "* BYE", "d OK done"} {
		c.expect(want)
	}
	c.expectEnd()
}

func TestSession(t *testing.T) {
	ln := listen(t)
	c := setup(t, ln)
	c.say("a LOGIN user1 secret\r\nb SELECT INBOX\r\n") // pipelined
	b := accept(t, ln)
	b.say("* OK ready\r\n")
	b.expect("a LOGIN user1 secret")
	b.say("* CAPABILITY X\r\na OK hello\r\n* 1 EXISTS\r\n") // read ahead with the answer
	c.expect("a OK hello")
	c.expect("* 1 EXISTS")
	b.expect("b SELECT INBOX")
	// The end of one direction is passed on, and the other one goes on.
	if err := b.tcp.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.expectEnd()
	c.say("c LOGOUT\r\n")
	b.expect("c LOGOUT")
	c.conn.Close()
	b.expectEnd()
}

func TestRefusal(t *testing.T) {
	ln := listen(t)
	c := setup(t, ln)
	c.say("a LOGIN user1 wrong\r\n")
	b := accept(t, ln)
	b.say("* OK ready\r\n")
	b.expect("a LOGIN user1 wrong")
	b.say("a NO go away\r\n")
	c.expect("a NO go away")
	b.expectEnd()
	c.say("b NOOP\r\n")
	c.expect("b OK done")
}

func TestUnreachable(t *testing.T) {
	ln := listen(t)
	ln.Close()
	c := setup(t, ln)
	c.say("a LOGIN user1 secret\r\n")
	c.expect("a NO [UNAVAILABLE] Try again later.")
}

func TestBackendByNumber(t *testing.T) {
	even, odd := listen(t), listen(t)
	for account, ln := range map[string]net.Listener{"user4@x": even, "user000000007@x": odd, "nobody": even} {
		c := setup(t, even, odd)
		c.say("a LOGIN " + account + " secret\r\n")
		b := accept(t, ln)
		b.say("* OK ready\r\n")
		b.expect("a LOGIN " + account + " secret")
		b.conn.Close()
		c.expectEnd()
	}
}
