package mailfake

import (
	"bytes"
	"io"
)

// blockwise hides what else a reader can do, so that io.CopyBuffer reads block by block.
type blockwise struct{ io.Reader }

// stuffer passes a message on and doubles every dot that begins a line (RFC 1939 3, RFC 5321 4.5.2). A line begins
// behind CRLF only.
type stuffer struct {
	w      io.Writer
	inside bool // something of the present line was written
	cr     bool // a CR was last
	out    []byte
}

// Write is io.Writer's; all of p is taken unless w fails.
func (d *stuffer) Write(p []byte) (int, error) {
	d.out = d.out[:0]
	for rest := p; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			n = len(rest)
		}
		d.piece(rest[:n])
		rest = rest[n:]
	}
	if _, err := d.w.Write(d.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// piece takes bytes with no LF but perhaps a last one.
func (d *stuffer) piece(p []byte) {
	if !d.inside && p[0] == '.' {
		d.out = append(d.out, '.')
	}
	d.out = append(d.out, p...)
	last := len(p) - 1
	if last > 0 {
		d.cr = p[last-1] == '\r'
	}
	d.inside = p[last] != '\n' || !d.cr
	d.cr = p[last] == '\r'
}

// end writes the final dot line, ahead of it CRLF when the message does not end in one.
func (d *stuffer) end() error {
	text := ".\r\n"
	if d.inside {
		text = "\r\n.\r\n"
	}
	_, err := io.WriteString(d.w, text)
	return err
}
