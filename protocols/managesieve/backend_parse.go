package managesieve

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"mailsplice/protocols/sasl"
	"mailsplice/protocols/wire"
)

// backendCaps is what matters of a list of capabilities.
type backendCaps uint8

const (
	capsKnown backendCaps = 1 << iota // a list was read
	capStartTLS
	capXClient
	capPlain
	capLogin
	capOAuthBearer
	capXOAuth2
)

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

// parseCapability reads one line of a list (RFC 5804 1.7).
func parseCapability(name, value []byte) backendCaps {
	switch {
	case equalFold(name, "STARTTLS"):
		return capsKnown | capStartTLS
	case equalFold(name, "XCLIENT"):
		return capsKnown | capXClient
	case !equalFold(name, "SASL"):
		return capsKnown
	}
	caps := capsKnown
	for word := range bytes.FieldsSeq(value) {
		caps |= capOf(sasl.Parse(word))
	}
	return caps
}

// backendStatus is the word that begins a response (RFC 5804 1.2).
type backendStatus uint8

const (
	noStatus backendStatus = iota // strings: a capability or a challenge
	statusOK
	statusNo
	statusBye
)

var statusWords = [...]string{"", "OK", "NO", "BYE"}

// response is what a backend has said, taken apart. Its slices are copies, except code, which is a part of the input.
type response struct {
	status  backendStatus
	strings [][]byte // noStatus: one or two
	odd     bool     // noStatus: something that is no string stands behind the first
	code    []byte   // what stands between the brackets, or nil
	text    []byte   // for people, decoded
}

// parseResponse reads a whole response; false if it is none. It is strict: what we took for one response and the backend
// for two would make the second one the answer to our next command.
func parseResponse(whole []byte) (r response, ok bool) {
	if len(whole) > 0 && (whole[0] == '"' || whole[0] == '{') {
		return parseStrings(whole)
	}
	word, _, _ := bytes.Cut(whole, []byte{' '})
	for s := statusOK; s <= statusBye; s++ {
		if equalFold(word, statusWords[s]) {
			r.status = s
		}
	}
	if r.status == noStatus {
		return r, false
	}
	rest := whole[len(word):]
	if after, found := bytes.CutPrefix(rest, []byte(" (")); found {
		if r.code, rest, found = cutCode(after); !found {
			return r, false
		}
	}
	if bare(rest) {
		return r, true
	}
	rest, spaced := bytes.CutPrefix(rest, []byte{' '})
	list, err := cutStrings(rest, 1)
	if err != nil || !spaced {
		return r, false
	}
	r.text = list[0]
	return r, true
}

// parseStrings reads a capability or a challenge. What is no string behind a capability's name is for clients that know the
// capability.
func parseStrings(whole []byte) (r response, ok bool) {
	list, err := cutStrings(whole, 2)
	if err == nil {
		return response{strings: list}, true
	}
	name, rest, err := wire.CutString(whole)
	return response{strings: [][]byte{name}, odd: true}, err == nil && bytes.HasPrefix(rest, []byte{' '})
}

// cutCode cuts a response code off p, which begins behind its opening bracket. Strings in it may hold brackets.
func cutCode(p []byte) (code, rest []byte, ok bool) {
	depth := 1
	for i := 0; i < len(p); {
		switch p[i] {
		case '"', '{':
			_, after, err := wire.CutString(p[i:])
			if err != nil {
				return nil, p, false
			}
			i = len(p) - len(after)
			continue
		case '(':
			depth++
		case ')':
			depth--
		}
		i++
		if depth == 0 {
			return p[:i-1], p[i:], true
		}
	}
	return nil, p, false
}

// codeIs reports whether the response has the code name, or one that is more exact: "TRYLATER/…" (RFC 5804 1.3).
func (r *response) codeIs(name string) bool {
	word, _, _ := bytes.Cut(r.code, []byte{' '})
	word, _, _ = bytes.Cut(word, []byte{'/'})
	return equalFold(word, name)
}

// answer words the backend's response for the client, on one line. A referral is neither followed nor relayed: it would
// lead the client around the proxy (SECURITY 7). SASL is what the backend says at the end of its exchange, which may be
// another one than the client's, and none of our mechanisms has it. A refusal of which nothing is left gets our own words.
func (r *response) answer() []byte {
	code := r.code
	if r.codeIs("REFERRAL") || r.codeIs("SASL") || !oneLine(code) {
		code = nil
	}
	text := bytes.TrimSpace(bytes.ReplaceAll(r.text, []byte("\r\n"), []byte{' '}))
	if len(code)+len(text) == 0 && r.status != statusOK {
		return nil
	}
	line := []byte(statusWords[r.status])
	if len(code) > 0 {
		line = append(append(append(line, " ("...), code...), ')')
	}
	if len(text) > 0 {
		line = appendText(append(line, ' '), text)
	}
	return line
}

// appendText appends text as a quoted string, as much as fits into one. It is for people to read: what is no text becomes
// a blank or U+FFFD.
func appendText(dst, text []byte) []byte {
	dst = append(dst, '"')
	start := len(dst)
	for _, r := range string(text) {
		if unicode.IsControl(r) {
			r = ' '
		}
		if len(dst)-start+utf8.UTFMax > maxQuoted {
			break
		}
		if r == '"' || r == '\\' {
			dst = append(dst, '\\')
		}
		dst = utf8.AppendRune(dst, r)
	}
	return append(dst, '"')
}
