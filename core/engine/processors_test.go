package engine

import (
	"runtime"
	"testing"
)

// While goroutines come and go there are as few processors as CPUs; otherwise, and in a flood, there is one for each loop as well.
func TestAdapt(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	r := newRig(t, Options{Loops: 2, CPUs: 3})
	for i, c := range []struct {
		visits int
		flood  bool
		want   int
	}{
		{0, false, 5},
		{oftenVisits - 1, false, 5},  // not yet
		{oftenVisits, false, 3},      //
		{rareVisits, false, 3},       // still
		{10000, true, 5},             // more than there is time for
		{10000, false, 3},            //
		{rareVisits - 1, false, 5},   // over
		{rareVisits, false, 5},       //
		{oftenVisits + 5, false, 3},  //
		{oftenVisits + 5, false, 3},  //
		{oftenVisits + 50, false, 3}, //
		{0, true, 5},
	} {
		for range c.visits {
			r.Company(1)
			r.Company(-1)
		}
		r.Adapt(c.flood)
		if got := runtime.GOMAXPROCS(0); got != c.want {
			t.Errorf("%d, %d visits: got %d processors, want %d", i, c.visits, got, c.want)
		}
	}
}

// With more loops than CPUs there is never less than one for each, and a loop does not keep the only one; an engine that does not
// know the CPUs leaves all as it is.
func TestAdaptBounds(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for _, c := range []struct {
		loops, cpus, quiet, busy int
		mayKeep                  bool
	}{{3, 1, 4, 3, true}, {1, 1, 2, 2, true}, {1, 0, 2, 2, true}, {2, 0, 2, 2, true}, {3, 0, 2, 2, false}, {1, 0, 1, 1, false}} {
		runtime.GOMAXPROCS(2)
		if c.cpus == 0 {
			runtime.GOMAXPROCS(c.quiet)
		}
		r := newRig(t, Options{Loops: c.loops, CPUs: c.cpus})
		if got := runtime.GOMAXPROCS(0); got != c.quiet {
			t.Errorf("%d loops, %d CPUs: got %d processors at first, want %d", c.loops, c.cpus, got, c.quiet)
		}
		r.Company(oftenVisits)
		r.Adapt(false)
		if got := runtime.GOMAXPROCS(0); got != c.busy {
			t.Errorf("%d loops, %d CPUs: got %d processors when busy, want %d", c.loops, c.cpus, got, c.busy)
		}
		for _, l := range r.Loops() {
			if got, want := l.poll.(*epoll).mayKeep.Load(), c.mayKeep; got != want {
				t.Errorf("%d loops, %d CPUs: loops may keep theirs: got %v, want %v", c.loops, c.cpus, got, want)
			}
		}
		r.Company(-oftenVisits)
	}
}
