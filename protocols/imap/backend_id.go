package imap

import (
	"net/netip"
	"strconv"
	"strings"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// maxIDLine bounds the list in bytes, since Dovecot reads less than 4096 bytes of a command before login. Like the bounds
// of parseID, which Dovecot shares (BACKENDS), it keeps a client from having its announcement refused by what it says
// about itself.
const maxIDLine = 3 << 10

// appendIDList appends the list that announces the client, then the client's own fields as far as they fit and are
// harmless (SPEC 5.3).
func appendIDList(dst []byte, f *dialog.Forwarding, own []dialog.Field) []byte {
	start, pairs := len(dst), 0
	dst = append(dst, '(')
	for _, field := range forwardingFields(f) {
		if field.Value != "" && idFieldFits(&field) {
			dst = appendIDField(dst, &field)
			pairs++
		}
	}
	for _, field := range own {
		if pairs == maxIDPairs {
			break
		}
		if hasPrefixFold(field.Name, "x-") || !idFieldFits(&field) {
			continue
		}
		if grown := appendIDField(dst, &field); len(grown)-start < maxIDLine {
			dst = grown
			pairs++
		}
	}
	return append(dst, ')')
}

// forwardingFields lists the fields of SPEC 5.3 in its order. Empty values are not sent: Dovecot refuses all of an ID
// that holds one.
func forwardingFields(f *dialog.Forwarding) []dialog.Field {
	transport := "insecure"
	if f.TLS {
		transport = "TLS"
	}
	clientIP, clientPort := addrTexts(f.Client)
	localIP, localPort := addrTexts(f.Local)
	return []dialog.Field{
		{Name: "x-originating-ip", Value: clientIP},
		{Name: "x-originating-port", Value: clientPort},
		{Name: "x-connected-ip", Value: localIP},
		{Name: "x-connected-port", Value: localPort},
		{Name: "x-proxy-ttl", Value: strconv.Itoa(f.TTL)},
		{Name: "x-session-id", Value: f.Session},
		{Name: "x-client-transport", Value: transport},
	}
}

// addrTexts writes an address and its port, both empty if it is not known. The zone is ours alone.
func addrTexts(a netip.AddrPort) (ip, port string) {
	if !a.IsValid() {
		return "", ""
	}
	return a.Addr().Unmap().WithZone("").String(), strconv.Itoa(int(a.Port()))
}

// idFieldFits reports whether the field can be sent as quoted strings within the bounds. One that would need a literal
// is left out: it is no more than a courtesy.
func idFieldFits(f *dialog.Field) bool {
	return len(f.Name) > 0 && len(f.Name) <= maxIDKeyBytes && len(f.Value) <= maxIDValueBytes &&
		wire.Quotable([]byte(f.Name)) && wire.Quotable([]byte(f.Value))
}

// appendIDField appends one pair, with a space before it unless it opens the list.
func appendIDField(dst []byte, f *dialog.Field) []byte {
	if dst[len(dst)-1] != '(' {
		dst = append(dst, ' ')
	}
	dst = append(wire.AppendQuoted(dst, f.Name), ' ')
	if f.Null {
		return append(dst, "NIL"...)
	}
	return wire.AppendQuoted(dst, f.Value)
}

// hasPrefixFold reports whether s begins with prefix in any case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
