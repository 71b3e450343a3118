package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// exportVersion is the first byte of an export. It changes with the layout.
const exportVersion = 1

// exportHead is the size in bytes of what comes before the halves: version, role, flags, idle, head length, head,
// body left, credit, tickets, TLS version, suite.
const exportHead = 5 + headSize + 4 + 2 + 2 + 2 + 2

// errImport is behind every error about contents; which field it was helps nobody, and the fields are keys.
var errImport = errors.New("an impossible state")

// Export appends the leg to dst in a versioned form that Import reads, keys in clear: the bytes are to be treated like
// the keys they hold. The leg must only be wiped afterwards, or its copy would reuse nonces. A dead leg is not exported;
// dst comes back as it was.
func (l *Leg) Export(dst []byte) []byte {
	if l.role == 0 || l.flags&flagDead != 0 {
		return dst
	}
	dst = append(dst, exportVersion, byte(l.role), l.flags, l.idle, l.headLen)
	dst = append(dst, l.head[:]...)
	dst = binary.BigEndian.AppendUint32(dst, l.bodyLeft)
	dst = binary.BigEndian.AppendUint16(dst, l.credit)
	dst = binary.BigEndian.AppendUint16(dst, l.tickets)
	dst = binary.BigEndian.AppendUint16(dst, l.Version())
	dst = binary.BigEndian.AppendUint16(dst, l.Suite())
	dst = l.in.export(dst)
	return l.out.export(dst)
}

// export appends the sequence number and what the rest of a Half can be made from again: the traffic secret for TLS 1.3,
// key and iv for TLS 1.2.
func (h *Half) export(dst []byte) []byte {
	s := &suites[h.suite]
	dst = binary.BigEndian.AppendUint64(dst, h.seq)
	if s.version == version13 {
		return append(dst, h.secret()...)
	}
	return append(h.AppendKey(dst), h.iv()...)
}

// exportSize returns the size in bytes of one exported Half.
func (s *suite) exportSize() int {
	if s.version == version13 {
		return 8 + s.secretLen
	}
	return 8 + s.keyLen + s.ivLen()
}

// Import reads what Export wrote, strictly: another version, an unknown flag, a count beyond its limit, a byte too many
// is an error. It keeps no reference to b.
func Import(b []byte) (Leg, error) {
	if len(b) < exportHead || b[0] != exportVersion {
		return Leg{}, fmt.Errorf("importing a TLS leg: found %d bytes, allowed an export of version %d", len(b), exportVersion)
	}
	l := Leg{
		role: Role(b[1]), flags: b[2], idle: b[3], headLen: b[4], head: [headSize]byte(b[5:9]),
		bodyLeft: binary.BigEndian.Uint32(b[9:]),
		credit:   binary.BigEndian.Uint16(b[13:]),
		tickets:  binary.BigEndian.Uint16(b[15:]),
	}
	index, err := suiteIndex(binary.BigEndian.Uint16(b[17:]), binary.BigEndian.Uint16(b[19:]))
	if err != nil {
		return Leg{}, fmt.Errorf("importing a TLS leg: %w", err)
	}
	size := suites[index].exportSize()
	if b = b[exportHead:]; len(b) != 2*size {
		return Leg{}, fmt.Errorf("importing a TLS leg: found %d bytes of keys, allowed %d", len(b), 2*size)
	}
	l.in, l.out = importHalf(index, b[:size]), importHalf(index, b[size:])
	if !l.possible() || !l.messagePossible() {
		l.Wipe()
		return Leg{}, fmt.Errorf("importing a TLS leg: %w", errImport)
	}
	return l, nil
}

// importHalf reads what Half.export wrote; b has the right size.
func importHalf(index uint8, b []byte) Half {
	s := &suites[index]
	h := Half{suite: index}
	if s.version == version13 {
		copy(h.secret(), b[8:])
		h.derive()
	} else {
		copy(h.material[:], b[8:])
	}
	h.seq = binary.BigEndian.Uint64(b)
	return h
}

// possible reports whether counters and flags are such as a living leg can have.
func (l *Leg) possible() bool {
	s := &suites[l.out.suite]
	switch {
	case l.role != AsServer && l.role != AsClient,
		l.flags&^(flagOwes|flagInClosed|flagOutClosed) != 0,
		l.idle > MaxIdle, l.credit > creditFull:
		return false
	case s.version == version12:
		return l.flags&flagOwes == 0 && l.tickets == 0 && l.headLen == 0 && l.credit == creditFull
	}
	return l.out.seq <= s.limit+1 && (l.role == AsClient || l.tickets == 0) // one more for our close_notify
}

// messagePossible reports whether the partial handshake message is one that takePiece leaves behind.
func (l *Leg) messagePossible() bool {
	if l.headLen > headSize || l.headLen > 0 && l.InClosed() {
		return false
	}
	for _, b := range l.head[l.headLen:] {
		if b != 0 {
			return false
		}
	}
	if l.headLen == 0 {
		return l.bodyLeft == 0
	}
	fresh := Leg{role: l.role, head: l.head, headLen: l.headLen}
	if fresh.checkHead() != nil {
		return false
	}
	begun := l.headLen == headSize
	return begun == (l.bodyLeft > 0) && l.bodyLeft <= fresh.bodyLeft
}
