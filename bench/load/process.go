package load

import (
	"context"
	"io"

	"mailsplice/bench/child"
)

// Role is what a process with clients is started as.
const Role = "load"

// Main is the process: it serves calls on r and w until r ends.
func Main(r io.Reader, w io.Writer) error {
	var h holder
	defer h.close()
	return child.Serve(r, w, map[string]child.Handler{
		"open":    child.Handle(h.open),
		"login":   child.Handle(h.login),
		"preauth": child.Handle(h.preauth),
		"ping":    child.Handle(h.ping),
		"bulk":    child.Handle(h.bulk),
		"sweep":   child.Handle(h.sweep),
		"flood":   child.Handle(h.flood),
		"await":   child.Handle(h.await),
		"follow":  child.Handle(h.follow),
		"close": child.Handle(func(child.None) (child.None, error) {
			h.close()
			return child.None{}, nil
		}),
	})
}

// Clients is a process with clients as its parent sees it. Calls are documented at their arguments.
type Clients struct{ *child.Process }

// Start starts a process. Stop ends it and all its sessions.
func Start() (*Clients, error) {
	p, err := child.Start(Role)
	if err != nil {
		return nil, err
	}
	return &Clients{p}, nil
}

// Open is the call of OpenArgs.
func (c *Clients) Open(ctx context.Context, a OpenArgs) (Reply, error) { return c.do(ctx, "open", a) }

// Login is the call of LoginArgs.
func (c *Clients) Login(ctx context.Context, a LoginArgs) (Reply, error) {
	return c.do(ctx, "login", a)
}

// Preauth is the call of PreauthArgs.
func (c *Clients) Preauth(ctx context.Context, a PreauthArgs) (Reply, error) {
	return c.do(ctx, "preauth", a)
}

// Ping is the call of PingArgs.
func (c *Clients) Ping(ctx context.Context, a PingArgs) (Reply, error) { return c.do(ctx, "ping", a) }

// Bulk is the call of BulkArgs.
func (c *Clients) Bulk(ctx context.Context, a BulkArgs) (Reply, error) { return c.do(ctx, "bulk", a) }

// Sweep is the call of SweepArgs.
func (c *Clients) Sweep(ctx context.Context, a SweepArgs) (Reply, error) {
	return c.do(ctx, "sweep", a)
}

// Flood is the call of FloodArgs.
func (c *Clients) Flood(ctx context.Context, a FloodArgs) (Reply, error) {
	return c.do(ctx, "flood", a)
}

// Await is the call of AwaitArgs.
func (c *Clients) Await(ctx context.Context, a AwaitArgs) (Reply, error) {
	return c.do(ctx, "await", a)
}

// Follow is the call of FollowArgs.
func (c *Clients) Follow(ctx context.Context, a FollowArgs) (Reply, error) {
	return c.do(ctx, "follow", a)
}

// Close ends all sessions; the process stays.
func (c *Clients) Close(ctx context.Context) error { return c.Call(ctx, "close", child.None{}, nil) }

func (c *Clients) do(ctx context.Context, call string, args any) (r Reply, err error) {
	err = c.Call(ctx, call, args, &r)
	return r, err
}
