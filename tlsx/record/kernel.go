package record

import "math"

// What follows is for a record layer that goes on where a Leg stands: the kernel's (package ktls). The Leg stays the one that
// knows what control records mean and which key comes next.

// The record types that another record layer may hand to Leg.Take or send for it.
const (
	TypeAlert     = typeAlert
	TypeHandshake = typeHandshake
	TypeData      = typeData
)

// Cipher is what a suite encrypts with.
type Cipher uint8

// The ciphers of the suites that Supports.
const (
	AES128GCM Cipher = iota + 1
	AES256GCM
	ChaCha20Poly1305
)

// String is the cipher's usual name.
func (c Cipher) String() string {
	switch c {
	case AES128GCM:
		return "AES-128-GCM"
	case AES256GCM:
		return "AES-256-GCM"
	case ChaCha20Poly1305:
		return "CHACHA20-POLY1305"
	}
	return "none"
}

// Cipher returns the cipher, and 0 for a zero Half.
func (h *Half) Cipher() Cipher { return suites[h.suite].cipher }

// Overhead returns how many bytes a record without padding is longer than its content.
func (h *Half) Overhead() int {
	s := &suites[h.suite]
	if s.version == version13 {
		return headerSize + 1 + tagSize
	}
	return headerSize + s.explicit + tagSize
}

// Take acts on a record that was opened elsewhere, as Open does on its own. Consumed stays 0. typ and content are what was
// inside, and an error is final.
func (l *Leg) Take(typ byte, content []byte) (Opened, error) {
	if l.role == 0 || l.flags&flagDead != 0 {
		return Opened{}, ErrDead
	}
	if l.InClosed() {
		return Opened{Kind: Closed}, nil
	}
	got, err := l.take(typ, content)
	if err != nil {
		return l.die(err)
	}
	return got, nil
}

// Refuse ends the leg because of a record that was refused elsewhere.
func (l *Leg) Refuse(alert Alert, what string) error {
	l.flags |= flagDead
	return &Violation{alert, what}
}

// Received notes n bytes of application data that were opened elsewhere and not shown to Take. An incomplete handshake
// message in front of them ends the leg (RFC 8446 5.1).
func (l *Leg) Received(n int) error {
	if l.MidMessage() {
		_, err := l.die(errInterleaved)
		return err
	}
	l.idle = 0
	l.earn(n)
	return nil
}

// Sent notes n bytes of application data that were sealed elsewhere, in records records at most.
func (l *Leg) Sent(n, records int) {
	l.earn(n)
	if l.out.seq <= math.MaxUint64-uint64(records) {
		l.out.seq += uint64(records)
	}
}

// SeqIn is what SetSeqIn has noted.
func (l *Leg) SeqIn() uint64 { return l.in.seq }

// SetSeqIn notes the number of the next record to be opened, as another record layer has it.
func (l *Leg) SetSeqIn(n uint64) { l.in.seq = n }

// SetSeqOut notes the number of the next record to be sealed, as another record layer has it.
func (l *Leg) SetSeqOut(n uint64) { l.out.seq = n }

// Due reports that the key of our direction is used up (RFC 8446 5.5): nothing more may be sealed with it but the KeyUpdate,
// or in TLS 1.2, which has none, nothing at all.
func (l *Leg) Due() bool {
	if limit := suites[l.out.suite].limit; limit != 0 {
		return l.out.seq >= limit
	}
	return l.out.seq == math.MaxUint64
}

// UpdateMessage is the KeyUpdate to send, as a handshake record's content, when Owes or Due says so. It asks for nothing
// in return. NextOut follows it.
func UpdateMessage() [5]byte { return keyUpdate }

// NextOut moves our direction on to its next key, once the KeyUpdate is sealed. Only for TLS 1.3.
func (l *Leg) NextOut() {
	l.out.update()
	l.flags &^= flagOwes
}
