package passthrough

import (
	"bytes"
	"strings"

	"mailsplice/protocols/xclient"
)

// parseReply cuts a reply line without its CRLF (RFC 5321 4.2): three digits, then a hyphen if more lines follow, or a
// blank, or nothing.
func parseReply(line []byte) (code int, last, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) {
		return 0, false, false
	}
	if len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, false, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	return code, len(line) == 3 || line[3] == ' ', true
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// offers is what a backend's answer to EHLO lists, as far as it matters here.
type offers struct {
	startTLS bool
	xclient  xclient.Offer
}

// note reads one further line of the answer; the first holds the backend's name.
func (o *offers) note(line []byte) {
	if len(line) < 4 {
		return
	}
	keyword, args, _ := bytes.Cut(line[4:], []byte{' '})
	switch strings.ToUpper(string(keyword)) {
	case "STARTTLS":
		o.startTLS = true
	case "XCLIENT":
		o.xclient |= xclient.ParseOffer(args)
	}
}
