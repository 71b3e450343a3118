package health

import (
	"net/netip"
	"time"
)

// Snapshot is a destination's health as GET /destinations shows it (SPEC 8).
type Snapshot struct {
	// Failures is consecutive_failures, Sources is failure_sources: the clients of the streak, told apart up to 1,024 or
	// MinClients, whichever is more. HostLevel is host_level_failure.
	Failures  int
	Sources   int
	HostLevel bool
	Down      bool
	// DownFor is down_for_s: since when it is down, however many cooldowns that were. ProbeIn is what is left of the
	// present cooldown, zero when the next login may probe or one does. Both are zero while the destination is up.
	DownFor time.Duration
	ProbeIn time.Duration
	// Probing tells that a login is finding out whether the destination is back.
	Probing bool
}

// Snapshot reads the state.
func (b *Breaker) Snapshot() Snapshot {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Snapshot{Failures: b.failures, Sources: len(b.sources), HostLevel: b.hostLevel, Down: b.word.Load()&wordDown != 0, Probing: b.probe != 0}
	if s.Down {
		s.DownFor, s.ProbeIn = now.Sub(b.since), max(0, b.until.Sub(now))
	}
	return s
}

// Down is Snapshot's Down in one atomic load, for a gauge.
func (b *Breaker) Down() bool { return b.word.Load()&wordDown != 0 }

// source is a client as a streak tells it apart: an IPv4 address in its mapped form, or an IPv6 /64 without zone. It holds
// no pointer, so that the collector does not look into the sets.
type source [16]byte

// sourceBits is the part of an IPv6 address that stands for one client, as for max_sessions_per_ip (SPEC 2.1).
const sourceBits = 64

func sourceOf(a netip.Addr) source {
	s := source(a.As16())
	if !a.Unmap().Is4() {
		clear(s[sourceBits/8:])
	}
	return s
}
