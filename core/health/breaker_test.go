package health

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// clock stands still until it is moved.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

// clients by the letter that scripts call them.
var clients = map[byte]netip.Addr{
	'a': netip.MustParseAddr("192.0.2.1"),
	'b': netip.MustParseAddr("192.0.2.2"),
	'c': netip.MustParseAddr("198.51.100.3"),
	'm': netip.MustParseAddr("::ffff:192.0.2.1"), // a, mapped
	'6': netip.MustParseAddr("2001:db8:0:1::1"),
	'7': netip.MustParseAddr("2001:db8:0:1:ffff::2%eth0"), // the /64 of 6
	'8': netip.MustParseAddr("2001:db8:0:2::1"),
	'0': {},
}

// rig plays scripts against a breaker.
type rig struct {
	t       *testing.T
	clock   *clock
	b       *Breaker
	held    map[byte]Pass
	changes []string
}

func newRig(t *testing.T, l Limits) *rig {
	r := &rig{t: t, clock: newClock(), held: map[byte]Pass{}}
	r.b = New(Options{Limits: l, Now: r.clock.now, Changed: func(c Change) {
		r.changes = append(r.changes, changeText(c))
	}})
	return r
}

func changeText(c Change) string {
	return strings.TrimSuffix(fmt.Sprintf("%s %d/%d%s %v", word(c.Down), c.Failures, c.Sources, host(c.HostLevel), c.DownFor), " 0s")
}

func word(down bool) string {
	if down {
		return "down"
	}
	return "up"
}

func host(h bool) string {
	if h {
		return "h"
	}
	return ""
}

// state is the snapshot in short: up or down, failures/sources, h for a host-level one, then what concerns a time down.
func (r *rig) state() string {
	s := r.b.Snapshot()
	text := fmt.Sprintf("%s %d/%d%s", word(s.Down), s.Failures, s.Sources, host(s.HostLevel))
	if s.DownFor != 0 || s.ProbeIn != 0 {
		text += fmt.Sprintf(" %v-%v", s.DownFor, s.ProbeIn)
	}
	if s.Probing {
		text += " probing"
	}
	if got := r.b.Down(); got != s.Down {
		r.t.Errorf("got Down %v, want the snapshot's %v", got, s.Down)
	}
	return text
}

// play runs the steps of a script:
//
//	ca      a login of client a fails, client-level       Ha  host-level
//	ok      a login gets a verdict                        x   a login is abandoned
//	-       a login is turned away                        +5s time passes
//	<p      a login begins as p and stays in progress     >pca, >pHa, >pok, >px ends it
//	reset   POST /destinations/reset
func (r *rig) play(script string) {
	r.t.Helper()
	for step := range strings.FieldsSeq(script) {
		switch step[0] {
		case '+':
			d, err := time.ParseDuration(step[1:])
			if err != nil {
				r.t.Fatal(err)
			}
			r.clock.advance(d)
		case '-':
			if _, ok := r.b.Allow(); ok {
				r.t.Errorf("%q: got a login let through, want it turned away", script)
			}
		case '<':
			r.held[step[1]] = r.enter(script, step)
		case '>':
			r.leave(r.held[step[1]], step[2:])
		case 'r':
			r.b.Reset()
		default:
			r.leave(r.enter(script, step), step)
		}
	}
}

func (r *rig) enter(script, step string) Pass {
	r.t.Helper()
	p, ok := r.b.Allow()
	if !ok {
		r.t.Fatalf("%q: got the login %s turned away, want it let through", script, step)
	}
	return p
}

// leave reports, with the deferred Abandon that callers have.
func (r *rig) leave(p Pass, how string) {
	defer p.Abandon()
	switch how[0] {
	case 'c':
		p.Failed(clients[how[1]], ClientLevel)
	case 'H':
		p.Failed(clients[how[1]], HostLevel)
	case 'o':
		p.Succeeded()
	case 'x':
	default:
		r.t.Fatalf("step %q", how)
	}
}

