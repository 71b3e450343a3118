package record

import (
	"encoding/binary"
	"math"
)

// Sizes in bytes of RFC 8446 5 and RFC 5246 6.2.
const (
	headerSize = 5
	maxPlain   = MaxPlain
	maxBody13  = maxPlain + 256
	maxBody12  = maxPlain + 2048
	// MaxRecord is the longest record that Open can ask for, header included: the size of buffer that never gets stuck.
	MaxRecord = headerSize + maxBody12
)

// MaxPlain is the most in bytes that one record holds (RFC 8446 5.1).
const MaxPlain = 1 << 14

// FullSize is the size in bytes of a record of MaxPlain without padding, header included; 0 for a suite that is not ours.
func FullSize(version, suite uint16) int {
	index, err := suiteIndex(version, suite)
	if err != nil {
		return 0
	}
	n := headerSize + MaxPlain + tagSize
	if version == version13 {
		return n + 1 // the type behind the content
	}
	return n + suites[index].explicit
}

// Size is the size in bytes of the record that p begins with, header included, as its header says; known is false while the
// header is not whole.
func Size(p []byte) (bytes int, known bool) {
	if len(p) < headerSize {
		return 0, false
	}
	return headerSize + int(binary.BigEndian.Uint16(p[3:])), true
}

// Record types (RFC 8446 5.1).
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
)

// Kind says what Open found.
type Kind uint8

// The kinds of Opened.
const (
	NeedMore Kind = iota // no whole record: Need more bytes at least. Always the answer to an empty buf
	Data                 // Plain is application data, never empty
	Control              // a record that brought nothing to relay
	Ticket               // Control, and Plain is the NewSessionTicket messages or pieces of such that it held
	Closed               // the peer's close_notify; what follows is consumed unseen, with this kind again (RFC 8446 6.1)
)

// Opened is the outcome of one Open.
type Opened struct {
	Plain    []byte // inside buf, valid as long as the caller leaves that alone
	Consumed int    // bytes of buf that were used up, whatever the kind; 0 with NeedMore
	Need     int    // with NeedMore: bytes missing to a whole record, or to its header
	Kind     Kind
}

// Open opens the first record of buf in place, so buf's bytes are overwritten up to Consumed. It takes one record at a
// time; call again with the rest. An error is final and of type *Violation, PeerAlert or ErrDead. Nothing is
// allocated unless k must be filled, keys change, or it fails.
func (l *Leg) Open(k *Keys, buf []byte) (Opened, error) {
	switch {
	case l.role == 0 || l.flags&flagDead != 0:
		return Opened{}, ErrDead
	case l.InClosed() && len(buf) > 0:
		return Opened{Kind: Closed, Consumed: len(buf)}, nil
	case len(buf) < headerSize:
		return Opened{Need: headerSize - len(buf)}, nil
	}
	size, err := l.in.recordSize(buf)
	if err != nil {
		return l.die(err)
	}
	if len(buf) < size {
		return Opened{Need: size - len(buf)}, nil
	}
	typ, plain, err := l.in.open(&k.in, buf[:size])
	if err != nil {
		return l.die(err)
	}
	got, err := l.take(typ, plain)
	if err != nil {
		return l.die(err)
	}
	got.Consumed = size
	return got, nil
}

// die marks the leg as ended; only AppendClose will do something now.
func (l *Leg) die(err error) (Opened, error) {
	l.flags |= flagDead
	return Opened{}, err
}

// recordSize checks a header and returns the size of its whole record. Everything that can be said without the body is
// said here, so that nobody waits for 64 KiB that will be refused.
func (h *Half) recordSize(header []byte) (int, error) {
	n := int(binary.BigEndian.Uint16(header[3:]))
	tls13 := h.Version() == version13
	switch typ := header[0]; {
	case tls13 && typ != typeData, typ < typeAlert, typ > typeData:
		return 0, errContentType
	case header[1] != version12>>8 || header[2] != version12&0xff:
		return 0, errVersion
	case tls13 && n > maxBody13, n > maxBody12:
		return 0, errTooLong
	}
	return headerSize + n, nil
}

// open authenticates and decrypts one whole record in place and returns its content and type. Invariant: the sequence
// number moves exactly if the tag was right.
func (h *Half) open(x *expanded, rec []byte) (typ byte, plain []byte, err error) {
	if h.seq == math.MaxUint64 {
		return 0, nil, errInSequence
	}
	if err := x.ready(h); err != nil {
		return 0, nil, err
	}
	header, body := rec[:headerSize], rec[headerSize:]
	s := &suites[h.suite]
	if len(body) < s.explicit+tagSize {
		return 0, nil, errTag
	}
	x.setNonce(h)
	extra := header
	if s.version == version12 {
		copy(x.nonce[nonceSize-s.explicit:], body)
		body = body[s.explicit:]
		extra = x.additional(h, header[0], len(body)-tagSize)
	}
	plain, err = x.aead.Open(body[:0], x.nonce[:], body, extra)
	if err != nil {
		return 0, nil, errTag
	}
	h.seq++
	if s.version == version12 {
		return header[0], plain, plainSize(plain)
	}
	return inner(plain)
}

// plainSize checks the length of a record's content (RFC 5246 6.2.1, RFC 8446 5.2).
func plainSize(plain []byte) error {
	if len(plain) > maxPlain {
		return errTooLong
	}
	return nil
}

// inner takes TLSInnerPlaintext apart: content, its type, zeros (RFC 8446 5.4).
func inner(plain []byte) (typ byte, content []byte, err error) {
	if len(plain) > maxPlain+1 {
		return 0, nil, errTooLong
	}
	for i := len(plain) - 1; i >= 0; i-- {
		if plain[i] != 0 {
			return plain[i], plain[:i], nil
		}
	}
	return 0, nil, errPaddingOnly
}

// take acts on the content of an authenticated record.
func (l *Leg) take(typ byte, plain []byte) (Opened, error) {
	if l.headLen != 0 && typ != typeHandshake {
		return Opened{}, errInterleaved
	}
	switch {
	case typ == typeData && len(plain) > 0:
		l.idle = 0
		l.earn(len(plain))
		return Opened{Kind: Data, Plain: plain}, nil
	case typ == typeData:
		return l.nothing()
	case typ == typeAlert:
		return l.takeAlert(plain)
	case typ != typeHandshake:
		return Opened{}, errContentType
	case len(plain) == 0: // RFC 8446 5.4, RFC 5246 6.2.1
		return Opened{}, errEmptyRecord
	case l.Version() == version12:
		return Opened{}, l.refuse12(plain)
	}
	return l.takeHandshake(plain)
}

// nothing counts a record that carried nothing.
func (l *Leg) nothing() (Opened, error) {
	if l.idle >= MaxIdle {
		return Opened{}, errIdleFlood
	}
	l.idle++
	return Opened{Kind: Control}, nil
}

// takeAlert acts on an alert record. close_notify counts at any level, as everywhere.
func (l *Leg) takeAlert(plain []byte) (Opened, error) {
	if len(plain) != 2 {
		return Opened{}, errAlertLength
	}
	level, alert := plain[0], Alert(plain[1])
	switch {
	case alert == CloseNotify:
		l.flags |= flagInClosed
		return Opened{Kind: Closed}, nil
	case l.Version() == version13: // the level says nothing any more (RFC 8446 6)
		if alert == UserCanceled {
			return l.nothing()
		}
		return Opened{}, PeerAlert(alert)
	case level == levelWarning:
		return l.nothing()
	case level == levelFatal:
		return Opened{}, PeerAlert(alert)
	}
	return Opened{}, errAlertLevel
}
