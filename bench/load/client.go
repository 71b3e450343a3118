package load

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mailsplice/bench/suite"
)

const (
	ioTimeout    = time.Minute // one answer, one piece of bulk
	readBytes    = 512         // of a silent session; bulk is read past it
	accountTotal = 1_000_000_000
	password     = "correct-horse-battery"
)

// Account is the name of account i: 30 bytes, distinct.
func Account(i int) string { return fmt.Sprintf("user%09d@mail.example.org", i%accountTotal) }

// Number is the i of Account(i); false when the name is none of them.
func Number(account string) (i int, ok bool) {
	_, err := fmt.Sscanf(account, "user%09d@", &i)
	return i, err == nil && account == Account(i)
}

// SourceAddr is the address that session i comes from: distinct ones of 127.0.0.0/8, for i below 15 million.
func SourceAddr(i int) net.IP {
	const perByte = 250
	return net.IPv4(127, byte(1+i/(perByte*perByte)%240), byte(i/perByte%perByte), byte(i%perByte+1))
}

// Target is the proxy, and how to speak to it.
type Target struct {
	Addr string
	TLS  bool
	// Curve is the key exchange to offer, "x25519" or "mlkem" (X25519MLKEM768 and X25519); empty: crypto/tls decides.
	Curve string
	// Suite is the only version and cipher suite to offer; zero: crypto/tls decides.
	Suite suite.Suite
}

func (t Target) config(cache tls.ClientSessionCache) *tls.Config {
	c := &tls.Config{ServerName: "mail.example.org", InsecureSkipVerify: true, ClientSessionCache: cache}
	switch t.Curve {
	case "x25519":
		c.CurvePreferences = []tls.CurveID{tls.X25519}
	case "mlkem":
		c.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768, tls.X25519}
	}
	if t.Suite.Version == tls.VersionTLS12 && len(c.CurvePreferences) > 0 {
		// The list speaks of certificates too (RFC 8422 5.1): without their curve OpenSSL has no certificate to show.
		c.CurvePreferences = append(c.CurvePreferences, tls.CurveP256)
	}
	t.Suite.Restrict(c)
	return c
}

// client is one session.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	home string // backend that the login landed on
}

var errResponse = errors.New("unexpected answer")

// dialTCP connects from the address of session i.
func (t Target) dialTCP(i int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: SourceAddr(i)}, Timeout: ioTimeout, Control: portAtConnect}
	return d.Dial("tcp", t.Addr)
}

// portAtConnect makes bind(2) leave the port to connect(2) (ip(7), IP_BIND_ADDRESS_NO_PORT). Linux gives a port that bind
// has chosen to no connect of any other socket, whatever its address, so that many clients would leave the proxy too few
// ports towards the backends: seen at 99,000 sessions on 7 backends.
func portAtConnect(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); e != nil {
		return e
	}
	return err
}

// connect is a connection with its handshake done. resumed says whether TLS resumed a session.
func (t Target) connect(i int, cache tls.ClientSessionCache) (c *client, resumed bool, err error) {
	conn, err := t.dialTCP(i)
	if err != nil {
		return nil, false, err
	}
	if t.TLS {
		secure := tls.Client(conn, t.config(cache))
		conn.SetDeadline(time.Now().Add(ioTimeout))
		if err := secure.Handshake(); err != nil {
			conn.Close()
			return nil, false, fmt.Errorf("handshake: %w", err)
		}
		conn, resumed = secure, secure.ConnectionState().DidResume
	}
	return &client{conn: conn, in: bufio.NewReaderSize(conn, readBytes)}, resumed, nil
}

// open is a session that has logged in.
func (t Target) open(i int, cache tls.ClientSessionCache) (c *client, resumed bool, err error) {
	c, resumed, err = t.connect(i, cache)
	if err != nil {
		return nil, false, err
	}
	if err := c.login(i); err != nil {
		c.conn.Close()
		return nil, false, fmt.Errorf("login of session %d: %w", i, err)
	}
	return c, resumed, nil
}

func (c *client) login(i int) error {
	c.conn.SetDeadline(time.Now().Add(ioTimeout))
	greeting, err := c.line()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(greeting, []byte("* OK")) {
		return fmt.Errorf("%w: greeting %q", errResponse, greeting)
	}
	if _, err := fmt.Fprintf(c.conn, "a LOGIN %s %s\r\n", Account(i), password); err != nil {
		return err
	}
	answer, err := c.until("a ")
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(answer, []byte("a OK")) {
		return fmt.Errorf("%w: %q", errResponse, answer)
	}
	c.home = string(answer[bytes.LastIndexByte(answer, ' ')+1:])
	c.conn.SetDeadline(time.Time{})
	return nil
}

// agreed says whether TLS has come to s, and to X25519.
func (c *client) agreed(s suite.Suite) bool {
	secure, ok := c.conn.(*tls.Conn)
	return ok && s.Agreed(secure.ConnectionState())
}

// line is valid until the next read.
func (c *client) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}

// until reads lines up to one with the prefix.
func (c *client) until(prefix string) ([]byte, error) {
	for {
		line, err := c.line()
		if err != nil || bytes.HasPrefix(line, []byte(prefix)) {
			return line, err
		}
	}
}

// exchange sends a command and waits for a line that begins with want.
func (c *client) exchange(command, want string) error {
	c.conn.SetDeadline(time.Now().Add(ioTimeout))
	if _, err := c.conn.Write([]byte(command)); err != nil {
		return err
	}
	if _, err := c.until(want); err != nil {
		return err
	}
	return c.conn.SetDeadline(time.Time{})
}

// idle makes the session wait for news, as phones do.
func (c *client) idle() error { return c.exchange("i IDLE\r\n", "+ ") }

// noop is one round trip. It allocates nothing.
func (c *client) noop() error {
	if _, err := c.conn.Write(noopCommand); err != nil {
		return err
	}
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil || bytes.HasPrefix(line, noopAnswer) {
			return err
		}
	}
}

var noopCommand, noopAnswer = []byte("n NOOP\r\n"), []byte("n OK")
