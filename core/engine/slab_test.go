package engine

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestTokenCarriesItsParts(t *testing.T) {
	for _, c := range []struct {
		kind       Kind
		index, gen uint32
		wantGen    uint32
	}{
		{0, 0, 0, 0},
		{1, 2, 3, 3},
		{15, 1<<32 - 1, genMask, genMask},
		{255, 1 << 31, 1 << 24, 0},
		{7, 9, 1<<32 - 1, genMask},
	} {
		tok := MakeToken(c.kind, c.index, c.gen)
		if tok.Kind() != c.kind || tok.Index() != c.index || tok.Gen() != c.wantGen {
			t.Errorf("token of %d, %d, %d gives %d, %d, %d", c.kind, c.index, c.gen, tok.Kind(), tok.Index(), tok.Gen())
		}
	}
}

// makes tells whether a slab of T can be made.
func makes[T any]() (ok bool) {
	defer func() {
		if cause := recover(); cause != nil {
			ok = !strings.HasPrefix(fmt.Sprint(cause), "bug: slab of ")
		}
	}()
	NewSlab[T]()
	return true
}

func TestSlabTakesOnlyPointerFreeTypes(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want bool
	}{
		{"number", makes[int](), true},
		{"array", makes[[16]byte](), true},
		{"struct", makes[struct {
			a [4]uint32
			b struct{ c bool }
		}](), true},
		{"uintptr", makes[uintptr](), true},
		{"empty array of pointers", makes[[0]*int](), true},
		{"pointer", makes[*int](), false},
		{"string", makes[struct{ s string }](), false},
		{"slice", makes[[]byte](), false},
		{"map", makes[map[int]int](), false},
		{"interface", makes[struct{ e error }](), false},
		{"channel", makes[chan int](), false},
		{"function", makes[func()](), false},
		{"unsafe pointer", makes[unsafe.Pointer](), false},
		{"nested", makes[[2]struct{ n struct{ p *int } }](), false},
	} {
		if c.got != c.want {
			t.Errorf("slab of %s: possible is %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestSlabTellsStaleFromLive(t *testing.T) {
	s := NewSlab[int]()
	defer s.Close()
	i, gen, v := take(t, s)
	*v = 42
	if got := s.Of(MakeToken(3, i, gen)); got != v {
		t.Errorf("Of a live token gives %p, want %p", got, v)
	}
	s.Free(i)
	again, newGen, w := take(t, s)
	if again != i || newGen == gen {
		t.Errorf("reuse gave index %d generation %d, want index %d and another generation than %d", again, newGen, i, gen)
	}
	if *w != 0 {
		t.Errorf("a reused record holds %d, want 0", *w)
	}
	for _, c := range []struct {
		name       string
		index, gen uint32
		want       *int
	}{
		{"live", i, newGen, w},
		{"stale", i, gen, nil},
		{"between two lives", i, gen + 1, nil},
		{"index 0", 0, 0, nil},
		{"never used", i + 1, newGen, nil},
		{"far beyond", 1<<32 - 1, newGen, nil},
	} {
		if got := s.At(c.index, c.gen); got != c.want {
			t.Errorf("%s: At gives %p, want %p", c.name, got, c.want)
		}
	}
}

func take[T any](t *testing.T, s *Slab[T]) (index, gen uint32, v *T) {
	t.Helper()
	index, gen, v, err := s.New()
	check(t, err)
	return index, gen, v
}

// A generation has 24 bits in a token, of which the lowest says "in use".
func TestSlabGenerationWraps(t *testing.T) {
	s := NewSlab[int]()
	defer s.Close()
	i, _, _ := take(t, s)
	s.Free(i)
	for _, stored := range []uint32{genMask - 1, 1<<32 - 2} {
		s.cell(i).gen = stored
		for range 3 {
			at, gen, v := take(t, s)
			if at != i || gen > genMask || gen&1 != 1 || s.At(i, gen) != v || s.Of(MakeToken(0, i, gen)) != v {
				t.Errorf("beyond generation %d: index %d generation %d is not found", stored, at, gen)
			}
			s.Free(i)
			if s.At(i, gen) != nil {
				t.Errorf("beyond generation %d: a freed record is found", stored)
			}
		}
	}
}

func TestSlabFreeTwicePanics(t *testing.T) {
	s := NewSlab[int]()
	defer s.Close()
	i, _, _ := take(t, s)
	s.Free(i)
	defer func() {
		if recover() == nil {
			t.Error("freeing twice did not panic")
		}
		if s.Len() != 0 {
			t.Errorf("Len is %d, want 0", s.Len())
		}
	}()
	s.Free(i)
}

// The slab against a map, in random order.
func TestSlabAgainstMap(t *testing.T) {
	type key struct{ index, gen uint32 }
	s := NewSlab[uint64]()
	defer s.Close()
	live, dead := map[key]uint64{}, []key{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range uint64(20_000) {
		if rnd.IntN(5) < 3 {
			i, gen, v := take(t, s)
			if _, taken := live[key{i, gen}]; taken || i == 0 {
				t.Fatalf("index %d was handed out while in use, or is 0", i)
			}
			*v, live[key{i, gen}] = n, n
		} else {
			for k := range live {
				s.Free(k.index)
				delete(live, k)
				dead = append(dead, k)
				break
			}
		}
	}
	for k, want := range live {
		if got := s.At(k.index, k.gen); got == nil || *got != want {
			t.Fatalf("record %v is lost", k)
		}
	}
	for _, k := range dead {
		if s.At(k.index, k.gen) != nil {
			t.Fatalf("dead record %v is found", k)
		}
	}
	if got := s.Len(); got != len(live) {
		t.Errorf("Len is %d, want %d", got, len(live))
	}
	s.Each(func(i, gen uint32, v *uint64) {
		if live[key{i, gen}] != *v {
			t.Errorf("Each shows %d at %d, want %d", *v, i, live[key{i, gen}])
		}
		delete(live, key{i, gen})
		s.Free(i)
	})
	if len(live) != 0 || s.Len() != 0 {
		t.Errorf("Each left out %d records, and %d are not freed", len(live), s.Len())
	}
}

// DESIGN 2 and 6: a million records cost the collector nothing. The pauses are reported, not judged.
func TestSlabMillionRecordsAreNotOnTheHeap(t *testing.T) {
	const records = 1_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := NewSlab[[128]byte]()
	for range records {
		take(t, s)
	}
	start := time.Now()
	runtime.GC()
	cycle := time.Since(start)
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes, want at most 1 MiB", grown)
	}
	if got, want := s.MappedBytes(), records*(128+8); got < want || got > want+want/100 {
		t.Errorf("%d bytes are mapped, want about %d", got, want)
	}
	t.Logf("%d records: %d MiB mapped, a collection takes %v, its last pause %v", records, s.MappedBytes()>>20, cycle,
		time.Duration(after.PauseNs[(after.NumGC+255)%256]))
	check(t, s.Close())
	if s.Len() != 0 || s.MappedBytes() != 0 {
		t.Errorf("after Close %d records and %d bytes are left", s.Len(), s.MappedBytes())
	}
}

func BenchmarkSlabNewFree(b *testing.B) {
	s := NewSlab[[128]byte]()
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		i, _, _, _ := s.New()
		s.Free(i)
	}
}
