package mailfake

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Session is one connection to a backend, as hooks see it. Its methods belong to the hook's goroutine, but Write.
type Session struct {
	b    *Backend
	tcp  *net.TCPConn
	conn net.Conn // tcp, or TLS over it
	r    *bufio.Reader
	rec  *Record // guarded by b.mu
	tag  string
	verb string

	loggedIn       bool         // rec.LoggedIn, or a greeting that says so
	received, sent atomic.Int64 // bytes, inside TLS

	idling bool // guarded by b.mu

	wmu     sync.Mutex // guards writes to conn and dribble
	dribble bool
}

var (
	errEnd   = errors.New("session ends")
	errAbort = errors.New("session is reset")
	errLine  = errors.New("line too long")
	errBare  = errors.New("line with a bare CR, a bare LF or a NUL")
)

func newSession(b *Backend, c *net.TCPConn) *Session {
	s := &Session{b: b, tcp: c, conn: c}
	peer := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	s.rec = &Record{Peer: peer, Client: peer, Began: time.Now()}
	s.r = bufio.NewReader(&guarded{s})
	return s
}

// guarded reads from the connection with the backend's deadline.
type guarded struct{ s *Session }

func (g *guarded) Read(p []byte) (int, error) {
	_ = g.s.conn.SetReadDeadline(time.Now().Add(g.s.b.o.Timeout))
	n, err := g.s.conn.Read(p)
	g.s.received.Add(int64(n))
	return n, err
}

// Tag is the tag of the present command, empty before the first.
func (s *Session) Tag() string { return s.tag }

// Verb is the present command in upper case, empty before the first.
func (s *Session) Verb() string { return s.verb }

// Record is a copy of what is known of the session so far.
func (s *Session) Record() Record {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.tally()
	return s.rec.clone()
}

// tally brings the byte counts of the record up to date. b.mu is held.
func (s *Session) tally() { s.rec.Received, s.rec.Sent = s.received.Load(), s.sent.Load() }

// Write sends text as it is. Any goroutine may call it; each call's bytes stay together.
func (s *Session) Write(text string) error { return s.writeBytes([]byte(text)) }

func (s *Session) writeBytes(p []byte) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.b.o.Timeout))
	if !s.dribble {
		n, err := s.conn.Write(p)
		s.sent.Add(int64(n))
		return err
	}
	for i := range p {
		if _, err := s.conn.Write(p[i : i+1]); err != nil {
			return err
		}
		s.sent.Add(1)
	}
	return nil
}

// writer is the session as an io.Writer, in blocks of the size that come.
func (s *Session) writer() io.Writer { return sessionWriter{s} }

type sessionWriter struct{ s *Session }

