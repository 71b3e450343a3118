package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
)

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446 7.1), by the hash whose digests are as long as secret: SHA-256 or
// SHA-384. It fills out, which is never longer than that: all that we derive are keys, nonces and the next secret.
func expandLabel(secret []byte, label string, out []byte) {
	var room [32]byte // 2 length, 1 length, "tls13 " and the label, 1 length, 1 counter: 22 bytes at most
	info := binary.BigEndian.AppendUint16(room[:0], uint16(len(out)))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0, 1) // no context; T(1) of RFC 5869 2.3
	authenticate(secret, info, out)
}

// authenticate fills out with the beginning of the HMAC (RFC 2104) of info. A login derives eight keys and nonces; crypto/hmac
// would leave seven objects behind for each, secrets in most of them.
func authenticate(secret, info, out []byte) {
	const inner, outer = 0x36, 0x5c
	var room [sha512.BlockSize + maxSecret]byte
	var sum [maxSecret]byte
	block := room[:sha256.BlockSize]
	if len(secret) > sha256.Size {
		block = room[:sha512.BlockSize]
	}
	copy(block, secret)
	for i := range block {
		block[i] ^= inner
	}
	n := digest(&sum, len(secret), append(block, info...))
	for i := range block {
		block[i] ^= inner ^ outer
	}
	digest(&sum, len(secret), append(block, sum[:n]...))
	copy(out, sum[:n])
	clear(room[:])
	clear(sum[:])
}

// digest hashes data by the hash with digests of that size, and returns the size.
func digest(to *[maxSecret]byte, size int, data []byte) int {
	if size == sha256.Size {
		sum := sha256.Sum256(data)
		defer clear(sum[:])
		return copy(to[:], sum[:])
	}
	sum := sha512.Sum384(data)
	defer clear(sum[:])
	return copy(to[:], sum[:])
}

// keyBlock12 fills block with the key material of TLS 1.2 (RFC 5246 6.3). Sequence: client key, server key, client IV,
// server IV; AEAD suites have no MAC keys.
func keyBlock12(newHash func() hash.Hash, master, clientRandom, serverRandom, block []byte) {
	seed := append([]byte("key expansion"), serverRandom...)
	seed = append(seed, clientRandom...)
	a := sum(newHash, master, seed) // A(1) of P_hash, RFC 5246 5
	for len(block) > 0 {
		part := sum(newHash, master, a, seed)
		block = block[copy(block, part):]
		clear(part)
		next := sum(newHash, master, a)
		clear(a)
		a = next
	}
	clear(a)
}

// sum returns the HMAC of the parts under key.
func sum(newHash func() hash.Hash, key []byte, parts ...[]byte) []byte {
	mac := hmac.New(newHash, key)
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}
