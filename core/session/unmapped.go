package session

import (
	"slices"
	"sync"
	"time"
)

// maxUnmapped bounds the identifiers that are remembered for GET /mappings/unmapped (SPEC 8).
const maxUnmapped = 1000

// unmapped remembers which identifiers were lately routed to the default destination. Any goroutine may use it.
type unmapped struct {
	mu   sync.Mutex
	seen map[string]time.Time // guarded by mu
}

// note remembers an identifier. One that is not the first to want the lock is let go: it is a sample, not an account.
func (u *unmapped) note(identifier string) {
	if !u.mu.TryLock() {
		return
	}
	defer u.mu.Unlock()
	if u.seen == nil {
		u.seen = map[string]time.Time{}
	}
	if _, known := u.seen[identifier]; !known && len(u.seen) >= maxUnmapped {
		u.drop()
	}
	u.seen[identifier] = time.Now()
}

// drop makes room: a tenth goes, whichever the map names first. The rest of them come back when they log in.
func (u *unmapped) drop() {
	n := maxUnmapped / 10
	for identifier := range u.seen {
		delete(u.seen, identifier)
		if n--; n == 0 {
			return
		}
	}
}

// Unmapped is an identifier that was routed to the default destination for want of a mapping.
type Unmapped struct {
	Identifier string
	Seen       time.Time
}

// Unmapped lists identifiers lately routed to the default destination, the latest first, a thousand at most.
func (s *Sessions) Unmapped() (list []Unmapped) {
	s.unmapped.mu.Lock()
	defer s.unmapped.mu.Unlock()
	for identifier, seen := range s.unmapped.seen {
		list = append(list, Unmapped{identifier, seen})
	}
	slices.SortFunc(list, func(a, b Unmapped) int { return b.Seen.Compare(a.Seen) })
	return list
}
