package admin

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"mailsplice/core/logx"
)

const (
	maxPaced       = 16      // paced kicks under way; each remembers its selection
	maxRate        = 100_000 // sessions a second: faster is what a kick without a rate is for
	paceTick       = time.Second / ticksPerSecond
	ticksPerSecond = 10
)

// pacer ends selections of sessions in portions, each in a goroutine of its own.
type pacer struct {
	sessions Sessions     // immutable after newPacer
	log      *slog.Logger // immutable after newPacer
	running  sync.WaitGroup

	mu     sync.Mutex
	paces  map[Kick]*pace // guarded by mu
	closed bool           // guarded by mu
}

// pace is one paced kick under way.
type pace struct {
	cancel context.CancelFunc
}

func newPacer(sessions Sessions, log *slog.Logger) *pacer {
	return &pacer{sessions: sessions, log: log, paces: make(map[Kick]*pace)}
}

// start selects and returns how many will be ended. A kick of the same selection that is under way is given up; the new
// selection holds what is left of it.
func (p *pacer) start(k Kick, rate int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.paces[k]
	if p.closed || old == nil && len(p.paces) >= maxPaced {
		return 0, ErrBusy
	}
	if old != nil {
		old.cancel()
		delete(p.paces, k)
	}
	sel := p.sessions.Select(k)
	n := sel.Len()
	if n == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &pace{cancel}
	p.paces[k] = x
	p.running.Add(1)
	go p.run(ctx, k, x, sel, rate) // until nothing is left, another start with k, or close
	return n, nil
}

func (p *pacer) run(ctx context.Context, k Kick, x *pace, sel Selection, rate int) {
	defer p.running.Done()
	defer p.forget(k, x)
	tick := time.NewTicker(paceTick)
	defer tick.Stop()
	for due := 0; ; due %= ticksPerSecond {
		due += rate // in tenths of a session
		sel.End(due / ticksPerSecond)
		if sel.Len() == 0 {
			p.log.Info("paced kick done", slog.String(logx.Destination, k.Destination))
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.log.Info("paced kick given up", slog.String(logx.Destination, k.Destination), slog.Int(logx.Count, sel.Len()))
			return
		}
	}
}

// forget takes x off the books, also when ending a session panicked: that is this kick's failure and nobody else's.
func (p *pacer) forget(k Kick, x *pace) {
	if v := recover(); v != nil {
		p.log.Error("paced kick panicked", slog.Any(logx.Err, v), slog.String(logx.Stack, string(debug.Stack())))
	}
	x.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paces[k] == x {
		delete(p.paces, k)
	}
}

// close gives up what is under way, waits for it and lets nothing start any more.
func (p *pacer) close() {
	p.mu.Lock()
	p.closed = true
	for _, x := range p.paces {
		x.cancel()
	}
	p.mu.Unlock()
	p.running.Wait()
}
