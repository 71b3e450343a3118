package sasl

import (
	"bytes"

	"mailsplice/protocols/dialog"
)

// MaxLineBytes bounds one base64 line of an exchange, an inline initial response too, without its CRLF (SPEC 3). Tokens
// run to several KiB (BACKENDS, clients that broke other proxies).
const MaxLineBytes = 12 << 10

// Mechanism is a SASL mechanism that mailsplice can replay.
type Mechanism uint8

// The mechanisms.
const (
	None Mechanism = iota
	Plain
	Login
	OAuthBearer
	XOAuth2
)

var names = [...]string{None: "", Plain: "PLAIN", Login: "LOGIN", OAuthBearer: "OAUTHBEARER", XOAuth2: "XOAUTH2"}

// Parse finds a mechanism by name in any case; None if it is not one of ours.
func Parse[S ~string | ~[]byte](name S) Mechanism {
	for m := Plain; m <= XOAuth2; m++ {
		if bytes.EqualFold([]byte(name), []byte(names[m])) {
			return m
		}
	}
	return None
}

// String is the registered name; empty for None.
func (m Mechanism) String() string {
	if int(m) < len(names) {
		return names[m]
	}
	return ""
}

// Method says how a login by m is replayed; 0 for None.
func (m Mechanism) Method() dialog.Method {
	switch m {
	case Plain, Login:
		return dialog.Password
	case OAuthBearer:
		return dialog.OAuthBearer
	case XOAuth2:
		return dialog.XOAuth2
	}
	return 0
}

// OfMethod is the mechanism by which a login of an OAuth method goes; None for dialog.Password, where several will do.
func OfMethod(m dialog.Method) Mechanism {
	switch m {
	case dialog.OAuthBearer:
		return OAuthBearer
	case dialog.XOAuth2:
		return XOAuth2
	}
	return None
}
