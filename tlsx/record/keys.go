package record

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"

	"mailsplice/tlsx/gcm"
)

// Keys is the expanded form of a leg's two keys. The zero value is ready; Open and Seal fill it when they need it. It
// belongs to the goroutine that drives the leg. It is worth keeping while the leg is busy (expanding an AES key takes about
// half a microsecond and one or two allocations) and worth dropping when it is quiet.
type Keys struct {
	in, out expanded
}

// Drop zeroes what can be zeroed and lets go of the rest: the key schedules inside AEADs of the standard library are left to the
// collector, which is as far as that lets us go. Keys may be used again.
func (k *Keys) Drop() {
	k.in.drop()
	k.out.drop()
}

// Format prints nothing of the keys, whatever the verb.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keys") }

// expanded is an AEAD with the key it was made from, and the scratch that must not be on the stack because it is passed
// through an interface.
type expanded struct {
	aead     cipher.AEAD
	material [maxMaterial]byte
	suite    uint8
	iv       [nonceSize]byte // zero where the record carries its part
	nonce    [nonceSize]byte
	extra    [13]byte // additional data of TLS 1.2: sequence number, type, version, length
}

func (x *expanded) drop() {
	gcm.Wipe(x.aead)
	*x = expanded{}
}

// ready makes x hold the key of h. Comparing what they come from is what makes it impossible to seal with those of another leg or of
// an earlier generation, and costs two nanoseconds.
func (x *expanded) ready(h *Half) error {
	if x.suite == h.suite && x.material == h.material && x.aead != nil {
		return nil
	}
	s := &suites[h.suite]
	if s.aead == nil {
		return ErrDead
	}
	var room [maxKey]byte
	aead, err := s.aead(h.AppendKey(room[:0]))
	clear(room[:])
	if err != nil {
		return err
	}
	gcm.Wipe(x.aead)
	x.aead, x.material, x.suite, x.iv = aead, h.material, h.suite, [nonceSize]byte{}
	copy(x.iv[:], h.iv())
	return nil
}

// setNonce computes the nonce of record seq: RFC 8446 5.3 and RFC 7905 2, and with the sequence number as explicit part
// RFC 5288 3 too, because the iv is zero there.
func (x *expanded) setNonce(h *Half) {
	x.nonce = x.iv
	low := binary.BigEndian.Uint64(x.nonce[saltSize:])
	binary.BigEndian.PutUint64(x.nonce[saltSize:], low^h.seq)
}

// additional returns the additional data of a TLS 1.2 record of n plaintext bytes (RFC 5246 6.2.3.3).
func (x *expanded) additional(h *Half, typ byte, n int) []byte {
	binary.BigEndian.PutUint64(x.extra[:], h.seq)
	x.extra[8], x.extra[9], x.extra[10] = typ, version12>>8, version12&0xff
	binary.BigEndian.PutUint16(x.extra[11:], uint16(n))
	return x.extra[:]
}
