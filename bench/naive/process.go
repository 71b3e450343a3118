package naive

import (
	"context"
	"errors"
	"io"
	"runtime"

	"mailsplice/bench/child"
)

// Role is what the proxy's process is started as.
const Role = "naive"

// Main is the process: it serves calls on r and w until r ends.
func Main(r io.Reader, w io.Writer) error {
	var p *Proxy
	return child.Serve(r, w, map[string]child.Handler{
		"serve": child.Handle(func(o Options) (addr string, err error) {
			if p != nil {
				return "", errors.New("serves already")
			}
			if p, err = Serve(o); err != nil {
				return "", err
			}
			return p.Addr(), nil
		}),
		"goroutines": child.Handle(func(child.None) (int, error) { return runtime.NumGoroutine(), nil }),
	})
}

// Running is the proxy's process as its parent sees it.
type Running struct {
	*child.Process
	Addr string
}

// Start starts a process that serves o. Stop ends it.
func Start(ctx context.Context, o Options) (*Running, error) {
	p, err := child.Start(Role)
	if err != nil {
		return nil, err
	}
	r := &Running{Process: p}
	if err := p.Call(ctx, "serve", o, &r.Addr); err != nil {
		p.Stop()
		return nil, err
	}
	return r, nil
}

// Goroutines is how many there are.
func (r *Running) Goroutines(ctx context.Context) (n int, err error) {
	err = r.Call(ctx, "goroutines", child.None{}, &n)
	return n, err
}
