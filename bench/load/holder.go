package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"
)

// holder is the sessions of a process. Its calls come one at a time.
type holder struct {
	clients []*client // joined, in order of their numbers
	waiting []*client // connections without a login
}

var errTooFew = errors.New("not so many sessions")

// tally is a Reply that several workers fill.
type tally struct {
	mu    sync.Mutex
	reply Reply
	began time.Time
}

func newTally() *tally { return &tally{began: time.Now()} }

// add merges what one worker has done.
func (t *tally) add(r Reply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reply.Merge(r)
}

func (t *tally) done() Reply {
	t.reply.Took = time.Since(t.began)
	return t.reply
}

func (r *Reply) fail(err error) {
	r.Failed++
	if r.Error == "" {
		r.Error = err.Error()
	}
}

// workers runs work n times at once and waits. Each gets its number and a Reply of its own.
func workers(n int, work func(worker int, r *Reply)) Reply {
	t := newTally()
	var wg sync.WaitGroup
	for w := range max(n, 1) {
		wg.Go(func() { // ends with its share of the work
			var r Reply
			work(w, &r)
			t.add(r)
		})
	}
	wg.Wait()
	return t.done()
}

// open logs in and keeps the sessions.
func (h *holder) open(a OpenArgs) (Reply, error) {
	fresh := make([]*client, a.Count)
	reply := workers(min(a.AtOnce, a.Count), func(w int, r *Reply) {
		for i := w; i < a.Count; i += max(a.AtOnce, 1) {
			start := time.Now()
			c, _, err := a.open(a.First+i, nil)
			if err == nil && a.Idle {
				err = c.idle()
			}
			if err != nil {
				r.fail(err)
				continue
			}
			fresh[i] = c
			r.Done++
			r.Latency.Add(time.Since(start))
		}
	})
	for _, c := range fresh {
		if c != nil {
			h.clients = append(h.clients, c)
		}
	}
	return reply, nil
}

// preauth connects and keeps the connections.
func (h *holder) preauth(a PreauthArgs) (Reply, error) {
	fresh := make([]*client, a.Count)
	reply := workers(min(a.AtOnce, a.Count), func(w int, r *Reply) {
		for i := w; i < a.Count; i += max(a.AtOnce, 1) {
			c, err := a.arrive(i)
			if err != nil {
				r.fail(err)
				continue
			}
			fresh[i] = c
			r.Done++
		}
	})
	for _, c := range fresh {
		if c != nil {
			h.waiting = append(h.waiting, c)
		}
	}
	return reply, nil
}

// arrive is a connection that says nothing any more: silent, or greeted.
func (a PreauthArgs) arrive(i int) (*client, error) {
	if a.Silent {
		conn, err := a.dialTCP(a.First + i)
		return &client{conn: conn}, err
	}
	c, _, err := a.connect(a.First+i, nil)
	if err != nil {
		return nil, err
	}
	if _, err := c.line(); err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("greeting: %w", err)
	}
	return c, nil
}

// close ends everything that is held.
func (h *holder) close() {
	for _, c := range append(h.clients, h.waiting...) {
		c.conn.Close()
	}
	h.clients, h.waiting = nil, nil
}

// first are the first n sessions.
func (h *holder) first(n int) ([]*client, error) {
	if n < 1 || n > len(h.clients) {
		return nil, fmt.Errorf("%w: asked for %d, there are %d", errTooFew, n, len(h.clients))
	}
	return h.clients[:n], nil
}

// login logs in and out again and again.
func (h *holder) login(a LoginArgs) (Reply, error) {
	deadline := time.Now().Add(a.For)
	return workers(min(a.AtOnce, a.Count), func(w int, r *Reply) {
		var cache tls.ClientSessionCache
		if a.Resume {
			cache = tls.NewLRUClientSessionCache(1)
		}
		for i := w; i < a.Count && (a.For == 0 || time.Now().Before(deadline)); i += max(a.AtOnce, 1) {
			start := time.Now()
			c, resumed, err := a.Target.open(a.First+i, cache)
			if err != nil {
				r.fail(err)
				continue
			}
			r.Latency.Add(time.Since(start))
			c.conn.Close()
			r.Done++
			if resumed {
				r.Resumed++
			}
			if c.agreed(a.Suite) {
				r.Agreed++
			}
		}
	}), nil
}
