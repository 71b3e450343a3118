package sasl

import (
	"bytes"
	"errors"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// Errors that end an exchange. All of them count as an attempt (SPEC 3); they differ in what the client is told.
var (
	// ErrAborted: the client sent "*".
	ErrAborted = errors.New("exchange aborted by the client")
	// ErrSyntax: not base64, over MaxLineBytes, or not a message of the mechanism.
	ErrSyntax = errors.New("malformed SASL response")
	// ErrRefused: well formed, but SPEC 4 point 2 or SECURITY 8 forbids it. The client gets the permanent text of 6.1.
	ErrRefused = errors.New("forbidden bytes in a credential")
)

// The prompts of LOGIN. Outlook and Exchange tools know exactly these (BACKENDS, clients that broke other proxies).
const (
	promptUser     = "VXNlcm5hbWU6"
	promptPassword = "UGFzc3dvcmQ6"
)

// Exchange is one SASL exchange in which we play the server. It holds a user name between the two steps of LOGIN and
// nothing else. It is over when Answer or Initial has given a Login or an error.
type Exchange struct {
	mech  Mechanism
	named bool   // LOGIN: user holds the answer to the first prompt
	claim string // jwt_username_claim
	user  []byte
}

// Begin starts an exchange by m, which is not None. claim is the first JWT claim to look at (SPEC 2.8).
func Begin(m Mechanism, claim string) Exchange { return Exchange{mech: m, claim: claim} }

// Prompt is the base64 text of the next prompt, empty for the mechanisms in which the client speaks first.
func (x *Exchange) Prompt() string {
	switch {
	case x.mech != Login:
		return ""
	case x.named:
		return promptPassword
	}
	return promptUser
}

// Initial takes the initial response that came with the command; "=" is an empty one (RFC 4959 3).
func (x *Exchange) Initial(line []byte) (*dialog.Login, error) {
	if string(line) == "=" {
		line = nil
	}
	return x.Answer(line)
}

// Answer takes the client's base64 line without its CRLF. It gives the Login, which is the caller's, or neither a Login
// nor an error when there is another prompt. line is not kept and not changed.
func (x *Exchange) Answer(line []byte) (*dialog.Login, error) {
	if string(line) == "*" {
		x.Wipe()
		return nil, ErrAborted
	}
	if len(line) > MaxLineBytes {
		x.Wipe()
		return nil, ErrSyntax
	}
	raw, err := wire.DecodeBase64(line)
	if err != nil {
		x.Wipe()
		return nil, ErrSyntax
	}
	return x.take(raw)
}

// take owns raw, which becomes part of the Login or is zeroed.
func (x *Exchange) take(raw []byte) (*dialog.Login, error) {
	switch {
	case x.mech == Plain:
		return plain(raw)
	case x.mech != Login:
		return x.oauth(raw)
	case !x.named:
		x.user, x.named = raw, true
		return nil, nil
	}
	user := x.user
	x.user = nil
	return Password(user, raw)
}

// Wipe zeroes what the exchange holds. It may be called more than once.
func (x *Exchange) Wipe() {
	clear(x.user)
	x.user = nil
}

// Password makes a Login of a user name and a password, which it owns from then on: those of a protocol's own login
// command, too. An empty user name is refused, an empty password is the backend's to judge.
func Password(user, password []byte) (*dialog.Login, error) {
	return checked(&dialog.Login{Method: dialog.Password, AuthcID: user, Password: password})
}

// plain reads the message of RFC 4616 2: [authzid] NUL authcid NUL password. The parts are slices of raw.
func plain(raw []byte) (*dialog.Login, error) {
	authz, rest, ok := bytes.Cut(raw, []byte{0})
	authc, password, ok2 := bytes.Cut(rest, []byte{0})
	if !ok || !ok2 {
		clear(raw)
		return nil, ErrSyntax
	}
	return checked(&dialog.Login{Method: dialog.Password, AuthzID: authz, AuthcID: authc, Password: password})
}

// checked sets the identifier of a password login, or wipes and refuses it.
func checked(l *dialog.Login) (*dialog.Login, error) {
	owner := l.AuthcID
	if len(l.AuthzID) > 0 {
		owner = l.AuthzID
	}
	if !validIdentifier(owner) || len(l.AuthcID) == 0 || broken(l.AuthcID) || broken(l.Password) {
		l.Wipe()
		return nil, ErrRefused
	}
	l.Identifier = string(owner)
	return l, nil
}
