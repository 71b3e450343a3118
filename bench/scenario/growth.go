package scenario

import (
	"context"
	"fmt"
	"time"

	"mailsplice/bench/measure"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

// growth watches the proxy while the number of something grows in steps: sessions, connections.
type growth struct {
	what   string // one of them, for names
	prefix string // begins the names of figures at a step
	settle time.Duration
	stage  *stage.Stage
	note   func(string, ...any)

	steps    []step
	figures  []report.Figure
	baseline step
}

// step is what there was at one number.
type step struct {
	n      int
	usage  measure.Usage
	kernel measure.Kernel
}

// begin takes the values before anything has come.
func (g *growth) begin() (err error) {
	g.baseline, err = g.look(0)
	return err
}

func (g *growth) look(n int) (s step, err error) {
	s.n = n
	if s.usage, err = g.stage.Usage(); err != nil {
		return s, err
	}
	s.kernel, err = measure.ReadKernel()
	return s, err
}

// step waits until things have settled, without forcing any collection, and takes the values at n.
func (g *growth) step(ctx context.Context, n int) error {
	g.note("%d there, settling for %v", n, g.settle)
	idle, err := spent(g.stage, func() error { return wait(ctx, g.settle) })
	if err != nil {
		return err
	}
	s, err := g.look(n)
	if err != nil {
		return err
	}
	g.steps = append(g.steps, s)
	at := fmt.Sprintf(" at %d", n)
	g.add("RSS"+at, "MB", megabytes(s.usage.RSSBytes))
	g.add("CPU while settling"+at, "ms/s", float64(idle.Milliseconds())/g.settle.Seconds())
	g.add("threads"+at, "", float64(s.usage.Threads))
	g.add("descriptors"+at, "", float64(s.usage.Files))
	if goroutines, ok := g.stage.Proxy.Goroutines(ctx); ok {
		g.add("goroutines"+at, "", float64(goroutines))
	}
	return nil
}

func (g *growth) add(name, unit string, value float64) {
	g.figures = append(g.figures, report.Figure{Name: g.prefix + name, Unit: unit, Value: value})
}

// result is all figures: the slopes first, between the steps, or from the baseline if there is one step only.
func (g *growth) result(sockets int) []report.Figure {
	steps := g.steps
	if len(steps) < 2 {
		steps = append([]step{g.baseline}, steps...)
	}
	slope := func(read func(step) int64) float64 {
		points := make([]measure.Point, len(steps))
		for i, s := range steps {
			points[i] = measure.Point{X: float64(s.n), Y: float64(read(s))}
		}
		return measure.Slope(points)
	}
	per := " per " + g.what
	list := []report.Figure{
		{Name: "RSS" + per, Unit: "B", Value: slope(func(s step) int64 { return s.usage.RSSBytes })},
		{Name: "PSS" + per, Unit: "B", Value: slope(func(s step) int64 { return s.usage.PSSBytes })},
		{Name: fmt.Sprintf("kernel slab%s, all %d sockets", per, sockets), Unit: "B", Value: slope(func(s step) int64 { return s.kernel.SlabBytes })},
		{Name: fmt.Sprintf("bytes in socket queues%s, all %d", per, sockets), Unit: "B", Value: slope(func(s step) int64 { return s.kernel.SocketBytes })},
	}
	return append(list, g.figures...)
}
