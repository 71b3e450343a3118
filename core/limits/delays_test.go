package limits

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// play runs the steps of a script and returns the delays, in seconds:
//
//	fa   a login of address a is refused    sa    one succeeds    +5s  time passes
func play(t *testing.T, d *Delays, c *clock, script string) string {
	t.Helper()
	who := map[byte]netip.Addr{'a': v4(1), 'b': v4(2), 'm': addr("::ffff:10.0.0.1"), '6': v6(1), '7': v6(1).Next(), '8': v6(2), '0': {}}
	var got []string
	for step := range strings.FieldsSeq(script) {
		switch step[0] {
		case 'f':
			got = append(got, strconv.FormatFloat(d.Failed(who[step[1]]).Seconds(), 'g', -1, 64))
		case 's':
			d.Succeeded(who[step[1]])
		case '+':
			x, err := time.ParseDuration(step[1:])
			if err != nil {
				t.Fatal(err)
			}
			c.advance(x)
		default:
			t.Fatalf("step %q", step)
		}
	}
	return strings.Join(got, " ")
}

func TestDelays(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"the row of SPEC 12", "fa fa fa fa fa fa fa fa", "0 1 2 4 8 15 15 15"},
		{"another address", "fa fa fa fb fa", "0 1 2 0 4"},
		{"mapped", "fa fm fa", "0 1 2"},
		{"one /64", "f6 f7 f6 f7", "0 1 2 4"},
		{"two /64", "f6 f8 f6 f8", "0 0 1 1"},
		{"no address", "f0 f0 f0 s0", "0 0 0"},
		{"a success takes one back", "fa fa fa sa fa fa", "0 1 2 2 4"},
		{"a success for each failure", "fa sa fa sa fa sa fa", "0 0 0 0"},
		{"one success does not clear", "fa fa fa fa fa fa sa fa fa", "0 1 2 4 8 15 8 15"},
		{"many do", "fa fa fa sa sa sa sa fa fa", "0 1 2 0 1"},
		{"successes are not saved up", "sa sa sa sa fa fa fa", "0 1 2"},
		{"another's success", "fa fa sb fa", "0 1 2"},
		{"nearly forgotten", "fa +119s fa +119s fa", "0 1 2"},
		{"one forgotten", "fa fa fa +120s fa", "0 1 2 2"},
		{"two forgotten", "fa fa fa +240s fa", "0 1 2 1"},
		{"all forgotten", "fa fa fa fa fa fa fa +600s fa fa", "0 1 2 4 8 15 15 0 1"},
		{"one short of all", "fa fa fa fa fa fa fa +599s fa", "0 1 2 4 8 15 15 1"},
		{"a day later", "fa fa fa +24h fa", "0 1 2 0"},
		{"a success keeps the clock", "fa fa fa fa +119s sa +1s fa", "0 1 2 4 2"},
		{"a failure sets it back", "fa fa fa +119s fa +119s fa", "0 1 2 4 8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			d := NewDelays(c.now)
			if got := play(t, d, c, tt.script); got != tt.want {
				t.Errorf("%q: got %s, want %s", tt.script, got, tt.want)
			}
			if err := d.table.check(); err != nil {
				t.Error(err)
			}
		})
	}
	if last := steps[len(steps)-1]; last != MaxDelay {
		t.Errorf("got %v as the longest delay, documented is %v", last, MaxDelay)
	}
}

