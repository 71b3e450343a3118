package session

import (
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"mailsplice/core/engine"
)

// registryShards spreads the lock of the registry; kicks and logins of one account meet in one shard.
const registryShards = 64

// registry files every login in progress and every joined session under its account, so that a kick, an invalidation
// and a list cost as much as the account has sessions (DESIGN 5). It is pointer-free: a million sessions cost the
// collector nothing. Any goroutine may use it.
//
// An account has a generation while it has entries. A login remembers the generation it began with; whatever changes
// where the account lives raises it; join refuses a login whose generation is old (SECURITY 31).
type registry struct {
	seed   maphash.Seed
	epoch  atomic.Uint32 // raised by bumpAll; part of every generation
	shards [registryShards]shard
}

type shard struct {
	mu       sync.Mutex
	accounts *engine.Slab[account]
	entries  *engine.Slab[entry]
	names    names
	index    bucketIndex
}

// account is one account with at least one entry.
type account struct {
	hash  uint64
	name  nameRef
	gen   uint32
	head  uint32 // first entry
	chain uint32 // next account of the bucket
}

// entry is one login or session of an account.
type entry struct {
	tok        engine.Token // in the loop's session slab
	account    uint32
	next, prev uint32 // within the account
	loop       uint16
	dest       uint16 // destination number, noDest until the look-up has found it
	protocol   Protocol
	joined     uint8
	master     uint8
	short      uint8 // looked up without the default domain
}

// ticket is a session's own place in the registry. The zero ticket is none.
type ticket struct {
	shard uint32
	index uint32
	gen   uint32 // of the slab, not of the account
}

// noDest is the destination of a login that is not resolved yet.
const noDest = 1<<16 - 1

// place is where an entry's session lives, copied out of the registry.
type place struct {
	tok      engine.Token
	loop     int
	dest     uint16
	protocol Protocol
	joined   bool
	master   bool
	short    bool // looked up without the default domain, which the account's name has
}

func newRegistry() *registry {
	r := &registry{seed: maphash.MakeSeed()}
	for i := range r.shards {
		s := &r.shards[i]
		s.accounts, s.entries = engine.NewSlab[account](), engine.NewSlab[entry]()
		s.names.init()
	}
	return r
}

func (r *registry) shardOf(name string) (*shard, uint32, uint64) {
	h := maphash.String(r.seed, name)
	n := uint32(h >> 58)
	return &r.shards[n], n, h
}

