package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"mailsplice/protocols/submission"
	"mailsplice/protocols/wire"
	"mailsplice/tlsx"
)

// talk is one connection of a probe, line by line. It belongs to one goroutine; its waits end at the socket's deadline.
// The socket is its maker's, who closes it after the talk.
type talk struct {
	clear  tlsx.Socket
	stream *tlsx.Stream // over clear; nil: no TLS
	reader wire.Reader
	buf    [8 << 10]byte
	rest   []byte // of buf: read, not consumed
	spent  int    // bytes read

	name      string // of ours, for EHLO
	host      string // the backend's, for HTTP
	proxied   bool   // a PROXY header went ahead
	own, peer netip.AddrPort

	// What the backend offers, as its speech found out last.
	offers   []string
	startTLS bool
	xclient  bool
	list     string // attributes behind XCLIENT
}

// maxProbeLine bounds one line in bytes.
const maxProbeLine = 16 << 10

var (
	errEnded   = errors.New("the connection was ended")
	errTooMuch = fmt.Errorf("more than %d bytes without an end", maxProbeBytes)
)

func (t *talk) close() {
	if t.stream != nil {
		t.stream.Close()
	}
	t.reader.Reset()
}

func (t *talk) sock() tlsx.Socket {
	if t.stream != nil {
		return t.stream
	}
	return t.clear
}

// unread is what was read and not consumed.
func (t *talk) unread() []byte { return t.rest }

func (t *talk) write(p []byte) error {
	_, err := t.sock().Write(p)
	return worded(err)
}

func (t *talk) say(line string) error { return t.write([]byte(line + "\r\n")) }

// line reads one line, without its CRLF. It is foreign text.
func (t *talk) line() (string, error) {
	for {
		line, n, err := t.reader.Line(t.rest, maxProbeLine)
		t.rest = t.rest[n:]
		if err != nil {
			return "", err
		}
		if line != nil {
			text := string(line)
			t.reader.Reset()
			return text, nil
		}
		if err := t.fill(); err != nil {
			return "", err
		}
	}
}

// fill reads more; nothing is unread.
func (t *talk) fill() error {
	n, err := t.sock().Read(t.buf[:])
	if err == nil && n == 0 {
		err = errEnded
	}
	if t.spent += n; err == nil && t.spent > maxProbeBytes {
		err = errTooMuch
	}
	t.rest = t.buf[:n]
	return worded(err)
}

// skip passes over n bytes.
func (t *talk) skip(n int) error {
	for n > 0 {
		if len(t.rest) == 0 {
			if err := t.fill(); err != nil {
				return err
			}
		}
		k := min(n, len(t.rest))
		t.rest, n = t.rest[k:], n-k
	}
	return nil
}

// worded makes an error of the socket one for the operator.
func worded(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in time: %w", os.ErrDeadlineExceeded)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errEnded
	}
	return err
}

// hello is the name in EHLO (SPEC 6.1).
func (t *talk) hello() string {
	if a, err := netip.ParseAddr(t.name); err == nil {
		return submission.Literal(a)
	}
	if t.name != "" {
		return t.name
	}
	return submission.Literal(t.own.Addr())
}

// listing is the capabilities for the report.
func (t *talk) listing() string {
	const most = 1024
	text := strings.Join(t.offers, " | ")
	if len(text) > most {
		text = text[:most] + "..."
	}
	return shownText(text)
}

// shownText makes foreign text fit for one line of a terminal.
func shownText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}

// unexpected is an answer that is not the one wanted.
func unexpected(line string) error {
	const most = 200
	if len(line) > most {
		line = line[:most] + "..."
	}
	return fmt.Errorf("it says %q", line)
}

// word cuts the first word off a line.
func word(line string) (first, rest string) {
	first, rest, _ = strings.Cut(line, " ")
	return strings.ToUpper(first), rest
}

// literalOf is the size of a literal that a line announces.
func literalOf(line string) (size int, found bool, err error) {
	lit, found, err := wire.ParseLiteral([]byte(line))
	if err == nil && lit.Size > maxProbeBytes {
		err = errTooMuch
	}
	return lit.Size, found, err
}

// unquoted is the string at the beginning of a line, and what follows it.
func unquoted(line string) (value, rest string, err error) {
	v, r, err := wire.CutString([]byte(line))
	return string(v), string(bytes.TrimLeft(r, " ")), err
}
