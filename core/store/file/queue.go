package file

import (
	"slices"
	"strings"
	"sync"
)

// request is a write that somebody waits for.
type request struct {
	changes []change // in the order of identifiers

	// owned by whoever took it out of the queue, until done is closed
	existed int // identifiers of changes that had a mapping
	err     error
	done    chan struct{}
}

// queue holds writes until somebody does them all at once. Each belongs to a caller that waits, so these bound it.
type queue struct {
	mu   sync.Mutex
	list batch // guarded by mu
}

func (q *queue) add(changes []change) *request {
	r := &request{changes: changes, done: make(chan struct{})}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, r)
	return r
}

// drop takes one write back; false: it was taken before.
func (q *queue) drop(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.list, r)
	if i >= 0 {
		q.list = slices.Delete(q.list, i, i+1)
	}
	return i >= 0
}

// take empties the queue.
func (q *queue) take() batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = nil
	return list
}

// batch is writes that are done together, in the order in which they came.
type batch []*request

// apply is t after the writes, and whether that is any different. It may be called again with another table.
func (b batch) apply(t *table) (next *table, different bool) {
	now := map[string]string{} // of identifiers that were asked about; empty: not there
	was := map[string]string{}
	for _, r := range b {
		r.existed = 0
		for _, c := range r.changes {
			old, asked := now[c.identifier]
			if !asked {
				old, _ = t.find(c.identifier)
				was[c.identifier] = old
			}
			if old != "" {
				r.existed++
			}
			now[c.identifier] = c.destination
		}
	}
	var changes []change
	for identifier, destination := range now {
		if was[identifier] != destination {
			changes = append(changes, change{identifier, destination})
		}
	}
	if len(changes) == 0 {
		return t, false
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.identifier, b.identifier) })
	return t.with(changes), true
}

// end tells all that wait.
func (b batch) end(err error) {
	for _, r := range b {
		r.err = err
		close(r.done)
	}
}
