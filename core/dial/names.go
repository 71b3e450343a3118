package dial

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAge is how long an answer serves (DESIGN 5: 30 s per host).
	maxAge = 30 * time.Second
	// refreshAge: an answer that is used after this is asked for anew in the background, so that logins seldom wait.
	refreshAge = 20 * time.Second
	// retryAge: after a failure the old answer serves this long before DNS is asked again.
	retryAge = 5 * time.Second
	// lookupTimeout bounds one look-up: resolv.conf(5)'s timeout of 5 s, once for each of two servers.
	lookupTimeout = 10 * time.Second
	// staleWait is how long a dial that has an old answer waits for a new one.
	staleWait = time.Second
	// maxHosts bounds the cache; hosts come from the configuration, so this is far above need.
	maxHosts = 1024
)

// names is the DNS cache.
type names struct {
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	log     *slog.Logger
	ctx     context.Context // parent of every look-up
	cancel  context.CancelFunc

	mu     sync.Mutex
	hosts  map[string]*host // guarded by mu
	closed bool             // guarded by mu
	// guarded by mu: when the next warning may come, and how many there would have been
	warnAt   time.Time
	unlogged int
	asking   sync.WaitGroup // raised under mu; at most one look-up for each host

	lookups, errors, stale atomic.Uint64
}

// host is one cached name. Guarded by names.mu.
type host struct {
	addrs   []netip.Addr // the last good answer; nil: none yet. The slice is never changed.
	at      time.Time    // when it came
	retryAt time.Time    // until then the answer serves whatever its age, since DNS fails or is slow
	asking  *question    // under way; nil: none
}

// question is one look-up that any number of dials wait for.
type question struct {
	done  chan struct{}
	addrs []netip.Addr // read-only once done is closed
	err   error
}

func newNames(resolve func(context.Context, string) ([]netip.Addr, error), log *slog.Logger) *names {
	n := &names{resolve: resolve, log: log, hosts: map[string]*host{}}
	if n.resolve == nil {
		system := &net.Resolver{PreferGo: true}
		n.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return system.LookupNetIP(ctx, "ip", host)
		}
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

func (n *names) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	n.asking.Wait()
}

// find gives the addresses of a host, which the caller must not change.
func (n *names) find(ctx context.Context, name string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	old, q, err := n.look(name)
	if err != nil || q == nil {
		return old, err
	}
	var tired <-chan time.Time
	if old != nil {
		t := time.NewTimer(staleWait)
		defer t.Stop()
		tired = t.C
	}
	select {
	case <-q.done:
		if q.err == nil {
			return q.addrs, nil
		}
		err = q.err
	case <-tired:
		n.putOff(name)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if old == nil {
		return nil, err
	}
	n.stale.Add(1)
	return old, nil
}

// look tells what the cache knows, and the question to wait for if that is not enough; old may then be a stale answer.
func (n *names) look(name string) (old []netip.Addr, q *question, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	h := n.hosts[name]
	if h == nil {
		if h, err = n.enter(name); err != nil {
			return nil, nil, err
		}
	}
	age, mayAsk := now.Sub(h.at), h.asking == nil && !n.closed && !now.Before(h.retryAt)
	if mayAsk && (h.addrs == nil || age >= refreshAge) {
		n.start(name, h)
	}
	switch {
	case h.addrs != nil && age < maxAge:
		return h.addrs, nil, nil
	case h.asking != nil && !now.Before(h.retryAt):
		return h.addrs, h.asking, nil
	case h.addrs != nil:
		n.stale.Add(1)
		return h.addrs, nil, nil
	}
	return nil, nil, errClosed
}

// enter makes room for a name. The caller holds mu.
func (n *names) enter(name string) (*host, error) {
	if len(n.hosts) >= maxHosts && !n.evict() {
		return nil, &localError{errTooManyNames}
	}
	h := &host{}
	n.hosts[name] = h
	return h, nil
}

// evict drops the oldest answer that nobody is asking for anew. The caller holds mu.
func (n *names) evict() bool {
	var oldest string
	for name, h := range n.hosts {
		if h.asking == nil && (oldest == "" || h.at.Before(n.hosts[oldest].at)) {
			oldest = name
		}
	}
	delete(n.hosts, oldest)
	return oldest != ""
}

// start asks for a name. The caller holds mu.
func (n *names) start(name string, h *host) {
	h.asking = &question{done: make(chan struct{})}
	n.lookups.Add(1)
	n.asking.Add(1)
	go n.ask(name, h, h.asking)
}

// ask puts one question. lookupTimeout ends it, close ends it early and waits for it.
func (n *names) ask(name string, h *host, q *question) {
	defer n.asking.Done()
	ctx, cancel := context.WithTimeout(n.ctx, lookupTimeout)
	defer cancel()
	found, err := n.resolve(ctx, name)
	for _, ip := range found[:min(len(found), maxAddrs)] {
		q.addrs = append(q.addrs, ip.Unmap())
	}
	if err == nil && len(found) == 0 {
		err = errNoAddress
	}
	q.err = err
	n.settle(name, h, q)
	close(q.done)
}

func (n *names) settle(name string, h *host, q *question) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h.asking = nil
	if q.err == nil {
		h.addrs, h.at, h.retryAt = q.addrs, time.Now(), time.Time{}
		return
	}
	n.errors.Add(1)
	if h.addrs != nil { // without an old answer there is nothing to live on meanwhile
		h.retryAt = time.Now().Add(retryAge)
		n.warn(name, q.err)
	}
}

// warnEvery is how often the log hears of names that DNS does not answer: an outage concerns all of them.
const warnEvery = time.Second

// warn is called with mu held.
func (n *names) warn(name string, err error) {
	n.unlogged++
	if now := time.Now(); !now.Before(n.warnAt) {
		n.log.Warn("resolving host, its old addresses serve", slog.String("host", name), slog.Any("err", err), slog.Int("count", n.unlogged))
		n.unlogged, n.warnAt = 0, now.Add(warnEvery)
	}
}

// putOff has the old answer serve at once for a while, since DNS is slow.
func (n *names) putOff(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[name]; h != nil && h.asking != nil {
		h.retryAt = time.Now().Add(retryAge)
	}
}
