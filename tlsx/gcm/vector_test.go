//go:build linux && amd64 && !purego

package gcm

import (
	"bytes"
	"crypto/cipher"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVectorIsUsed asks the kernel what the processor has, so that neither a mistake in vectorPresent nor one that makes
// vectorAgrees refuse the code has the other tests compare crypto/cipher with itself.
func TestVectorIsUsed(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	_, flags, _ := strings.Cut(string(info), "\nflags")
	flags, _, _ = strings.Cut(flags, "\n")
	has := true
	for _, f := range []string{"aes", "avx", "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "vaes", "vpclmulqdq", "bmi2"} {
		has = has && slices.Contains(strings.Fields(flags), f)
	}
	t.Logf("the processor has what it needs: %v", has)
	a := mustNew(t, kind{"New", New}, text(32, 1))
	v, used := a.(*vector)
	if used != has {
		t.Fatalf("our own code is used: %v, want %v", used, has)
	}
	if !used {
		return
	}
	key := text(16, 1)
	if got := testing.AllocsPerRun(10, func() { mustNew(t, kind{"New", New}, key) }); got > 1 {
		t.Errorf("a key takes %v allocations, want 1", got)
	}
	if *v == (vector{}) {
		t.Fatal("there is no key")
	}
	if Wipe(a); *v != (vector{}) {
		t.Errorf("left %v behind", *v)
	}
	if !panics(func() { a.Seal(nil, make([]byte, nonceSize), nil, nil) }) {
		t.Error("sealed with a key that was wiped")
	}
}

// off is an AEAD that differs from another's in a bit of what it opens or seals.
type off struct {
	cipher.AEAD
	opened, sealed byte
}

func (o off) Seal(dst, nonce, plain, extra []byte) []byte {
	p := o.AEAD.Seal(dst, nonce, plain, extra)
	p[len(p)-1] ^= o.sealed
	return p
}

func (o off) Open(dst, nonce, sealed, extra []byte) ([]byte, error) {
	p, err := o.AEAD.Open(dst, nonce, sealed, extra)
	if len(p) > 0 {
		p[len(p)-1] ^= o.opened
	}
	return p, err
}

// TestAgrees: what does not do what crypto/cipher does is not used.
func TestAgrees(t *testing.T) {
	for _, c := range []struct {
		name           string
		opened, sealed byte
		want           bool
	}{{"itself", 0, 0, true}, {"opens differently", 1, 0, false}, {"seals differently", 0, 0x80, false}} {
		got := agrees(func(key []byte) cipher.AEAD { return off{mustNew(t, kinds()[0], key), c.opened, c.sealed} })
		if got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestSwitchedOff: operators can, and FIPS 140 mode does.
func TestSwitchedOff(t *testing.T) {
	const asked = "MAILSPLICE_GCM_KIND"
	if os.Getenv(asked) != "" {
		if vectorUsable() {
			t.Fatal("our own code is used")
		}
		return
	}
	for _, setting := range []string{"fips140=on", "cpu.avx512f=off"} {
		c := exec.Command(os.Args[0], "-test.run=^TestSwitchedOff$")
		c.Env = append(os.Environ(), asked+"=1", "GODEBUG="+setting)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("GODEBUG=%s: %v: %s", setting, err, out)
		}
	}
}

// guarded is memory with pages on both sides that cannot be touched.
func guarded(t *testing.T, size int) []byte {
	t.Helper()
	page := os.Getpagesize()
	inner := (size + page - 1) / page * page
	m, err := unix.Mmap(-1, 0, inner+2*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(m) })
	m = m[page : page+inner : page+inner]
	if err := unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestTouchesNothingElse puts input, output and additional data against pages that fault, at their ends and at their beginnings,
// and looks at the bytes on the other side.
func TestTouchesNothingElse(t *testing.T) {
	const room = 1 << 10
	src, dst, extra := guarded(t, room), guarded(t, room), guarded(t, room)
	at := func(m []byte, n int, end bool) []byte {
		if end {
			return m[len(m)-n:]
		}
		return m[:n:n]
	}
	for _, k := range kinds() {
		a, nonce := mustNew(t, k, text(32, 1)), text(12, 2)
		for n := range 600 {
			for _, end := range []bool{false, true} {
				for _, m := range [][]byte{src, dst, extra} {
					for i := range m {
						m[i] = 0x5a
					}
				}
				in, more := at(src, n, end), at(extra, n%33, end)
				out := at(dst, n+tagSize, end)
				sealed := a.Seal(out[:0], nonce, in, more)
				if &sealed[0] != &out[0] {
					t.Fatal("not sealed where it should be")
				}
				opened, err := a.Open(in[:0], nonce, sealed, more)
				if err != nil || n > 0 && &opened[0] != &in[0] {
					t.Fatalf("not opened where it should be: %v", err)
				}
				if got := bytes.Count(src, []byte{0x5a}) + bytes.Count(extra, []byte{0x5a}); got != len(src)+len(extra) {
					t.Fatalf("%s, %d bytes: input was written to", k.name, n)
				}
				for i, c := range dst {
					inside := i < n+tagSize
					if end {
						inside = i >= len(dst)-n-tagSize
					}
					if !inside && c != 0x5a {
						t.Fatalf("%s, %d bytes: byte %d beside the output was written to", k.name, n, i)
					}
				}
			}
		}
	}
}

// TestManyAtOnce: a key may be used by several goroutines, which the collector and the scheduler interrupt.
func TestManyAtOnce(t *testing.T) {
	for _, k := range kinds() {
		a, nonce, plain := mustNew(t, k, text(16, 1)), text(12, 2), text(5000, 3)
		want := a.Seal(nil, nonce, plain, nil)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 300 {
					got := a.Seal(make([]byte, 0, len(want)), nonce, plain, nil) // gives the collector work
					if !bytes.Equal(got, want) {
						t.Error("differs")
						return
					}
				}
			})
		}
		all.Wait()
	}
}
