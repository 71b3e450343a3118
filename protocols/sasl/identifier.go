package sasl

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// MaxIdentifierBytes bounds an identifier (SPEC 4 point 2).
const MaxIdentifierBytes = 512

// validIdentifier applies SPEC 4 point 2 to a name: UTF-8, no control characters, space or quote, at most
// MaxIdentifierBytes; nor may it be empty.
func validIdentifier(name []byte) bool {
	if len(name) == 0 || len(name) > MaxIdentifierBytes || !utf8.Valid(name) {
		return false
	}
	for _, r := range string(name) {
		if r == ' ' || r == '"' || unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// broken reports bytes that no credential may hold: NUL, CR, LF (SECURITY 8).
func broken(credential []byte) bool { return bytes.ContainsAny(credential, "\x00\r\n") }
