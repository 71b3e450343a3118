package engine

import "sync"

// mailbox is how other goroutines reach a loop. Its length is bounded by its senders: each has at most one message
// under way per session or command, and sessions are bounded by descriptors.
type mailbox struct {
	mu      sync.Mutex
	queue   []Message
	spare   []Message // the loop's emptied slice, for reuse
	stopped bool
	asleep  bool   // the loop is about to sleep, or does: the next message wakes it
	wake    func() // immutable
}

// post queues m, or drops it when the loop has stopped. It never blocks, and wakes the loop only when that is asleep.
func (b *mailbox) post(m Message) {
	b.mu.Lock()
	if b.stopped {
		b.mu.Unlock()
		m.Drop()
		return
	}
	b.queue = append(b.queue, m)
	if b.asleep {
		b.asleep = false
		b.wake() // under the lock: behind stop the poller is closed, and its descriptors may be somebody else's
	}
	b.mu.Unlock()
}

// rest tells whether the loop may sleep: nothing is queued, and what is posted from now on wakes it.
func (b *mailbox) rest() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep = len(b.queue) == 0
	return b.asleep
}

// take empties the queue. The caller gives the slice back by done.
func (b *mailbox) take() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asleep = false
	if len(b.queue) == 0 {
		return nil
	}
	q := b.queue
	b.queue, b.spare = b.spare, nil
	return q
}

func (b *mailbox) done(q []Message) {
	if len(q) == 0 {
		return
	}
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
	b.mu.Unlock()
	for _, m := range q {
		m.Drop()
	}
}