// enter files a login in progress and returns its ticket with the generation that it begins with.
func (r *registry) enter(name string, p place) (ticket, uint32, error) {
	s, n, h := r.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	ai, a, err := s.account(h, name)
	if err != nil {
		return ticket{}, 0, err
	}
	i, gen, e, err := s.entries.New()
	if err != nil {
		s.release(ai, a)
		return ticket{}, 0, fmt.Errorf("filing a login: %w", err)
	}
	*e = entry{tok: p.tok, account: ai, next: a.head, loop: uint16(p.loop), dest: noDest, protocol: p.protocol, master: flag(p.master),
		short: flag(p.short)}
	if a.head != 0 {
		s.entry(a.head).prev = i
	}
	a.head = i
	return ticket{shard: n, index: i, gen: gen}, a.gen + r.epoch.Load(), nil
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// entry and acct are for indices that the shard itself keeps, which are never stale.
func (s *shard) entry(i uint32) *entry  { return s.entries.Live(i) }
func (s *shard) acct(i uint32) *account { return s.accounts.Live(i) }

// account finds or makes the record of a name.
func (s *shard) account(h uint64, name string) (uint32, *account, error) {
	if i, a := s.find(h, name); a != nil {
		return i, a, nil
	}
	ref, err := s.names.put(name)
	if err != nil {
		return 0, nil, err
	}
	i, _, a, err := s.accounts.New()
	if err != nil {
		s.names.free(ref)
		return 0, nil, fmt.Errorf("filing an account: %w", err)
	}
	*a = account{hash: h, name: ref}
	if err := s.index.add(s, i, a); err != nil {
		s.names.free(ref)
		s.accounts.Free(i)
		return 0, nil, err
	}
	return i, a, nil
}

func (s *shard) find(h uint64, name string) (uint32, *account) {
	for i := s.index.first(h); i != 0; {
		a := s.acct(i)
		if a.hash == h && s.names.is(a.name, name) {
			return i, a
		}
		i = a.chain
	}
	return 0, nil
}

// release drops an account without entries.
func (s *shard) release(i uint32, a *account) {
	if a.head != 0 {
		return
	}
	s.index.remove(s, i, a)
	s.names.free(a.name)
	s.accounts.Free(i)
}

// generation is the account's present one; a login that resolves again takes it first.
func (r *registry) generation(t ticket) uint32 {
	s := &r.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries.At(t.index, t.gen)
	if e == nil {
		return 0
	}
	return s.acct(e.account).gen + r.epoch.Load()
}

// aim notes where a login in progress is going, so that a kick of the destination reaches it.
func (r *registry) aim(t ticket, dest uint16) {
	s := &r.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries.At(t.index, t.gen); e != nil {
		e.dest = dest
	}
}

// join turns a login into a session at destination dest, unless the account's generation is no longer gen.
func (r *registry) join(t ticket, gen uint32, dest uint16) bool {
	s := &r.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries.At(t.index, t.gen)
	if e == nil || s.acct(e.account).gen+r.epoch.Load() != gen {
		return false
	}
	e.joined, e.dest = 1, dest
	return true
}

// leave takes an entry out. The zero ticket is ignored.
func (r *registry) leave(t ticket) {
	if t.index == 0 {
		return
	}
	s := &r.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries.At(t.index, t.gen)
	if e == nil {
		return
	}
	a := s.acct(e.account)
	if e.prev != 0 {
		s.entry(e.prev).next = e.next
	} else {
		a.head = e.next
	}
	if e.next != 0 {
		s.entry(e.next).prev = e.prev
	}
	ai := e.account
	s.entries.Free(t.index)
	s.release(ai, a)
}

// name copies the account's name out, for the log line of a session's end.
func (r *registry) name(t ticket) string {
	if t.index == 0 {
		return ""
	}
	s := &r.shards[t.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries.At(t.index, t.gen)
	if e == nil {
		return ""
	}
	return s.names.text(s.acct(e.account).name)
}

// bump raises the generation of one account and reports whether it has entries.
func (r *registry) bump(name string) bool {
	s, _, h := r.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, a := s.find(h, name)
	if a == nil {
		return false
	}
	a.gen++
	return true
}

// bumpAll raises every generation. It takes each lock once, so that a join which was under way has ended when it
// returns.
func (r *registry) bumpAll() {
	r.epoch.Add(1)
	for i := range r.shards {
		r.shards[i].mu.Lock()
		r.shards[i].mu.Unlock() //lint:ignore SA2001 waiting for the critical section is the point
	}
}

// sessionsOf appends the places of one account's logins and sessions.
func (r *registry) sessionsOf(name string, to []place) []place {
	s, _, h := r.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, a := s.find(h, name); a != nil {
		for i := a.head; i != 0; i = s.entry(i).next {
			to = append(to, s.entry(i).place())
		}
	}
	return to
}

func (e *entry) place() place {
	return place{tok: e.tok, loop: int(e.loop), dest: e.dest, protocol: e.protocol, joined: e.joined == 1, master: e.master == 1,
		short: e.short == 1}
}

// each appends the places of all entries, a shard at a time, for which keep says so.
func (r *registry) each(keep func(place) bool) (list []place) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		s.entries.Each(func(_, _ uint32, e *entry) {
			if p := e.place(); keep(p) {
				list = append(list, p)
			}
		})
		s.mu.Unlock()
	}
	return list
}

// accountNames lists every account with a joined session, for on_change after an invalidation of everything.
func (r *registry) accountNames() (list []string) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		s.accounts.Each(func(_, _ uint32, a *account) { list = append(list, s.names.text(a.name)) })
		s.mu.Unlock()
	}
	return list
}

// close unmaps everything; used by tests and at the process's end.
func (r *registry) close() {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		s.accounts.Close()
		s.entries.Close()
		s.names.close()
		s.index.close()
		s.mu.Unlock()
	}
}
