package scenario

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"mailsplice/bench/load"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

// setUp is the stage of env. Unless its suite is one that every proxy speaks, a login shows that this one does, on both
// legs, since clients and backends speak nothing else; one that does not is ErrCannot. Whoever sets it up closes it.
func setUp(ctx context.Context, env Env) (*stage.Stage, error) {
	s, err := stage.Open(ctx, env.Options)
	if err != nil || !env.Suite.TLS12() {
		return s, err
	}
	if err := try(ctx, s, env); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// try logs in once, and leaves no session behind.
func try(ctx context.Context, s *stage.Stage, env Env) error {
	r, err := s.Clients[0].Login(ctx, load.LoginArgs{Target: s.Target(), Count: 1, AtOnce: 1})
	switch {
	case err != nil:
		return err
	case r.Failed > 0:
		return fmt.Errorf("%w: no login with %v: %s", ErrCannot, env.Suite, r.Error)
	}
	return settled(ctx, s, 0)
}

// laneFigures say how the proxy carries its sessions right now, if it tells.
func laneFigures(ctx context.Context, s *stage.Stage) (list []report.Figure, err error) {
	p, ok := s.Proxy.(stage.Laner)
	if !ok {
		return nil, nil
	}
	lanes, err := p.Lanes(ctx)
	if err != nil {
		return nil, err
	}
	all := 0
	for _, n := range lanes {
		all += n
	}
	for _, lane := range slices.Sorted(maps.Keys(lanes)) {
		list = append(list, report.Figure{Name: "sessions in lane " + lane, Unit: "%", Value: 100 * float64(lanes[lane]) / float64(all)})
	}
	return list, nil
}
