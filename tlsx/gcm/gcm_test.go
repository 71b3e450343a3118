package gcm

import (
	"bytes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// kind is one way to do it.
type kind struct {
	name string
	new  func(key []byte) (cipher.AEAD, error)
}

// kinds are crypto/cipher and, where the processor has the instructions, our own code. TestVectorIsUsed keeps it from being left
// out unseen.
func kinds() []kind {
	all := []kind{{"standard", newStandard}}
	if vectorUsable() {
		all = append(all, kind{"vector", New})
	}
	return all
}

func mustNew(t testing.TB, k kind, key []byte) cipher.AEAD {
	t.Helper()
	a, err := k.new(key)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// text returns n bytes that depend on seed.
func text(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	p := make([]byte, n)
	_, _ = r.Read(p)
	return p
}

// Test cases 1 to 4 and 13 to 16 of the GCM specification (McGrew and Viega, appendix B): those with nonces of 12 bytes
// and keys of 16 and 32.
const (
	specKey   = "feffe9928665731c6d6a8f9467308308"
	specNonce = "cafebabefacedbaddecaf888"
	specText  = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
	specExtra = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
	spec128   = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
	spec256   = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)

func TestKnownAnswers(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("00", n) }
	for _, c := range []struct{ name, key, nonce, plain, extra, sealed string }{
		{"1", zeros(16), zeros(12), "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
		{"2", zeros(16), zeros(12), zeros(16), "", "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"},
		{"3", specKey, specNonce, specText, "", spec128 + "4d5c2af327cd64a62cf35abd2ba6fab4"},
		{"4", specKey, specNonce, specText[:120], specExtra, spec128[:120] + "5bc94fbc3221a5db94fae95ae7121a47"},
		{"13", zeros(32), zeros(12), "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
		{"14", zeros(32), zeros(12), zeros(16), "", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
		{"15", specKey + specKey, specNonce, specText, "", spec256 + "b094dac5d93471bdec1a502270e3cc6c"},
		{"16", specKey + specKey, specNonce, specText[:120], specExtra, spec256[:120] + "76fc6ece0f4e1768cddf8853bb2d551b"},
	} {
		for _, k := range kinds() {
			t.Run(c.name+"/"+k.name, func(t *testing.T) {
				a := mustNew(t, k, unhex(t, c.key))
				if got := hex.EncodeToString(a.Seal(nil, unhex(t, c.nonce), unhex(t, c.plain), unhex(t, c.extra))); got != c.sealed {
					t.Errorf("got %s, want %s", got, c.sealed)
				}
				got, err := a.Open(nil, unhex(t, c.nonce), unhex(t, c.sealed), unhex(t, c.extra))
				if err != nil || hex.EncodeToString(got) != c.plain {
					t.Errorf("got %x and %v, want %s", got, err, c.plain)
				}
			})
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSameAsStandard seals and opens lengths that reach every branch several times, each with additional data of 0 to 40 bytes,
// in place and apart, under the nonce whose bits are all set.
func TestSameAsStandard(t *testing.T) {
	lengths := []int{511, 512, 513, 527, 768, 1279, 1280, 1281, 4096, 4097, 16384, 16385, 16384 + 256}
	for n := range 340 {
		lengths = append(lengths, n)
	}
	nonce := bytes.Repeat([]byte{0xff}, nonceSize)
	for _, size := range []int{16, 32} {
		key := text(size, 1)
		standard, own := mustNew(t, kinds()[0], key), mustNew(t, kind{"New", New}, key)
		for _, n := range lengths {
			for more := range 41 {
				same(t, standard, own, nonce, text(n, uint64(n)), text(more, uint64(more)))
			}
		}
		same(t, standard, own, nonce, text(1<<20, 1), text(1000, 2))
	}
}

func same(t *testing.T, standard, own cipher.AEAD, nonce, plain, extra []byte) {
	t.Helper()
	want := standard.Seal(nil, nonce, plain, extra)
	inPlace := append(make([]byte, 0, len(want)), plain...)
	for how, dst := range map[string][]byte{"apart": nil, "in place": inPlace} {
		if got := own.Seal(dst[:0], nonce, append(dst, plain[len(dst):]...), extra); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes and %d more, %s: sealed as %x, want %x", len(plain), len(extra), how, got, want)
		}
	}
	for how, dst := range map[string][]byte{"apart": nil, "in place": inPlace[:len(want)]} {
		sealed := want
		if dst != nil {
			sealed = dst
		}
		if got, err := own.Open(dst[:0], nonce, sealed, extra); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes and %d more, %s: opened as %x and %v, want %x", len(plain), len(extra), how, got, err, plain)
		}
	}
}

// TestInPlace: where it lies, and behind what dst holds already, without an allocation when there is room.
func TestInPlace(t *testing.T) {
	for _, k := range kinds() {
		a, nonce := mustNew(t, k, text(16, 1)), text(12, 2)
		for _, n := range []int{0, 1, 17, 64, 100, 255, 256, 257, 700, 16384} {
			plain := text(n, 3)
			room := make([]byte, 3+n+tagSize)
			copy(room, "abc")
			copy(room[3:], plain)
			sealed := a.Seal(room[:3], nonce, room[3:3+n], nil)
			if &sealed[0] != &room[0] || !bytes.Equal(sealed, append([]byte("abc"), a.Seal(nil, nonce, plain, nil)...)) {
				t.Fatalf("%s, %d bytes: sealing in place differs", k.name, n)
			}
			opened, err := a.Open(sealed[:3], nonce, sealed[3:], nil)
			if err != nil || &opened[0] != &room[0] || string(opened[:3]) != "abc" || !bytes.Equal(opened[3:], plain) {
				t.Fatalf("%s, %d bytes: opening in place differs: %v", k.name, n, err)
			}
		}
	}
}

// TestForged: whatever bit is changed, nothing is opened and nothing of it is left.
func TestForged(t *testing.T) {
	for _, k := range kinds() {
		for _, n := range []int{0, 5, 70, 300} {
			a, nonce, extra := mustNew(t, k, text(32, 1)), text(12, 2), text(13, 3)
			sealed := a.Seal(nil, nonce, text(n, 4), extra)
			for _, p := range [][]byte{sealed, nonce, extra} {
				for bit := range 8 * len(p) {
					p[bit/8] ^= 1 << (bit % 8)
					forged := slices.Clone(sealed)
					if got, err := a.Open(forged[:0], nonce, forged, extra); err == nil || got != nil {
						t.Fatalf("%s, %d bytes: opened with bit %d changed", k.name, n, bit)
					}
					if !bytes.Equal(forged[:n], make([]byte, n)) {
						t.Fatalf("%s, %d bytes: left %x behind", k.name, n, forged[:n])
					}
					p[bit/8] ^= 1 << (bit % 8)
				}
			}
			for cut := range sealed {
				if _, err := a.Open(nil, nonce, sealed[:cut], extra); err == nil {
					t.Fatalf("%s: opened %d of %d bytes", k.name, cut, len(sealed))
				}
			}
		}
	}
}

func TestMisuse(t *testing.T) {
	for _, size := range []int{0, 15, 24, 33} {
		if _, err := New(make([]byte, size)); err == nil {
			t.Errorf("took a key of %d bytes", size)
		}
	}
	room, nonce := make([]byte, 100), text(nonceSize, 1)
	for _, k := range kinds() {
		a := mustNew(t, k, text(16, 1))
		seal := func(out int, plain, extra []byte) func() {
			return func() { a.Seal(room[out:out], nonce, plain, extra) }
		}
		open := func(out int, sealed, extra []byte) func() {
			return func() { _, _ = a.Open(room[out:out], nonce, sealed, extra) }
		}
		for name, misuse := range map[string]func(){
			"a short nonce":                      func() { a.Seal(nil, nonce[:11], nil, nil) },
			"a long nonce":                       func() { a.Seal(nil, room[:13], nil, nil) },
			"a long nonce for too little":        func() { _, _ = a.Open(nil, room[:13], nil, nil) },
			"sealing a byte further":             seal(1, room[:32], nil),
			"opening a byte before":              open(0, room[1:33], nil),
			"sealing over the next in front":     seal(0, room[20:52], nil),
			"the tag over what is sealed":        seal(0, room[30:46], nil),
			"opening over the tag":               open(40, room[20:60], nil),
			"sealing over what is hashed":        seal(0, room[40:60], room[10:15]),
			"opening over what is hashed":        open(0, room[40:72], room[10:15]),
			"the tag over what is hashed":        seal(0, nil, room[10:15]),
			"sealing where what is hashed began": seal(0, room[40:60], room[:5]),
		} {
			if !panics(misuse) {
				t.Errorf("%s: %s was not noticed", k.name, name)
			}
		}
	}
}

func panics(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}

// TestAllocations: none for sealing and opening.
func TestAllocations(t *testing.T) {
	for _, k := range kinds() {
		a, nonce, extra, room := mustNew(t, k, text(16, 1)), text(12, 2), text(5, 3), make([]byte, 1000, 1016)
		got := testing.AllocsPerRun(100, func() {
			if _, err := a.Open(room[:0], nonce, a.Seal(room[:0], nonce, room, extra), extra); err != nil {
				t.Fatal(err)
			}
		})
		if got != 0 {
			t.Errorf("%s: got %v allocations, want 0", k.name, got)
		}
	}
}

func BenchmarkGCM(b *testing.B) {
	for _, k := range kinds() {
		for _, size := range []int{16, 32} {
			a, nonce, extra := mustNew(b, k, text(size, 1)), text(12, 2), text(5, 3)
			for _, n := range []int{64, 1024, 16384} {
				plain, room := text(n, 4), make([]byte, 0, n+tagSize)
				sealed := a.Seal(nil, nonce, plain, extra)
				b.Run(fmt.Sprintf("%s/aes%d/seal/%d", k.name, 8*size, n), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						a.Seal(room, nonce, plain, extra)
					}
				})
				b.Run(fmt.Sprintf("%s/aes%d/open/%d", k.name, 8*size, n), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						if _, err := a.Open(room, nonce, sealed, extra); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			b.Run(fmt.Sprintf("%s/aes%d/new", k.name, 8*size), func(b *testing.B) {
				b.ReportAllocs()
				key := text(size, 1)
				for b.Loop() {
					mustNew(b, k, key)
				}
			})
		}
	}
}

// FuzzSameAsStandard seals with both and opens with the other, and opens what the input says.
func FuzzSameAsStandard(f *testing.F) {
	for _, n := range []int{0, 1, 15, 16, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1000} {
		f.Add(text(48, uint64(n)), text(n, 2), text(n%41, 3))
	}
	f.Fuzz(func(t *testing.T, keys, in, extra []byte) {
		if len(keys) < 28 {
			return
		}
		size := 16
		if len(keys) >= 44 {
			size = 32
		}
		key, nonce := keys[:size], keys[size:size+nonceSize]
		standard, own := mustNew(t, kinds()[0], key), mustNew(t, kind{"New", New}, key)
		want, got := standard.Seal(nil, nonce, in, extra), own.Seal(nil, nonce, in, extra)
		if !bytes.Equal(got, want) {
			t.Fatalf("sealed as %x, want %x", got, want)
		}
		if opened, err := own.Open(nil, nonce, want, extra); err != nil || !bytes.Equal(opened, in) {
			t.Fatalf("opened as %x and %v, want %x", opened, err, in)
		}
		wantOpened, wantErr := standard.Open(nil, nonce, in, extra)
		opened, err := own.Open(nil, nonce, in, extra)
		if !bytes.Equal(opened, wantOpened) || (err == nil) != (wantErr == nil) {
			t.Fatalf("opened as %x and %v, want %x and %v", opened, err, wantOpened, wantErr)
		}
	})
}
