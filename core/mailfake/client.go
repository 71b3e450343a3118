package mailfake

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ClientOptions describe a client.
type ClientOptions struct {
	Source  netip.Addr    // local address to connect from; the zero value leaves it to the kernel
	Timeout time.Duration // bound of every wait; 0: 10 s
	// Hold leaves the greeting unread: the test reads it itself.
	Hold bool
	// First is written before anything is read, such as a PROXY header.
	First func(net.Conn) error
	// TLS, when set, shakes hands next, before the greeting.
	TLS *tls.Config
}

// clientTimeout bounds a wait where the test names nothing: far above what loopback needs, even under -race.
const clientTimeout = 10 * time.Second

// Conn is one connection of a scripted client, line by line, of any protocol. It is used by one goroutine. Every wait
// has a deadline.
type Conn struct {
	o    ClientOptions
	tcp  *net.TCPConn
	conn net.Conn
	r    *bufio.Reader
}

// DialConn connects to address:port, does what First and TLS ask for, and reads nothing.
func DialConn(addr string, o ClientOptions) (*Conn, error) {
	if o.Timeout == 0 {
		o.Timeout = clientTimeout
	}
	d := net.Dialer{Timeout: o.Timeout}
	if o.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(o.Source, 0))
	}
	conn, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &Conn{o: o, tcp: conn.(*net.TCPConn), conn: conn, r: bufio.NewReader(conn)}
	if o.First != nil {
		err = o.First(conn)
	}
	if err == nil && o.TLS != nil {
		err = c.TLS(o.TLS)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	return c, nil
}

// welcome reads a greeting unless it is to be held, and closes the connection when there is none.
func (c *Conn) welcome(read func() error) error {
	if c.o.Hold {
		return nil
	}
	if err := read(); err != nil {
		c.Close()
		return fmt.Errorf("greeting of %s: %w", c.tcp.RemoteAddr(), err)
	}
	return nil
}

// LocalAddr is the client's own end.
func (c *Conn) LocalAddr() netip.AddrPort { return c.tcp.LocalAddr().(*net.TCPAddr).AddrPort() }

// TLSState is what the handshake has led to; zero in the clear.
func (c *Client) TLSState() tls.ConnectionState {
	if t, ok := c.conn.(*tls.Conn); ok {
		return t.ConnectionState()
	}
	return tls.ConnectionState{}
}

// SetTimeout changes the bound of every later wait.
func (c *Conn) SetTimeout(d time.Duration) { c.o.Timeout = d }

// Send writes one line; CRLF is added.
func (c *Conn) Send(line string) error { return c.SendRaw(line + "\r\n") }

// SendRaw writes bytes as they are.
func (c *Conn) SendRaw(text string) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.o.Timeout))
	_, err := io.WriteString(c.conn, text)
	return err
}

// Line reads one line and strips CRLF. A line without CRLF at the end of the stream is io.ErrUnexpectedEOF.
func (c *Conn) Line() (string, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(c.o.Timeout))
	line, err := c.r.ReadString('\n')
	if err != nil {
		if line != "" && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return line, err
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// maxStrictLine bounds a line whose protocol has no bound of its own, without CRLF.
const maxStrictLine = 64 << 10

// StrictLine is Line, but wants CRLF, no bare CR, LF or NUL in it, and at most limit bytes with its CRLF (0: 64 KiB).
func (c *Conn) StrictLine(limit int) (string, error) {
	if limit == 0 {
		limit = maxStrictLine
	}
	if have, _ := c.r.Peek(c.r.Buffered()); bytes.IndexByte(have, '\n') < 0 { // a bulk reader need not set it per line
		_ = c.conn.SetReadDeadline(time.Now().Add(c.o.Timeout))
	}
	var raw []byte
	for {
		part, err := c.r.ReadSlice('\n')
		raw = append(raw, part...)
		if len(raw) > limit {
			return "", fmt.Errorf("line of more than %d bytes: %.40q", limit, raw)
		}
		if err == nil {
			break
		}
		if errors.Is(err, io.EOF) && len(raw) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return string(raw), err
		}
	}
	text, whole := strings.CutSuffix(string(raw), "\r\n")
	if !whole || strings.ContainsAny(text, "\r\x00") {
		return text, fmt.Errorf("malformed line %.60q", raw)
	}
	return text, nil
}

