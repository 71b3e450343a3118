package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"
)

// maxV1Bytes is the longest line that the protocol knows, CRLF included.
const maxV1Bytes = 107

// parseV1 reads a line. Blanks are single, no number has a sign or a leading zero. UNKNOWN may be followed by anything.
func parseV1(p []byte) (Inbound, int, error) {
	end := bytes.IndexByte(p[:min(len(p), maxV1Bytes)], '\n')
	switch {
	case end < 0 && !v1Begins(p):
		return Inbound{}, 0, ErrMalformed
	case end < 0:
		return Inbound{}, 0, ErrIncomplete
	}
	line, found := bytes.CutSuffix(p[:end], []byte{'\r'})
	if !found || bytes.IndexByte(line, '\r') >= 0 {
		return Inbound{}, 0, ErrMalformed
	}
	in, ok := readV1(string(line))
	if !ok {
		return Inbound{}, 0, ErrMalformed
	}
	return in, end + 1, nil
}

// v1Begins reports whether a line without its end can still become one.
func v1Begins(p []byte) bool {
	cr := bytes.IndexByte(p, '\r')
	return len(p) < maxV1Bytes && (cr < 0 || cr == len(p)-1) && (len(p) == len(signature1) || p[len(signature1)] == ' ')
}

// readV1 reads a line without its end.
func readV1(line string) (in Inbound, ok bool) {
	words, count := cutWords(line)
	switch {
	case words[0] == "PROXY" && count > 1 && words[1] == "UNKNOWN":
		return Inbound{}, true
	case words[0] != "PROXY" || count != len(words) || words[1] != "TCP4" && words[1] != "TCP6":
		return Inbound{}, false
	}
	six := words[1] == "TCP6"
	client, ok := readV1End(words[2], words[4], six)
	local, ok2 := readV1End(words[3], words[5], six)
	return Inbound{Client: client, Local: local}, ok && ok2
}

// cutWords cuts a line at every blank; count is how many words there are, also beyond those that are kept.
func cutWords(line string) (words [6]string, count int) {
	for from := 0; from <= len(line); count++ {
		to := from
		for to < len(line) && line[to] != ' ' {
			to++
		}
		if count < len(words) {
			words[count] = line[from:to]
		}
		from = to + 1
	}
	return words, count
}

// readV1End reads one end of the connection. In a TCP6 line an IPv4 address is taken too: nginx writes such ones when the
// families differ, and it can mean nothing else.
func readV1End(ip, port string, six bool) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Zone() != "" || !six && !addr.Is4() {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
}
