package mailfake

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Record is what a backend remembers of one session.
type Record struct {
	Number   int            // counts from 1 in the order of arrival
	Peer     netip.AddrPort // other end of the TCP connection
	Client   netip.AddrPort // from PROXY, else from a trusted ID, else Peer
	Began    time.Time
	Ended    time.Time // zero while the session lasts
	Proxy    *ProxyHeader
	ID       []Pair   // fields of the first IMAP ID
	IDs      int      // how many IDs came
	Verbs    []string // the first 64 commands, upper case
	TLS      bool
	State    tls.ConnectionState // as the handshake left it; zero without TLS
	Attempts int                 // complete logins that were decided
	Account  string              // of the accepted login, else of the last attempt
	Method   string              // "LOGIN", "PLAIN", "XOAUTH2", ... of that attempt
	Form     string              // how it came: "atom quoted literal literal+", for SASL "initial prompted"
	LoggedIn bool
}

// Pair is one field of an IMAP ID. A NIL value has Null set.
type Pair struct {
	Name, Value string
	Null        bool
}

// Field is the value of an ID field by its lower-case name, and whether it came.
func (r Record) Field(name string) (string, bool) {
	for _, p := range r.ID {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Append is what a backend remembers of one appended message.
type Append struct {
	Account string
	Bytes   int64
	Sum     string // hex SHA-256
}

// Counts sums up a backend's life so far.
type Counts struct {
	Connections       int // ever accepted
	Open              int // not ended
	LoggedIn          int // of those, logged in
	Idle              int // of those, in IDLE
	Accepted, Refused int // verdicts ever, by kind
	Appended          int // messages ever
	Commands          int // commands ever
}

// Backend is a scripted mail server. All methods may be called by any goroutine.
type Backend struct {
	o     Options // immutable
	l     net.Listener
	serve func(*Session) // the protocol
	mail  *store
	done  chan struct{} // closed by Close
	wg    sync.WaitGroup
	once  sync.Once

	mu       sync.Mutex // guards the rest
	sessions map[*Session]struct{}
	records  []*Record
	appends  []Append
	counts   Counts
	changed  chan struct{} // closed and replaced at every change
}

// NewIMAP starts an IMAP4rev1 server on a loopback address. The caller calls Close.
func NewIMAP(o Options) (*Backend, error) { return start(o, serveIMAP) }

func start(o Options, serve func(*Session)) (*Backend, error) {
	o = o.withDefaults()
	ap, err := netip.ParseAddrPort(o.Listen)
	if err != nil || !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("starting mail server on %q: %w", o.Listen, errOptions)
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("starting mail server: %w", err)
	}
	b := &Backend{o: o, l: l, serve: serve, mail: newStore(&o), done: make(chan struct{}),
		sessions: map[*Session]struct{}{}, changed: make(chan struct{})}
	b.wg.Add(1)
	go b.accept() // ends when Close closes the listener
	return b, nil
}

// Name is the backend's name.
func (b *Backend) Name() string { return b.o.Name }

// Addr is the address it listens on.
func (b *Backend) Addr() netip.AddrPort { return b.l.Addr().(*net.TCPAddr).AddrPort() }

// Close stops listening, ends every session and waits until all are gone.
func (b *Backend) Close() {
	b.once.Do(func() {
		close(b.done)
		_ = b.l.Close()
		b.mu.Lock()
		for s := range b.sessions {
			_ = s.tcp.Close()
		}
		b.mu.Unlock()
	})
	b.wg.Wait()
}

// accept takes connections until the listener is closed.
func (b *Backend) accept() {
	defer b.wg.Done()
	for {
		c, err := b.l.Accept()
		if err != nil {
			select {
			case <-b.done:
				return
			case <-time.After(10 * time.Millisecond): // such as EMFILE: others may end meanwhile
				continue
			}
		}
		if s := b.admit(c.(*net.TCPConn)); s != nil {
			go b.run(s) // ends with its connection, at the latest by Close
		}
	}
}

// admit registers a connection, or closes it when the backend is closing.
func (b *Backend) admit(c *net.TCPConn) *Session {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.done:
		_ = c.Close()
		return nil
	default:
	}
	s := newSession(b, c)
	b.counts.Connections++
	s.rec.Number = b.counts.Connections
	b.sessions[s] = struct{}{}
	if len(b.records) >= maxRecords {
		b.records = slices.Delete(b.records, 0, maxRecords/10)
	}
	b.records = append(b.records, s.rec)
	b.wg.Add(1)
	b.bump()
	return s
}

// run carries one session from accept to close.
func (b *Backend) run(s *Session) {
	defer b.wg.Done()
	s.play()
	b.mu.Lock()
	delete(b.sessions, s)
	s.rec.Ended = time.Now()
	b.bump()
	b.mu.Unlock()
}

// bump tells everybody in Await that something changed. b.mu is held.
func (b *Backend) bump() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// update changes records or counts.
func (b *Backend) update(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	b.bump()
}

// Sessions is a copy of what is remembered of every session, oldest first.
func (b *Backend) Sessions() []Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Record, len(b.records))
	for i, r := range b.records {
		out[i] = *r
		out[i].ID, out[i].Verbs = slices.Clone(r.ID), slices.Clone(r.Verbs)
	}
	return out
}

// Logins is Sessions without those that never logged in.
func (b *Backend) Logins() []Record {
	return slices.DeleteFunc(b.Sessions(), func(r Record) bool { return !r.LoggedIn })
}

// Appends is what was appended, in order.
func (b *Backend) Appends() []Append {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.appends)
}

// Counts sums up.
func (b *Backend) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.counts
	c.Open = len(b.sessions)
	for s := range b.sessions {
		if s.rec.LoggedIn {
			c.LoggedIn++
		}
		if s.idling {
			c.Idle++
		}
	}
	return c
}

// Await waits until ok holds of Counts, looking again after every change, and says whether it came true in time.
func (b *Backend) Await(timeout time.Duration, ok func(Counts) bool) bool {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if ok(b.Counts()) {
			return true
		}
		select {
		case <-changed:
		case <-deadline.C:
			return false
		}
	}
}

// Notify tells every idling session of account the number of its messages, as if one had arrived, and says how many
// sessions that were. An empty account means all.
func (b *Backend) Notify(account string) int {
	n := 0
	for _, s := range b.pick(account, func(s *Session) bool { return s.idling }) {
		if s.Write(fmt.Sprintf("* %d EXISTS\r\n", b.mail.count(s.account()))) == nil {
			n++
		}
	}
	return n
}

// Kick ends every logged-in session of account with "* BYE" and FIN, and says how many. An empty account means all.
func (b *Backend) Kick(account string) int {
	picked := b.pick(account, func(s *Session) bool { return s.rec.LoggedIn })
	for _, s := range picked {
		_ = s.Write("* BYE Kicked by " + b.o.Name + "\r\n")
		s.stop()
	}
	return len(picked)
}

func (b *Backend) pick(account string, ok func(*Session) bool) []*Session {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*Session
	for s := range b.sessions {
		if ok(s) && (account == "" || s.rec.Account == account) {
			out = append(out, s)
		}
	}
	return out
}
