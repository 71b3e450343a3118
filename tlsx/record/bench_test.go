package record

import (
	"fmt"
	"testing"
)

// benchSuites is one of each kind of cipher.
var benchSuites = []struct {
	name           string
	version, suite uint16
}{
	{"1.3-aes128", version13, 0x1301},
	{"1.3-aes256", version13, 0x1302},
	{"1.3-chacha", version13, 0x1303},
	{"1.2-aes128", version12, 0xc02f},
	{"1.2-chacha", version12, 0xcca8},
}

// record64 and record16K are the two sizes that matter: a NOOP, and a download.
var benchSizes = []int{64, maxPlain}

func BenchmarkSeal(b *testing.B) {
	for _, s := range benchSuites {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", s.name, size), func(b *testing.B) {
				leg := testLeg(b, s.version, s.suite, AsServer)
				var keys Keys
				plain := make([]byte, size)
				dst := make([]byte, 0, SealedSize(size))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					leg.out.seq = 1
					if _, err := leg.Seal(&keys, dst, plain); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, s := range benchSuites {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", s.name, size), func(b *testing.B) {
				leg := testLeg(b, s.version, s.suite, AsServer)
				sealed := (&sender{h: leg.in}).rec(typeData, make([]byte, size)...)
				seq := leg.in.seq
				buf := make([]byte, len(sealed))
				var keys Keys
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					leg.in.seq = seq
					copy(buf, sealed)
					if _, err := leg.Open(&keys, buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkWake is what a quiet leg costs when it moves again: both keys expanded.
func BenchmarkWake(b *testing.B) {
	for _, s := range benchSuites {
		b.Run(s.name, func(b *testing.B) {
			leg := testLeg(b, s.version, s.suite, AsServer)
			var keys Keys
			b.ReportAllocs()
			for b.Loop() {
				keys.Drop()
				if keys.in.ready(&leg.in) != nil || keys.out.ready(&leg.out) != nil {
					b.Fatal("no keys")
				}
			}
		})
	}
}

// BenchmarkKeyUpdate is what one of the peer's costs us, answer included.
func BenchmarkKeyUpdate(b *testing.B) {
	leg := testLeg(b, version13, 0x1301, AsServer)
	s := sender{h: leg.in}
	var keys Keys
	dst := make([]byte, 0, 256)
	rec := s.update(1)
	start, buf := leg.in, make([]byte, len(rec))
	b.ReportAllocs()
	for b.Loop() {
		leg.credit, leg.in = creditFull, start
		copy(buf, rec)
		if _, err := leg.Open(&keys, buf); err != nil {
			b.Fatal(err)
		}
		if _, err := leg.Seal(&keys, dst, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAllocations: none for a record, in either direction.
func TestAllocations(t *testing.T) {
	for _, c := range allCases() {
		leg := testLeg(t, c.version, c.suite, c.role)
		peer := peerOf(&leg)
		var ours, theirs Keys
		plain := make([]byte, 3*maxPlain)
		dst := make([]byte, 0, SealedSize(len(plain)))
		got := testing.AllocsPerRun(50, func() {
			out, err := leg.Seal(&ours, dst, plain)
			if err != nil {
				t.Fatal(err)
			}
			for len(out) > 0 {
				got, err := peer.Open(&theirs, out)
				if err != nil {
					t.Fatal(err)
				}
				out = out[got.Consumed:]
			}
		})
		if got != 0 {
			t.Errorf("%v: got %v allocations for three records sealed and opened, want 0", c, got)
		}
	}
}
