package wire

import (
	"bytes"
	"errors"

	"github.com/valyala/bytebufferpool"
)

// Errors of Reader.Line.
var (
	// ErrLong says that there was no line end within the bound. The stream cannot be followed any further.
	ErrLong = errors.New("line too long")
	// ErrBytes says that a line held a NUL, a bare CR or ended in a bare LF. The line is consumed, the stream goes on.
	ErrBytes = errors.New("NUL, bare CR or bare LF in a line")
)

// minGrow is the smallest buffer in bytes: most lines are shorter, so most are copied once.
const minGrow = 256

// pool is apart from the package's default one so that it calibrates on protocol lines.
var pool bytebufferpool.Pool

// Reader assembles commands (or responses) out of a stream: a line, or several lines joined by literals. The zero value
// is ready. It is used by one goroutine at a time and holds no memory between commands.
type Reader struct {
	buf  *bytebufferpool.ByteBuffer // what of the command was kept; nil: nothing
	from int32                      // where the present line begins in buf
	want int32                      // literal bytes still to come
}

// Line takes bytes of p up to and including the next line end, at most limit bytes of a line with its CRLF, and reports
// how many. The line comes without its CRLF and is valid until the next call of a method that changes the Reader; nil
// means that more input is needed, an empty line is not nil. After ErrBytes the line comes all the same. The caller ends
// each command with Reset, or continues it with Literal. limit is below 2 GiB.
func (r *Reader) Line(p []byte, limit int) (line []byte, n int, err error) {
	room := limit - r.Pending()
	end := bytes.IndexByte(p[:min(len(p), max(room, 0))], '\n')
	if end < 0 && len(p) >= room {
		return nil, 0, ErrLong
	}
	if end < 0 {
		r.keep(p)
		return nil, len(p), nil
	}
	n = end + 1
	line = p[:n]
	if r.buf != nil {
		r.keep(line)
		line = r.buf.B[r.from:]
	}
	line, err = cutEnd(line)
	return line, n, err
}

// cutEnd takes the line end off and judges the line.
func cutEnd(line []byte) ([]byte, error) {
	line = line[:len(line)-1]
	body, found := bytes.CutSuffix(line, []byte{'\r'})
	if !found || bytes.IndexByte(body, 0) >= 0 || bytes.IndexByte(body, '\r') >= 0 {
		return body, ErrBytes
	}
	return body, nil
}

// Pending is the number of bytes held of the line that is not complete yet.
func (r *Reader) Pending() int {
	if r.buf == nil {
		return 0
	}
	return len(r.buf.B) - int(r.from)
}

// Prefix is the beginning of the command as far as it is held, valid until the next call of a method. The present line
// is in it only as far as it was split over slices.
func (r *Reader) Prefix() []byte {
	if r.buf == nil {
		return nil
	}
	return r.buf.B
}

// Literal continues the command behind line, which Line has just returned, with a literal of size bytes. size is what
// ParseLiteral found and the caller has bounded.
func (r *Reader) Literal(line []byte, size int) {
	if r.buf == nil {
		r.keep(line)
		r.keep([]byte("\r\n"))
	}
	r.from = int32(len(r.buf.B))
	r.want = int32(size)
}

// Want is the number of literal bytes still to come before the next line.
func (r *Reader) Want() int { return int(r.want) }

// Take takes bytes of the literal from p and reports how many.
func (r *Reader) Take(p []byte) int {
	p = p[:min(len(p), int(r.want))]
	if len(p) == 0 {
		return 0
	}
	r.keep(p)
	r.want -= int32(len(p))
	r.from = int32(len(r.buf.B))
	return len(p)
}

// Whole is the command that ends in line, which Line has just returned: lines and literals as they came, without the
// last CRLF. It is valid as long as line is.
func (r *Reader) Whole(line []byte) []byte {
	if r.buf == nil {
		return line
	}
	return r.buf.B[:int(r.from)+len(line)]
}

// Reset forgets the command, zeroes its buffer and gives it back.
func (r *Reader) Reset() {
	if r.buf != nil {
		clear(r.buf.B)
		pool.Put(r.buf)
	}
	*r = Reader{}
}

// keep appends to the buffer. It grows by itself because append would leave the old bytes behind in memory.
func (r *Reader) keep(p []byte) {
	if r.buf == nil {
		r.buf = pool.Get()
	}
	have := r.buf.B
	if need := len(have) + len(p); need > cap(have) {
		grown := make([]byte, len(have), max(minGrow, need, 2*cap(have)))
		copy(grown, have)
		clear(have)
		r.buf.B = grown
	}
	r.buf.B = append(r.buf.B, p...)
}
