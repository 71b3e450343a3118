package mailfake

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
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

// Client is a scripted mail client on one connection, used by one goroutine. Every wait has a deadline.
type Client struct {
	Greeting string // first line, empty with Hold

	o    ClientOptions
	tcp  *net.TCPConn
	conn net.Conn
	r    *bufio.Reader
	n    int // tags given out
}

// Dial connects to address:port and reads the greeting.
func Dial(addr string) (*Client, error) { return DialWith(addr, ClientOptions{}) }

// DialWith is Dial with options.
func DialWith(addr string, o ClientOptions) (*Client, error) {
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
	c := &Client{o: o, tcp: conn.(*net.TCPConn), conn: conn, r: bufio.NewReader(conn)}
	if o.First != nil {
		err = o.First(conn)
	}
	if err == nil && o.TLS != nil {
		err = c.TLS(o.TLS)
	}
	if err == nil && !o.Hold {
		c.Greeting, err = c.Line()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("greeting of %s: %w", addr, err)
	}
	return c, nil
}

// LocalAddr is the client's own end.
func (c *Client) LocalAddr() netip.AddrPort { return c.tcp.LocalAddr().(*net.TCPAddr).AddrPort() }

// TLSState is what the handshake has led to; zero in the clear.
func (c *Client) TLSState() tls.ConnectionState {
	if t, ok := c.conn.(*tls.Conn); ok {
		return t.ConnectionState()
	}
	return tls.ConnectionState{}
}

// SetTimeout changes the bound of every later wait.
func (c *Client) SetTimeout(d time.Duration) { c.o.Timeout = d }

// Send writes one line; CRLF is added.
func (c *Client) Send(line string) error { return c.SendRaw(line + "\r\n") }

// SendRaw writes bytes as they are.
func (c *Client) SendRaw(text string) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.o.Timeout))
	_, err := io.WriteString(c.conn, text)
	return err
}

// Line reads one line and strips CRLF. A line without CRLF at the end of the stream is io.ErrUnexpectedEOF.
func (c *Client) Line() (string, error) {
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

// Expect reads one line and wants it to begin with prefix.
func (c *Client) Expect(prefix string) (string, error) {
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
func (c *Client) Await(prefix string) (string, error) {
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
func (c *Client) Read(p []byte) (int, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(c.o.Timeout))
	return c.r.Read(p)
}

// Write writes bytes as they are; with Read it makes Client an io.ReadWriter.
func (c *Client) Write(p []byte) (int, error) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.o.Timeout))
	return c.conn.Write(p)
}

// CloseWrite sends FIN; reading goes on.
func (c *Client) CloseWrite() error {
	if t, ok := c.conn.(*tls.Conn); ok {
		if err := t.CloseWrite(); err != nil {
			return err
		}
	}
	return c.tcp.CloseWrite()
}

// Close ends the connection at once. It may be called more than once.
func (c *Client) Close() { _ = c.tcp.Close() }

// Reset ends the connection with a RST.
func (c *Client) Reset() {
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

// Bye is the server's untagged goodbye, or empty.
func (e End) Bye() string {
	for _, l := range e.Lines {
		if strings.HasPrefix(l, "* BYE") {
			return l
		}
	}
	return ""
}

// WaitEnd reads until the server ends the connection. An error means that it did not in time. It bounds what it keeps
// at a thousand lines.
func (c *Client) WaitEnd() (End, error) {
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
func (c *Client) TLS(conf *tls.Config) error {
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
