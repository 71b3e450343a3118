package mailfake

import (
	"slices"
	"strings"
)

// Attribute lists for Options.XClient.
const (
	// XClientDovecot is what Dovecot 2.4.3 and later list.
	XClientDovecot = "ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT CLIENT-TRANSPORT DESTNAME DESTADDR DESTPORT"
	// XClientPostfix is what Postfix lists.
	XClientPostfix = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
)

// offered is the capability list for the present state, one per line, XCLIENT left out. IMAP has its own.
func (s *Session) offered() []string {
	o := &s.b.o
	switch {
	case s.loggedIn:
		return capabilityLines(o.CapabilitiesAfter)
	case !s.overTLS():
		return capabilityLines(o.Capabilities)
	case o.CapabilitiesTLS != "":
		return capabilityLines(o.CapabilitiesTLS)
	default:
		return slices.DeleteFunc(capabilityLines(o.Capabilities), func(l string) bool {
			return capabilityName(l) == s.b.speech.startTLS
		})
	}
}

// offers says whether a capability is on the present list, with that word in its value unless the word is empty.
func (s *Session) offers(name, word string) bool {
	return slices.ContainsFunc(s.offered(), func(l string) bool {
		_, value, _ := strings.Cut(l, " ")
		return capabilityName(l) == name && (word == "" || hasWord(value, word))
	})
}

func capabilityLines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return l == "" })
}

func capabilityName(line string) string {
	name, _, _ := strings.Cut(line, " ")
	return strings.ToUpper(name)
}
