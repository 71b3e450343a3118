package bridge

import "mailsplice/tlsx/record"

// Lane says how a leg's bytes are carried (DESIGN 3.11). The numbers travel in a Parcel.
type Lane uint8

// The lanes, cheap ones first. A session's lane is the dearer one of its legs.
const (
	// LanePlain: read(2) and sendmsg(2) on the descriptor.
	LanePlain Lane = iota
	// LaneSplice: a plain leg that has been spliced. It goes back to read(2) when little moves.
	LaneSplice
	// LaneKTLS: a leg of LaneRecord with the keys of a direction, or of both, in the kernel.
	LaneKTLS
	// LaneRecord: the descriptor carries TLS records, which the bridge opens and seals itself.
	LaneRecord
	// LaneConn: crypto/tls has the connection; the descriptor is one end of a socket pair, with plaintext.
	LaneConn
	// Lanes is their number.
	Lanes
)

// String is the lane as metrics and GET /connections show it.
func (l Lane) String() string {
	switch l {
	case LanePlain:
		return "plain"
	case LaneSplice:
		return "splice"
	case LaneKTLS:
		return "ktls"
	case LaneRecord:
		return "record"
	case LaneConn:
		return "conn"
	}
	return "unknown"
}

// Leg is one transport that is about to become part of a session.
type Leg struct {
	// FD is a connected, non-blocking stream socket that the Bridge's loop watches, under any token.
	FD int
	// Lane is LanePlain, LaneRecord or LaneConn. The bridge moves the first two to LaneSplice and LaneKTLS itself.
	Lane Lane
	// TLS is where a leg of LaneRecord stands. Join moves it: what is left behind is dead.
	TLS *record.Leg
	// Raw is what was read from a leg of LaneRecord and not opened yet, at most record.MaxRecord bytes. Join copies it.
	Raw []byte
	// Keys are those that were expanded for TLS already, of LaneRecord; nil: none. Join takes them.
	Keys *record.Keys
}

// wipe zeroes the keys of a leg that was not joined.
func (l *Leg) wipe() {
	if l.TLS != nil {
		l.TLS.Wipe()
	}
	if l.Keys != nil {
		l.Keys.Drop()
	}
}
