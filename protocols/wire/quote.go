package wire

import (
	"bytes"
	"errors"
)

// ErrString says that a string was none: quotes not closed, a wrong escape, a byte that has no place there.
var ErrString = errors.New("bad string")

// AtomByte reports whether c may stand in an atom as a peer sends it: printable ASCII but brackets and quotes. Percent,
// star and backslash are excluded by RFC 9051 9 and taken all the same: they are master user separators, and imaplib
// and others send a user name as it was typed.
func AtomByte(c byte) bool {
	switch c {
	case '(', ')', '{', '"':
		return false
	}
	return c > ' ' && c < 0x7f
}

// StrictAtom reports whether s can be sent as an atom to a server that follows RFC 9051 9 to the letter.
func StrictAtom(s []byte) bool {
	for _, c := range s {
		if !AtomByte(c) || c == '%' || c == '*' || c == '\\' || c == ']' {
			return false
		}
	}
	return len(s) > 0 && !bytes.EqualFold(s, []byte("NIL"))
}

// Quotable reports whether s can be sent as a quoted string by a client that has negotiated nothing: 7-bit, without
// NUL, CR and LF (RFC 9051 4.3, RFC 3501 4.3). Anything else needs a literal.
func Quotable(s []byte) bool {
	for _, c := range s {
		if c == 0 || c == '\r' || c == '\n' || c >= 0x80 {
			return false
		}
	}
	return true
}

// AppendQuoted appends s between quotes, escaped. s holds no NUL, CR or LF.
func AppendQuoted[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// CutAtom cuts the atom off the beginning of p. value is part of p.
func CutAtom(p []byte) (value, rest []byte, err error) {
	n := 0
	for n < len(p) && AtomByte(p[n]) {
		n++
	}
	if n == 0 {
		return nil, p, ErrString
	}
	return p[:n], p[n:], nil
}

// CutString cuts a quoted string or a literal, which lies in p behind its announcement and CRLF as Reader.Whole gives
// it, off the beginning of p. value is a copy of its own in a slice that append never had to move, so that a caller can
// zero it. Only quote and backslash may be escaped. 8-bit bytes are let through: RFC 9051 allows UTF-8.
func CutString(p []byte) (value, rest []byte, err error) {
	switch {
	case len(p) == 0:
		return nil, p, ErrString
	case p[0] == '"':
		return cutQuoted(p)
	case p[0] == '{':
		return cutLiteral(p)
	}
	return nil, p, ErrString
}

// CutAstring is CutString that takes an atom too (RFC 9051 9, astring).
func CutAstring(p []byte) (value, rest []byte, err error) {
	if len(p) > 0 && (p[0] == '"' || p[0] == '{') {
		return CutString(p)
	}
	atom, rest, err := CutAtom(p)
	return bytes.Clone(atom), rest, err
}

func cutQuoted(p []byte) (value, rest []byte, err error) {
	end, escapes := 1, 0
	for end < len(p) && p[end] != '"' {
		if p[end] == '\\' {
			end++
			escapes++
		}
		end++
	}
	if end >= len(p) {
		return nil, p, ErrString
	}
	value = make([]byte, 0, end-1-escapes)
	for i := 1; i < end; i++ {
		if p[i] == '\\' {
			i++
			if p[i] != '"' && p[i] != '\\' {
				clear(value)
				return nil, p, ErrString
			}
		}
		value = append(value, p[i])
	}
	return value, p[end+1:], nil
}

func cutLiteral(p []byte) (value, rest []byte, err error) {
	line, rest, found := bytes.Cut(p, []byte("\r\n"))
	lit, is, err := ParseLiteral(line)
	if !found || !is || err != nil || lit.Size > len(rest) || bytes.LastIndexByte(line, '{') != 0 {
		return nil, p, ErrString
	}
	return append(make([]byte, 0, lit.Size), rest[:lit.Size]...), rest[lit.Size:], nil
}
