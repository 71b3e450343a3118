// Package gcm is AES-GCM (NIST SP 800-38D) for TLS records: nonces of 12 bytes, tags of 16, keys of 16 or 32 bytes. On
// processors that have the vector instructions for it (AVX-512 with VAES and VPCLMULQDQ: Intel's for servers since Ice Lake, AMD's since Zen 4)
// four blocks are worked on by one instruction, which crypto/cipher does not do as of Go 1.26; everywhere else this package is
// crypto/cipher.
//
//	aead, err := gcm.New(key)
//	sealed := aead.Seal(dst, nonce, plain, extra)
//	plain, err := aead.Open(sealed[:0], nonce, sealed, extra)
//	gcm.Wipe(aead)
//
// A bulk transfer through lane record opens and seals every byte, and with crypto/cipher that was more than a third of what it
// costs (docs/benchmarks.md has both).
//
// # Why it can be trusted
//
//   - No branch and no address depends on keys or data; tags are compared in constant time. AES and the products of GHASH are
//     instructions, not tables.
//   - The first use in a process seals messages of several lengths with this code and with crypto/cipher. Should one differ,
//     crypto/cipher does the work.
//   - Tests and a fuzz target compare it with crypto/cipher for all lengths, and let every access end at a page that cannot be
//     read or written.
//   - Vector registers are zeroed before crypt and multiply return. Wipe zeroes a key, which crypto/cipher cannot.
//   - Operators switch it off by GODEBUG=cpu.avx512f=off, builders by the tag purego. In FIPS 140 mode (crypto/fips140) it is off.
//
// # Arithmetic
//
// GHASH reads blocks as polynomials with their bits in reverse. With its bytes turned round a block is an ordinary number of 128
// bits, a product of two of them is off by one bit, which the powers of the hash key make up for, and Montgomery's reduction
// modulo x^128 + x^127 + x^126 + x^121 + 1 takes two multiplications by a constant of 64 bits (RFC 8452 appendix A shows how
// the two notations are related). Sixteen blocks are multiplied by sixteen powers and summed up before one reduction; while
// that happens the next sixteen are encrypted.
package gcm
