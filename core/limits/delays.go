package limits

import (
	"net/netip"
	"time"
)

// steps are the delays of SPEC 12, by how many failures of the address are remembered.
var steps = [...]time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

// MaxDelay is the longest delay that Failed returns.
const MaxDelay = 15 * time.Second

const (
	// forgetSeconds: an address that does not fail for so long has one failure forgotten, and so on: all of them after ten
	// minutes. Whoever guesses at that pace gains less than by bearing MaxDelay.
	forgetSeconds = 120
	// sweepSeconds: a shard looks for entries that have aged out when it is to grow, but not more often than that.
	sweepSeconds = 10
	// sampled entries are compared when one must go because nothing has room.
	sampled = 16
)

// Delays remembers how the logins of each address have failed, and says how long the answer to a failure is to be held
// back (SPEC 12). Only refusals by a backend are reported: what is malformed, aborted or temporary delays nobody (SPEC 3,
// 6.1). Its methods are safe for any goroutine and take a lock for some ten nanoseconds.
//
// Every failure raises the delay of the next one: 0, 1, 2, 4, 8, then 15 s. A success takes back one failure and not all:
// many people behind one address succeed more often than they fail, and whoever guesses cannot wipe out many failures by
// one account of their own. Only failures are delayed, never a success.
type Delays struct {
	table table
	now   func() time.Time // immutable
	start time.Time        // immutable
}

// NewDelays makes a table without entries. A nil now means time.Now.
func NewDelays(now func() time.Time) *Delays { return newDelays(now, newTable(maxEntries, shards)) }

func newDelays(now func() time.Time, t table) *Delays {
	if now == nil {
		now = time.Now
	}
	return &Delays{table: t, now: now, start: now()}
}

// seconds since the start, at least 0; 136 years fit.
func (d *Delays) seconds() uint32 { return uint32(max(0, d.now().Sub(d.start)) / time.Second) }

// Failed counts a refused login of a and returns how long its answer is to wait: from 0 to MaxDelay.
func (d *Delays) Failed(a netip.Addr) time.Duration {
	k, now := keyOf(a), d.seconds()
	if k.kind == none {
		return 0
	}
	if wait, ok := d.raise(k, now, givingUp); ok {
		return wait
	}
	if f := k.folded(); f.kind != none {
		k = f
	}
	wait, _ := d.raise(k, now, evicting)
	return wait
}

// pressure is what raise does without room.
type pressure uint8

const (
	givingUp pressure = iota
	evicting
)

// raise counts a failure under k and returns the delay for it; false if k has no entry and gets none.
func (d *Delays) raise(k key, now uint32, p pressure) (time.Duration, bool) {
	s, h := d.table.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(h, k)
	if e == nil {
		if e = d.enter(s, h, k, now, p); e == nil {
			return 0, false
		}
	}
	e.age(now)
	wait := steps[e.level]
	e.level, e.n = min(e.level+1, uint8(len(steps)-1)), now
	return wait, true
}

// enter makes an entry, after making room.
func (d *Delays) enter(s *shard, h uint64, k key, now uint32, p pressure) *slot {
	if s.full(1) || !d.table.room(s, k.kind) {
		d.sweep(s, now)
	}
	if !d.table.room(s, k.kind) {
		if p == givingUp {
			return nil
		}
		s.remove(&d.table, s.mildest(h, now))
	}
	return s.add(&d.table, h, k)
}

// sweep drops the entries that have aged out.
func (d *Delays) sweep(s *shard, now uint32) {
	if since(s.swept, now) < sweepSeconds {
		return
	}
	s.swept = now
	s.rebuild(&d.table, max(minSlots, len(s.slots)), func(e *slot) bool { return e.aged(now) == 0 })
	for s.sparse() {
		s.rebuild(&d.table, len(s.slots)/2, nil)
	}
}

// mildest is, of a few entries beginning at the home of h, the one with the lowest level, and of those the oldest. The
// shard has at least one entry.
func (s *shard) mildest(h uint64, now uint32) *slot {
	var found *slot
	for i, seen := s.home(h), 0; seen < sampled || found == nil; i, seen = s.after(i), seen+1 {
		e := &s.slots[i]
		if e.kind != none && (found == nil || e.milder(found, now)) {
			found = e
		}
	}
	return found
}

func (e *slot) milder(than *slot, now uint32) bool {
	if l, m := e.aged(now), than.aged(now); l != m {
		return l < m
	}
	return since(e.n, now) > since(than.n, now)
}

// since is how many seconds there are from one time to another. A time that another goroutine read a moment later is now.
func since(then, now uint32) uint32 {
	if then > now {
		return 0
	}
	return now - then
}

// aged is the level that is left now.
func (e *slot) aged(now uint32) uint8 {
	return e.level - uint8(min(uint32(e.level), since(e.n, now)/forgetSeconds))
}

// age brings the level up to date and keeps the part of a step that has passed.
func (e *slot) age(now uint32) {
	e.level, e.n = e.aged(now), e.n+since(e.n, now)/forgetSeconds*forgetSeconds
}

// Succeeded takes one failure of a back.
func (d *Delays) Succeeded(a netip.Addr) {
	now := d.seconds()
	for k := keyOf(a); k.kind != none; k = k.folded() {
		if d.lower(k, now) {
			return
		}
	}
}

// lower reports whether k has an entry; one without a failure left is removed.
func (d *Delays) lower(k key, now uint32) bool {
	s, h := d.table.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(h, k)
	if e == nil {
		return false
	}
	e.age(now)
	if e.level <= 1 {
		s.remove(&d.table, e)
		return true
	}
	e.level--
	return true
}

// Stats reads the table's figures. It takes every lock once.
func (d *Delays) Stats() Stats { return d.table.stats() }
