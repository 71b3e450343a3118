package metrics

import "time"

// Listener counts what arrives at one listener.
type Listener struct {
	Accepted *Counter
	refused  [refusals]*Counter
}

// Listener is the handle for the listener name; preauth reads how many of its connections are not authenticated yet. It
// is called from the goroutine that writes the text.
func (s *Set) Listener(name string, preauth func() float64) *Listener {
	l := &Listener{Accepted: s.counter("connections_accepted_total", "listener", name)}
	for r := range refusals {
		l.refused[r] = s.counter("connections_refused_total", "listener", name, "reason", r.String())
	}
	s.gauge(preauth, "preauth_connections", "listener", name)
	return l
}

// Refused counts one connection turned away.
func (l *Listener) Refused(why Refusal) {
	if why < refusals {
		l.refused[why].Inc()
	}
}

// Logins counts the logins of one protocol at one destination.
type Logins struct {
	by [results]*Counter
}

// Logins is the handle for protocol and destination. A login that never got a destination counts under destination "".
func (s *Set) Logins(protocol, destination string) *Logins {
	l := &Logins{}
	for r := range results {
		l.by[r] = s.counter("logins_total", "protocol", protocol, "destination", destination, "result", r.String())
	}
	return l
}

// Count counts one login.
func (l *Logins) Count(r Result) {
	if r < results {
		l.by[r].Inc()
	}
}

// Sessions registers the gauge of joined sessions with these labels; read is called from the goroutine that writes the
// text. The lane is one of DESIGN 3.11.
func (s *Set) Sessions(protocol, destination, lane string, read func() float64) {
	s.gauge(read, "sessions", "protocol", protocol, "destination", destination, "lane", lane)
}

// Bytes counts the bytes of one protocol's sessions, as the client sees them.
type Bytes struct {
	In  *Counter // from clients
	Out *Counter // to clients
}

// Bytes is the handle for protocol.
func (s *Set) Bytes(protocol string) *Bytes {
	return &Bytes{
		In:  s.counter("bytes_total", "protocol", protocol, "direction", "in"),
		Out: s.counter("bytes_total", "protocol", protocol, "direction", "out"),
	}
}

// Cache reads the look-up cache's own counts; the callbacks run in the goroutine that writes the text.
type Cache struct {
	Hits, Misses, Evictions, Entries func() float64
}

// Cache registers the look-up cache's series.
func (s *Set) Cache(c Cache) {
	s.gauge(c.Hits, "cache_hits")
	s.gauge(c.Misses, "cache_misses")
	s.gauge(c.Evictions, "cache_evictions")
	s.gauge(c.Entries, "cache_entries")
}

// StoreErrors registers the count of failed look-ups of one mapping source (file, redis, sql).
func (s *Set) StoreErrors(source string, read func() float64) {
	s.gauge(read, "store_errors_total", "source", source)
}

// TakeoverFailed is the counter of handshakes whose keys could not be taken over for one reason (DESIGN 3.11). The
// reason must come from a closed set of the caller's.
func (s *Set) TakeoverFailed(reason string) *Counter {
	return s.counter("takeover_failed_total", "reason", reason)
}

// Destination registers the health of one destination (SPEC 7). The callbacks run in the goroutine that writes the text.
func (s *Set) Destination(name string, h Health) {
	s.gauge(func() float64 {
		if h.Down() {
			return 1
		}
		return 0
	}, "destination_down", "destination", name)
	s.gauge(func() float64 { return float64(h.Failures()) }, "destination_failures", "destination", name)
}

// Health reads what a breaker knows.
type Health struct {
	Down     func() bool
	Failures func() int // consecutive
}

// Certificate registers the time that is left until the certificate of this configured name expires; negative once it has.
func (s *Set) Certificate(name string, left func() time.Duration) {
	s.gauge(func() float64 { return left().Seconds() }, "certificate_expiry_seconds", "name", name)
}

// Descriptors registers the process's open descriptors and their limit under the names that dashboards know. The library
// would read them from /proc/self/fd, which takes longer the more sessions there are.
func (s *Set) Descriptors(open, limit func() int) {
	s.expose("process_open_fds", func() float64 { return float64(open()) })
	s.expose("process_max_fds", func() float64 { return float64(limit()) })
}
