package config

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// stringKind is what the tag `is` makes of a string.
type stringKind struct {
	allowed string
	valid   func(string) bool
}

var stringKinds = map[string]stringKind{
	"":           {"a string that is not empty", notBlank},
	"any":        {"a string", func(string) bool { return true }},
	"path":       {"a path", func(s string) bool { return notBlank(s) && !strings.ContainsRune(s, 0) }},
	"host":       {"a host name or IP address, without port", validHost},
	"domain":     {"a domain name", validDomain},
	"subject":    {"a host name, *.DOMAIN or *", validSubject},
	"text":       {"printable ASCII text of at most 256 bytes", validText},
	"capability": {"a word of printable ASCII", func(s string) bool { return validText(s) && !strings.ContainsAny(s, " \"\\(){}") }},
	"sasl":       {"one of " + strings.Join(mechanisms, " "), validMechanism},
}

var mechanisms = []string{"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}

// Bounds in bytes.
const (
	maxName   = 64  // of a listener, destination or certificate: it becomes log value and metric label
	maxDomain = 253 // RFC 1035 2.3.4, without the closing dot
	maxLabel  = 63  // RFC 1035 2.3.4
	maxText   = 256 // of what goes into one line to a client; an SMTP reply line ends at 512 (RFC 5321 4.5.3.1.5)
)

const allowedName = "a name of letters, digits and . _ -, at most 64 bytes, that begins with a letter or digit"

// validName takes names that can stand as second field of a mapping line and as metric label.
func validName(s string) bool {
	return plainKey(s) && !strings.ContainsRune("._-", rune(s[0]))
}

func notBlank(s string) bool { return strings.TrimSpace(s) != "" }

// validHost takes a host name or an address that can be connected to.
func validHost(s string) bool {
	if _, ok := parseAddr(s); ok {
		return true
	}
	return validDomain(s)
}

// validDomain is lenient about underscores, which occur in internal names, and strict about an all-digit last label,
// which is a mistyped address.
func validDomain(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxDomain {
		return false
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > maxLabel || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		if strings.IndexFunc(l, func(r rune) bool { return r >= utf8.RuneSelf || !bareKeyByte(byte(r)) }) >= 0 {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func validSubject(s string) bool {
	if s == "*" {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err != nil && validDomain(strings.TrimPrefix(s, "*."))
}

func validText(s string) bool {
	return notBlank(s) && len(s) <= maxText && strings.IndexFunc(s, func(r rune) bool {
		return r >= utf8.RuneSelf || unicode.IsControl(r)
	}) < 0
}

func validMechanism(s string) bool {
	for _, m := range mechanisms {
		if m == s {
			return true
		}
	}
	return false
}
