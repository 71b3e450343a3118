package engine

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lasting is what comes before FIN: left tells for each call how much is left, the last entry for all further ones, and says
// what is sent when nothing is. It belongs to the loop.
type lasting struct {
	t     *testing.T
	left  []uint64
	says  string
	err   error
	calls int
}

func (x *lasting) last(fd int) (uint64, error) {
	left := x.left[min(x.calls, len(x.left)-1)]
	x.calls++
	if left == 0 {
		check(x.t, writeAll(fd, []byte(x.says)))
	}
	return left, x.err
}

func (r *rig) calls(x *lasting) int { return ask(r.t, r.Loops()[0], func() int { return x.calls }) }

// What is to be done before FIN comes behind all that was owed, is asked about until nothing is left, and not again.
func TestRetireAfter(t *testing.T) {
	for _, c := range []struct {
		name string
		rest []byte
		left []uint64
	}{
		{"done at once", farewell, []uint64{0}},
		{"nothing owed", nil, []uint64{0}},
		{"done at the third look", farewell, []uint64{9, 5, 0}},
		{"no progress in between", farewell, []uint64{9, 9, 9, 12, 0}},
		{"behind more than the socket takes", pattern(8 << 20), []uint64{1, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRig(t, 1)
			ours, peer := tcpPair(t)
			defer unix.Close(peer)
			x := &lasting{t: t, left: c.left, says: "and good night"}
			r.retireAfter(ours, bytes.Clone(c.rest), x.last)
			if len(c.rest) > 1<<20 && r.calls(x) != 0 {
				t.Error("asked about before the rest was sent")
			}
			looking := make(chan struct{})
			go func() { // ends with the last call
				defer close(looking)
				for r.calls(x) < len(c.left) {
					r.later(retirePoll)
				}
			}()
			got, err := readAll(peer)
			if want := string(c.rest) + x.says; err != nil || string(got) != want {
				t.Errorf("the peer got %d bytes and %v, want %d bytes and an end", len(got), err, len(want))
			}
			<-looking
			unix.Shutdown(peer, unix.SHUT_WR)
			r.retired()
			if got := r.calls(x); got != len(c.left) {
				t.Errorf("looks: got %d, want %d", got, len(c.left))
			}
		})
	}
}

// The peer sees no end that looks like one when it fails.
func TestRetireAfterFails(t *testing.T) {
	for _, when := range []string{"at once", "later"} {
		r := startRig(t, 1)
		ours, peer := tcpPair(t)
		x := &lasting{t: t, left: []uint64{7}, err: errors.New("broken")}
		if when == "later" {
			x.err = nil
		}
		r.retireAfter(ours, nil, x.last)
		if when == "later" {
			on(t, r.Loops()[0], func() { x.err = errors.New("broken") })
			r.later(retirePoll)
		}
		r.retired()
		unix.Close(peer)
	}
}

// Ten seconds without progress end it; less and less that is left is progress.
func TestRetireAfterGivesUp(t *testing.T) {
	r := startRig(t, 1)
	ours, peer := tcpPair(t)
	defer unix.Close(peer)
	x := &lasting{t: t, left: []uint64{math.MaxUint64}}
	r.retireAfter(ours, nil, x.last)
	r.later(9 * time.Second) // from the start, here and below
	on(t, r.Loops()[0], func() { x.left = []uint64{5} })
	r.later(9500 * time.Millisecond) // progress
	r.later(18 * time.Second)
	if n := ask(t, r.Loops()[0], r.Loops()[0].Retired); n != 1 {
		t.Fatal("given up 9 s after the last progress")
	}
	r.later(21 * time.Second)
	r.retired()
}
