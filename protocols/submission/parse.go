package submission

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// maxHelloBytes bounds a name in EHLO that is kept: RFC 5321 4.5.3.1.2.
const maxHelloBytes = 255

// maxLabelBytes bounds a label of a domain (RFC 1035 2.3.4).
const maxLabelBytes = 63

// request is one command as it was parsed: slices of the input.
type request struct {
	verb, args []byte
}

// parseRequest takes a line apart. Blanks at the end are forgiven (RFC 5321 4.1.1).
func parseRequest(line []byte) request {
	verb, args, _ := bytes.Cut(line, []byte{' '})
	return request{verb: verb, args: bytes.Trim(args, " ")}
}

// bare reports that there are no arguments.
func (r request) bare() bool { return len(r.args) == 0 }

// httpMethods are the first words of requests that a browser can be made to send to a mail port (SECURITY 20).
var httpMethods = []string{"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"}

// isHTTP recognizes a request line of HTTP, whose methods are written in capitals.
func isHTTP(line []byte) bool {
	method, rest, _ := bytes.Cut(line, []byte{' '})
	for _, name := range httpMethods {
		if string(method) == name {
			return bytes.HasPrefix(rest, []byte("/")) || bytes.Contains(rest, []byte("HTTP/"))
		}
	}
	return false
}

// Literal writes an address as a name for greetings and EHLO: [192.0.2.1], [IPv6:2001:db8::1] (RFC 5321 4.1.3). It is
// for the caller of NewClientSide and NewBackendSide where server.hostname is unset (SPEC 2.1). An IPv4 address mapped
// to IPv6 is unmapped and a zone dropped, since it is ours alone. Empty for the invalid address.
func Literal(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid():
		return ""
	case a.Is4():
		return "[" + a.String() + "]"
	}
	return "[IPv6:" + a.String() + "]"
}

// tolerable reports whether a name in EHLO is taken from a client. Many send what is no domain: names with underscores,
// addresses without brackets. None of it harms as long as it is one word of printable ASCII.
func tolerable(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(name) > 0
}

// repeatable reports whether a name can be said to a backend in the client's place: a domain or an address literal
// (RFC 5321 4.1.2 and 4.1.3) of at most maxHelloBytes.
func repeatable(name string) bool {
	if len(name) == 0 || len(name) > maxHelloBytes {
		return false
	}
	if inside, found := strings.CutPrefix(name, "["); found {
		return isLiteral(inside)
	}
	return isDomain(name)
}

// isLiteral judges an address literal behind its opening bracket.
func isLiteral(text string) bool {
	text, found := strings.CutSuffix(text, "]")
	const tag = "IPv6:"
	if len(text) > len(tag) && strings.EqualFold(text[:len(tag)], tag) {
		a, err := netip.ParseAddr(text[len(tag):])
		return found && err == nil && a.Is6() && a.Zone() == ""
	}
	a, err := netip.ParseAddr(text)
	return found && err == nil && a.Is4()
}

// isDomain wants letters, digits and inner hyphens in every label, and a last label that is no number: that would be an
// address without brackets.
func isDomain(name string) bool {
	label := ""
	for label = range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > maxLabelBytes || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !letter(c) && !digit(c) && c != '-' {
				return false
			}
		}
	}
	return strings.Trim(label, "0123456789") != ""
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

var errChunk = errors.New("malformed BDAT")

// parseChunk reads the arguments of BDAT: a size in bytes, and LAST or nothing (RFC 3030 2).
func parseChunk(args []byte) (size int, err error) {
	digits, last, found := bytes.Cut(args, []byte{' '})
	if found && !bytes.EqualFold(last, []byte("LAST")) {
		return 0, errChunk
	}
	n, err := strconv.ParseUint(string(digits), 10, 31) // takes no sign and no overflow
	if err != nil {
		return 0, errChunk
	}
	return int(n), nil
}

// reply is one line of a reply as it was parsed (RFC 5321 4.2).
type reply struct {
	code [3]byte
	last bool   // no line of the same reply follows
	text []byte // slice of the input
}

// parseReply reads "235 text", "235-text" or "235".
func parseReply(line []byte) (r reply, ok bool) {
	if len(line) < len(r.code) || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) {
		return reply{}, false
	}
	copy(r.code[:], line)
	if len(line) == len(r.code) {
		r.last = true
		return r, true
	}
	r.last, r.text = line[len(r.code)] == ' ', line[len(r.code)+1:]
	return r, r.last || line[len(r.code)] == '-'
}

// is compares the code.
func (r *reply) is(code string) bool { return string(r.code[:]) == code }

// class is the first digit of the code.
func (r *reply) class() byte { return r.code[0] }

// continues reports that lines are whole lines of a reply that goes on behind them, all with this code.
func continues(lines []byte, code string) bool {
	for line := range bytes.Lines(lines) {
		text, whole := bytes.CutSuffix(line, []byte("\r\n"))
		r, ok := parseReply(text)
		if !whole || !ok || r.last || !r.is(code) || !oneLine(text) {
			return false
		}
	}
	return true
}

// oneLine reports that text holds no NUL, CR or LF.
func oneLine(text []byte) bool { return !bytes.ContainsAny(text, "\x00\r\n") }
