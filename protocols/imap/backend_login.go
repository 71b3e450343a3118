package imap

import (
	"bytes"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/sasl"
	"mailsplice/protocols/wire"
)

// maxInitialLine bounds a command line with an initial response, in bytes with its CRLF. RFC 7162 4 asks servers to take
// 8192, and Dovecot's login processes take no more; a longer response goes behind the prompt (BACKENDS, XOAUTH2).
const maxInitialLine = 8 << 10

// maxQuoted bounds what is sent as a quoted string, in bytes: RFC 2683 3.2.1.5 asks clients for lines of 1000 at most.
// Longer values go as literals.
const maxQuoted = 400

// maxLiteralMinus is the largest literal without a go-ahead under LITERAL- (RFC 7888 5).
const maxLiteralMinus = 4096

// authenticate sends the login in the best way that the backend offers (SPEC 6.1).
func (b *BackendSide) authenticate() {
	m := sasl.OfMethod(b.login.Method)
	switch {
	case b.oauth() && b.caps.has(capOf(m)):
		b.startSASL(m)
	case b.oauth():
		b.notOffered()
	case b.caps.has(capPlain):
		b.startSASL(sasl.Plain)
	case sasl.ForeignAuthz(b.login): // never without it (SECURITY 13)
		b.notOffered()
	case b.caps.has(capLogin):
		b.startSASL(sasl.Login)
	case !b.caps.has(capLoginDisabled):
		b.startLogin()
	default:
		b.notOffered()
	}
}

// oauth reports whether the login is one of the OAuth methods.
func (b *BackendSide) oauth() bool {
	return b.login != nil && b.login.Method != dialog.Password
}

// capOf is the capability that offers m.
func capOf(m sasl.Mechanism) backendCaps {
	switch m {
	case sasl.OAuthBearer:
		return capOAuthBearer
	case sasl.XOAuth2:
		return capXOAuth2
	}
	return 0
}

// startSASL sends AUTHENTICATE, with the initial response where the backend takes one and it fits.
func (b *BackendSide) startSASL(m sasl.Mechanism) {
	more := len(" \r\n") + sasl.InitialLen(m, b.login)
	line := b.startCommand("AUTHENTICATE "+m.String(), more)
	if m != sasl.Login && b.caps.has(capSASLIR) && len(line)+more <= maxInitialLine {
		line = sasl.AppendInitial(append(line, ' '), m, b.login)
		b.pieces = []piece{{append(line, "\r\n"...), true}}
		b.sendPiece()
		return
	}
	b.pieces = append(b.pieces, piece{text: append(line, "\r\n"...)}, b.saslPiece(sasl.AppendFirst, m))
	if m == sasl.Login {
		second := func(dst []byte, _ sasl.Mechanism, l *dialog.Login) []byte { return sasl.AppendPassword(dst, l) }
		b.pieces = append(b.pieces, b.saslPiece(second, m))
	}
	b.sendPiece()
}

// saslPiece is one prompted line.
func (b *BackendSide) saslPiece(appendTo func([]byte, sasl.Mechanism, *dialog.Login) []byte, m sasl.Mechanism) piece {
	size := sasl.InitialLen(m, b.login) + wire.Base64Len(len(b.login.Password)) + len("\r\n")
	return piece{append(appendTo(make([]byte, 0, size), m, b.login), "\r\n"...), true}
}

// startLogin sends LOGIN, each value quoted or as a literal, as it needs. A literal that wants a go-ahead ends a piece.
func (b *BackendSide) startLogin() {
	size := 2*(len(b.login.AuthcID)+len(b.login.Password)) + 64 // every byte escaped, two announcements
	line := b.startCommand("LOGIN", size)
	secret := false
	for _, value := range [...][]byte{b.login.AuthcID, b.login.Password} {
		line = append(line, ' ')
		if wire.Quotable(value) && len(value) <= maxQuoted {
			line, secret = wire.AppendQuoted(line, value), true
			continue
		}
		nonSync := b.caps.has(capLiteralPlus) || b.caps.has(capLiteralMinus) && len(value) <= maxLiteralMinus
		line = wire.AppendLiteral(line, wire.Literal{Size: len(value), NonSync: nonSync})
		line = append(line, "\r\n"...)
		if !nonSync {
			b.pieces = append(b.pieces, piece{line, secret})
			line = make([]byte, 0, size)
		}
		line, secret = append(line, value...), true
	}
	b.pieces = append(b.pieces, piece{append(line, "\r\n"...), true})
	b.sendPiece()
}

// sendPiece sends the next piece of the login.
func (b *BackendSide) sendPiece() {
	b.out = b.pieces[0]
	b.pieces = b.pieces[1:]
	b.sent = b.sent || b.out.secret
	b.state = awaitVerdict
	if len(b.pieces) > 0 {
		b.state = awaitPrompt
	}
}

// announce sends ID (SPEC 5.3), once on a connection: Dovecot takes only the first.
func (b *BackendSide) announce() {
	b.idDone = true
	if !b.caps.has(capID) {
		b.verdict.ForwardingIgnored = true
		b.proceed()
		return
	}
	b.command("ID "+string(appendIDList(nil, b.o.Forward, b.login.ClientID)), awaitID)
}

// takeID notes whether the announcement was taken for what it is. A refusal of ID is no reason to refuse the login.
//
// Dovecot 2.4 tells in its text: "Trusted ID completed." Up to 2.3 it says "ID completed." to everybody, so that text
// proves nothing. What proves distrust in every version is LOGINDISABLED, which no trusted peer is shown.
func (b *BackendSide) takeID(status backendStatus, text []byte) {
	trusted := bytes.HasPrefix(text, []byte("Trusted "))
	if status != statusOK || b.caps.has(capLoginDisabled) && !trusted {
		b.verdict.ForwardingIgnored = true
	}
	b.proceed()
}
