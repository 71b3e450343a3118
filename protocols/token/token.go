// Package token finds the account inside a bearer token (SPEC 4.1). It verifies no signature: the backend does, and a
// forged token only decides which backend says no.
package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
)

// MaxBytes bounds a token that is looked into; a longer one names nobody. A prompted SASL line holds 9 KiB of token at
// most (SPEC 3), an HTTP header may hold more.
const MaxBytes = 16 << 10

// fallbackClaims are looked at behind the configured one, in this order.
var fallbackClaims = [...]string{"email", "preferred_username", "upn", "unique_name", "sub"}

// Identifier is the account that a token names, or empty. claim is the JWT claim to look at first. The result is
// whatever the token says: the caller checks it (SPEC 4 point 2).
func Identifier(tok []byte, claim string) string {
	if len(tok) > MaxBytes {
		return ""
	}
	first, rest, _ := bytes.Cut(tok, []byte("."))
	body, last, found := bytes.Cut(rest, []byte("."))
	if !found || bytes.IndexByte(last, '.') >= 0 {
		return "" // not three parts: opaque, or encrypted (RFC 7516)
	}
	if string(first) == "sw1" {
		return string(decode(last))
	}
	payload := decode(body)
	defer clear(payload)
	return fromClaims(payload, claim)
}

// fromClaims picks the first claim that is a string with an @.
func fromClaims(payload []byte, claim string) string {
	var claims map[string]json.RawMessage
	if len(payload) == 0 || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	if found := account(claims[claim]); found != "" {
		return found
	}
	for _, name := range fallbackClaims {
		if found := account(claims[name]); found != "" {
			return found
		}
	}
	return ""
}

// account is a claim that is a string with an @, or empty.
func account(value json.RawMessage) string {
	var s string
	if len(value) == 0 || value[0] != '"' || json.Unmarshal(value, &s) != nil || !strings.Contains(s, "@") {
		return ""
	}
	return s
}

// decode undoes base64url (RFC 7515 2), with padding or without; nil when it is none.
func decode(p []byte) []byte {
	p = bytes.TrimRight(p, "=")
	raw := make([]byte, base64.RawURLEncoding.DecodedLen(len(p)))
	n, err := base64.RawURLEncoding.Decode(raw, p)
	if err != nil {
		return nil
	}
	return raw[:n]
}
