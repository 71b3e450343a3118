package stage

import (
	"context"

	"mailsplice/bench/naive"
)

// Naive starts the proxy of package naive.
type Naive struct{}

// Name is "naive".
func (Naive) Name() string { return "naive" }

// Difference implements Different.
func (Naive) Difference() string {
	return "no limits, no deadlines, no look-up of accounts, no log, no metrics"
}

// Start implements Starter.
func (Naive) Start(ctx context.Context, s *Setting) (Proxy, error) {
	if err := s.Single(); err != nil {
		return nil, err
	}
	o := naive.Options{Listen: s.Listen, Backends: s.Backends, BackendTLS: s.BackendTLS, BackendPin: s.Back.SHA256[:], BackendName: BackendHost}
	if s.ClientTLS {
		o.CertPEM, o.KeyPEM = s.Front.CertPEM, s.Front.KeyPEM
	}
	r, err := naive.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	return naiveProxy{r}, nil
}

type naiveProxy struct{ *naive.Running }

func (p naiveProxy) Addr() string { return p.Running.Addr }
func (p naiveProxy) Pids() []int  { return []int{p.Pid()} }

func (p naiveProxy) Goroutines(ctx context.Context) (int, bool) {
	n, err := p.Running.Goroutines(ctx)
	return n, err == nil
}
