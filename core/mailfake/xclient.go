package mailfake

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bounds of an XCLIENT line with its CRLF.
const (
	maxXClientSMTP  = 512  // Postfix and Dovecot's submission and LMTP
	maxXClientPlain = 1024 // Dovecot's POP3
)

// xclientRules are a protocol's own.
type xclientRules struct {
	lineBytes int
	decode    func(string) (string, bool)
	address   func(string) bool // a legal ADDR or DESTADDR
	strict    bool              // an attribute that is not listed is an error
}

var (
	plainXClient = xclientRules{maxXClientPlain, plainValue, plainAddress, false}
	smtpXClient  = xclientRules{maxXClientSMTP, xtext, prefixedAddress, true}
	lmtpXClient  = xclientRules{maxXClientSMTP, xtext, eitherAddress, true}
)

// xclient takes the attributes of one XCLIENT, all or none. A problem is put in words; empty: accepted.
func (s *Session) xclient(args string, rules xclientRules) (problem string) {
	if len("XCLIENT \r\n")+len(args) > rules.lineBytes {
		return "Line too long"
	}
	var pairs []Pair
	for word := range strings.SplitSeq(args, " ") {
		p, problem := s.attribute(word, rules)
		if problem != "" {
			return problem
		}
		pairs = append(pairs, p)
	}
	s.b.update(func() {
		s.rec.XClients++
		s.rec.XClient = append(s.rec.XClient, pairs[:min(len(pairs), maxAttributes-len(s.rec.XClient))]...)
		s.rec.announce()
	})
	return ""
}

// attribute reads one NAME=VALUE.
func (s *Session) attribute(word string, rules xclientRules) (p Pair, problem string) {
	name, raw, found := strings.Cut(word, "=")
	value, valid := rules.decode(raw)
	p = Pair{Name: strings.ToUpper(name), Value: value}
	switch {
	case !found || name == "" || !valid:
		return p, "Malformed attribute"
	case rules.strict && !hasWord(s.b.o.XClient, p.Name):
		return p, "Unknown attribute"
	case unavailable(value):
		return p, ""
	case (p.Name == "ADDR" || p.Name == "DESTADDR") && !rules.address(value):
		return p, "Bad address"
	case p.Name == "PORT" || p.Name == "DESTPORT" || p.Name == "TTL":
		if n, err := strconv.ParseUint(value, 10, 16); err != nil || n == 0 {
			return p, "Bad number"
		}
	}
	return p, ""
}

func unavailable(value string) bool { return value == "[UNAVAILABLE]" || value == "[TEMPUNAVAIL]" }

// announce takes the client's address from the attributes so far. The backend's lock is held.
func (r *Record) announce() {
	text, _ := r.Attribute("ADDR")
	addr, err := netip.ParseAddr(withoutPrefix(text))
	if err != nil {
		return
	}
	port, _ := r.Attribute("PORT")
	n, _ := strconv.ParseUint(port, 10, 16)
	r.Client = netip.AddrPortFrom(addr.Unmap(), uint16(n))
}

const addressPrefix = "IPV6:"

func withoutPrefix(s string) string {
	if len(s) > len(addressPrefix) && strings.EqualFold(s[:len(addressPrefix)], addressPrefix) {
		return s[len(addressPrefix):]
	}
	return s
}

// plainAddress is Dovecot's POP3 and ManageSieve: no prefix.
func plainAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == ""
}

// prefixedAddress is Postfix: IPv6 has its prefix, IPv4 has none.
func prefixedAddress(s string) bool {
	a, err := netip.ParseAddr(withoutPrefix(s))
	return err == nil && a.Zone() == "" && a.Is6() == (withoutPrefix(s) != s)
}

// eitherAddress is Dovecot's LMTP.
func eitherAddress(s string) bool { return plainAddress(s) || prefixedAddress(s) }

// plainValue is a value without encoding: printable ASCII.
func plainValue(s string) (string, bool) {
	return s, s != "" && !slices.ContainsFunc([]byte(s), func(c byte) bool { return c <= ' ' || c >= 0x7f })
}

// xtext decodes a value (RFC 3461 4): "+" and two upper-case hexadecimal digits stand for a byte.
func xtext(s string) (string, bool) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			if i+2 >= len(s) || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			out.WriteByte(byte(n))
			i += 2
		case c <= ' ' || c == '=' || c >= 0x7f:
			return "", false
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), s != ""
}
