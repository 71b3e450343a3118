package passthrough

import (
	"net/netip"
	"strings"
)

// Everything that the client hears from us is in this file. The code 421 says that the connection is about to be
// closed, 4.3.2 that the system takes no mail at present (RFC 3463 3.4); SMTP and LMTP have the same words.
const (
	codeClosing       = "421 4.3.2 "
	textUnavailable   = "Service not available, please try again later"
	textBusy          = "Too many connections, please try again later"
	textDrain         = "Service is shutting down, please reconnect"
	textTimeout       = "Timed out"
	textKicked        = "Disconnected by an administrator"
	greetingSMTP      = "ESMTP ready"
	greetingLMTP      = "LMTP ready"
	codeReady         = "220 "
	localhost         = "localhost"
	maxHostnameBytes  = 255
	ipv6LiteralPrefix = "IPv6:"
)

// farewell is a reply after which the connection is closed. RFC 5321 4.2.2 wants the domain in it.
func farewell(host, text string) []byte {
	return []byte(codeClosing + host + " " + text + "\r\n")
}

// greeting is our own, for a client whose backend has none to give, without CRLF.
func greeting(host string, lmtp bool) []byte {
	words := greetingSMTP
	if lmtp {
		words = greetingLMTP
	}
	return []byte(codeReady + host + " " + words)
}

// domain writes a host name as SMTP wants it: an address as a literal (SPEC 6.1, RFC 5321 4.1.3). A name that cannot be
// sent, or none, is localhost.
func domain(hostname string) string {
	if ip, err := netip.ParseAddr(hostname); err == nil {
		if ip = ip.Unmap().WithZone(""); ip.Is4() {
			return "[" + ip.String() + "]"
		}
		return "[" + ipv6LiteralPrefix + ip.String() + "]"
	}
	unfit := func(r rune) bool { return r <= ' ' || r > '~' }
	if hostname == "" || len(hostname) > maxHostnameBytes || strings.ContainsFunc(hostname, unfit) {
		return localhost
	}
	return hostname
}
