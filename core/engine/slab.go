package engine

import (
	"fmt"
	"reflect"
	"unsafe"

	"golang.org/x/sys/unix"
)

// chunkCells is the number of records mapped at once: with records of a few hundred bytes a chunk is about 256 KiB, so
// that a small process stays small and a large one makes few mmap(2) calls.
const chunkCells = 1024

// Slab holds records of one pointer-free type outside the Go heap. Index 0 is never handed out. It is used by one
// goroutine at a time. Memory of freed records is reused, not returned, until Close.
type Slab[T any] struct {
	chunks [][]cell[T]
	maps   [][]byte
	free   uint32 // head of the list of free cells, 0 when empty
	next   uint32 // first index never used
	used   int
}

type cell[T any] struct {
	gen  uint32 // odd while in use
	next uint32 // next free cell
	v    T
}

// NewSlab makes an empty slab. It panics when T holds a pointer, which the collector would not see.
func NewSlab[T any]() *Slab[T] {
	if t := reflect.TypeFor[T](); hasPointers(t) {
		panic(fmt.Sprintf("bug: slab of %v, which holds pointers", t))
	}
	return &Slab[T]{next: 1}
}

func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && hasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Pointer, reflect.UnsafePointer, reflect.Map, reflect.Slice, reflect.String, reflect.Interface, reflect.Chan, reflect.Func:
		return true
	}
	return false
}

// New takes a zeroed record. It fails only when the kernel has no memory left.
func (s *Slab[T]) New() (index, gen uint32, v *T, err error) {
	i := s.free
	if i == 0 {
		if int(s.next/chunkCells) == len(s.chunks) {
			if err := s.grow(); err != nil {
				return 0, 0, nil, err
			}
		}
		i = s.next
		s.next++
	}
	c := s.cell(i)
	if s.free == i {
		s.free = c.next
	}
	c.gen++
	clear(unsafe.Slice(&c.v, 1))
	s.used++
	return i, c.gen & genMask, &c.v, nil
}

func (s *Slab[T]) grow() error {
	size := chunkCells * int(unsafe.Sizeof(cell[T]{}))
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("mapping %d bytes of records: %w", size, err)
	}
	s.maps = append(s.maps, m)
	s.chunks = append(s.chunks, unsafe.Slice((*cell[T])(unsafe.Pointer(&m[0])), chunkCells))
	return nil
}

func (s *Slab[T]) cell(i uint32) *cell[T] { return &s.chunks[i/chunkCells][i%chunkCells] }

// At returns the record, or nil when index was never used or the generation is another. The pointer is good until Free.
func (s *Slab[T]) At(index, gen uint32) *T {
	if index == 0 || index >= s.next {
		return nil
	}
	c := s.cell(index)
	if c.gen&1 == 0 || c.gen&genMask != gen {
		return nil
	}
	return &c.v
}

// Of is At for a token.
func (s *Slab[T]) Of(t Token) *T { return s.At(t.Index(), t.Gen()) }

// Free gives a record back. Freeing one that is not in use is a bug and panics.
func (s *Slab[T]) Free(index uint32) {
	c := s.cell(index)
	if c.gen&1 == 0 {
		panic("bug: slab record freed twice")
	}
	c.gen++
	c.next, s.free = s.free, index
	s.used--
}

// Len is the number of records in use.
func (s *Slab[T]) Len() int { return s.used }

// MappedBytes is the memory mapped so far.
func (s *Slab[T]) MappedBytes() int {
	return len(s.maps) * chunkCells * int(unsafe.Sizeof(cell[T]{}))
}

// Each calls f for every record in use. f may free the record it is given.
func (s *Slab[T]) Each(f func(index, gen uint32, v *T)) {
	for i := uint32(1); i < s.next; i++ {
		if c := s.cell(i); c.gen&1 == 1 {
			f(i, c.gen&genMask, &c.v)
		}
	}
}

// Close unmaps everything. Pointers handed out before are invalid afterwards.
func (s *Slab[T]) Close() error {
	for _, m := range s.maps {
		if err := unix.Munmap(m); err != nil {
			return fmt.Errorf("unmapping records: %w", err)
		}
	}
	*s = Slab[T]{next: 1}
	return nil
}

// Live returns the record at an index that the caller knows to be in use, such as a link between records. It panics
// when it is not.
func (s *Slab[T]) Live(index uint32) *T {
	c := s.cell(index)
	if c.gen&1 == 0 {
		panic("bug: link to a freed slab record")
	}
	return &c.v
}
