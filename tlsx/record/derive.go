package record

import (
	"crypto/hmac"
	"encoding/binary"
	"hash"
)

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446 7.1). It fills out, which is never longer than one
// block of the hash: all that we derive are keys, nonces and the next secret.
func expandLabel(newHash func() hash.Hash, secret []byte, label string, out []byte) {
	var room [32]byte // 2 length, 1 length, "tls13 " and the label, 1 length, 1 counter: 22 bytes at most
	info := binary.BigEndian.AppendUint16(room[:0], uint16(len(out)))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0, 1) // no context; T(1) of RFC 5869 2.3
	block := sum(newHash, secret, info)
	copy(out, block)
	clear(block)
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
