package engine

import "runtime"

// Adapt is called once a second by an engine's owner, whose Options name CPUs, and decides how many processors Go's scheduler has
// (GOMAXPROCS), which belong to the process: only one engine of it may. It has one caller, which may wait for a collection.
//
// As many as CPUs and loops together let loops and goroutines run side by side under the kernel's scheduler, which shares the CPUs
// fairly, and a loop may keep its processor while it sleeps for a moment. But most of those processors are idle, and whatever
// makes a goroutine ready while one is idle wakes a thread that looks for work: 6 % of a login's CPU. So while logins come and
// go there are as many processors as CPUs (at least as many as loops, and two); not for a few logins, between which loops that
// keep theirs would have the rest of the process wait. Where more handshakes want to compute than there is time for, which is
// flood, loops would wait for a processor behind them in the scheduler's queue, three times as long as under the kernel: there
// it is many again.
func (e *Engine) Adapt(flood bool) {
	visits := e.visits.Load()
	came := visits - e.seen
	e.seen = visits
	if e.cpus == 0 {
		return
	}
	switch {
	case flood || came < rareVisits:
		e.provide(e.cpus + len(e.loops))
	case came >= oftenVisits:
		e.provide(max(e.cpus, len(e.loops), 2))
	}
}

// Visits of goroutines (Company) from one Adapt to the next, that is, handshakes and logins a second. Between the two the number of
// processors stays as it is: changing it stops all goroutines for some 50 us.
const (
	rareVisits  = 50
	oftenVisits = 200
)

// provide sets the number of processors.
func (e *Engine) provide(n int) {
	if runtime.GOMAXPROCS(0) != n {
		runtime.GOMAXPROCS(n)
	}
	for _, l := range e.loops {
		l.poll.keepProcessor(n >= len(e.loops) && n > 1)
	}
}
