package record

import (
	"fmt"
	"io"
)

// Half is one direction of a connection: its keys and the number of the next record. It is plain data of 72 bytes;
// copying it copies the keys, and a copy that seals reuses nonces, so a Half that seals must be the only one that does.
// The zero Half can do nothing. Printing it shows no key, but fmt cannot be told so about unexported fields of other
// types that contain one.
type Half struct {
	seq uint64
	// material is, in TLS 1.3, the traffic secret, from which the rest and the next secret come, the iv, and the key where there
	// is room: of AES-128-GCM, which nearly everybody speaks. In TLS 1.2 it is the key and the iv. The rest is zero.
	material [maxMaterial]byte
	suite    uint8 // index into suites
}

// maxMaterial is what the longest secret needs with its iv, and the shortest with iv and key.
const maxMaterial = maxSecret + nonceSize

// secret is the traffic secret; only in TLS 1.3.
func (h *Half) secret() []byte { return h.material[:suites[h.suite].secretLen] }

// iv is the secret part of the nonce: in TLS 1.2 AES-GCM has saltSize bytes of it.
func (h *Half) iv() []byte {
	s := &suites[h.suite]
	if s.version == version13 {
		return h.material[s.secretLen : s.secretLen+nonceSize]
	}
	return h.material[s.keyLen : s.keyLen+s.ivLen()]
}

// AppendKey appends the key: 16 or 32 bytes, to be treated like what they are.
func (h *Half) AppendKey(dst []byte) []byte {
	s := &suites[h.suite]
	if s.version == version12 {
		return append(dst, h.material[:s.keyLen]...)
	}
	if room := h.material[s.secretLen+nonceSize:]; s.keyLen <= len(room) {
		return append(dst, room[:s.keyLen]...)
	}
	return h.appendDerived(dst)
}

// appendDerived derives the key (RFC 8446 7.3).
func (h *Half) appendDerived(dst []byte) []byte {
	s := &suites[h.suite]
	var key [maxKey]byte
	expandLabel(h.secret(), "key", key[:s.keyLen])
	dst = append(dst, key[:s.keyLen]...)
	clear(key[:])
	return dst
}

// AppendIV appends the secret part of the nonce: 4 bytes for AES-GCM of TLS 1.2, else 12.
func (h *Half) AppendIV(dst []byte) []byte { return append(dst, h.iv()...) }

// NewHalf13 returns one direction of a TLS 1.3 connection from its application traffic secret (CLIENT_TRAFFIC_SECRET_0
// or SERVER_TRAFFIC_SECRET_0 of a key log), with sequence number 0. It keeps no reference to secret, which the caller
// zeroes.
func NewHalf13(id uint16, secret []byte) (Half, error) {
	index, err := suiteIndex(version13, id)
	if err != nil {
		return Half{}, err
	}
	if want := suites[index].secretLen; len(secret) != want {
		return Half{}, fmt.Errorf("taking over a TLS 1.3 secret: found %d bytes, allowed %d", len(secret), want)
	}
	h := Half{suite: index}
	copy(h.secret(), secret)
	h.derive()
	return h, nil
}

// NewHalf12 returns one direction of a TLS 1.2 connection from its key, its iv (the 4 byte salt for AES-GCM, 12 bytes
// for ChaCha20) and the number of its next record.
func NewHalf12(id uint16, key, iv []byte, seq uint64) (Half, error) {
	index, err := suiteIndex(version12, id)
	if err != nil {
		return Half{}, err
	}
	s := &suites[index]
	if len(key) != s.keyLen || len(iv) != s.ivLen() {
		return Half{}, fmt.Errorf("taking over TLS 1.2 keys: found %d and %d bytes, allowed %d and %d",
			len(key), len(iv), s.keyLen, s.ivLen())
	}
	h := Half{suite: index, seq: seq}
	copy(h.material[copy(h.material[:], key):], iv)
	return h, nil
}

// NewHalves12 returns both directions of a TLS 1.2 connection, what the client writes and what the server writes, from the
// master secret (CLIENT_RANDOM line of a key log) and the randoms of the hellos, 32 bytes each. Both stand behind the
// handshake: sequence number 1, since Finished was record 0 after ChangeCipherSpec. It keeps no reference to the master
// secret, which the caller zeroes.
func NewHalves12(id uint16, master, clientRandom, serverRandom []byte) (client, server Half, err error) {
	index, err := suiteIndex(version12, id)
	if err != nil {
		return Half{}, Half{}, err
	}
	if len(master) != 48 || len(clientRandom) != 32 || len(serverRandom) != 32 { // RFC 5246 8.1, 7.4.1.2
		return Half{}, Half{}, fmt.Errorf("taking over a TLS 1.2 master secret: found %d, %d and %d bytes, allowed 48, 32 and 32",
			len(master), len(clientRandom), len(serverRandom))
	}
	s := &suites[index]
	var room [2 * (maxKey + nonceSize)]byte
	block := room[:2*(s.keyLen+s.ivLen())]
	keyBlock12(s.hash, master, clientRandom, serverRandom, block)
	client, server = Half{suite: index, seq: 1}, Half{suite: index, seq: 1}
	for _, part := range [][]byte{client.material[:s.keyLen], server.material[:s.keyLen], client.iv(), server.iv()} {
		block = block[copy(part, block):]
	}
	clear(room[:])
	return client, server, nil
}

// ivLen is the size in bytes of the nonce's secret part.
func (s *suite) ivLen() int { return nonceSize - s.explicit }

// Seq returns the number of the next record, that is, how many the key has sealed or opened.
func (h *Half) Seq() uint64 { return h.seq }

// Version returns the TLS version number, 0x0303 or 0x0304, and 0 for a zero Half.
func (h *Half) Version() uint16 { return suites[h.suite].version }

// Suite returns the number of the cipher suite, and 0 for a zero Half.
func (h *Half) Suite() uint16 { return suites[h.suite].id }

// Wipe zeroes the keys.
func (h *Half) Wipe() { *h = Half{} }

// derive fills in the iv, and the key where there is room, from the secret (RFC 8446 7.3), and begins at record 0.
func (h *Half) derive() {
	s := &suites[h.suite]
	expandLabel(h.secret(), "iv", h.iv())
	if room := h.material[s.secretLen+nonceSize:]; s.keyLen <= len(room) {
		h.appendDerived(room[:0])
	}
	h.seq = 0
}

// update goes on to the next generation of keys (RFC 8446 7.2). Only for TLS 1.3.
func (h *Half) update() {
	s := &suites[h.suite]
	var next [maxSecret]byte
	expandLabel(h.secret(), "traffic upd", next[:s.secretLen])
	copy(h.secret(), next[:])
	clear(next[:])
	h.derive()
}

// Format prints suite and sequence number, whatever the verb: the fields are keys.
func (h Half) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, h.describe())
}

func (h *Half) describe() string {
	return fmt.Sprintf("half(suite 0x%04x, seq %d)", h.Suite(), h.seq)
}
