package metrics

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"

	vm "github.com/VictoriaMetrics/metrics"
)

// Counter only grows. Its methods are safe for any goroutine and never block.
type Counter = vm.Counter

// Upper bounds in seconds. Logins take from a cache hit's microseconds to backend_timeout and its retry; loops should be
// late by less than a millisecond and must not be by seconds (DESIGN 2).
var (
	phaseBounds = []float64{.0001, .0005, .001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20}
	lagBounds   = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2}
)

// Set is all metrics of one process. Its methods are safe for any goroutine; asking twice for the same labels yields the
// same series.
type Set struct {
	// immutable after New
	vm      *vm.Set
	phases  [phases]*vm.PrometheusHistogram
	loopLag *vm.PrometheusHistogram

	mu    sync.Mutex
	reads map[string]*read // guarded by mu; by series
}

// read is where a figure that somebody else keeps is read now.
type read = atomic.Pointer[func() float64]

// New makes an empty set. Several can live in one process, as tests do.
func New() *Set {
	s := &Set{vm: vm.NewSet(), reads: map[string]*read{}}
	for p := range phases {
		s.phases[p] = s.vm.NewPrometheusHistogramExt(series("login_phase_seconds", "phase", p.String()), phaseBounds)
	}
	s.loopLag = s.vm.NewPrometheusHistogramExt(series("loop_lag_seconds"), lagBounds)
	return s
}

// WritePrometheus writes every series, and the process's and the Go runtime's own (`process_…`, `go_…`), to w, in version
// 0.0.4 of the text form. Reading and formatting are done before the first byte goes out.
func (s *Set) WritePrometheus(w io.Writer) {
	var plain, out bytes.Buffer
	s.vm.WritePrometheus(&plain)
	describe(&out, plain.Bytes())
	vm.WriteProcessMetrics(&out)
	w.Write(out.Bytes())
}

// Phase records how long one phase of a login took.
func (s *Set) Phase(p Phase, took time.Duration) {
	if p < phases {
		s.phases[p].Update(took.Seconds())
	}
}

// LoopLag records how much later than due a loop woke. It takes a lock for a few nanoseconds: for a sample a second, not
// for every event.
func (s *Set) LoopLag(late time.Duration) { s.loopLag.Update(late.Seconds()) }

func (s *Set) counter(family string, labels ...string) *Counter {
	fits(family, labels)
	return s.vm.GetOrCreateCounter(series(family, labels...))
}

// gauge reads f whenever the text is written. Asked again for a series, it reads the new f: after a reload the figure has
// another keeper.
func (s *Set) gauge(f func() float64, family string, labels ...string) {
	fits(family, labels)
	s.expose(series(family, labels...), f)
}

func (s *Set) expose(name string, f func() float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.reads[name]; r != nil {
		r.Store(&f)
		return
	}
	r := &read{}
	r.Store(&f)
	s.reads[name] = r
	s.vm.NewGauge(name, func() float64 { return (*r.Load())() })
}
