package engine

import (
	"math"
	"math/rand/v2"
	"testing"
)

const oneTick = int64(1) << tickShift

// model is the wheel as a plain list, and the judge of the real one. A deadline is due in the first tick that begins at
// or after it, but not before the tick after the one in which it was armed.
type model struct {
	t   *testing.T
	w   *wheel
	rnd *rand.Rand

	now     int64
	armed   map[Token]*deadline
	names   []Token // every name ever used, to pick from
	fired   int
	pending map[TimerID]Token // who holds which id
}

type deadline struct {
	id  TimerID
	at  int64
	due int64 // tick
	far bool  // armed beyond the horizon
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rnd: rand.New(rand.NewPCG(seed, seed)), armed: map[Token]*deadline{}, pending: map[TimerID]Token{}}
	m.now = 5*oneTick + 12345
	m.w = newWheel(m.now)
	return m
}

// span picks how far ahead a deadline lies: past, within a tick, within the horizon, beyond it.
func (m *model) span() int64 {
	switch m.rnd.IntN(10) {
	case 0:
		return -m.rnd.Int64N(3 * oneTick)
	case 1, 2, 3:
		return m.rnd.Int64N(3 * oneTick)
	case 4:
		return m.rnd.Int64N(4 * wheelSlots * oneTick)
	default:
		return m.rnd.Int64N(wheelSlots / 2 * oneTick)
	}
}

// note enters a deadline into the model.
func (m *model) note(tok Token, d *deadline, at int64) {
	d.at = at
	d.due = max((at-1)>>tickShift+1, m.w.tick+1)
	d.far = d.due-m.w.tick >= wheelSlots
	m.armed[tok] = d
}

func (m *model) arm() {
	tok := Token(len(m.names) + 1)
	m.names = append(m.names, tok)
	at := m.now + m.span()
	d := &deadline{id: m.w.arm(0, at, tok)}
	if other, taken := m.pending[d.id]; d.id == 0 || taken {
		m.t.Fatalf("timer id %d was handed out while %v holds it", d.id, other)
	}
	m.pending[d.id] = tok
	m.note(tok, d, at)
}

// act does something random to a random deadline.
func (m *model) act() {
	if len(m.names) == 0 {
		m.arm()
		return
	}
	tok := m.names[m.rnd.IntN(len(m.names))]
	d := m.armed[tok]
	switch m.rnd.IntN(4) {
	case 0, 1:
		m.arm()
	case 2:
		if d != nil {
			m.w.disarm(d.id)
			delete(m.armed, tok)
			delete(m.pending, d.id)
		}
	case 3:
		if d != nil {
			at := m.now + m.span()
			if got := m.w.arm(d.id, at, tok); got != d.id {
				m.t.Fatalf("moving timer %d made it %d", d.id, got)
			}
			m.note(tok, d, at)
		}
	}
}

// fire is the handler: it checks the deadline, does random things to others and to itself, and may go on.
func (m *model) fire(tok Token) int64 {
	m.fired++
	d := m.armed[tok]
	if d == nil {
		m.t.Fatalf("%d fired, which is not armed", tok)
	}
	if d.at > m.now {
		m.t.Fatalf("%d fired %d ns early", tok, d.at-m.now)
	}
	for range m.rnd.IntN(3) {
		m.act()
	}
	if m.armed[tok] == nil { // disarmed itself; what it returns is ignored
		return m.now + m.span()
	}
	if m.rnd.IntN(2) == 0 {
		delete(m.armed, tok)
		delete(m.pending, d.id)
		return 0
	}
	next := m.now + m.span()
	m.note(tok, d, next)
	return next
}

// pass lets time go by and checks that nothing is late and that the sleep before would have been right.
func (m *model) pass(by int64) {
	m.now += by
	m.w.advance(m.now, m.fire)
	first, far := int64(math.MaxInt64), false
	for tok, d := range m.armed {
		if d.due <= m.now>>tickShift {
			m.t.Fatalf("%d is %d ns late", tok, m.now-d.at)
		}
		first, far = min(first, d.due), far || d.far
	}
	wait := m.w.wait(m.now)
	switch {
	case len(m.armed) == 0:
		if wait != -1 {
			m.t.Fatalf("with nothing armed wait is %d, want -1", wait)
		}
	case wait <= 0 || m.now+wait > first<<tickShift || !far && m.now+wait != first<<tickShift:
		m.t.Fatalf("wait is %d, want %d", wait, first<<tickShift-m.now)
	}
}

