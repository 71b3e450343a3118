package record

import (
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"

	"mailsplice/tlsx/gcm"
)

// TLS version numbers, as crypto/tls has them.
const (
	version12 = 0x0303
	version13 = 0x0304
)

// Sizes in bytes. All AEADs here have a tag of 16 and a nonce of 12.
const (
	maxKey    = 32
	maxSecret = 48 // SHA-384
	nonceSize = 12
	saltSize  = 4 // fixed part of the nonce of AES-GCM in TLS 1.2 (RFC 5288 3)
	tagSize   = 16
)

// suite is what differs between the cipher suites. The key exchange and the certificate type do not matter any more.
type suite struct {
	id      uint16
	version uint16
	cipher  Cipher
	keyLen  int // bytes
	// secretLen is the size in bytes of a traffic secret, that of the hash (TLS 1.3 only).
	secretLen int
	explicit  int              // bytes of the nonce that travel in each record
	hash      func() hash.Hash // of TLS 1.2's key block; in TLS 1.3 secretLen tells it (authenticate)
	aead      func(key []byte) (cipher.AEAD, error)
	// limit is the number of records under one key after which we change it by a KeyUpdate (TLS 1.3 only). RFC 8446 5.5 gives
	// 2^24.5 full records for AES-GCM and none for ChaCha20; 2^48 there keeps the sequence number from ever ending.
	limit uint64
}

const (
	limitGCM    = 1 << 24
	limitChaCha = 1 << 48
)

// suites is indexed by Half.suite; the first entry is the zero Half, which can do nothing. Export writes the ids, so
// the order is free.
var suites = [...]suite{
	{},
	{0x1301, version13, AES128GCM, 16, 32, 0, sha256.New, gcm.New, limitGCM},                        // TLS_AES_128_GCM_SHA256
	{0x1302, version13, AES256GCM, 32, 48, 0, sha512.New384, gcm.New, limitGCM},                     // TLS_AES_256_GCM_SHA384
	{0x1303, version13, ChaCha20Poly1305, 32, 32, 0, sha256.New, chacha20poly1305.New, limitChaCha}, // TLS_CHACHA20_POLY1305_SHA256
	{0x009c, version12, AES128GCM, 16, 0, 8, sha256.New, gcm.New, 0},                                // RSA_WITH_AES_128_GCM_SHA256
	{0x009d, version12, AES256GCM, 32, 0, 8, sha512.New384, gcm.New, 0},                             // RSA_WITH_AES_256_GCM_SHA384
	{0xc02b, version12, AES128GCM, 16, 0, 8, sha256.New, gcm.New, 0},                                // ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	{0xc02c, version12, AES256GCM, 32, 0, 8, sha512.New384, gcm.New, 0},                             // ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
	{0xc02f, version12, AES128GCM, 16, 0, 8, sha256.New, gcm.New, 0},                                // ECDHE_RSA_WITH_AES_128_GCM_SHA256
	{0xc030, version12, AES256GCM, 32, 0, 8, sha512.New384, gcm.New, 0},                             // ECDHE_RSA_WITH_AES_256_GCM_SHA384
	{0xcca8, version12, ChaCha20Poly1305, 32, 0, 0, sha256.New, chacha20poly1305.New, 0},            // ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
	{0xcca9, version12, ChaCha20Poly1305, 32, 0, 0, sha256.New, chacha20poly1305.New, 0},            // ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
}

// Supports reports whether a connection of this version and suite (numbers as in crypto/tls) can be taken over. CBC and
// RC4 suites cannot: they stay with crypto/tls, in lane conn.
func Supports(version, id uint16) bool {
	_, err := suiteIndex(version, id)
	return err == nil
}

func suiteIndex(version, id uint16) (uint8, error) {
	for i := 1; i < len(suites); i++ {
		if suites[i].id == id && suites[i].version == version {
			return uint8(i), nil
		}
	}
	return 0, fmt.Errorf("taking over suite 0x%04x of TLS version 0x%04x: not one that we can", id, version)
}
