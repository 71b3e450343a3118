package mailfake

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Backend is a scripted mail server. All methods may be called by any goroutine.
type Backend struct {
	o      Options // immutable
	l      net.Listener
	speech speech // immutable
	mail   *store
	done   chan struct{} // closed by Close
	wg     sync.WaitGroup
	once   sync.Once

	mu       sync.Mutex // guards the rest
	sessions map[*Session]struct{}
	records  []*Record
	appends  []Append
	messages []Message
	counts   Counts
	changed  chan struct{} // closed and replaced at every change
}

// NewIMAP starts an IMAP4rev1 server on a loopback address. The caller calls Close.
func NewIMAP(o Options) (*Backend, error) {
	o.Protocol = IMAP
	return New(o)
}

// New starts a server of Options.Protocol on a loopback address. The caller calls Close.
func New(o Options) (*Backend, error) {
	sp, known := speechOf(o.Protocol)
	if !known {
		return nil, fmt.Errorf("starting mail server for protocol %d: %w", o.Protocol, errProtocol)
	}
	o = o.withDefaults(&sp)
	ap, err := netip.ParseAddrPort(o.Listen)
	if err != nil || !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("starting mail server on %q: %w", o.Listen, errOptions)
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("starting mail server: %w", err)
	}
	b := &Backend{o: o, l: l, speech: sp, mail: newStore(&o), done: make(chan struct{}),
		sessions: map[*Session]struct{}{}, changed: make(chan struct{})}
	b.wg.Add(1)
	go b.accept() // ends when Close closes the listener
	return b, nil
}

// Protocol is what the backend speaks.
func (b *Backend) Protocol() Protocol { return b.o.Protocol }

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
	s.tally()
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
	for s := range b.sessions {
		s.tally()
	}
	out := make([]Record, len(b.records))
	for i, r := range b.records {
		out[i] = r.clone()
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

// Messages is what came by DATA, in order.
func (b *Backend) Messages() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages)
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

// Notify tells every idling IMAP session of account the number of its messages, as if one had arrived, and says how many
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

// Kick ends every logged-in session of account with its protocol's farewell and FIN, and says how many. An empty account means all.
func (b *Backend) Kick(account string) int {
	picked := b.pick(account, func(s *Session) bool { return s.rec.LoggedIn })
	for _, s := range picked {
		_ = s.Write(strings.ReplaceAll(b.speech.kicked, "{name}", b.o.Name))
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