func TestWheelAgainstList(t *testing.T) {
	for seed := range uint64(50) {
		m := newModel(t, seed)
		for range 600 {
			for range m.rnd.IntN(4) {
				m.act()
			}
			switch m.rnd.IntN(20) {
			case 0:
				m.pass(m.rnd.Int64N(3 * wheelSlots * oneTick)) // the process was stopped
			case 1, 2:
				m.pass(m.w.wait(m.now) + 1)
			default:
				m.pass(m.rnd.Int64N(2 * oneTick))
			}
		}
		for tok, d := range m.armed {
			m.w.disarm(d.id)
			delete(m.armed, tok)
		}
		if m.fired == 0 {
			t.Fatal("nothing ever fired")
		}
		if got := m.w.nodes.Len(); got != 0 {
			t.Errorf("seed %d: %d timers leaked", seed, got)
		}
		if got := m.w.wait(m.now); got != -1 {
			t.Errorf("seed %d: an empty wheel waits %d, want -1", seed, got)
		}
		check(t, m.w.nodes.Close())
	}
}

// A handler may do anything to its own timer.
func TestWheelOwnTimerWithinHandler(t *testing.T) {
	const later = 3 * oneTick
	for _, c := range []struct {
		name  string
		due   func(w *wheel, id TimerID) int64
		fires int // within 10 ticks
		left  int
	}{
		{"lets go", func(*wheel, TimerID) int64 { return 0 }, 1, 0},
		{"goes on", func(w *wheel, _ TimerID) int64 { return w.tick<<tickShift + later }, 4, 1},
		{"goes on at once", func(*wheel, TimerID) int64 { return 1 }, 10, 1},
		{"disarms and lets go", func(w *wheel, id TimerID) int64 { w.disarm(id); return 0 }, 1, 0},
		{"disarms and goes on", func(w *wheel, id TimerID) int64 { w.disarm(id); return w.tick<<tickShift + later }, 1, 0},
		{"moves and goes on elsewhere", func(w *wheel, id TimerID) int64 {
			w.arm(id, math.MaxInt64, 1)
			return w.tick<<tickShift + later
		}, 4, 1},
		{"goes on for ever", func(*wheel, TimerID) int64 { return math.MaxInt64 }, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWheel(0)
			defer w.nodes.Close()
			id, fires := w.arm(0, oneTick, 1), 0
			for now := int64(0); now <= 10*oneTick; now += oneTick {
				w.advance(now, func(Token) int64 { fires++; return c.due(w, id) })
			}
			if fires != c.fires || w.nodes.Len() != c.left {
				t.Errorf("fired %d times and left %d timers, want %d and %d", fires, w.nodes.Len(), c.fires, c.left)
			}
		})
	}
}

// A deadline that never comes costs one look a turn, not one a tick.
func TestWheelLooksOnceATurnBeyondTheHorizon(t *testing.T) {
	for _, at := range []int64{100 * wheelSlots * oneTick, math.MaxInt64} {
		w := newWheel(0)
		w.arm(0, at, 1)
		if got, want := w.wait(0), (wheelSlots-1)*oneTick; got != int64(want) {
			t.Errorf("deadline %d: wait is %d, want %d", at, got, want)
		}
		w.nodes.Close()
	}
}

func BenchmarkArmDisarm(b *testing.B) {
	w := newWheel(0)
	defer w.nodes.Close()
	for i := range int64(10_000) {
		w.arm(0, i*oneTick/16, 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.disarm(w.arm(0, 300*oneTick, 1))
	}
}

func BenchmarkArmMove(b *testing.B) {
	w := newWheel(0)
	defer w.nodes.Close()
	id, at := w.arm(0, oneTick, 1), oneTick
	b.ReportAllocs()
	for b.Loop() {
		at = (at + oneTick) % (wheelSlots * oneTick)
		w.arm(id, at, 1)
	}
}
