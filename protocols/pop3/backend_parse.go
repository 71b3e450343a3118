package pop3

import (
	"bytes"
	"strings"

	"mailsplice/protocols/sasl"
)

// backendCaps is what matters of the answer to CAPA.
type backendCaps uint16

const (
	capsKnown backendCaps = 1 << iota // CAPA was answered
	capSTLS
	capUser
	capUTF8
	capPlain
	capLogin
	capOAuthBearer
	capXOAuth2
)

// capsOld is what a backend without CAPA is taken for: one that knows RFC 1939 and nothing else.
const capsOld = capsKnown | capUser

func (c backendCaps) has(one backendCaps) bool { return c&one != 0 }

// capOf is the capability that offers m.
func capOf(m sasl.Mechanism) backendCaps {
	switch m {
	case sasl.Plain:
		return capPlain
	case sasl.Login:
		return capLogin
	case sasl.OAuthBearer:
		return capOAuthBearer
	case sasl.XOAuth2:
		return capXOAuth2
	}
	return 0
}

// parseCapability reads one line of the answer to CAPA: a keyword and its arguments (RFC 2449 5).
func parseCapability(line []byte) (caps backendCaps) {
	words := bytes.Fields(line)
	switch {
	case len(words) == 0:
	case equalFold(words[0], "STLS"):
		return capSTLS
	case equalFold(words[0], "USER"):
		return capUser
	case equalFold(words[0], "UTF8"):
		return capUTF8
	case equalFold(words[0], "SASL"):
		for _, name := range words[1:] {
			caps |= capOf(sasl.Parse(name))
		}
	}
	return caps
}

// backendStatus is the word that begins an answer (RFC 1939 3, RFC 5034 4).
type backendStatus uint8

const (
	noStatus backendStatus = iota
	statusOK
	statusErr
	statusPrompt
)

// cutStatus cuts the status off a line; noStatus if it begins with something else. The words come in upper case.
func cutStatus(line []byte) (backendStatus, []byte) {
	word, text, _ := bytes.Cut(line, []byte{' '})
	switch string(word) {
	case "+OK":
		return statusOK, text
	case "-ERR":
		return statusErr, text
	case "+":
		return statusPrompt, text
	}
	return noStatus, line
}

// code is the response code that text begins with, without its brackets; empty if there is none (RFC 2449 8).
func code(text []byte) []byte {
	rest, found := bytes.CutPrefix(text, []byte{'['})
	name, _, closed := bytes.Cut(rest, []byte{']'})
	if !found || !closed {
		return nil
	}
	return name
}

// temporaryCodes are the codes with which a backend refuses a login for reasons other than the credentials, and for now
// only: the client is told to come back, no attempt is counted (SPEC 6.1, SECURITY 27). SYS/PERM is not among them, since
// coming back helps nobody (RFC 3206 4).
var temporaryCodes = [...]string{
	"SYS/TEMP",    // RFC 3206 4: some subsystem is down
	"IN-USE",      // RFC 2449 8.1.2: the mailbox is locked by somebody else
	"LOGIN-DELAY", // RFC 2449 8.1.1: this account was here a moment ago
}

// temporary reports whether a refusal is for now only. A code may have further levels, which are not known to everybody
// (RFC 2449 8).
func temporary(text []byte) bool {
	got := strings.ToUpper(string(code(text)))
	for _, name := range temporaryCodes {
		if got == name || strings.HasPrefix(got, name+"/") {
			return true
		}
	}
	return false
}

// ignored recognizes the answer of a Dovecot that does not trust us: "+OK You are not from trusted IP - ignoring". It is
// an OK, so there is nothing else to go by (BACKENDS).
func ignored(text []byte) bool { return strings.HasSuffix(strings.ToLower(string(text)), "ignoring") }

// equalFold compares ASCII words without case.
func equalFold(word []byte, name string) bool { return strings.EqualFold(string(word), name) }
