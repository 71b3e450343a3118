package logx

import (
	"sync"
	"time"
)

// Throttle lets one event pass per period, for warnings that come in storms. It is safe for any goroutine. Use one per
// warning.
type Throttle struct {
	period time.Duration // immutable after Every

	mu sync.Mutex
	// guarded by mu
	next       time.Time // when the following event may pass
	suppressed uint64
}

// Every lets one event pass per period; the first passes at once.
func Every(period time.Duration) *Throttle { return &Throttle{period: period} }

// Allow reports whether an event at now may pass.
func (t *Throttle) Allow(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.next) {
		t.suppressed++
		return false
	}
	t.next = now.Add(t.period)
	return true
}

// Suppressed is how many events did not pass since this was last asked.
func (t *Throttle) Suppressed() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.suppressed
	t.suppressed = 0
	return n
}
