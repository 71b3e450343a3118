package session

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestCrewDoesEverythingAndKeepsFew(t *testing.T) {
	var company atomic.Int64
	c := crew{company: func(more int) { company.Add(int64(more)) }}
	const jobs = 3 * maxIdle
	var done atomic.Int64
	for round := range 2 {
		var begun sync.WaitGroup
		begun.Add(jobs)
		gate := make(chan struct{})
		for range jobs {
			if !c.start(func() { begun.Done(); <-gate; done.Add(1) }) {
				t.Fatal("refused")
			}
		}
		begun.Wait() // all at the same time
		if n := company.Load(); n < jobs {
			t.Errorf("%d are said to be at work, want %d", n, jobs)
		}
		close(gate)
		for want := int64(jobs * (round + 1)); done.Load() < want; {
			c.mu.Lock()
			n := len(c.idle)
			c.mu.Unlock()
			if n > maxIdle {
				t.Fatalf("%d goroutines wait, want at most %d", n, maxIdle)
			}
		}
	}
	c.close()
	if n := company.Load(); n != 0 {
		t.Errorf("%d are said to be at work at the end", n)
	}
	if got := done.Load(); got != 2*jobs {
		t.Errorf("%d of %d jobs were done", got, 2*jobs)
	}
}

// close waits for what is under way, ends what waits (the leak check sees to that), and refuses what comes later.
func TestCrewCloses(t *testing.T) {
	c := crew{company: func(int) {}}
	first := make(chan struct{})
	c.start(func() { close(first) })
	<-first
	gate, done := make(chan struct{}), false
	begun := make(chan struct{})
	c.start(func() { close(begun); <-gate; done = true })
	<-begun
	ended := make(chan struct{})
	go func() { // ends with close
		defer close(ended)
		c.close()
	}()
	close(gate)
	<-ended
	if !done {
		t.Error("close did not wait")
	}
	if c.start(func() { t.Error("done after close") }) {
		t.Error("work is taken after close")
	}
}