func TestBreaker(t *testing.T) {
	usual := Limits{Threshold: 5, MinClients: 2, Cooldown: 30 * time.Second}
	one := Limits{Threshold: 1, MinClients: 0, Cooldown: 30 * time.Second}
	tests := []struct {
		name         string
		limits       Limits
		script, want string
	}{
		{"new", usual, "", "up 0/0"},
		{"one failure short", usual, "ca cb ca cb ok", "up 0/0"},
		{"enough client-level failures of two clients", usual, "ca cb ca cb ca -", "down 5/2 0s-30s"},
		{"enough client-level failures of one client", usual, "ca ca ca ca ca ca ca ok", "up 0/0"},
		{"the second client comes late", usual, "ca ca ca ca ca ca cb -", "down 7/2 0s-30s"},
		{"one client, host-level", usual, "Ha Ha Ha Ha Ha -", "down 5/1h 0s-30s"},
		{"one host-level in the streak", usual, "ca ca Ha ca ca -", "down 5/1h 0s-30s"},
		{"host-level comes late", usual, "ca ca ca ca ca ca Ha -", "down 7/1h 0s-30s"},
		{"host-level forgotten with its streak", usual, "Ha ok ca ca ca ca ca ca", "up 6/1"},
		{"clients forgotten with their streak", usual, "ca cb ok ca ca ca ca ca ca", "up 6/1"},
		{"a verdict between", usual, "Ha Ha Ha Ha ok Ha Ha Ha Ha", "up 4/1h"},
		{"an abandoned login between", usual, "Ha Ha Ha Ha x Ha -", "down 5/1h 0s-30s"},
		{"failures do not age", usual, "Ha +1h Ha +1h Ha +1h Ha +1h Ha -", "down 5/1h 0s-30s"},
		{"off", Limits{0, 0, time.Second}, "Ha Hb Ha Hb Ha Hb Ha Hb ca", "up 9/2h"},
		{"no demand for clients", Limits{3, 0, 30 * time.Second}, "ca ca ca -", "down 3/1 0s-30s"},
		{"a demand for one client", Limits{3, 1, 30 * time.Second}, "ca ca ca -", "down 3/1 0s-30s"},
		{"a demand for three clients", Limits{2, 3, 30 * time.Second}, "ca cb ca cb cc -", "down 5/3 0s-30s"},
		{"threshold one", one, "ca -", "down 1/1 0s-30s"},

		{"mapped IPv4 is IPv4", usual, "ca cm ca cm ca cm", "up 6/1"},
		{"one /64 is one client", usual, "c6 c7 c6 c7 c6", "up 5/1"},
		{"two /64 are two", usual, "c6 c8 c6 c8 c6 -", "down 5/2 0s-30s"},
		{"both families", usual, "ca c6 ca c6 ca -", "down 5/2 0s-30s"},
		{"no address", usual, "c0 c0 c0 c0 c0 ca -", "down 6/2 0s-30s"},

		{"turned away to the last moment", one, "ca +29s -", "down 1/1 29s-1s"},
		{"turned away up to a nanosecond", one, "ca +29999999999ns -", "down 1/1 29.999999999s-1ns"},
		{"cooldown over, nobody came", one, "ca +45s", "down 1/1 45s-0s"},
		{"one probe", one, "ca +30s <p - - -", "down 1/1 30s-0s probing"},
		{"probe succeeds", one, "ca +30s ok ok", "up 0/0"},
		{"probe fails", one, "ca +30s ca -", "down 2/1 30s-30s"},
		{"probe fails late", one, "ca +30s <p +20s >pca - +29s -", "down 2/1 1m19s-1s"},
		{"probe fails twice", one, "ca +30s ca +30s cb +10s -", "down 3/2 1m10s-20s"},
		{"probe fails, then succeeds", one, "ca +30s ca +30s ok", "up 0/0"},
		{"probe abandoned", one, "ca +30s x <q - >qok", "up 0/0"},
		{"probes abandoned", one, "ca +30s x x x <q -", "down 1/1 30s-0s probing"},
		{"probe held for an hour", one, "ca +30s <p +1h - >px ok", "up 0/0"},
		{"down again", one, "ca +30s ok ca -", "down 1/1 0s-30s"},

		{"a verdict of an earlier login brings it up", one, "<p ca - >pok ok", "up 0/0"},
		{"and ends a probe's turn", one, "<q ca +30s <p >qok <r >pca", "up 0/0"},
		{"a failure of an earlier login counts", one, "<p ca +10s >pcb -", "down 2/2 10s-20s"},
		{"and does not end a probe's turn", one, "<q ca +30s <p >qcb -", "down 2/2 30s-0s probing"},
		{"a failure from before it came up", one, "<p ca +30s ok >pHa", "up 0/0"},
		{"a failure from before a verdict, never down", usual, "<p ca ok >pca", "up 1/1"},
		{"abandoning an earlier login", one, "<q ca +30s <p >qx -", "down 1/1 30s-0s probing"},
		{"a probe ends after its time down", one, "<q ca +30s <p >qok ca +30s <r >px -", "down 1/1 30s-0s probing"},
		{"a probe fails after its time down", one, "<q ca +30s <p >qok ca +30s <r >pca -", "down 1/1 30s-0s probing"},

		{"reset while up", usual, "Ha Ha Ha Ha reset Ha Ha Ha Ha", "up 4/1h"},
		{"reset while down", one, "ca reset ok", "up 0/0"},
		{"reset while probing", one, "ca +30s <p reset <q >pca", "up 0/0"},
		{"reset, then an earlier login fails", one, "<p reset >pHa", "up 0/0"},
		{"reset, then an earlier login succeeds", usual, "<p reset ca >pok", "up 0/0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.limits)
			r.play(tt.script)
			if got := r.state(); got != tt.want {
				t.Errorf("%q: got %s, want %s", tt.script, got, tt.want)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	l := Limits{Threshold: 2, MinClients: 2, Cooldown: 30 * time.Second}
	tests := []struct{ name, script, want string }{
		{"none", "ca ok ca ca x ok", ""},
		{"down", "ca cb", "down 2/2"},
		{"once", "ca cb +30s ca +30s ca", "down 2/2"},
		{"up by a probe", "Ha ca +30s ok", "down 2/1h, up 2/1h 30s"},
		{"up after a failed probe", "Ha ca +30s cb +31s ok", "down 2/1h, up 3/2h 1m1s"},
		{"up by reset", "Ha ca +5s reset", "down 2/1h, up 2/1h 5s"},
		{"reset while up", "Ha reset", ""},
		{"again and again", "Ha ca +30s ok ca cb +31s ok", "down 2/1h, up 2/1h 30s, down 2/2, up 2/2 31s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, l)
			r.play(tt.script)
			if got := strings.Join(r.changes, ", "); got != tt.want {
				t.Errorf("%q: got %q, want %q", tt.script, got, tt.want)
			}
		})
	}
}

func TestSetLimits(t *testing.T) {
	off, one, many := Limits{Cooldown: time.Minute}, Limits{1, 0, 30 * time.Second}, Limits{9, 0, time.Minute}
	tests := []struct {
		name          string
		limits, then  Limits
		before, after string
		want          string
	}{
		{"off brings it up", one, off, "ca -", "ok", "up 0/0"},
		{"off keeps a streak", many, off, "ca ca", "ca", "up 3/1"},
		{"lower applies to the next failure", many, one, "ca ca", "ca -", "down 3/1 0s-30s"},
		{"lower alone does nothing", many, one, "ca ca", "", "up 2/1"},
		{"higher keeps it down", one, many, "ca", "-", "down 1/1 0s-30s"},
		{"the cooldown that has begun stays", one, many, "ca", "+30s <p -", "down 1/1 30s-0s probing"},
		{"the next cooldown is the new one", one, many, "ca", "+30s ca -", "down 2/1 30s-1m0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.limits)
			r.play(tt.before)
			r.b.SetLimits(tt.then)
			r.play(tt.after)
			if got := r.state(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPassSaysWhetherItProbes(t *testing.T) {
	r := newRig(t, Limits{1, 0, 30 * time.Second})
	if p := r.enter("", "before"); p.Probe() {
		t.Error("got a probe of a destination that is up")
	}
	r.play("ca +30s")
	if p := r.enter("", "after"); !p.Probe() {
		t.Error("got an ordinary login after the cooldown, want a probe")
	}
}

func TestChangedMayAskAndAbandon(t *testing.T) {
	var b *Breaker
	var seen []bool
	pass, _ := New(Options{}).Allow()
	b = New(Options{Limits: Limits{1, 0, time.Minute}, Now: newClock().now, Changed: func(Change) {
		_, ok := b.Allow()
		seen = append(seen, ok, b.Snapshot().Down, b.Down())
		pass.Abandon()
	}})
	pass, _ = b.Allow()
	pass.Failed(clients['a'], HostLevel)
	b.Reset()
	if got, want := fmt.Sprint(seen), "[false true true true false false]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A streak of many clients holds no more than its bound.
func TestSourcesAreBounded(t *testing.T) {
	tests := []struct{ name, min, want string }{
		{"the usual bound", "2", "1024"},
		{"a higher demand is met exactly", "1500", "1500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l Limits
			fmt.Sscan(tt.min, &l.MinClients)
			b := New(Options{Limits: l})
			pass, _ := b.Allow()
			for i := range 4000 {
				pass.Failed(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), ClientLevel)
			}
			s := b.Snapshot()
			if got := fmt.Sprint(s.Sources); got != tt.want || s.Failures != 4000 || len(b.sources) != s.Sources {
				t.Errorf("got %+v, want %s sources of 4000 failures", s, tt.want)
			}
			pass.Succeeded()
			if b.sources != nil {
				t.Error("got the set kept after a verdict, want it gone")
			}
		})
	}
}

func TestDefaultClock(t *testing.T) {
	b := New(Options{Limits: Limits{1, 0, time.Hour}})
	pass, _ := b.Allow()
	pass.Failed(clients['a'], HostLevel)
	if s := b.Snapshot(); !s.Down || s.ProbeIn <= 0 || s.ProbeIn > time.Hour {
		t.Errorf("got %+v, want down for up to an hour", s)
	}
}

func TestHealthyPathDoesNotAllocate(t *testing.T) {
	b := New(Options{Limits: Limits{5, 2, time.Second}})
	got := testing.AllocsPerRun(100, func() {
		p, _ := b.Allow()
		defer p.Abandon()
		p.Succeeded()
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}
