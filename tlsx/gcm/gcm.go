package gcm

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"unsafe"
)

// Sizes in bytes.
const (
	nonceSize = 12
	tagSize   = 16
	blockSize = 16
	// maxBytes is the most that is sealed at once: afterwards the block counter would come round (SP 800-38D 5.2.1.1).
	maxBytes = (1<<32 - 2) * blockSize
)

// errTag is what Open says, as crypto/cipher does: nothing about what was wrong.
var errTag = errors.New("message authentication failed")

// New expands key, 16 or 32 bytes, of which it keeps no reference. Several goroutines may use the AEAD at once. Like those of
// crypto/cipher it panics when it is misused: by a nonce that is not 12 bytes long, when what is written, the tag included, overlaps
// the additional data, or overlaps the rest that is read without beginning where that begins.
func New(key []byte) (cipher.AEAD, error) {
	if len(key) != 16 && len(key) != 32 {
		return nil, fmt.Errorf("expanding an AES key: found %d bytes, allowed 16 and 32", len(key))
	}
	if vectorUsable() {
		return newVector(key), nil
	}
	return newStandard(key)
}

// newStandard is New by crypto/cipher.
func newStandard(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("expanding an AES key: %w", err)
	}
	return cipher.NewGCM(b)
}

// Wipe zeroes the key inside a, which panics if it is used again, if it is of this package's own kind. What crypto/cipher made
// stays as it is: the standard library has no way to zero it.
func Wipe(a cipher.AEAD) {
	if w, ok := a.(interface{ wipe() }); ok {
		w.wipe()
	}
}

// refuseOverlap ends what crypto/cipher ends, too: the output of a message over its input, but exactly in place, or over its
// additional data.
func refuseOverlap(out, in, extra []byte) {
	if overlaps(out, in) && &out[0] != &in[0] || overlaps(out, extra) {
		panic("bug: output and input overlap")
	}
}

// overlaps tells that a and b share memory.
func overlaps(a, b []byte) bool {
	return len(a) > 0 && len(b) > 0 &&
		uintptr(unsafe.Pointer(&a[0])) <= uintptr(unsafe.Pointer(&b[len(b)-1])) &&
		uintptr(unsafe.Pointer(&b[0])) <= uintptr(unsafe.Pointer(&a[len(a)-1]))
}
