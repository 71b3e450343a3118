package engine

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenPipe(t *testing.T) {
	r := newRig(t, Options{Loops: 1})
	r.Start()
	l := r.Loops()[0]
	cases := []struct {
		name      string
		min, want int
		got       int // 0: refused
	}{
		{"as wanted", 256 << 10, 1 << 20, 1 << 20},
		{"rounded up to a power of two", 4096, 5000, 8192},
		{"more than the kernel gives, root or not", 256 << 10, 1<<31 + 1, 256 << 10},
		{"more than the kernel gives, and no less", 1<<31 + 1, 1<<31 + 1, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			done := make(chan struct{})
			l.Do(func() {
				defer close(done)
				p, err := l.OpenPipe(c.min, c.want)
				if (err == nil) != (c.got != 0) || p.Bytes != c.got {
					t.Errorf("got %+v, %v; want %d bytes", p, err, c.got)
				}
				if err != nil {
					return
				}
				if got := r.PipeFDs(); got != 2 {
					t.Errorf("accounted descriptors: got %d, want 2", got)
				}
				if n, err := unix.Read(p.R, make([]byte, 1)); err != unix.EAGAIN {
					t.Errorf("reading the empty pipe: got %d, %v; want EAGAIN", n, err)
				}
				l.ClosePipe(p)
			})
			<-done
			if got := r.PipeFDs(); got != 0 {
				t.Errorf("accounted descriptors afterwards: got %d, want 0", got)
			}
		})
	}
}

// Pipes take descriptors like sessions do, and none of the last ones.
func TestPipesAreAccountedFor(t *testing.T) {
	r := newRig(t, Options{Loops: 1, MaxFDs: reserveFDs + 4})
	r.Start()
	l := r.Loops()[0]
	done := make(chan struct{})
	l.Do(func() {
		defer close(done)
		var all []Pipe
		for range 2 {
			p, err := l.OpenPipe(4096, 4096)
			if err != nil {
				t.Error(err)
				return
			}
			all = append(all, p)
		}
		if p, err := l.OpenPipe(4096, 4096); !errors.Is(err, errNoRoom) {
			t.Errorf("third pipe: got %+v, %v; want %v", p, err, errNoRoom)
		}
		if l.engine.fds.room() {
			t.Error("room for a session where pipes have taken it all")
		}
		for _, p := range all {
			l.ClosePipe(p)
		}
		if !l.engine.fds.room() {
			t.Error("no room although the pipes are closed")
		}
	})
	<-done
}
