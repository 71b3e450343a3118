package imap

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// Bounds of an ID command: those of RFC 2971 3.3, with the keys and values that Dovecot takes (BACKENDS).
const (
	maxIDPairs      = 30
	maxIDKeyBytes   = 30
	maxIDValueBytes = 1024
	maxSessionBytes = 64 // of x-session-id
)

// maxTagBytes bounds a tag, which is kept during a login. RFC 9051 has no bound; clients use up to a dozen bytes.
const maxTagBytes = 128

var errID = errors.New("malformed ID")

// request is one command as it was parsed; verb and args are slices of the input.
type request struct {
	tag        string
	verb, args []byte
}

// parseRequest takes a line apart. Without ok the tag may still be good enough to answer with.
func parseRequest(line []byte) (r request, ok bool) {
	tag, rest, found := bytes.Cut(line, []byte{' '})
	if !validTag(tag) {
		return request{}, false
	}
	verb, args, _ := bytes.Cut(rest, []byte{' '})
	return request{tag: string(tag), verb: verb, args: args}, found && len(verb) > 0
}

// bare reports that there are no arguments; blanks at the end of a line are forgiven.
func (r request) bare() bool { return len(bytes.Trim(r.args, " ")) == 0 }

// validTag wants ASTRING-CHARs but + (RFC 9051 9).
func validTag(tag []byte) bool {
	for _, c := range tag {
		if !wire.AtomByte(c) || c == '+' || c == '%' || c == '*' || c == '\\' {
			return false
		}
	}
	return len(tag) > 0 && len(tag) <= maxTagBytes
}

// httpMethods are the first words of requests that a browser can be made to send to a mail port (SECURITY 20).
var httpMethods = []string{"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"}

// isHTTP recognizes a request line of HTTP. "GET NOOP" is none: the tag is the client's choice.
func isHTTP(line []byte) bool {
	method, rest, _ := bytes.Cut(line, []byte{' '})
	for _, name := range httpMethods {
		if string(method) == name {
			return bytes.HasPrefix(rest, []byte("/")) || bytes.Contains(rest, []byte("HTTP/"))
		}
	}
	return false
}

// parseLogin reads the two strings of LOGIN, which the caller owns and zeroes.
func parseLogin(args []byte) (user, password []byte, err error) {
	user, rest, err := wire.CutAstring(args)
	if err != nil {
		return nil, nil, err
	}
	rest, spaced := bytes.CutPrefix(rest, []byte{' '})
	password, rest, err = wire.CutAstring(rest)
	if err == nil && (!spaced || len(rest) != 0) {
		err = wire.ErrString
	}
	if err != nil {
		clear(user)
		clear(password)
		return nil, nil, err
	}
	return user, password, nil
}

// parseID reads NIL or the list of pairs of RFC 2971 3.1, and refuses what the bounds above or SECURITY 8 forbid.
func parseID(args []byte) ([]dialog.Field, error) {
	if bytes.EqualFold(args, []byte("NIL")) {
		return nil, nil
	}
	if len(args) < 2 || args[0] != '(' || args[len(args)-1] != ')' {
		return nil, errID
	}
	var fields []dialog.Field
	for rest := args[1:]; ; {
		rest = bytes.TrimLeft(rest, " ")
		if len(rest) == 1 {
			return fields, nil // the closing bracket
		}
		field, left, err := parseField(rest)
		if err != nil || len(fields) == maxIDPairs {
			return nil, errID
		}
		fields, rest = append(fields, field), left
	}
}

func parseField(p []byte) (f dialog.Field, rest []byte, err error) {
	key, rest, err := wire.CutAstring(p)
	if err != nil || len(key) == 0 || len(key) > maxIDKeyBytes || !oneLine(key) {
		return f, nil, errID
	}
	f.Name = string(key)
	rest, found := bytes.CutPrefix(rest, []byte{' '})
	if !found {
		return f, nil, errID
	}
	quoted := len(rest) > 0 && (rest[0] == '"' || rest[0] == '{')
	value, rest, err := wire.CutAstring(rest)
	if err != nil || len(value) > maxIDValueBytes || !oneLine(value) {
		return f, nil, errID
	}
	if f.Null = !quoted && bytes.EqualFold(value, []byte("NIL")); !f.Null {
		f.Value = string(value)
	}
	return f, rest, nil
}

