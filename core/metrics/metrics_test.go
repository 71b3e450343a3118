package metrics

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func text(s *Set) string {
	var b bytes.Buffer
	s.WritePrometheus(&b)
	return b.String()
}

func value(f float64) func() float64 { return func() float64 { return f } }

func yes() bool  { return true }
func no() bool   { return false }
func seven() int { return 7 }

func TestFamilies(t *testing.T) {
	tests := []struct {
		name string
		feed func(*Set)
		want string
	}{
		{"accepted", func(s *Set) { s.Listener("imap", value(0)).Accepted.Inc() }, `mailsplice_connections_accepted_total{listener="imap"} 1`},
		{"refused", func(s *Set) { s.Listener("imap", value(0)).Refused(RefusedPreauth) }, `mailsplice_connections_refused_total{listener="imap",reason="max_preauth"} 1`},
		{"refused for nothing yet", func(s *Set) { s.Listener("imap", value(0)) }, `mailsplice_connections_refused_total{listener="imap",reason="draining"} 0`},
		{"pre-auth", func(s *Set) { s.Listener("imap", value(17)) }, `mailsplice_preauth_connections{listener="imap"} 17`},
		{"sessions", func(s *Set) { s.Sessions("imap", "legacy", "record", value(1e6)) }, `mailsplice_sessions{protocol="imap",destination="legacy",lane="record"} 1000000`},
		{"logins", func(s *Set) { s.Logins("imap", "legacy").Count(Unavailable) }, `mailsplice_logins_total{protocol="imap",destination="legacy",result="unavailable"} 1`},
		{"phase", func(s *Set) { s.Phase(PhaseBackendTLS, 3*time.Millisecond) }, `mailsplice_login_phase_seconds_bucket{phase="backend_tls",le="0.005"} 1`},
		{"phase sum", func(s *Set) { s.Phase(PhaseAuth, time.Second) }, `mailsplice_login_phase_seconds_sum{phase="auth"} 1`},
		{"bytes in", func(s *Set) { s.Bytes("imap").In.Add(5) }, `mailsplice_bytes_total{protocol="imap",direction="in"} 5`},
		{"bytes out", func(s *Set) { s.Bytes("imap").Out.Add(6) }, `mailsplice_bytes_total{protocol="imap",direction="out"} 6`},
		{"cache hits", func(s *Set) { s.Cache(Cache{value(1), value(2), value(3), value(4)}) }, `mailsplice_cache_hits 1`},
		{"cache misses", func(s *Set) { s.Cache(Cache{value(1), value(2), value(3), value(4)}) }, `mailsplice_cache_misses 2`},
		{"cache evictions", func(s *Set) { s.Cache(Cache{value(1), value(2), value(3), value(4)}) }, `mailsplice_cache_evictions 3`},
		{"cache entries", func(s *Set) { s.Cache(Cache{value(1), value(2), value(3), value(4)}) }, `mailsplice_cache_entries 4`},
		{"store errors", func(s *Set) { s.StoreErrors("file", value(9)) }, `mailsplice_store_errors_total{source="file"} 9`},
		{"loop lag", func(s *Set) { s.LoopLag(time.Millisecond) }, `mailsplice_loop_lag_seconds_bucket{le="0.001"} 1`},
		{"takeover", func(s *Set) { s.TakeoverFailed("cbc").Inc() }, `mailsplice_takeover_failed_total{reason="cbc"} 1`},
		{"destination down", func(s *Set) { s.Destination("new", Health{yes, seven}) }, `mailsplice_destination_down{destination="new"} 1`},
		{"destination up", func(s *Set) { s.Destination("new", Health{no, seven}) }, `mailsplice_destination_down{destination="new"} 0`},
		{"destination failures", func(s *Set) { s.Destination("new", Health{no, seven}) }, `mailsplice_destination_failures{destination="new"} 7`},
		{"certificate", func(s *Set) { s.Certificate("main", func() time.Duration { return time.Hour }) }, `mailsplice_certificate_expiry_seconds{name="main"} 3600`},
		{"descriptors open", func(s *Set) { s.Descriptors(seven, func() int { return 20000 }) }, `process_open_fds 7`},
		{"descriptors allowed", func(s *Set) { s.Descriptors(seven, func() int { return 20000 }) }, `process_max_fds 20000`},
		{"help", func(s *Set) { s.StoreErrors("file", value(9)) }, "# HELP mailsplice_store_errors_total Look-ups that the mapping store failed.\n# TYPE mailsplice_store_errors_total counter\n"},
		{"process", func(*Set) {}, "process_resident_memory_bytes "},
		{"processor time", func(*Set) {}, "process_cpu_seconds_total "},
		{"awkward name", func(s *Set) { s.Bytes("a\"b\\c\n{},=d").In.Inc() }, `mailsplice_bytes_total{protocol="a\"b\\c\n{},=d",direction="in"} 1`},
		{"Go runtime", func(*Set) {}, "go_goroutines "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New()
			tt.feed(s)
			if got := text(s); !strings.Contains("\n"+got, "\n"+tt.want) {
				t.Errorf("got %s, want the line %s", got, tt.want)
			}
		})
	}
}

func TestAskingTwiceIsTheSameSeries(t *testing.T) {
	s := New()
	s.Listener("imap", value(1)).Accepted.Inc()
	s.Listener("imap", value(1)).Accepted.Inc() // as after a reload
	if got, want := text(s), `mailsplice_connections_accepted_total{listener="imap"} 2`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSetsAreSeparate(t *testing.T) {
	a, b := New(), New()
	a.Bytes("imap").In.Add(7)
	if got := text(b); strings.Contains(got, "mailsplice_bytes_total") {
		t.Errorf("one set shows the other's series: %s", got)
	}
}

func TestOutOfRange(t *testing.T) {
	s := New()
	s.Listener("imap", value(0)).Refused(refusals)
	s.Logins("imap", "x").Count(results)
	s.Phase(phases, time.Second)
	if got := text(s); strings.Contains(got, "unknown") || strings.Contains(got, `result="accepted"} 1`) {
		t.Errorf("got %s, want nothing counted", got)
	}
	if got := phases.String(); got != "unknown" {
		t.Errorf("got %q, want unknown", got)
	}
}

func TestEveryLabelHasAName(t *testing.T) {
	var all []string
	for r := range refusals {
		all = append(all, r.String())
	}
	for r := range results {
		all = append(all, r.String())
	}
	for p := range phases {
		all = append(all, p.String())
	}
	seen := map[string]bool{}
	for _, l := range all {
		if l == "" || l == "unknown" || seen[l] {
			t.Errorf("label %q is empty or not unique", l)
		}
		seen[l] = true
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	s := New()
	l, g, n := s.Listener("imap", value(0)), s.Logins("imap", "legacy"), s.Bytes("imap")
	got := testing.AllocsPerRun(100, func() {
		l.Accepted.Inc()
		l.Refused(RefusedListener)
		g.Count(Accepted)
		n.In.Add(100)
		s.Phase(PhaseLookup, time.Millisecond)
		s.LoopLag(time.Millisecond)
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}

func BenchmarkCount(b *testing.B) {
	n := New().Bytes("imap")
	b.ReportAllocs()
	for b.Loop() {
		n.In.Add(64)
	}
}