// A clock that goes back, or that another goroutine has read later, forgets nothing and breaks nothing.
func TestClockGoingBack(t *testing.T) {
	c := newClock()
	d := NewDelays(c.now)
	if got, want := play(t, d, c, "+1h fa fa +-1s fa +-2h fa sa fa"), "0 1 2 4 4"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDefaultClock(t *testing.T) {
	d := NewDelays(nil)
	if a, b := d.Failed(v4(1)), d.Failed(v4(1)); a != 0 || b != time.Second {
		t.Errorf("got %v, %v, want 0s, 1s", a, b)
	}
}

func TestSuccessesLeaveNoEntry(t *testing.T) {
	c := newClock()
	d := NewDelays(c.now)
	play(t, d, c, "fa s6 sb sa f6 f6 s7 s7")
	if got := d.Stats(); got.Entries != 0 {
		t.Errorf("got %+v, want nothing", got)
	}
}

// Entries that have aged out make room before the table grows, and it shrinks over time.
func TestAgedEntriesGo(t *testing.T) {
	c := newClock()
	d := newDelays(c.now, small(maxEntries))
	for n := range 10_000 {
		d.Failed(v4(n))
	}
	before := d.Stats()
	c.advance(forgetSeconds * time.Second)
	for n := range 10_000 {
		d.Failed(v4(100_000 + n))
	}
	after := d.Stats()
	if after.Entries > before.Entries+before.Bytes/16/4 || after.Bytes > before.Bytes {
		t.Errorf("got %+v after %+v, want no more memory", after, before)
	}
	c.advance(time.Hour)
	for n := range 10_000 {
		d.Failed(v4(200_000 + n))
		c.advance(time.Second)
	}
	if got := d.Stats(); got.Bytes > before.Bytes/16 {
		t.Errorf("got %+v after %+v, want a fraction: 120 addresses fail at a time", got, before)
	}
}

// Sixteen entries: fifteen for anybody, one more for a /48.
func TestFullTableOfDelays(t *testing.T) {
	tests := []struct {
		name string
		fill int
		next []netip.Addr
		want string // their delays
	}{
		{"room for one more", 14, []netip.Addr{v6(0), v6(1), v6(0)}, "0s 0s 1s"},
		{"IPv6 folds", 15, []netip.Addr{v6(0), v6(1), v6(2), v6(3)}, "0s 1s 2s 4s"},
		{"another /48 takes the place of the mildest", 15, []netip.Addr{v6(0), v6(1), v6(1 << 16), v6(1 << 16)}, "0s 1s 0s 1s"},
		{"IPv4 takes the place of the mildest", 15, []netip.Addr{v4(100), v4(100), v4(100)}, "0s 1s 2s"},
		{"who has an entry keeps it", 15, []netip.Addr{v4(3), v6(0), v4(3), v6(1), v4(3)}, "1s 0s 2s 1s 4s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDelays(newClock().now, small(16))
			for n := range tt.fill {
				d.Failed(v4(n))
			}
			var got []string
			for _, a := range tt.next {
				got = append(got, d.Failed(a).String())
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("got %s, want %s", g, tt.want)
			}
			if err := d.table.check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A success of a folded address counts for its /48.
func TestFoldedSuccess(t *testing.T) {
	d := newDelays(newClock().now, small(16))
	for n := range 15 {
		d.Failed(v4(n))
	}
	d.Failed(v6(0))
	d.Failed(v6(1))
	d.Succeeded(v6(2))
	if got, want := d.Failed(v6(3)), time.Second; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The one that goes is never worse than one that stays within the sample.
func TestMildestGoes(t *testing.T) {
	c := newClock()
	d := newDelays(c.now, small(8))
	for n := range 8 {
		for range 2 + n%2 {
			d.Failed(v4(n))
		}
	}
	d.Succeeded(v4(6)) // the lowest level
	d.Failed(v4(100))
	if got := d.Failed(v4(7)); got != 4*time.Second {
		t.Errorf("got %v for one of three failures, want its 4s", got)
	}
	if got := d.Failed(v4(6)); got != 0 {
		t.Errorf("got %v for the one that had one failure, want it forgotten", got)
	}
}

// plain is the same rule as Delays, for one address, without a table.
type plain struct{ level, at int }

func (p *plain) age(now int) {
	n := max(0, now-p.at) / forgetSeconds
	p.level, p.at = max(0, p.level-n), p.at+n*forgetSeconds
}

// delaysAgainstModel plays bytes against plain; the first byte says how many entries the table has. In one that can be
// full, what the model does not say is judged by what was there before and after.
func delaysAgainstModel(t *testing.T, data []byte) {
	if len(data) < 1 || len(data) > 1024 {
		return
	}
	clk, entries, model := newClock(), 1+int(data[0]%64), map[key]*plain{}
	roomy := entries > 56
	if roomy {
		entries = maxEntries
	}
	d, now := newDelays(clk.now, small(entries)), 0
	for i, op := range data[1:] {
		a := v6(int(op%24)<<13 | 1) // eight /64 to a /48
		if op%4 == 0 {
			a = v4(int(op % 24))
		}
		k := keyOf(a)
		if model[k] == nil {
			model[k] = &plain{}
		}
		m := model[k]
		m.age(now)
		switch before := d.levels(); {
		case op < 140:
			wait := d.Failed(a)
			if want := steps[m.level]; roomy && wait != want {
				t.Fatalf("step %d of %x: got %v, want %v", i, data, wait, want)
			}
			m.level, m.at = min(m.level+1, len(steps)-1), now
			if err := judge(before, d.levels(), a, wait, entries); err != nil {
				t.Fatalf("step %d of %x: %v", i, data, err)
			}
		case op < 210:
			d.Succeeded(a)
			m.level = max(0, m.level-1)
		default:
			now += int(op-209) * 5
			clk.advance(time.Duration(op-209) * 5 * time.Second)
		}
		if err := d.table.check(); err != nil {
			t.Fatalf("step %d of %x: %v", i, data, err)
		}
	}
}

// levels is the present level of every entry.
func (d *Delays) levels() map[key]int {
	all, now := map[key]int{}, d.seconds()
	for i := range d.table.shards {
		for _, e := range d.table.shards[i].slots {
			if e.kind != none {
				all[e.key()] = int(e.aged(now))
			}
		}
	}
	return all
}

// judge compares the table before and after a failure: one key was raised, at most one was evicted, and only at need.
func judge(before, after map[key]int, a netip.Addr, wait time.Duration, entries int) error {
	k := keyOf(a)
	if _, ok := after[k]; !ok {
		if k = k.folded(); len(before) < entries-entries/foldShare {
			return fmt.Errorf("%v was folded with %d entries of %d", a, len(before), entries)
		}
	}
	if l, ok := after[k]; !ok || wait != steps[before[k]] || l != min(before[k]+1, len(steps)-1) {
		return fmt.Errorf("got %v and level %d of %v after %d", wait, l, k, before[k])
	}
	evicted := 0
	for x, l := range before {
		switch l2, ok := after[x]; {
		case x == k || ok && l2 == l:
		case ok:
			return fmt.Errorf("%v went from level %d to %d", x, l, l2)
		case l > 0:
			evicted++
		}
	}
	if evicted > 1 || evicted == 1 && len(before) < entries-entries/foldShare {
		return fmt.Errorf("%d were evicted with %d entries of %d", evicted, len(before), entries)
	}
	return nil
}

func FuzzDelays(f *testing.F) {
	f.Add([]byte{63, 4, 4, 4, 4, 144, 4, 255, 4, 1, 2, 3})
	f.Add([]byte{15, 0, 4, 8, 12, 16, 20, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19})
	f.Add([]byte{0, 1, 2, 3, 4, 5, 255, 255, 1, 2, 3})
	f.Fuzz(delaysAgainstModel)
}

func TestDelaysAtRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		data := make([]byte, 1+rnd.IntN(300))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		delaysAgainstModel(t, data)
	}
}

// Many goroutines at once: every failure is counted once, so that the delays are a row of SPEC 12 in some order.
func TestDelaysConcurrently(t *testing.T) {
	clk := newClock()
	d := NewDelays(clk.now)
	var mu sync.Mutex
	got := map[time.Duration]int{}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				wait := d.Failed(v4(1))
				d.Failed(v6(g*500 + i))
				d.Succeeded(v6(g*500 + i))
				mu.Lock()
				got[wait]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for n, s := range steps[:5] {
		if got[s] != 1 {
			t.Errorf("got the delay of failure %d, %v, %d times, want once", n+1, s, got[s])
		}
	}
	if got[MaxDelay] != 8*500-5 || d.Stats().Entries != 1 {
		t.Errorf("got %v and %+v, want all others delayed by %v, and one entry", got, d.Stats(), MaxDelay)
	}
}

func TestDelaysDoNotAllocate(t *testing.T) {
	d := NewDelays(newClock().now)
	d.Failed(v4(1))
	d.Failed(v6(1))
	got := testing.AllocsPerRun(100, func() {
		d.Failed(v4(1))
		d.Failed(v6(1))
		d.Succeeded(v4(1))
		d.Succeeded(v6(1))
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}
