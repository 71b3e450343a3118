package sasl

import (
	"bytes"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/token"
)

// separator parts the fields of both OAuth mechanisms (kvsep in RFC 7628 3.1).
const separator = 0x01

// frame is what matters of an OAuth frame: slices of the decoded message.
type frame struct {
	user  []byte // authorization identity of the GS2 header, still encoded, or field user
	token []byte // without "Bearer "
}

// oauth makes a Login that keeps raw as it came. The frame's user decides whose mailbox it is; only without one the
// token is looked into (SPEC 4 point 1).
func (x *Exchange) oauth(raw []byte) (*dialog.Login, error) {
	l := &dialog.Login{Method: x.mech.Method(), Frame: raw}
	if broken(raw) {
		l.Wipe()
		return nil, ErrRefused
	}
	f, ok := x.parse(raw)
	if !ok {
		l.Wipe()
		return nil, ErrSyntax
	}
	l.Identifier = string(f.user)
	if l.Identifier == "" {
		l.Identifier = token.Identifier(f.token, x.claim)
	}
	if l.Identifier != "" && !validIdentifier([]byte(l.Identifier)) {
		l.Wipe()
		return nil, ErrRefused
	}
	return l, nil
}

// parse reads the GS2 header of OAUTHBEARER, then the fields of either mechanism.
func (x *Exchange) parse(raw []byte) (f frame, ok bool) {
	var authz []byte
	if x.mech == OAuthBearer {
		header, fields, found := bytes.Cut(raw, []byte{separator})
		if authz, ok = parseHeader(header); !found || !ok {
			return frame{}, false
		}
		raw = fields
	}
	f, ok = parseFields(raw)
	if len(authz) > 0 {
		f.user = authz
	}
	return f, ok
}

// parseHeader reads "n,a=NAME," (RFC 5801 4). Channel bindings are refused: none would survive a proxy.
func parseHeader(header []byte) (authz []byte, ok bool) {
	flag, rest, _ := bytes.Cut(header, []byte(","))
	name, end, found := bytes.Cut(rest, []byte(","))
	if !found || len(end) != 0 || (string(flag) != "n" && string(flag) != "y") {
		return nil, false
	}
	if len(name) == 0 {
		return nil, true
	}
	name, found = bytes.CutPrefix(name, []byte("a="))
	if !found || len(name) == 0 {
		return nil, false
	}
	return decodeName(name)
}

// decodeName undoes the =2C and =3D of a saslname; any other = is an error (RFC 5801 4).
func decodeName(name []byte) ([]byte, bool) {
	decoded := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		switch {
		case name[i] != '=':
			decoded = append(decoded, name[i])
			continue
		case bytes.HasPrefix(name[i:], []byte("=2C")):
			decoded = append(decoded, ',')
		case bytes.HasPrefix(name[i:], []byte("=3D")):
			decoded = append(decoded, '=')
		default:
			return nil, false
		}
		i += 2
	}
	return decoded, true
}

// parseFields reads key=value pairs. A key that decides who logs in must not come twice, lest we route by one and the
// backend opens the other. Clients differ in how many separators end a frame, so empty fields are passed over. The
// frame that consists of nothing else is an answer to a challenge, not a first message (RFC 7628 3.2.3).
func parseFields(p []byte) (f frame, ok bool) {
	var user, auth bool
	for field := range bytes.SplitSeq(p, []byte{separator}) {
		if len(field) == 0 {
			continue
		}
		key, value, found := bytes.Cut(field, []byte("="))
		again := (user && string(key) == "user") || (auth && string(key) == "auth")
		if !found || len(key) == 0 || again {
			return frame{}, false
		}
		switch string(key) {
		case "user":
			user, f.user = true, value
		case "auth":
			auth, f.token = true, bearer(value)
		}
	}
	return f, user || auth
}

// bearer cuts the scheme off, which is written in any case (RFC 7235 2.1).
func bearer(value []byte) []byte {
	const scheme = "bearer "
	if len(value) < len(scheme) || !bytes.EqualFold(value[:len(scheme)], []byte(scheme)) {
		return nil
	}
	return bytes.TrimLeft(value[len(scheme):], " ")
}
