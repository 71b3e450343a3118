package pop3

import (
	"slices"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/sasl"
	"mailsplice/protocols/wire"
	"mailsplice/protocols/xclient"
)

// maxInitialLine bounds a command line with an initial response, in bytes with its CRLF (RFC 2449 4, RFC 5034 4). A
// longer response goes behind the prompt, where only SASL's own bounds hold.
const maxInitialLine = 255

// announce sends XCLIENT (SPEC 5.2). Only the greeting tells whether the backend takes it (BACKENDS).
func (b *BackendSide) announce() {
	b.told = true
	if !b.xclient {
		b.verdict.ForwardingIgnored = true
		b.proceed()
		return
	}
	b.out = piece{text: xclient.Line(b.o.Forward)}
	b.state = awaitXclient
}

// switchUTF8 replays the client's UTF8, which decides how the backend shows mail after the login: without it the session
// would not be the one that the client was promised, so the login is refused (SPEC 3.2).
func (b *BackendSide) switchUTF8() {
	if !b.caps.has(capUTF8) {
		b.notOffered()
		return
	}
	b.command("UTF8", awaitUTF8)
}

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
	case b.caps.has(capUser):
		b.startUser()
	default:
		b.notOffered()
	}
}

// oauth reports whether the login is one of the OAuth methods.
func (b *BackendSide) oauth() bool {
	return b.login != nil && b.login.Method != dialog.Password
}

// startSASL sends AUTH, with the initial response if it fits.
func (b *BackendSide) startSASL(m sasl.Mechanism) {
	verb := "AUTH " + m.String()
	size := len(verb) + len(" \r\n") + sasl.InitialLen(m, b.login)
	if m != sasl.Login && size <= maxInitialLine {
		line := append(append(make([]byte, 0, size), verb...), ' ')
		line = sasl.AppendInitial(line, m, b.login)
		b.pieces = []piece{{append(line, "\r\n"...), true}}
		b.sendPiece(awaitPrompt)
		return
	}
	b.pieces = []piece{{text: []byte(verb + "\r\n")}, b.saslPiece(sasl.AppendFirst, m)}
	if m == sasl.Login {
		second := func(dst []byte, _ sasl.Mechanism, l *dialog.Login) []byte { return sasl.AppendPassword(dst, l) }
		b.pieces = append(b.pieces, b.saslPiece(second, m))
	}
	b.sendPiece(awaitPrompt)
}

// saslPiece is one prompted line.
func (b *BackendSide) saslPiece(appendTo func([]byte, sasl.Mechanism, *dialog.Login) []byte, m sasl.Mechanism) piece {
	size := sasl.InitialLen(m, b.login) + wire.Base64Len(len(b.login.Password)) + len("\r\n")
	return piece{append(appendTo(make([]byte, 0, size), m, b.login), "\r\n"...), true}
}

// startUser sends USER, and has PASS follow. The password goes as it is, blanks and all (SPEC 3.2).
func (b *BackendSide) startUser() {
	b.pieces = []piece{
		{slices.Concat([]byte("USER "), b.login.AuthcID, []byte("\r\n")), true},
		{slices.Concat([]byte("PASS "), b.login.Password, []byte("\r\n")), true},
	}
	b.sendPiece(awaitUser)
}

// sendPiece sends the next piece of the login. As long as there are more, asked is what the backend must say first.
func (b *BackendSide) sendPiece(asked backendState) {
	b.out = b.pieces[0]
	b.pieces = b.pieces[1:]
	b.state = awaitVerdict
	if len(b.pieces) > 0 {
		b.state = asked
	}
}
