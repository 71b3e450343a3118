//go:build !purego

package gcm

import (
	"bytes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"golang.org/x/sys/cpu"
)

type block [blockSize]byte

// vector is an expanded key, 536 bytes. The assembly reads up to two blocks behind the last power, for products with zero.
type vector struct {
	powers [18]block // of the hash key, turned round: H^18 to H^1
	keys   [15]block // of the rounds; those behind the last are zero
	rounds uint64    // 10 or 14
}

// vectorUsable tells that the processor has the instructions, that nobody has switched them off, and that they do what
// crypto/cipher does.
var vectorUsable = sync.OnceValue(func() bool { return vectorPresent() && !fips140.Enabled() && agrees(newVector) })

// vectorPresent reports the processor and the kernel, which has to save such registers. GODEBUG can take from it.
func vectorPresent() bool {
	x := &cpu.X86
	return x.HasAES && x.HasAVX && x.HasAVX2 && x.HasBMI2 &&
		x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VAES && x.HasAVX512VPCLMULQDQ
}

// agrees tells whether what makes AEADs does what crypto/cipher does, in lengths that reach every branch of crypt.
func agrees(make func(key []byte) cipher.AEAD) bool {
	var text [1000]byte
	for i := range text {
		text[i] = byte(i * i >> 3)
	}
	for _, size := range []int{16, 32} {
		key, nonce := text[100:100+size], text[200:200+nonceSize]
		standard, err := newStandard(key)
		if err != nil {
			return false
		}
		own := make(key)
		for _, n := range []int{0, 1, 64, 255, 256, 600, 1000} {
			want := standard.Seal(nil, nonce, text[:n], text[:n/20])
			got, err := own.Open(nil, nonce, want, text[:n/20])
			if err != nil || !bytes.Equal(got, text[:n]) || !bytes.Equal(own.Seal(nil, nonce, text[:n], text[:n/20]), want) {
				return false
			}
		}
	}
	return true
}

// newVector expands key, 16 or 32 bytes.
func newVector(key []byte) cipher.AEAD {
	v := new(vector)
	v.expand(key)
	v.raise()
	return v
}

// expand fills in the round keys (FIPS 197 5.2, with the bytes of a word in the order of the machine).
func (v *vector) expand(key []byte) {
	n := len(key) / 4
	v.rounds = uint64(n + 6)
	var words [4 * len(v.keys)]uint32
	for i := range n {
		words[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	constant := uint32(1)
	for i := n; i < 4*(n+7); i++ {
		w := words[i-1]
		switch {
		case i%n == 0:
			w = bits.RotateLeft32(subWord(w), -8) ^ constant
			if constant <<= 1; constant > 0xff {
				constant ^= 0x11b
			}
		case n == 8 && i%n == 4:
			w = subWord(w)
		}
		words[i] = words[i-n] ^ w
	}
	for i := range words { // by index: ranging over values would leave a copy of the array on the stack
		binary.LittleEndian.PutUint32(v.keys[i/4][i%4*4:], words[i])
	}
	clear(words[:])
}

// raise fills in the powers of the hash key, which are zero.
func (v *vector) raise() {
	var h block
	v.hashKey(&h)
	p := &v.powers
	p[17] = h
	clear(h[:])
	at := func(i int) *[4]block { return (*[4]block)(p[i:]) }
	// Four at a time, beginning with those that are there. What comes in front of the one that is new is written again.
	multiply(at(13), at(14), &p[17]) // H^2
	multiply(at(12), at(14), &p[16]) // H^3, H^4
	multiply(at(10), at(14), &p[14])
	multiply(at(6), at(10), &p[14])
	multiply(at(2), at(6), &p[14])
	multiply(at(0), at(4), &p[14])
}

// hashKey leaves the hash key in h, turned round and times x. It is the block of zeros encrypted (SP 800-38D 6.4), which is the tag
// of nothing under that counter block as long as the powers are zero.
func (v *vector) hashKey(h *block) {
	var zero block
	crypt(v, &zero, &zero[0], 0, nil, nil, 0, sealing, h)
	slices.Reverse(h[:])
	low, high := binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint64(h[8:])
	carry := high >> 63
	binary.LittleEndian.PutUint64(h[:], low<<1^carry)
	binary.LittleEndian.PutUint64(h[8:], high<<1^low>>63^-carry&0xc2<<56)
}

func (v *vector) wipe() { *v = vector{} }

// NonceSize is 12.
func (v *vector) NonceSize() int { return nonceSize }

// Overhead is 16.
func (v *vector) Overhead() int { return tagSize }

// Seal is that of cipher.AEAD.
func (v *vector) Seal(dst, nonce, plain, extra []byte) []byte {
	v.check(nonce, plain)
	n := len(plain)
	dst, out := grow(dst, n+tagSize)
	refuseOverlap(out, plain, extra)
	var tag block
	v.crypt(out, nonce, plain, extra, sealing, &tag)
	copy(out[n:], tag[:])
	return dst
}

// Open is that of cipher.AEAD. When it fails, what it would have written is zero.
func (v *vector) Open(dst, nonce, sealed, extra []byte) ([]byte, error) {
	v.check(nonce, sealed)
	n := len(sealed) - tagSize
	if n < 0 {
		return nil, errTag
	}
	dst, out := grow(dst, n)
	refuseOverlap(out, sealed, extra)
	var tag block
	v.crypt(out, nonce, sealed[:n], extra, opening, &tag)
	equal := subtle.ConstantTimeCompare(tag[:], sealed[n:])
	clear(tag[:]) // of a forgery it is what would have been right
	if equal != 1 {
		clear(out)
		return nil, errTag
	}
	return dst, nil
}

// The directions of crypt.
const (
	sealing = 0
	opening = 1
)

// check ends what would be misuse of the key.
func (v *vector) check(nonce, in []byte) {
	switch {
	case v.rounds == 0:
		panic("bug: a key that was wiped")
	case len(nonce) != nonceSize:
		panic("bug: a nonce that is not 12 bytes long")
	case uint64(len(in)) > maxBytes:
		panic("bug: more than one nonce is good for")
	}
}

// crypt calls the assembly, which writes as many bytes to out as in has.
func (v *vector) crypt(out, nonce, in, extra []byte, direction int, tag *block) {
	j0 := block{blockSize - 1: 1}
	copy(j0[:], nonce)
	crypt(v, &j0, first(extra), len(extra), first(out), first(in), len(in), direction, tag)
}

// grow makes room for n more bytes behind dst, out.
func grow(dst []byte, n int) (all, out []byte) {
	all = slices.Grow(dst, n)[:len(dst)+n]
	return all, all[len(dst):]
}

// first is where p begins; nil when it is empty.
func first(p []byte) *byte {
	if len(p) == 0 {
		return nil
	}
	return &p[0]
}

// crypt adds the key stream of j0, the nonce with a counter of 1, to n bytes of src and writes them to dst, which is src or does
// not overlap it. tag is that of the ciphertext, which is src when direction is opening, and of extra. It touches no byte beyond
// what it is given.
//
//go:noescape
func crypt(v *vector, j0 *block, extra *byte, extraLen int, dst, src *byte, n, direction int, tag *block)

// multiply multiplies four blocks by one, in the notation of powers. products may overlap factors.
//
//go:noescape
func multiply(products, factors *[4]block, by *block)

// subWord is SubWord of FIPS 197 5.2.
func subWord(word uint32) uint32
