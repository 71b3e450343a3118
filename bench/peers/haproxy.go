package peers

import (
	"context"

	"mailsplice/bench/stage"
)

// HAProxy in TCP mode.
type HAProxy struct{}

// Name is "haproxy".
func (HAProxy) Name() string { return "haproxy" }

// Difference implements stage.Different.
func (HAProxy) Difference() string {
	return "does no login and no look-up: it passes bytes, and the backend answers the client's own LOGIN; writes no log"
}

// Version implements Peer.
func (HAProxy) Version(ctx context.Context) (string, error) { return said(ctx, "haproxy", "-v") }

// Start implements stage.Starter.
func (HAProxy) Start(ctx context.Context, s *stage.Setting) (stage.Proxy, error) {
	if err := s.Single(); err != nil {
		return nil, err
	}
	v, err := newValues(s)
	if err != nil {
		return nil, err
	}
	path, err := v.write(s, "haproxy.cfg")
	if err != nil {
		return nil, err
	}
	return proxy(launch(ctx, s, "haproxy", "-db", "-f", path))
}

// proxy keeps a nil pointer from becoming a Proxy that is not nil.
func proxy(r *running, err error) (stage.Proxy, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}
