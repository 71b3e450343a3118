package xclient

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"mailsplice/protocols/dialog"
)

// Errors of Parse. None of them says what the peer sent.
var (
	errSyntax  = errors.New("xclient: attribute=value expected")
	errUnknown = errors.New("xclient: unknown attribute")
	errValue   = errors.New("xclient: bad value")
)

// Parse reads the attributes of one XCLIENT command of a trusted peer, verb and its blank cut off, into a. What a later
// command says adds to what earlier ones said, or replaces it; [UNAVAILABLE] takes it back. A port that comes before its
// address is kept, so that AddrPort may be one of an invalid address: IsValid tells.
//
// Under Plain an attribute that is not known is passed over, as Dovecot does; under SMTP it is an error. Names that others
// send without being asked (HELO, PROTO, NAME, LOGIN and so on) are known and not kept: above all LOGIN logs nobody in.
// Names and [UNAVAILABLE] are taken in any case. On an error a is unchanged. args is not kept, its length is the
// caller's to bound.
func Parse(a *dialog.Announced, args []byte, d Dialect) error {
	for _, c := range args {
		if c < ' ' || c > '~' { // tabs too: nobody sends them
			return errSyntax
		}
	}
	next, words := *a, 0
	for word := range strings.FieldsSeq(string(args)) {
		if err := take(&next, word, d); err != nil {
			return err
		}
		words++
	}
	if words == 0 && d == SMTP {
		return errSyntax
	}
	*a = next
	return nil
}

// take reads one attribute. A word without a value is an unknown attribute under Plain.
func take(a *dialog.Announced, word string, d Dialect) error {
	key, value, found := strings.Cut(word, "=")
	if d == SMTP && (!found || value == "") {
		return errSyntax
	}
	handle, known := handlers[strings.ToUpper(key)]
	switch {
	case !found || !known && d == Plain:
		return nil
	case !known:
		return errUnknown
	case d == SMTP && (strings.EqualFold(value, unavailable) || strings.EqualFold(value, tempUnavail)):
		return handle(a, "", d)
	case value == "":
		return errValue
	}
	if d == SMTP {
		var ok bool
		if value, ok = unxtext(value); !ok {
			return errValue
		}
	}
	return handle(a, value, d)
}

// handlers take a decoded value in, printable ASCII or, out of xtext, 8-bit; empty: it is unavailable.
var handlers = map[string]func(*dialog.Announced, string, Dialect) error{
	"ADDR":             func(a *dialog.Announced, v string, d Dialect) error { return setAddr(&a.Client, v, d) },
	"PORT":             func(a *dialog.Announced, v string, _ Dialect) error { return setPort(&a.Client, v) },
	"DESTADDR":         func(a *dialog.Announced, v string, d Dialect) error { return setAddr(&a.Local, v, d) },
	"DESTPORT":         func(a *dialog.Announced, v string, _ Dialect) error { return setPort(&a.Local, v) },
	"SESSION":          setSession,
	"TTL":              setTTL,
	"CLIENT-TRANSPORT": setTransport,
	"HELO":             pass,
	"PROTO":            pass,
	"NAME":             pass,
	"REVERSE_NAME":     pass,
	"LOGIN":            pass,
	"TIMEOUT":          pass,
	"DESTNAME":         pass,
}

func pass(*dialog.Announced, string, Dialect) error { return nil }

// setAddr unmaps before anything else sees the address (SPEC 2.3). SMTP takes IPv6 without its prefix as well, as
// Dovecot does; Plain takes no prefix.
func setAddr(p *netip.AddrPort, value string, d Dialect) error {
	if value == "" {
		*p = netip.AddrPortFrom(netip.Addr{}, p.Port())
		return nil
	}
	text, prefixed := cutPrefixFold(value, ipv6Prefix)
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || prefixed && (d == Plain || !addr.Is6()) {
		return errValue
	}
	*p = netip.AddrPortFrom(addr.Unmap(), p.Port())
	return nil
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func setPort(p *netip.AddrPort, value string) error {
	var n uint64
	if value != "" {
		var err error
		if n, err = strconv.ParseUint(value, 10, 16); err != nil {
			return errValue
		}
	}
	*p = netip.AddrPortFrom(p.Addr(), uint16(n))
	return nil
}

func setSession(a *dialog.Announced, value string, _ Dialect) error {
	if value != "" && !sessionFits(value) {
		return errValue
	}
	a.Session = value
	return nil
}

// sessionFits wants printable ASCII without blanks, since the value ends up in logs and in other protocols' words.
func sessionFits(id string) bool {
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(id) > 0 && len(id) <= maxSessionBytes
}

// setTTL refuses 0, which is invalid on the wire (BACKENDS).
func setTTL(a *dialog.Announced, value string, _ Dialect) error {
	if value == "" {
		a.TTL, a.TTLSeen = 0, false
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 15)
	if err != nil || n == 0 {
		return errValue
	}
	a.TTL, a.TTLSeen = int(n), true
	return nil
}

func setTransport(a *dialog.Announced, value string, _ Dialect) error {
	a.TLS, a.TransportSeen = strings.EqualFold(value, "TLS"), value != ""
	if value != "" && !a.TLS && !strings.EqualFold(value, "insecure") {
		return errValue
	}
	return nil
}
