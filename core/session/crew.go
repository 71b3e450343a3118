package session

import "sync"

// maxIdle is how many goroutines of a crew wait for more to do. It is enough to have one at hand at nearly every login, and
// few enough to be nothing: they keep the stack of a handshake each, 16 to 32 KiB.
const maxIdle = 32

// crew does logins and handshakes, a goroutine for each, and keeps some of the goroutines for the next ones: one that is
// new copies its stack three times before it is as large as a handshake needs it (measured: 3 % of a login). Any
// goroutine may use it.
type crew struct {
	company func(more int) // is told how many are at work; immutable

	mu     sync.Mutex
	idle   []chan func() // guarded by mu; the one that was busy last is at the end, its stack is warm
	closed bool          // guarded by mu
	all    sync.WaitGroup
}

// start has run done in a goroutine of its own, unless close has been called.
func (c *crew) start(run func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.company(1)
	if n := len(c.idle); n > 0 {
		c.idle[n-1] <- run // it has room for one
		c.idle[n-1] = nil
		c.idle = c.idle[:n-1]
		return true
	}
	c.all.Go(func() { c.work(run) }) // until close, or when there are enough that wait
	return true
}

// work is one goroutine.
func (c *crew) work(run func()) {
	next := make(chan func(), 1)
	for run != nil {
		run()
		c.company(-1)
		if !c.rest(next) {
			return
		}
		run = <-next
	}
}

// rest tells whether a goroutine that has nothing to do is to wait for more.
func (c *crew) rest(next chan func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) == maxIdle {
		return false
	}
	c.idle = append(c.idle, next)
	return true
}

// close refuses further work, and waits for that under way.
func (c *crew) close() {
	c.mu.Lock()
	c.closed = true
	for _, next := range c.idle {
		close(next)
	}
	c.idle = nil
	c.mu.Unlock()
	c.all.Wait()
}
