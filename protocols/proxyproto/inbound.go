package proxyproto

import (
	"bytes"
	"errors"
	"net/netip"
)

// MaxBytes is the longest header that Parse takes, and so the most that a caller has to hold of one: 16 bytes and 2 KiB,
// room for addresses, names, and the certificate that HAProxy can be told to add. A version 1 header has at most 107.
const MaxBytes = fixedBytes + 2<<10

// What Parse has found instead of a header. None of them says what the peer sent.
var (
	// ErrIncomplete says that what is there may become a header: call again with more behind it.
	ErrIncomplete = errors.New("proxy header is not whole yet")
	// ErrNoHeader says that the connection begins with something else.
	ErrNoHeader = errors.New("no proxy header")
	// ErrMalformed says that a header has begun and is none: the connection must be closed.
	ErrMalformed = errors.New("malformed proxy header")
)

// Inbound is what a header says. Its texts are copies, printable ASCII without blanks; one that is not is left out.
type Inbound struct {
	// Client and Local are the client and the address that it connected to, IPv4 where they can be (SPEC 2.3). Both are
	// invalid if the header names none (LOCAL, UNKNOWN, UNSPEC, a family that is not TCP): the socket's own hold then.
	Client, Local netip.AddrPort
	// Session is PP2_TYPE_UNIQUE_ID, if it has at most 64 bytes, which is what backends take (BACKENDS).
	Session string
	// SNI is PP2_TYPE_AUTHORITY, the name that the client asked the first proxy for.
	SNI string
	// TLS says whether the client's own connection is TLS. TLSSeen: the header says so, else it is not known.
	TLS, TLSSeen bool
	// TLSVersion and TLSCipher are set only with TLS, if known.
	TLSVersion, TLSCipher string
}

// The signatures. Nothing that we speak begins with PROXY. The second one is chosen so that mail servers refuse it.
var (
	signature1 = []byte("PROXY")
	signature2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// Parse looks for a header at the beginning of p, which holds all that a connection has sent so far. It keeps nothing of
// p. If there is a whole header, n is its length; what lies behind it is the connection's own. Otherwise n is 0 and err
// is one of the three above. Only ErrIncomplete can change with more input; p then has less than MaxBytes.
func Parse(p []byte) (in Inbound, n int, err error) {
	switch {
	case bytes.HasPrefix(p, signature1):
		return parseV1(p)
	case bytes.HasPrefix(p, signature2):
		return parseV2(p)
	case bytes.HasPrefix(signature1, p), bytes.HasPrefix(signature2, p):
		return Inbound{}, 0, ErrIncomplete
	}
	return Inbound{}, 0, ErrNoHeader
}
