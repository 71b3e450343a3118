package session

import (
	"net/netip"

	"github.com/valyala/bytebufferpool"

	"mailsplice/core/bridge"
	"mailsplice/core/engine"
	"mailsplice/core/limits"
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/proxyproto"
)

// phase is where a session stands.
type phase uint8

const (
	announcing  phase = iota + 1 // a PROXY header
	awaiting                     // a ClientHello; an implicit listener's session has no talk yet
	handshaking                  // the client leg is lent to a handshake's goroutine
	preauth
	loggingIn
	joined
)

// endpoint is an address without pointers.
type endpoint struct {
	addr [16]byte
	port uint16
}

func endpointOf(a netip.AddrPort) endpoint {
	return endpoint{addr: a.Addr().As16(), port: a.Port()}
}

func (e endpoint) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.addr).Unmap(), e.port)
}

// record is one session in the slab of its loop, pointer-free.
type record struct {
	bridge   bridge.ID
	number   uint64
	since    int64 // wall clock, nanoseconds
	deadline int64 // of the pre-auth dialogue, on the loop's clock; 0: none
	ticket   ticket
	hold     limits.Hold // the client's place among those of its address
	timer    engine.TimerID
	fd       int32 // client leg, until joined
	talk     uint32
	client   endpoint // who the client is: the peer, or whom a trusted peer announced
	local    endpoint
	listener uint16
	dest     uint16    // once joined
	suites   [2]uint16 // of the client's and the backend's leg, as crypto/tls numbers them; 0: in the clear
	phase    phase
	lane     bridge.Lane // once joined, as the bridge has it
	protocol Protocol
	trusted  uint8
	master   uint8
	grace    uint8 // announcing: the deadline is that of a silent peer, not of the dialogue
}

// facts is what the client's machine is told.
func (r *record) facts(tls bool) Facts {
	return Facts{TLS: tls, TrustedPeer: r.trusted == 1, Local: r.local.addrPort().Addr()}
}

// talk is what a session needs before the join and may hold pointers; it is found by handle in its lobby's table.
type talk struct {
	machine dialog.Machine             // nil before an implicit listener's handshake is done
	in      *bytebufferpool.ByteBuffer // input not consumed yet; nil: none
	out     *bytebufferpool.ByteBuffer // output the socket has not taken, sealed on a TLS leg; nil: none
	attempt *attempt                   // while logging in
	refused *dialog.Verdict            // of the attempt, held back until the deadline (SPEC 12); nil: none
	goAhead []byte                     // to STARTTLS, not written yet
	shake   *handshake                 // while handshaking
	tls     *clientTLS                 // nil: in the clear
	header  *proxyproto.Inbound        // what a PROXY header said beyond addresses; nil: nothing
	carried bool                       // lane conn: the descriptor is one end of a socket pair
}

// sealed tells whether the loop itself opens and seals the client leg's records.
func (tk *talk) sealed() bool { return tk.tls != nil && !tk.carried }

// buffers bounds what one session may hold: in to one read, out to what one command answers.
var buffers bytebufferpool.Pool

// append adds p to the buffer, taking one from the pool at first.
func appendTo(b **bytebufferpool.ByteBuffer, p []byte) {
	if len(p) == 0 {
		return
	}
	if *b == nil {
		*b = buffers.Get()
	}
	(*b).B = append((*b).B, p...)
}

// release zeroes a buffer and gives it back: it may have held credentials. Whoever shortens one zeroes what is behind.
func release(b **bytebufferpool.ByteBuffer) {
	if *b == nil {
		return
	}
	clear((*b).B)
	buffers.Put(*b)
	*b = nil
}

func pendingBytes(b *bytebufferpool.ByteBuffer) []byte {
	if b == nil {
		return nil
	}
	return b.B
}

// keepRest leaves only the last part of a buffer, in place.
func keepRest(b **bytebufferpool.ByteBuffer, rest []byte) {
	if len(rest) == 0 {
		release(b)
		return
	}
	whole := (*b).B
	n := copy(whole, rest)
	clear(whole[n:])
	(*b).B = whole[:n]
}

// talks is a loop's table of dialogues, by handle; 0 is none.
type talks struct {
	list []*talk
	free []uint32
}

func (ts *talks) add(tk *talk) uint32 {
	if n := len(ts.free); n > 0 {
		h := ts.free[n-1]
		ts.free = ts.free[:n-1]
		ts.list[h-1] = tk
		return h
	}
	ts.list = append(ts.list, tk)
	return uint32(len(ts.list))
}

func (ts *talks) of(h uint32) *talk {
	if h == 0 {
		return nil
	}
	return ts.list[h-1]
}

func (ts *talks) drop(h uint32) {
	ts.list[h-1] = nil
	ts.free = append(ts.free, h)
}
