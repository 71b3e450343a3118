package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// frame is what top shows at one time: the sum over all proxies that answered.
type frame struct {
	at           time.Time
	names        []string // of the proxies that answered
	failed       []error  // of the others
	stats        stats    // HitRate is worked out from the sums; Uptime is the shortest
	draining     int
	destinations map[string]*shown
	logins       results // per second
	rates        [4]float64
}

// The rates of a frame, per second.
const (
	rateIn = iota
	rateOut
	rateTurnedAway
	rateStoreErrors
)

// shown is one destination over all proxies.
type shown struct {
	name     string
	down, of int     // proxies that find it down, of all that know it
	downFor  float64 // seconds, the longest
	failures int     // the most
	sessions map[string]float64
	logins   results // per second
}

func newFrame(at time.Time) *frame { return &frame{at: at, destinations: map[string]*shown{}} }

// add adds one proxy. Without an earlier sample it has no rates yet.
func (f *frame) add(name string, now, before *sample) {
	f.addStats(&now.stats)
	f.names = append(f.names, name)
	for i := range now.destinations {
		f.addHealth(&now.destinations[i])
	}
	for at, n := range now.metrics.sessions {
		f.destination(at.destination).sessions[at.protocol] += n
	}
	if before == nil {
		return
	}
	seconds := now.at.Sub(before.at).Seconds()
	for at, n := range now.metrics.logins {
		r := n.since(before.metrics.logins[at], seconds)
		f.logins = f.logins.plus(r)
		if at.destination != "" {
			d := f.destination(at.destination)
			d.logins = d.logins.plus(r)
		}
	}
	m, old := &now.metrics, &before.metrics
	for i, pair := range [...][2]float64{{m.bytes[0], old.bytes[0]}, {m.bytes[1], old.bytes[1]}, {m.refused, old.refused}, {m.store, old.store}} {
		f.rates[i] += rate(pair[0], pair[1], seconds)
	}
}

func (f *frame) addStats(s *stats) {
	t := &f.stats
	if len(f.names) == 0 || s.Uptime < t.Uptime {
		t.Uptime = s.Uptime
	}
	t.CacheHits += s.CacheHits
	t.CacheMisses += s.CacheMisses
	t.Entries += s.Entries
	t.Sessions += s.Sessions
	t.Preauth += s.Preauth
	t.Logins += s.Logins
	if s.Draining {
		f.draining++
	}
	if all := t.CacheHits + t.CacheMisses; all > 0 {
		t.HitRate = 100 * float64(t.CacheHits) / float64(all)
	}
}

func (f *frame) addHealth(d *destination) {
	x := f.destination(d.Name)
	x.of++
	if d.Down {
		x.down++
		x.downFor = max(x.downFor, d.DownFor)
	}
	x.failures = max(x.failures, d.Failures)
}

func (f *frame) destination(name string) *shown {
	d := f.destinations[name]
	if d == nil {
		d = &shown{name: name, sessions: map[string]float64{}}
		f.destinations[name] = d
	}
	return d
}

// lines are the frame as text.
func (f *frame) lines() []string {
	s := &f.stats
	state := "serving"
	if f.draining > 0 {
		state = "DRAINING"
		if len(f.names) > 1 {
			state = fmt.Sprintf("DRAINING: %d of %d", f.draining, len(f.names))
		}
	}
	out := []string{
		clean(fmt.Sprintf("mailsplice  %s  %s  up %s  %s", f.who(), state, span(time.Duration(s.Uptime)*time.Second), f.at.Format(time.TimeOnly))),
		fmt.Sprintf("sessions  %d  before login %d  logins in progress %d", s.Sessions, s.Preauth, s.Logins),
		fmt.Sprintf("logins    %.1f/s accepted  %.1f/s refused  %.1f/s failed  connections turned away %.1f/s", f.logins.accepted, f.logins.refused,
			f.logins.failed, f.rates[rateTurnedAway]),
		fmt.Sprintf("cache     %.1f %% hits  %d entries  store errors %.1f/s", s.HitRate, s.Entries, f.rates[rateStoreErrors]),
		fmt.Sprintf("traffic   %s/s in  %s/s out", bytesText(f.rates[rateIn]), bytesText(f.rates[rateOut])),
		"",
	}
	out = append(out, f.table()...)
	for _, err := range f.failed {
		text, _, _ := strings.Cut(err.Error(), "\n")
		out = append(out, "FAILED  "+clean(text))
	}
	return out
}

func (f *frame) who() string {
	switch len(f.names) {
	case 0:
		return "no proxy answers"
	case 1:
		return f.names[0]
	}
	return fmt.Sprintf("%d proxies", len(f.names))
}

// table is a line for each destination, those in trouble first.
func (f *frame) table() []string {
	protocols := f.protocols()
	list := make([]*shown, 0, len(f.destinations))
	for _, d := range f.destinations {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *shown) int {
		if (a.down > 0) != (b.down > 0) {
			return b.down - a.down
		}
		return strings.Compare(a.name, b.name)
	})
	var b strings.Builder
	t := newTable(&b)
	header := []string{"DESTINATION", "STATE", "SESSIONS"}
	for _, p := range protocols {
		header = append(header, strings.ToUpper(p))
	}
	t.row(append(header, "LOGINS/S", "REFUSED/S", "FAILED/S")...)
	for _, d := range list {
		t.row(d.cells(protocols)...)
	}
	_ = t.flush() // a strings.Builder takes everything
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// protocols are those with sessions.
func (f *frame) protocols() (list []string) {
	for _, d := range f.destinations {
		for p, n := range d.sessions {
			if n > 0 && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	slices.Sort(list)
	return list
}

func (d *shown) cells(protocols []string) []string {
	total, each := 0.0, make([]string, 0, len(protocols))
	for _, n := range d.sessions {
		total += n
	}
	for _, p := range protocols {
		each = append(each, fmt.Sprintf("%.0f", d.sessions[p]))
	}
	cells := append([]string{d.name, d.state(), fmt.Sprintf("%.0f", total)}, each...)
	for _, r := range []float64{d.logins.accepted, d.logins.refused, d.logins.failed} {
		cells = append(cells, fmt.Sprintf("%.1f", r))
	}
	return cells
}

func (d *shown) state() string {
	switch {
	case d.of == 0:
		return "not known"
	case d.down > 0 && d.of > 1:
		return fmt.Sprintf("DOWN at %d of %d, for %s", d.down, d.of, span(time.Duration(d.downFor*float64(time.Second))))
	case d.down > 0:
		return "DOWN for " + span(time.Duration(d.downFor*float64(time.Second)))
	case d.failures > 0:
		return fmt.Sprintf("up, %d failures", d.failures)
	}
	return "up"
}
