package health

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// model is SPEC 7 written down as plainly as possible: the streak as a list, no fast paths.
type model struct {
	limits   Limits
	streak   []failure
	epoch    int
	down     bool
	since    time.Time
	until    time.Time
	probe    int // handle of the login that probes; 0: none
	handles  int
	inFlight []login
	changes  []string
}

type failure struct {
	client netip.Prefix
	host   bool
}

type login struct {
	handle, epoch int
	probe         bool
}

func (m *model) allow(now time.Time) bool {
	if m.down && (m.probe != 0 || now.Before(m.until)) {
		return false
	}
	m.handles++
	m.inFlight = append(m.inFlight, login{m.handles, m.epoch, m.down})
	if m.down {
		m.probe = m.handles
	}
	return true
}

func (m *model) sources() int {
	seen := map[netip.Prefix]bool{}
	for _, f := range m.streak {
		seen[f.client] = true
	}
	return len(seen)
}

func (m *model) host() bool {
	return slices.ContainsFunc(m.streak, func(f failure) bool { return f.host })
}

func (m *model) failed(l login, client netip.Addr, host bool, now time.Time) {
	if l.epoch != m.epoch {
		return
	}
	bits := 64
	if client = client.Unmap(); client.Is4() {
		bits = 32
	}
	m.streak = append(m.streak, failure{netip.PrefixFrom(client, bits).Masked(), host})
	if m.down && l.handle == m.probe {
		m.probe, m.until = 0, now.Add(m.limits.Cooldown)
	}
	if !m.down && m.limits.Threshold > 0 && len(m.streak) >= m.limits.Threshold && (m.host() || m.sources() >= m.limits.MinClients) {
		m.down, m.since, m.until = true, now, now.Add(m.limits.Cooldown)
		m.changes = append(m.changes, changeText(Change{true, len(m.streak), m.sources(), m.host(), 0}))
	}
}

func (m *model) cleared(isReset bool, now time.Time) {
	if m.down {
		m.changes = append(m.changes, changeText(Change{false, len(m.streak), m.sources(), m.host(), now.Sub(m.since)}))
	}
	if m.down || isReset {
		m.epoch++
	}
	m.streak, m.down, m.probe = nil, false, 0
}

func (m *model) abandoned(l login) {
	if m.probe == l.handle {
		m.probe = 0
	}
}

func (m *model) snapshot(now time.Time) Snapshot {
	s := Snapshot{Failures: len(m.streak), Sources: m.sources(), HostLevel: m.host(), Down: m.down, Probing: m.probe != 0}
	if m.down {
		s.DownFor, s.ProbeIn = now.Sub(m.since), max(0, m.until.Sub(now))
	}
	return s
}

// people are few, so that streaks of one client occur; some are the same by different names.
var people = []netip.Addr{clients['a'], clients['b'], clients['m'], clients['6'], clients['7'].WithZone(""), clients['8']}

// compare plays bytes against both and wants no difference at any step.
func compare(t *testing.T, data []byte) {
	if len(data) < 3 || len(data) > 512 { // longer ones only take longer
		return
	}
	l := Limits{Threshold: int(data[0] % 5), MinClients: int(data[1] % 4), Cooldown: time.Duration(data[2]%3) * 10 * time.Second}
	r, m, passes := newRig(t, l), &model{limits: l}, map[int]Pass{}
	for i, op := range data[3:] {
		now, arg := r.clock.now(), int(op>>3)
		pick := func() (login, bool) {
			if len(m.inFlight) == 0 {
				return login{}, false
			}
			at := arg % len(m.inFlight)
			x := m.inFlight[at]
			m.inFlight = slices.Delete(m.inFlight, at, at+1)
			return x, true
		}
		switch op & 7 {
		case 0, 1:
			p, ok := r.b.Allow()
			if want := m.allow(now); ok != want || ok && p.Probe() != m.down {
				t.Fatalf("step %d of %x: got Allow %v, probe %v, want %v, probe %v", i, data, ok, p.Probe(), want, m.down)
			}
			if ok {
				passes[m.handles] = p
			}
		case 2, 3, 4:
			if x, ok := pick(); ok {
				level, client := Level(op&1), people[arg%len(people)]
				passes[x.handle].Failed(client, level)
				passes[x.handle].Abandon()
				m.failed(x, client, level == HostLevel, now)
				m.abandoned(x)
			}
		case 5:
			if x, ok := pick(); ok {
				passes[x.handle].Succeeded()
				passes[x.handle].Abandon()
				m.cleared(false, now)
			}
		case 6:
			if x, ok := pick(); ok {
				passes[x.handle].Abandon()
				m.abandoned(x)
			}
		case 7:
			if arg == 31 {
				r.b.Reset()
				m.cleared(true, now)
			} else {
				r.clock.advance(time.Duration(arg) * time.Second)
			}
		}
		if got, want := r.b.Snapshot(), m.snapshot(r.clock.now()); got != want {
			t.Fatalf("step %d of %x: got %+v, want %+v", i, data, got, want)
		}
		if got, want := len(r.changes), len(m.changes); got != want {
			t.Fatalf("step %d of %x: got %d changes, want %d", i, data, got, want)
		}
	}
	if got, want := fmt.Sprint(r.changes), fmt.Sprint(m.changes); got != want {
		t.Fatalf("%x: got changes %s, want %s", data, got, want)
	}
}

func FuzzBreaker(f *testing.F) {
	f.Add([]byte{3, 2, 1, 0, 0, 0, 2, 10, 3, 0, 0x57, 0, 0, 5})
	f.Add([]byte{1, 0, 1, 0, 3, 0, 0x57, 0, 6, 0, 5})
	f.Add([]byte{1, 0, 1, 0, 0, 3, 0x57, 0, 5, 2, 0xff})
	f.Fuzz(compare)
}

func TestRandomAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		data := make([]byte, 3+rnd.IntN(120))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		compare(t, data)
	}
}
