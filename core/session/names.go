package session

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
)

// maxAccountBytes bounds a filed account: an identifier of 512 bytes (SPEC 4.2) and a default domain of 253.
const maxAccountBytes = 768

// nameRef names bytes in one of the classes of names.
type nameRef struct {
	index uint32
	len   uint16
	class uint8
}

// names keeps account names in pointer-free slabs, one per size class. A typical address of 30 bytes takes 40.
type names struct {
	n16  *engine.Slab[[16]byte]
	n24  *engine.Slab[[24]byte]
	n32  *engine.Slab[[32]byte]
	n48  *engine.Slab[[48]byte]
	n96  *engine.Slab[[96]byte]
	n768 *engine.Slab[[maxAccountBytes]byte]
}

func (n *names) init() {
	n.n16, n.n24, n.n32 = engine.NewSlab[[16]byte](), engine.NewSlab[[24]byte](), engine.NewSlab[[32]byte]()
	n.n48, n.n96, n.n768 = engine.NewSlab[[48]byte](), engine.NewSlab[[96]byte](), engine.NewSlab[[maxAccountBytes]byte]()
}

func (n *names) put(s string) (nameRef, error) {
	var b []byte
	var i uint32
	var class uint8
	var err error
	switch l := len(s); {
	case l <= 16:
		class, i, b, err = take(n.n16, 0, func(v *[16]byte) []byte { return v[:] })
	case l <= 24:
		class, i, b, err = take(n.n24, 1, func(v *[24]byte) []byte { return v[:] })
	case l <= 32:
		class, i, b, err = take(n.n32, 2, func(v *[32]byte) []byte { return v[:] })
	case l <= 48:
		class, i, b, err = take(n.n48, 3, func(v *[48]byte) []byte { return v[:] })
	case l <= 96:
		class, i, b, err = take(n.n96, 4, func(v *[96]byte) []byte { return v[:] })
	case l <= maxAccountBytes:
		class, i, b, err = take(n.n768, 5, func(v *[maxAccountBytes]byte) []byte { return v[:] })
	default:
		return nameRef{}, fmt.Errorf("filing an account: %d bytes, at most %d", l, maxAccountBytes)
	}
	if err != nil {
		return nameRef{}, fmt.Errorf("filing an account: %w", err)
	}
	copy(b, s)
	return nameRef{index: i, len: uint16(len(s)), class: class}, nil
}

func take[T any](s *engine.Slab[T], class uint8, bytes func(*T) []byte) (uint8, uint32, []byte, error) {
	i, _, v, err := s.New()
	if err != nil {
		return 0, 0, nil, err
	}
	return class, i, bytes(v), nil
}

// bytes is the stored name; it is good until free.
func (n *names) bytes(r nameRef) []byte {
	var b []byte
	switch r.class {
	case 0:
		b = n.n16.Live(r.index)[:]
	case 1:
		b = n.n24.Live(r.index)[:]
	case 2:
		b = n.n32.Live(r.index)[:]
	case 3:
		b = n.n48.Live(r.index)[:]
	case 4:
		b = n.n96.Live(r.index)[:]
	default:
		b = n.n768.Live(r.index)[:]
	}
	return b[:r.len]
}

func (n *names) is(r nameRef, s string) bool { return string(n.bytes(r)) == s }
func (n *names) text(r nameRef) string       { return string(n.bytes(r)) }

func (n *names) free(r nameRef) {
	switch r.class {
	case 0:
		n.n16.Free(r.index)
	case 1:
		n.n24.Free(r.index)
	case 2:
		n.n32.Free(r.index)
	case 3:
		n.n48.Free(r.index)
	case 4:
		n.n96.Free(r.index)
	default:
		n.n768.Free(r.index)
	}
}

func (n *names) close() {
	n.n16.Close()
	n.n24.Close()
	n.n32.Close()
	n.n48.Close()
	n.n96.Close()
	n.n768.Close()
}

// bucketIndex finds the first account of a hash; the accounts chain on. It doubles when there are as many accounts as
// buckets, and lives outside the Go heap like what it points to.
type bucketIndex struct {
	heads []uint32
	mem   []byte
	used  int
}

// firstBuckets is the size a shard starts with: one page.
const firstBuckets = 1024

func (x *bucketIndex) slot(h uint64) *uint32 { return &x.heads[h&uint64(len(x.heads)-1)] }

func (x *bucketIndex) first(h uint64) uint32 {
	if len(x.heads) == 0 {
		return 0
	}
	return *x.slot(h)
}

func (x *bucketIndex) add(s *shard, i uint32, a *account) error {
	if x.used >= len(x.heads) {
		if err := x.grow(s); err != nil {
			return err
		}
	}
	head := x.slot(a.hash)
	a.chain, *head = *head, i
	x.used++
	return nil
}

func (x *bucketIndex) grow(s *shard) error {
	n := max(firstBuckets, 2*len(x.heads))
	mem, err := unix.Mmap(-1, 0, 4*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("growing the account index: %w", err)
	}
	old := *x
	x.mem, x.heads = mem, unsafe.Slice((*uint32)(unsafe.Pointer(&mem[0])), n)
	for _, i := range old.heads {
		for i != 0 {
			a := s.acct(i)
			next, head := a.chain, x.slot(a.hash)
			a.chain, *head = *head, i
			i = next
		}
	}
	old.close()
	return nil
}

func (x *bucketIndex) remove(s *shard, i uint32, a *account) {
	at := x.slot(a.hash)
	for *at != i {
		at = &s.acct(*at).chain
	}
	*at = a.chain
	x.used--
}

func (x *bucketIndex) close() {
	if x.mem != nil {
		unix.Munmap(x.mem)
	}
	*x = bucketIndex{}
}
