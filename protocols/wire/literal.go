package wire

import (
	"bytes"
	"errors"
	"strconv"
)

// ErrLiteral says that a line ends like the announcement of a literal that is none: no size, a sign, or a size beyond
// MaxLiteral. What follows such a line cannot be told apart from commands.
var ErrLiteral = errors.New("bad literal size")

// MaxLiteral is the largest size in bytes that ParseLiteral takes, the largest int32. Callers have much lower bounds.
const MaxLiteral = 1<<31 - 1

// Literal is the announcement of a literal: {5}, or {5+} which waits for no go-ahead (RFC 7888, RFC 5804 4).
type Literal struct {
	Size    int // bytes, 0 to MaxLiteral
	NonSync bool
}

// ParseLiteral looks for an announcement at the end of a line without its CRLF. None is the normal case and no error. An
// announcement stands at the start of the line or behind a space, an opening bracket or the ~ of a literal8 (RFC 9051),
// and not inside a quoted string.
func ParseLiteral(line []byte) (lit Literal, found bool, err error) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return Literal{}, false, nil
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 || !literalMayStart(line[:open]) {
		return Literal{}, false, nil
	}
	digits := line[open+1 : len(line)-1]
	if len(bytes.Trim(digits, "0123456789+-")) != 0 {
		return Literal{}, false, nil
	}
	digits, lit.NonSync = bytes.CutSuffix(digits, []byte{'+'})
	size, numErr := strconv.ParseUint(string(digits), 10, 31) // takes no sign and no overflow
	if numErr != nil {
		return Literal{}, true, ErrLiteral
	}
	lit.Size = int(size)
	return lit, true, nil
}

// literalMayStart reports whether an argument can begin behind before.
func literalMayStart(before []byte) bool {
	before = bytes.TrimSuffix(before, []byte{'~'})
	if n := len(before); n > 0 && before[n-1] != ' ' && before[n-1] != '(' {
		return false
	}
	quoted := false
	for i := 0; i < len(before); i++ {
		switch {
		case before[i] == '"':
			quoted = !quoted
		case before[i] == '\\' && quoted:
			i++
		}
	}
	return !quoted
}

// AppendLiteral appends the announcement of lit without a CRLF.
func AppendLiteral(dst []byte, lit Literal) []byte {
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(lit.Size), 10)
	if lit.NonSync {
		dst = append(dst, '+')
	}
	return append(dst, '}')
}
