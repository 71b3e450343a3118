package xclient

import (
	"net/netip"
	"strconv"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

const (
	verb = "XCLIENT"
	// maxLine bounds a line of Commands in bytes with its CRLF (RFC 5321 4.5.3.1.4; Postfix, Dovecot).
	maxLine = 512
	// maxValue bounds an encoded value in bytes: Postfix takes no longer one.
	maxValue = 255
)

// Client is what an SMTP backend is told.
type Client struct {
	*dialog.Forwarding
	// Hello is the client's EHLO name; empty: HELO is not sent (pass-through, SPEC 3.5).
	Hello string
	// Proto is "ESMTP" or "SMTP"; empty: not sent.
	Proto string
	// AddrUnavailable sends ADDR=[UNAVAILABLE], and the same for a DESTADDR that is IPv6: for a backend that refuses
	// IPv6 addresses (BACKENDS, Postfix with inet_protocols = ipv4).
	AddrUnavailable bool
}

// Commands words XCLIENT for a backend that made this offer: lines with CRLF of at most 512 bytes each, only attributes
// that it lists, ADDR and DESTADDR in the last line, since Postfix may take no further one after them. Each line is
// answered by itself. None when nothing is to be sent. What is not known, or cannot be sent without harm, is left out.
func Commands(o Offer, c Client) [][]byte {
	if c.Forwarding == nil {
		return nil
	}
	var lines [][]byte
	var line []byte
	for _, unit := range units(o, c) {
		if len(unit) == 0 {
			continue
		}
		if line != nil && len(line)+len(unit)+len("\r\n") > maxLine {
			lines = append(lines, append(line, "\r\n"...))
			line = nil
		}
		if line == nil {
			line = append(make([]byte, 0, maxLine), verb...)
		}
		line = append(line, unit...)
	}
	if line == nil {
		return nil
	}
	return append(lines, append(line, "\r\n"...))
}

// units are what is not to be parted: attributes, each with a blank in front, and at the end DESTADDR and ADDR together.
// Each is far shorter than a line.
func units(o Offer, c Client) [][]byte {
	p := pairs{offer: o}
	p.add(port, "PORT", portText(c.Client))
	p.add(destPort, "DESTPORT", portText(c.Local))
	p.add(helo, "HELO", harmless(c.Hello))
	p.add(proto, "PROTO", harmless(c.Proto))
	p.literal(name, "NAME", unavailable)
	if sessionFits(c.Session) {
		p.add(session, "SESSION", c.Session)
	}
	p.add(ttl, "TTL", ttlText(c.TTL))
	p.add(transport, "CLIENT-TRANSPORT", transportText(c.TLS))
	ends := pairs{offer: o}
	ends.addr(destAddr, "DESTADDR", c.Local, c.AddrUnavailable && !addrOf(c.Local).Is4())
	ends.addr(addr, "ADDR", c.Forwarding.Client, c.AddrUnavailable)
	var last []byte
	for _, pair := range ends.list {
		last = append(last, pair...)
	}
	return append(p.list, last)
}

// pairs collects attributes that a backend lists.
type pairs struct {
	offer Offer
	list  [][]byte
}

// add takes a value that has to be encoded; empty: it is not known.
func (p *pairs) add(a Offer, key, value string) {
	if !p.offer.has(a) || value == "" {
		return
	}
	pair := append([]byte{' '}, key+"="...)
	start := len(pair)
	if pair = appendXtext(pair, value); len(pair)-start <= maxValue {
		p.list = append(p.list, pair)
	}
}

// literal takes a value that means something by its brackets.
func (p *pairs) literal(a Offer, key, value string) {
	if p.offer.has(a) {
		p.list = append(p.list, []byte(" "+key+"="+value))
	}
}

// addr takes an address, or says that it is unavailable.
func (p *pairs) addr(a Offer, key string, from netip.AddrPort, hidden bool) {
	ip := addrOf(from)
	switch {
	case !ip.IsValid():
	case hidden:
		p.literal(a, key, unavailable)
	case ip.Is4():
		p.add(a, key, ip.String())
	default:
		p.add(a, key, ipv6Prefix+ip.String())
	}
}

// Line words XCLIENT for POP3 and ManageSieve: one line with CRLF of at most 1024 bytes: ADDR PORT DESTADDR DESTPORT
// SESSION TTL CLIENT-TRANSPORT, without those that are not known; nil without f. There is no encoding, so that a session
// id goes only if it can be taken for nothing else: ManageSieve reads its words as atoms.
func Line(f *dialog.Forwarding) []byte {
	if f == nil {
		return nil
	}
	line := []byte(verb)
	for _, pair := range [...]struct{ key, value string }{
		{"ADDR", addrText(f.Client)},
		{"PORT", portText(f.Client)},
		{"DESTADDR", addrText(f.Local)},
		{"DESTPORT", portText(f.Local)},
		{"SESSION", atomText(f.Session)},
		{"TTL", ttlText(f.TTL)},
		{"CLIENT-TRANSPORT", transportText(f.TLS)},
	} {
		if pair.value != "" {
			line = append(line, " "+pair.key+"="+pair.value...)
		}
	}
	return append(line, "\r\n"...)
}

// addrOf is the address as others are to see it: the zone is ours alone.
func addrOf(a netip.AddrPort) netip.Addr { return a.Addr().Unmap().WithZone("") }

func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return addrOf(a).String()
}

func portText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return strconv.Itoa(int(a.Port()))
}

// ttlText leaves out what is no budget: 0 is invalid on the wire.
func ttlText(n int) string {
	if n < 1 {
		return ""
	}
	return strconv.Itoa(n)
}

func transportText(tls bool) string {
	if tls {
		return "TLS"
	}
	return "insecure"
}

// harmless drops a value with control characters: encoded they would be decoded there (SECURITY 8).
func harmless(value string) string {
	for _, c := range []byte(value) {
		if c < ' ' || c == 0x7f {
			return ""
		}
	}
	return value
}

// atomText drops a session id that is no atom for every reader.
func atomText(id string) string {
	if !sessionFits(id) || !wire.StrictAtom([]byte(id)) {
		return ""
	}
	return id
}
