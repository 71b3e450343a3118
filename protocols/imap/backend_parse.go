package imap

import (
	"bytes"
	"strings"
)

// backendCaps is what matters of a capability list.
type backendCaps uint16

const (
	capsKnown backendCaps = 1 << iota // a list was read
	capStartTLS
	capSASLIR
	capID
	capLoginDisabled
	capLiteralPlus
	capLiteralMinus
	capPlain
	capLogin
	capOAuthBearer
	capXOAuth2
)

// capNames are in the order of the constants.
var capNames = [...]string{"STARTTLS", "SASL-IR", "ID", "LOGINDISABLED", "LITERAL+", "LITERAL-", "AUTH=PLAIN", "AUTH=LOGIN",
	"AUTH=OAUTHBEARER", "AUTH=XOAUTH2"}

func (c backendCaps) has(one backendCaps) bool { return c&one != 0 }

// parseBackendCaps reads a capability list.
func parseBackendCaps(list []byte) backendCaps {
	caps := capsKnown
	for word := range bytes.FieldsSeq(list) {
		for i, name := range capNames {
			if equalFold(word, name) {
				caps |= capStartTLS << i
			}
		}
	}
	return caps
}

// backendStatus is the word that begins a status response (RFC 9051 7.1).
type backendStatus uint8

const (
	noStatus backendStatus = iota
	statusOK
	statusNo
	statusBad
	statusBye
	statusPreauth
)

var statusWords = [...]string{"", "OK", "NO", "BAD", "BYE", "PREAUTH"}

// cutStatus cuts the status word off text; noStatus if it is something else.
func cutStatus(text []byte) (backendStatus, []byte) {
	word, rest, _ := bytes.Cut(text, []byte(" "))
	for s := statusOK; s <= statusPreauth; s++ {
		if equalFold(word, statusWords[s]) {
			return s, rest
		}
	}
	return noStatus, text
}

// cutCapability cuts CAPABILITY off an untagged response.
func cutCapability(text []byte) (list []byte, ok bool) {
	word, list, _ := bytes.Cut(text, []byte(" "))
	return list, equalFold(word, "CAPABILITY")
}

// cutCode cuts the response code off the text of a status response: "[NAME args] rest". A bracket that is never closed
// is a code that takes all the text, so that no part of it is mistaken for text.
func cutCode(text []byte) (name, args, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '[' {
		return nil, nil, text, false
	}
	code := text[1:]
	if end := codeEnd(code); end >= 0 {
		code, rest = code[:end], bytes.TrimPrefix(code[end+1:], []byte(" "))
	}
	name, args, _ = bytes.Cut(code, []byte(" "))
	return name, args, rest, true
}

// codeEnd finds the bracket that ends a code: the first one that is followed by a space or by nothing, since a referral
// may hold an IPv6 address in brackets; else the first one.
func codeEnd(code []byte) int {
	if end := bytes.Index(code, []byte("] ")); end >= 0 {
		return end
	}
	if bytes.HasSuffix(code, []byte("]")) {
		return len(code) - 1
	}
	return bytes.IndexByte(code, ']')
}

// codeCapability is the list in a CAPABILITY code.
func codeCapability(text []byte) (list []byte, ok bool) {
	name, args, _, _ := cutCode(text)
	return args, equalFold(name, "CAPABILITY")
}

// isReferral reports a REFERRAL code (RFC 2221), which is neither followed nor relayed (SECURITY 7): it would lead the
// client around the proxy.
func isReferral(text []byte) bool {
	name, _, _, _ := cutCode(text)
	return equalFold(name, "REFERRAL")
}

// answerOf words the backend's answer for the client, without any referral. Where nothing is left, a refusal gets our
// own words and an OK the least that RFC 9051 7.1 asks for.
func answerOf(status backendStatus, text []byte) []byte {
	for isReferral(text) {
		_, _, text, _ = cutCode(text)
	}
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0 && status == statusOK:
		text = []byte("done")
	case len(text) == 0:
		return nil
	}
	return append([]byte(statusWords[status]+" "), text...)
}

// temporaryCodes are the codes of RFC 5530 3 with which a backend refuses a login for reasons other than the
// credentials: the client is told to come back, no attempt is counted (SPEC 6.1, SECURITY 27).
var temporaryCodes = [...]string{
	"UNAVAILABLE", // some subsystem is down
	"INUSE",       // the mailbox is locked by somebody else
	"LIMIT",       // too many connections of this account or address
	"SERVERBUG",   // it says so itself
}

// temporary reports whether a refusal is for now only.
func temporary(text []byte) bool {
	name, _, _, _ := cutCode(text)
	for _, code := range temporaryCodes {
		if equalFold(name, code) {
			return true
		}
	}
	return false
}

// equalFold compares ASCII words without case. What folds to a letter from outside ASCII (the Kelvin sign) is longer than it.
func equalFold(word []byte, name string) bool {
	return len(word) == len(name) && strings.EqualFold(string(word), name)
}
