package record

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// Overhead is the most in bytes that one record adds to its plaintext: header, explicit nonce or inner type, tag.
const Overhead = headerSize + 8 + tagSize

// Alert levels (RFC 5246 7.2).
const (
	levelWarning = 1
	levelFatal   = 2
)

// keyUpdate is the message that asks for nothing in return: we need no new key from a peer that has just changed, or
// that may change when it likes.
var keyUpdate = [...]byte{msgKeyUpdate, 0, 0, 1, 0}

// SealedSize returns an upper bound in bytes for what Seal appends for n bytes of plaintext, a KeyUpdate included.
func SealedSize(n int) int {
	records := 1 + (n+maxPlain-1)/maxPlain
	return n + records*Overhead + len(keyUpdate)
}

// Seal appends plain to dst as records of 16 KiB and a rest, and returns dst. A KeyUpdate that is owed, or that the
// key's limit demands, goes in front; with an empty plain only that. Nothing is allocated as long as dst has SealedSize
// capacity left and k need not be filled. dst and plain must not overlap. It fails with ErrDead and ErrExhausted
// only, and then dst is returned as it came and nothing of plain may be sent.
func (l *Leg) Seal(k *Keys, dst, plain []byte) ([]byte, error) {
	return l.sealAll(k, dst, plain, (*Half).seal)
}

// SealSpare is Seal for a plain behind which one byte of capacity is the caller's to lose: what a record held when Open has
// opened it in place is like that. It saves TLS 1.3 a copy of every byte, since the type of a record is sealed behind its
// content. plain itself is as before afterwards.
func (l *Leg) SealSpare(k *Keys, dst, plain []byte) ([]byte, error) {
	if l.Version() != version13 || cap(plain) == len(plain) {
		return l.Seal(k, dst, plain)
	}
	return l.sealAll(k, dst, plain, (*Half).sealSpare)
}

// sealAll cuts plain into records.
func (l *Leg) sealAll(k *Keys, dst, plain []byte, seal func(*Half, *expanded, []byte, byte, []byte) ([]byte, error)) ([]byte, error) {
	if l.role == 0 || l.flags&(flagDead|flagOutClosed) != 0 {
		return dst, ErrDead
	}
	out := slices.Grow(dst, SealedSize(len(plain)))
	out, err := l.update(k, out)
	for err == nil && len(plain) > 0 {
		n := min(len(plain), maxPlain)
		out, err = seal(&l.out, &k.out, out, typeData, plain[:n])
		l.earn(n)
		plain = plain[n:]
		if err == nil && len(plain) > 0 {
			out, err = l.update(k, out)
		}
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// update changes our key if it is owed or due.
func (l *Leg) update(k *Keys, dst []byte) ([]byte, error) {
	limit := suites[l.out.suite].limit
	if limit == 0 || l.flags&flagOwes == 0 && l.out.seq < limit {
		return dst, nil
	}
	dst, err := l.out.seal(&k.out, dst, typeHandshake, keyUpdate[:])
	if err != nil {
		return dst, err
	}
	l.out.update()
	l.flags &^= flagOwes
	return dst, nil
}

// seal appends one record of at most maxPlain bytes to dst and moves on.
func (h *Half) seal(x *expanded, dst []byte, typ byte, plain []byte) ([]byte, error) {
	if h.seq == math.MaxUint64 {
		return dst, ErrExhausted
	}
	if err := x.ready(h); err != nil {
		return dst, err
	}
	x.setNonce(h)
	dst = slices.Grow(dst, len(plain)+Overhead)
	if suites[h.suite].version == version13 {
		dst = h.seal13(x, dst, typ, plain)
	} else {
		dst = h.seal12(x, dst, typ, plain)
	}
	h.seq++
	return dst, nil
}

// sealSpare is seal for TLS 1.3 and a plain with a byte of capacity behind it, which is put back.
func (h *Half) sealSpare(x *expanded, dst []byte, typ byte, plain []byte) ([]byte, error) {
	if h.seq == math.MaxUint64 {
		return dst, ErrExhausted
	}
	if err := x.ready(h); err != nil {
		return dst, err
	}
	x.setNonce(h)
	start := len(dst)
	dst = appendHeader(slices.Grow(dst, len(plain)+Overhead), typeData, len(plain)+1+tagSize)
	inner := plain[:len(plain)+1]
	spare := &inner[len(plain)]
	kept := *spare
	*spare = typ
	dst = x.aead.Seal(dst, x.nonce[:], inner, dst[start:])
	*spare = kept
	h.seq++
	return dst, nil
}

// seal13 appends a TLSCiphertext (RFC 8446 5.2). dst has room for it.
func (h *Half) seal13(x *expanded, dst []byte, typ byte, plain []byte) []byte {
	start := len(dst)
	dst = appendHeader(dst, typeData, len(plain)+1+tagSize)
	header, body := dst[start:], len(dst)
	dst = append(dst, plain...)
	dst = append(dst, typ)
	sealed := x.aead.Seal(dst[body:body], x.nonce[:], dst[body:], header)
	return dst[:body+len(sealed)]
}

// seal12 appends a GenericAEADCiphertext (RFC 5246 6.2.3.3). dst has room for it.
func (h *Half) seal12(x *expanded, dst []byte, typ byte, plain []byte) []byte {
	s := &suites[h.suite]
	dst = appendHeader(dst, typ, s.explicit+len(plain)+tagSize)
	dst = append(dst, x.nonce[nonceSize-s.explicit:]...)
	return x.aead.Seal(dst, x.nonce[:], plain, x.additional(h, typ, len(plain)))
}

func appendHeader(dst []byte, typ byte, n int) []byte {
	dst = append(dst, typ, version12>>8, version12&0xff)
	return binary.BigEndian.AppendUint16(dst, uint16(n))
}

// AppendClose appends the last record of our direction to dst: the alert for a *Violation in cause (as errors.As finds
// it), nothing for a PeerAlert, else close_notify; cause may be nil. Afterwards Seal is refused; the other direction
// goes on if it had not failed. Called again it appends nothing. On an error, which is ErrExhausted, dst is returned as it
// came and the connection can only be ended without a word.
func (l *Leg) AppendClose(k *Keys, dst []byte, cause error) ([]byte, error) {
	out := dst
	for alerts := l.CloseAlerts(cause); len(alerts) > 0; alerts = alerts[2:] {
		var err error
		if out, err = l.out.seal(&k.out, out, typeAlert, alerts[:2]); err != nil {
			return dst, err
		}
	}
	return out, nil
}

// CloseAlerts is AppendClose for a direction that somebody else seals: it returns the alerts to send, of two bytes and one
// record each, and none if there is nothing to say.
func (l *Leg) CloseAlerts(cause error) []byte {
	if l.role == 0 || l.OutClosed() {
		return nil
	}
	l.flags |= flagOutClosed
	var peer PeerAlert
	if errors.As(cause, &peer) {
		return nil
	}
	var broken *Violation
	if !errors.As(cause, &broken) {
		return []byte{levelWarning, byte(CloseNotify)}
	}
	if broken.Alert != NoRenegotiation {
		return []byte{levelFatal, byte(broken.Alert)}
	}
	// Always a warning (RFC 5246 7.2.2), so the end still has to be said.
	return []byte{levelWarning, byte(NoRenegotiation), levelWarning, byte(CloseNotify)}
}
