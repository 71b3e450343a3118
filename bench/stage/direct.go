package stage

import (
	"context"
	"errors"
)

// Direct is no proxy: clients speak to the first backend. It shows how much of rates and latencies is the harness's own.
type Direct struct{}

// Name is "direct".
func (Direct) Name() string { return "direct" }

// Start implements Starter. Both legs must be alike, since there is only one.
func (Direct) Start(_ context.Context, s *Setting) (Proxy, error) {
	if err := s.Single(); err != nil {
		return nil, err
	}
	if s.ClientTLS != s.BackendTLS {
		return nil, errors.New("legs differ")
	}
	if len(s.Backends) != 1 {
		return nil, errors.New("more than one backend")
	}
	return direct{s.Backends[0]}, nil
}

// direct has no process.
type direct struct{ addr string }

func (d direct) Addr() string                         { return d.addr }
func (direct) Pids() []int                            { return nil }
func (direct) Goroutines(context.Context) (int, bool) { return 0, false }
func (direct) Stop()                                  {}