// introduction is what a client said about itself by ID.
type introduction struct {
	fields    []dialog.Field // without x- ones
	announced *dialog.Announced
}

// introduce parts the client's own fields from the x- ones, which only a trusted peer may use (SPEC 3, SECURITY 11). A
// wrong x- value is an error, as it is at Dovecot: a proxy in front that is misunderstood must not pass for a client.
func introduce(fields []dialog.Field, trusted bool) (*introduction, error) {
	said := &introduction{}
	for _, f := range fields {
		if len(f.Name) < 2 || !strings.EqualFold(f.Name[:2], "x-") {
			said.fields = append(said.fields, f)
			continue
		}
		if !trusted || f.Null {
			continue
		}
		if said.announced == nil {
			said.announced = &dialog.Announced{}
		}
		if err := announce(said.announced, strings.ToLower(f.Name), f.Value); err != nil {
			return nil, err
		}
	}
	if a := said.announced; a != nil {
		a.Client, a.Local = complete(a.Client), complete(a.Local)
	}
	return said, nil
}

// announce takes one x- field in (BACKENDS). Names that mean nothing to us are passed over.
func announce(a *dialog.Announced, name, value string) (err error) {
	switch name {
	case "x-originating-ip":
		err = setAddr(&a.Client, value)
	case "x-originating-port":
		err = setPort(&a.Client, value)
	case "x-connected-ip":
		err = setAddr(&a.Local, value)
	case "x-connected-port":
		err = setPort(&a.Local, value)
	case "x-session-id":
		a.Session = value
		err = checkSession(value)
	case "x-proxy-ttl":
		var ttl uint64
		ttl, err = strconv.ParseUint(value, 10, 15)
		if a.TTL, a.TTLSeen = int(ttl), true; ttl == 0 {
			err = errID
		}
	case "x-client-transport":
		a.TLS, a.TransportSeen = strings.EqualFold(value, "TLS"), true
		if !a.TLS && !strings.EqualFold(value, "insecure") {
			err = errID
		}
	}
	return err
}

// setAddr unmaps before anything else sees the address (SPEC 2.3).
func setAddr(a *netip.AddrPort, value string) error {
	addr, err := netip.ParseAddr(value)
	if err != nil || addr.Zone() != "" {
		return errID
	}
	*a = netip.AddrPortFrom(addr.Unmap(), a.Port())
	return nil
}

func setPort(a *netip.AddrPort, value string) error {
	port, err := strconv.ParseUint(value, 10, 16)
	*a = netip.AddrPortFrom(a.Addr(), uint16(port))
	return err
}

// complete drops a port that came without an address.
func complete(a netip.AddrPort) netip.AddrPort {
	if !a.Addr().IsValid() {
		return netip.AddrPort{}
	}
	return a
}

// checkSession wants printable ASCII without blanks, since the value ends up in logs and in other protocols' words.
func checkSession(id string) error {
	if len(id) == 0 || len(id) > maxSessionBytes {
		return errID
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return errID
		}
	}
	return nil
}

// codeList is the list in the code [CAPABILITY …] that an answer begins with behind its OK; empty if there is none.
func codeList(answer []byte) []byte {
	const code = "OK [CAPABILITY "
	if len(answer) < len(code) || !bytes.EqualFold(answer[:len(code)], []byte(code)) {
		return nil
	}
	list, _, found := bytes.Cut(answer[len(code):], []byte{']'})
	if !found {
		return nil
	}
	return list
}

// listed reports whether a capability list is among untagged lines.
func listed(lines []byte) bool {
	const start = "* CAPABILITY "
	for line := range bytes.Lines(lines) {
		if len(line) > len(start) && bytes.EqualFold(line[:len(start)], []byte(start)) {
			return true
		}
	}
	return false
}

// oneLine reports that text holds no NUL, CR or LF.
func oneLine(text []byte) bool { return !bytes.ContainsAny(text, "\x00\r\n") }

// wholeLines reports that text ends where a line ends.
func wholeLines(text []byte) bool { return len(text) == 0 || bytes.HasSuffix(text, []byte("\r\n")) }
