package engine

import (
	"sync"

	"golang.org/x/sys/unix"
)

// mailbox is how other goroutines reach a loop. Its length is bounded by its senders: each has at most one message
// under way per session or command, and sessions are bounded by descriptors.
type mailbox struct {
	mu      sync.Mutex
	queue   []Message
	spare   []Message // the loop's emptied slice, for reuse
	stopped bool
	eventfd int
}

// post queues m, or drops it when the loop has stopped. It never blocks: the eventfd is written only on
// empty→non-empty, and its counter has room for 2^64-2 of them (eventfd(2)).
func (b *mailbox) post(m Message) {
	b.mu.Lock()
	if b.stopped {
		b.mu.Unlock()
		m.Drop()
		return
	}
	b.queue = append(b.queue, m)
	if len(b.queue) == 1 {
		b.ring()
	}
	b.mu.Unlock()
}

// ring wakes the loop. Held under mu, so that the descriptor cannot be closed beside it.
func (b *mailbox) ring() {
	one := [8]byte{1}
	for {
		if _, err := unix.Write(b.eventfd, one[:]); err != unix.EINTR {
			return
		}
	}
}

// take empties the queue. The caller gives the slice back by done.
func (b *mailbox) take() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue
	b.queue, b.spare = b.spare, nil
	return q
}

func (b *mailbox) done(q []Message) {
	clear(q)
	b.mu.Lock()
	if b.spare == nil && cap(q) <= 4096 {
		b.spare = q[:0]
	}
	b.mu.Unlock()
}

// stop refuses further messages and drops those that were not delivered.
func (b *mailbox) stop() {
	b.mu.Lock()
	q := b.queue
	b.queue, b.stopped = nil, true
	unix.Close(b.eventfd)
	b.eventfd = -1
	b.mu.Unlock()
	for _, m := range q {
		m.Drop()
	}
}
