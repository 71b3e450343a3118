package managesieve

import (
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/sasl"
	"mailsplice/protocols/wire"
)

// maxInitial bounds a command with an initial response, in bytes: Dovecot 2.3 takes 8192, literal or not, and hangs up on
// more. Behind the prompt it takes 12 KiB (BACKENDS, XOAUTH2).
const maxInitial = 8 << 10

// stringExtra is room for quotes or the announcement of a literal, and a CRLF.
const stringExtra = len("{2147483647+}\r\n\r\n")

// authenticate sends the login in the best way that the backend offers (SPEC 6.1). There is no login but SASL.
func (b *BackendSide) authenticate() {
	m := sasl.OfMethod(b.login.Method)
	switch {
	case b.oauth() && b.caps.has(capOf(m)):
		b.startSASL(m)
	case b.oauth():
		b.notOffered()
	case b.caps.has(capPlain):
		b.startSASL(sasl.Plain)
	case b.caps.has(capLogin) && !sasl.ForeignAuthz(b.login): // never without it (SECURITY 13)
		b.startSASL(sasl.Login)
	default:
		b.notOffered()
	}
}

// oauth reports whether the login is one of the OAuth methods.
func (b *BackendSide) oauth() bool {
	return b.login != nil && b.login.Method != dialog.Password
}

// startSASL sends AUTHENTICATE, with the initial response where the mechanism has one and it fits. An empty one, for
// which servers have two spellings, goes behind the prompt.
func (b *BackendSide) startSASL(m sasl.Mechanism) {
	size := sasl.InitialLen(m, b.login)
	line := make([]byte, 0, len(`AUTHENTICATE "OAUTHBEARER" `)+size+stringExtra)
	line = wire.AppendQuoted(append(line, "AUTHENTICATE "...), m.String())
	empty := b.oauth() && len(b.login.Frame) == 0
	if m != sasl.Login && !empty && len(line)+size+stringExtra <= maxInitial {
		b.pieces = []piece{{b.saslString(append(line, ' '), size, sasl.AppendFirst, m), true}}
		b.sendPiece()
		return
	}
	b.pieces = append(b.pieces, piece{text: append(line, "\r\n"...)}, b.saslPiece(size, sasl.AppendFirst, m))
	if m == sasl.Login {
		second := func(dst []byte, _ sasl.Mechanism, l *dialog.Login) []byte { return sasl.AppendPassword(dst, l) }
		b.pieces = append(b.pieces, b.saslPiece(wire.Base64Len(len(b.login.Password)), second, m))
	}
	b.sendPiece()
}

// saslPiece is one prompted string of at most size bytes.
func (b *BackendSide) saslPiece(size int, appendTo func([]byte, sasl.Mechanism, *dialog.Login) []byte, m sasl.Mechanism) piece {
	return piece{b.saslString(make([]byte, 0, size+stringExtra), size, appendTo, m), true}
}

// saslString appends size bytes of base64 as a string, and a CRLF. dst has room for all of it.
func (b *BackendSide) saslString(dst []byte, size int, appendTo func([]byte, sasl.Mechanism, *dialog.Login) []byte, m sasl.Mechanism) []byte {
	quote := size <= maxQuoted
	dst = openString(dst, size)
	dst = appendTo(dst, m, b.login)
	return closeString(dst, quote)
}

// openString begins a string of size bytes without any that must be escaped, quoted if it fits (RFC 5804 4, literal-c2s).
func openString(dst []byte, size int) []byte {
	if size <= maxQuoted {
		return append(dst, '"')
	}
	return append(wire.AppendLiteral(dst, wire.Literal{Size: size, NonSync: true}), "\r\n"...)
}

// closeString ends it and the line.
func closeString(dst []byte, quoted bool) []byte {
	if quoted {
		dst = append(dst, '"')
	}
	return append(dst, "\r\n"...)
}

// sendPiece sends the next piece of the login.
func (b *BackendSide) sendPiece() {
	b.out = b.pieces[0]
	b.pieces = b.pieces[1:]
	b.state = awaitVerdict
	if len(b.pieces) > 0 {
		b.state = awaitPrompt
	}
}

// answerChallenge sends the client's answer; an empty one is an empty string.
func (b *BackendSide) answerChallenge(answer []byte) {
	size := wire.Base64Len(len(answer))
	dst := openString(make([]byte, 0, size+stringExtra), size)
	b.out = piece{closeString(wire.AppendBase64(dst, answer), size <= maxQuoted), true}
	b.state = awaitVerdict
}