func (w sessionWriter) Write(p []byte) (int, error) {
	if err := w.s.writeBytes(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// printf writes one line; CRLF is added.
func (s *Session) printf(format string, args ...any) error {
	return s.Write(fmt.Sprintf(format, args...) + "\r\n")
}

// ok answers the present command with OK.
func (s *Session) ok(text string) error { return s.printf("%s OK %s", s.tag, text) }

// hook runs what is hung on m. answered: the usual answer is left out.
func (s *Session) hook(m Moment) (answered bool, err error) {
	h := s.b.o.Hooks[m]
	if h == nil {
		return false, nil
	}
	switch h(s) {
	case Answered:
		return true, nil
	case Finished:
		return true, errEnd
	case Aborted:
		return true, errAbort
	default:
		return false, nil
	}
}

// converse says the greeting, then carries out commands until the session ends.
func (s *Session) converse(greet, one func() error) {
	err := greet()
	for err == nil {
		err = one()
	}
	switch {
	case errors.Is(err, errLine):
		_ = s.Write(s.b.speech.tooMuch)
	case errors.Is(err, errBare):
		_ = s.Write(s.b.speech.malformed)
	}
	s.close(err)
}

// heard records the present command and lets OnCommand see it.
func (s *Session) heard() (answered bool, err error) {
	s.b.update(func() {
		s.b.counts.Commands++
		s.rec.Commands++
		if len(s.rec.Verbs) < maxVerbs {
			s.rec.Verbs = append(s.rec.Verbs, s.verb)
		}
	})
	return s.hook(OnCommand)
}

// play runs the session and closes the connection the way the outcome asks for.
func (s *Session) play() {
	err := s.open()
	if err == nil {
		s.b.speech.serve(s)
		return
	}
	s.close(err)
}

// open does what comes before the protocol's greeting.
func (s *Session) open() error {
	if _, err := s.hook(OnAccept); err != nil {
		return err
	}
	glued := ""
	if s.b.o.Proxy != ProxyOff {
		var err error
		if glued, err = s.announced(); err != nil {
			return errAbort
		}
	}
	if s.b.o.TLS != nil && s.b.o.Implicit {
		return s.handshake(io.MultiReader(strings.NewReader(glued), s.tcp))
	}
	s.r = bufio.NewReader(io.MultiReader(strings.NewReader(glued), &guarded{s}))
	return nil
}

// announced reads the PROXY header, and returns what came glued behind it.
func (s *Session) announced() (glued string, err error) {
	_ = s.tcp.SetReadDeadline(time.Now().Add(proxyTimeout))
	raw := bufio.NewReaderSize(s.tcp, maxProxyBytes)
	h, err := readProxy(raw)
	if err != nil {
		return "", err
	}
	rest, _ := raw.Peek(raw.Buffered())
	s.b.update(func() {
		s.rec.Proxy = h
		if !h.Local && h.Source.IsValid() {
			s.rec.Client = netip.AddrPortFrom(h.Source.Addr().Unmap(), h.Source.Port())
		}
	})
	return string(rest), nil
}

func (s *Session) overTLS() bool { return s.conn != s.tcp }

// secure carries out STARTTLS once it is known to be legal. answered: a hook has said what comes first inside TLS.
func (s *Session) secure() (answered bool, err error) {
	if answered, err = s.hook(OnStartTLS); err != nil {
		return answered, err
	}
	if !answered {
		if err := s.Write(s.fill(s.b.speech.goAhead)); err != nil {
			return false, err
		}
	}
	if err := s.startTLS(); err != nil {
		return false, err
	}
	return s.hook(OnTLS)
}

// startTLS puts TLS over the connection. Bytes already read would be an injection: they end the session.
func (s *Session) startTLS() error {
	if s.r.Buffered() > 0 {
		return errAbort
	}
	return s.handshake(s.tcp)
}

// rereader is a connection whose first bytes were read already.
type rereader struct {
	net.Conn
	from io.Reader
}

func (r rereader) Read(p []byte) (int, error) { return r.from.Read(p) }

// handshake puts TLS over the connection, whose bytes come from there.
func (s *Session) handshake(from io.Reader) error {
	t := tls.Server(rereader{s.tcp, from}, s.b.o.TLS)
	_ = s.tcp.SetDeadline(time.Now().Add(s.b.o.Timeout))
	if err := t.Handshake(); err != nil {
		return fmt.Errorf("handshaking with client: %w", err)
	}
	s.wmu.Lock()
	s.conn = t
	s.wmu.Unlock()
	s.r = bufio.NewReader(&guarded{s})
	s.b.update(func() { s.rec.TLS, s.rec.State = true, t.ConnectionState() })
	return nil
}

// line reads up to LF and strips CRLF; over maxLineBytes it fails.
func (s *Session) line() (string, error) {
	raw, err := s.rawLine()
	return strings.TrimSuffix(strings.TrimSuffix(raw, "\n"), "\r"), err
}

// strictLine is line, but wants CRLF and no bare CR or NUL: a proxy must not send anything else.
func (s *Session) strictLine() (string, error) {
	raw, err := s.rawLine()
	if err != nil {
		return "", err
	}
	text, whole := strings.CutSuffix(raw, "\r\n")
	if !whole || strings.ContainsAny(text, "\r\x00") {
		return "", errBare
	}
	return text, nil
}

func (s *Session) rawLine() (string, error) {
	var out []byte
	for {
		part, err := s.r.ReadSlice('\n')
		out = append(out, part...)
		if err == nil {
			return string(out), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		if len(out) > maxLineBytes {
			return "", errLine
		}
	}
}

// account is the account logged in or tried last.
func (s *Session) account() string {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	return s.rec.Account
}

// stop sends FIN; the session's goroutine sees the peer's and closes.
func (s *Session) stop() {
	_ = s.conn.SetReadDeadline(time.Now().Add(lingerTimeout))
	if c, ok := s.conn.(*tls.Conn); ok {
		_ = c.CloseWrite()
	}
	_ = s.tcp.CloseWrite()
}

// close ends the connection: by RST after errAbort, else by FIN with everything written delivered first. Unread input
// is discarded, since closing over it would send RST and eat the farewell.
func (s *Session) close(why error) {
	defer s.tcp.Close()
	if errors.Is(why, errAbort) {
		_ = s.tcp.SetLinger(0)
		return
	}
	s.stop()
	_ = s.tcp.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.Copy(io.Discard, s.tcp)
}
