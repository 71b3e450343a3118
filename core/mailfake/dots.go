package mailfake

import "io"

// blockwise hides what else a reader can do, so that io.CopyBuffer reads block by block.
type blockwise struct{ io.Reader }

// stuffer passes a message on and doubles every dot that begins a line (RFC 1939 3, RFC 5321 4.5.2). A line begins
// behind CRLF only.
type stuffer struct {
	w  io.Writer
	at lineState
}

type lineState uint8

const (
	lineStart lineState = iota
	lineInside
	lineCR // a CR was last
)

// Write is io.Writer's; all of p is taken unless w fails.
func (d *stuffer) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+len(p)/64+1)
	for _, c := range p {
		if c == '.' && d.at == lineStart {
			out = append(out, '.')
		}
		out = append(out, c)
		switch {
		case c == '\r':
			d.at = lineCR
		case c == '\n' && d.at == lineCR:
			d.at = lineStart
		default:
			d.at = lineInside
		}
	}
	if _, err := d.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end writes the final dot line, ahead of it CRLF when the message does not end in one.
func (d *stuffer) end() error {
	text := ".\r\n"
	if d.at != lineStart {
		text = "\r\n.\r\n"
	}
	_, err := io.WriteString(d.w, text)
	return err
}
