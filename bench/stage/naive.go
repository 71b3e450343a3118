package stage

import (
	"context"

	"mailsplice/bench/naive"
)

// Naive starts the proxy of package naive.
type Naive struct{}

// Name is "naive".
func (Naive) Name() string { return "naive" }

// Start implements Starter.
func (Naive) Start(ctx context.Context, s *Setting) (Proxy, error) {
	o := naive.Options{Listen: s.Listen, Backends: s.Backends, BackendTLS: s.BackendTLS, BackendPin: s.back.SHA256[:], BackendName: backendName}
	if s.ClientTLS {
		o.CertPEM, o.KeyPEM = s.front.CertPEM, s.front.KeyPEM
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
