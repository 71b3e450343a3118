package sasl

import (
	"bytes"
	"slices"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// The functions here write credentials in base64, without CRLF, for the side that plays the client. The result is as
// secret as the Login: its owner zeroes it after use. dst is grown at most once; where it moves, the old bytes are the
// caller's to zero.

// AppendInitial appends the initial response of m for l: the PLAIN message, the user name of LOGIN, or the OAuth frame
// as the client sent it. An empty one is written as "=" (RFC 4959 3, RFC 4954 4).
func AppendInitial(dst []byte, m Mechanism, l *dialog.Login) []byte {
	had := len(dst)
	dst = AppendFirst(dst, m, l)
	if len(dst) == had {
		dst = append(dst, '=')
	}
	return dst
}

// AppendFirst is AppendInitial for the line after a prompt, where an empty response is an empty line.
func AppendFirst(dst []byte, m Mechanism, l *dialog.Login) []byte {
	switch m {
	case Plain:
		return appendPlain(dst, l)
	case Login:
		return AppendUser(dst, l)
	}
	return appendBase64(dst, l.Frame)
}

// InitialLen is the length in bytes of what AppendInitial appends.
func InitialLen(m Mechanism, l *dialog.Login) int {
	n := len(l.Frame)
	switch m {
	case Plain:
		n = len(l.AuthzID) + len(l.AuthcID) + len(l.Password) + 2
	case Login:
		n = len(l.AuthcID)
	}
	return max(1, wire.Base64Len(n))
}

// AppendUser appends the answer to the first prompt of LOGIN.
func AppendUser(dst []byte, l *dialog.Login) []byte { return appendBase64(dst, l.AuthcID) }

// AppendPassword appends the answer to the second prompt of LOGIN.
func AppendPassword(dst []byte, l *dialog.Login) []byte { return appendBase64(dst, l.Password) }

// ForeignAuthz reports whether l asks to act as somebody else than it authenticates as, which only PLAIN can carry
// (SPEC 6.1, SECURITY 13). An authorization identity equal to the authentication identity says nothing and may be lost.
func ForeignAuthz(l *dialog.Login) bool {
	return len(l.AuthzID) > 0 && !bytes.Equal(l.AuthzID, l.AuthcID)
}

// appendPlain appends the message of RFC 4616 2.
func appendPlain(dst []byte, l *dialog.Login) []byte {
	raw := make([]byte, 0, len(l.AuthzID)+len(l.AuthcID)+len(l.Password)+2)
	raw = append(append(raw, l.AuthzID...), 0)
	raw = append(append(raw, l.AuthcID...), 0)
	raw = append(raw, l.Password...)
	dst = appendBase64(dst, raw)
	clear(raw)
	return dst
}

func appendBase64(dst, raw []byte) []byte {
	return wire.AppendBase64(slices.Grow(dst, wire.Base64Len(len(raw))), raw)
}