// Expect reads one line and wants it to begin with prefix.
func (c *Conn) Expect(prefix string) (string, error) {
	line, err := c.Line()
	if err != nil {
		return line, fmt.Errorf("waiting for %q: %w", prefix, err)
	}
	if !strings.HasPrefix(line, prefix) {
		return line, fmt.Errorf("got line %q, want %q", line, prefix)
	}
	return line, nil
}

// Await reads lines until one begins with prefix.
func (c *Conn) Await(prefix string) (string, error) {
	for {
		line, err := c.Line()
		if err != nil {
			return line, fmt.Errorf("waiting for %q: %w", prefix, err)
		}
		if strings.HasPrefix(line, prefix) {
			return line, nil
		}
	}
}

// Read reads what there is, after what Line has already buffered.
func (c *Conn) Read(p []byte) (int, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(c.o.Timeout))
	return c.r.Read(p)
}

// Write writes bytes as they are; with Read it makes Conn an io.ReadWriter.
func (c *Conn) Write(p []byte) (int, error) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.o.Timeout))
	return c.conn.Write(p)
}

// CloseWrite sends FIN; reading goes on.
func (c *Conn) CloseWrite() error {
	if t, ok := c.conn.(*tls.Conn); ok {
		if err := t.CloseWrite(); err != nil {
			return err
		}
	}
	return c.tcp.CloseWrite()
}

// Close ends the connection at once. It may be called more than once.
func (c *Conn) Close() { _ = c.tcp.Close() }

// Reset ends the connection with a RST.
func (c *Conn) Reset() {
	_ = c.tcp.SetLinger(0)
	_ = c.tcp.Close()
}

// End is how a server ended a connection.
type End struct {
	Lines []string // what was still said, CRLF stripped
	Rest  string   // a last line without CRLF
	Clean bool     // FIN (under TLS: close_notify, then FIN)
	Reset bool     // RST
}

// farewells begin a goodbye that nobody asked for, by protocol: IMAP, ManageSieve, SMTP and its kin, POP3.
var farewells = []string{"* BYE", "BYE", "421 ", "-ERR "}

// Bye is the server's goodbye that answers no command, or empty. A "-ERR" counts: what it means is for the test to know.
func (e End) Bye() string {
	for _, l := range e.Lines {
		if slices.ContainsFunc(farewells, func(f string) bool { return strings.HasPrefix(l, f) }) {
			return l
		}
	}
	return ""
}

// WaitEnd reads until the server ends the connection. An error means that it did not in time. It bounds what it keeps
// at a thousand lines.
func (c *Conn) WaitEnd() (End, error) {
	var e End
	for {
		line, err := c.Line()
		switch {
		case err == nil:
			if len(e.Lines) < 1000 {
				e.Lines = append(e.Lines, line)
			}
			continue
		case errors.Is(err, io.EOF):
			e.Clean = true
		case errors.Is(err, io.ErrUnexpectedEOF):
			e.Rest, e.Clean = line, c.conn == c.tcp // under TLS: FIN without close_notify
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			e.Reset = true
		default:
			return e, fmt.Errorf("waiting for the end of the connection: %w", err)
		}
		return e, nil
	}
}

// TLS puts TLS over the connection; after it everything goes through TLS.
func (c *Conn) TLS(conf *tls.Config) error {
	if c.r.Buffered() > 0 {
		return errors.New("starting TLS: bytes came ahead of it")
	}
	t := tls.Client(c.tcp, conf)
	_ = c.tcp.SetDeadline(time.Now().Add(c.o.Timeout))
	if err := t.Handshake(); err != nil {
		return err
	}
	_ = c.tcp.SetDeadline(time.Time{})
	c.conn, c.r = t, bufio.NewReader(t)
	return nil
}
