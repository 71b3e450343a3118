package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"mailsplice/core/config"
	"mailsplice/core/engine"
	"mailsplice/core/logx"
	"mailsplice/core/route"
	"mailsplice/core/session"
)

// entrance is one bound address. A reload may give it to another listener.
type entrance struct {
	at    place
	ln    *engine.Listener
	serve atomic.Pointer[service]
}

// service is the listener that an entrance is for, as the engine needs it.
type service struct {
	name string
	*engine.ListenOptions
}

// place is what tells entrances apart.
type place struct {
	addr   netip.AddrPort
	v6Only bool
}

// change is a configuration made ready to be put in force: nothing of it is visible yet.
type change struct {
	cfg       *config.Config
	policy    session.Policy // without one at the start, when sessions have theirs
	dials     map[dialKey]dialPolicy
	newRouter *route.Router // nil: the one in force serves on
	newStore  route.Store   // its store
	listeners []*session.Listener
	bound     map[place]int // listening sockets for new addresses
}

// change binds what of cfg is not bound yet and makes its listeners. On an error everything is given back.
func (p *Proxy) change(cfg *config.Config) (*change, error) {
	c := &change{cfg: cfg, bound: map[place]int{}}
	err := p.bindAll(c)
	if err == nil {
		err = p.shape(c)
	}
	if err != nil {
		c.drop(p.logger)
		return nil, err
	}
	return c, nil
}

// bindAll binds the addresses of c that are not bound yet.
func (p *Proxy) bindAll(c *change) error {
	for _, l := range c.cfg.Listeners {
		if !served(l) {
			p.logger.Warn("listener is not served: its feature is not built yet", logx.Listener, l.Name)
			continue
		}
		if err := p.bind(c, l); err != nil {
			return err
		}
	}
	return nil
}

// shape makes the sessions' side of the listeners.
func (p *Proxy) shape(c *change) error {
	for _, l := range c.cfg.Listeners {
		if !served(l) {
			continue
		}
		ln, err := newListener(c.cfg, p.security, l)
		if err != nil {
			return err
		}
		c.listeners = append(c.listeners, ln)
	}
	return nil
}

// bind makes listening sockets for the addresses of l that have none.
func (p *Proxy) bind(c *change, l *config.Listener) error {
	for _, addr := range l.Bind {
		at := place{addr, c.cfg.V6Only(addr)}
		if p.entranceAt(at) != nil {
			continue
		}
		fd, err := engine.Bind(engine.ListenOptions{Addr: at.addr, V6Only: at.v6Only, ReusePort: c.cfg.Server.ReusePort})
		if err != nil {
			return &BindError{l.Name, err}
		}
		c.bound[at] = fd
	}
	return nil
}

// drop gives back what a change that is not to be holds.
func (c *change) drop(log *slog.Logger) {
	for _, fd := range c.bound {
		unix.Close(fd)
	}
	if c.newRouter != nil {
		c.newRouter.Close()
		closeStore(c.newStore, log)
	}
}

func (p *Proxy) entries() []*entrance { return *p.entrances.Load() }

func (p *Proxy) entranceAt(at place) *entrance {
	for _, e := range p.entries() {
		if e.at == at {
			return e
		}
	}
	return nil
}

// enter puts the listeners of c in force: those that are new or changed first, then those that are gone stop accepting.
func (p *Proxy) enter(c *change) error {
	keep := map[place]bool{}
	names := map[string]bool{}
	for _, ln := range c.listeners {
		names[ln.Name] = true
		o, err := p.sessions.AddListener(ln)
		if err != nil {
			c.drop(p.logger)
			return err
		}
		for _, addr := range c.cfg.Listener(ln.Name).Bind {
			at := place{addr, c.cfg.V6Only(addr)}
			keep[at] = true
			if err := p.admit(c, at, ln.Name, &o); err != nil {
				c.drop(p.logger)
				return &BindError{ln.Name, err}
			}
		}
	}
	p.leave(keep, names)
	return nil
}

// admit gives an address to a listener.
func (p *Proxy) admit(c *change, at place, name string, o *engine.ListenOptions) error {
	e := p.entranceAt(at)
	if e != nil {
		e.serve.Store(&service{name, o})
		return nil
	}
	e = &entrance{at: at}
	e.serve.Store(&service{name, o})
	fd := c.bound[at]
	delete(c.bound, at)
	var err error
	e.ln, err = p.engine.Listen(engine.ListenOptions{FD: fd, Addr: at.addr, V6Only: at.v6Only,
		Accept:   func(l *engine.Loop, a engine.Accepted) { e.serve.Load().Accept(l, a) },
		TurnAway: func() []byte { return e.serve.Load().TurnAway() },
		Refused:  func() { e.serve.Load().Refused() },
	})
	if err != nil {
		unix.Close(fd)
		return err
	}
	list := append(slices.Clone(p.entries()), e)
	p.entrances.Store(&list)
	return nil
}

// leave closes the addresses that are not kept. Whoever the kernel had queued there is still served.
func (p *Proxy) leave(keep map[place]bool, names map[string]bool) {
	var left []*entrance
	for _, e := range p.entries() {
		if keep[e.at] {
			left = append(left, e)
			continue
		}
		e.ln.Close()
		if !names[e.serve.Load().name] {
			<-e.ln.Done()
			p.sessions.RemoveListener(e.serve.Load().name)
		}
	}
	p.entrances.Store(&left)
}

// ErrOver is what Reload returns once Shutdown has begun.
var ErrOver = errors.New("shutting down")

// Reload puts cfg in force, all of it or nothing (SPEC 8). restart names the keys whose new value waits for a restart.
// Sessions in progress are not touched. An error of type *BindError is a listener that could not bind.
func (p *Proxy) Reload(cfg *config.Config) (restart []string, err error) {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	if p.over {
		return nil, ErrOver
	}
	old := p.cfg.Load()
	c, err := p.change(cfg)
	if err != nil {
		return nil, fmt.Errorf("reloading: %w", err)
	}
	if err := p.prepare(c, old); err != nil {
		c.drop(p.logger)
		return nil, fmt.Errorf("reloading: %w", err)
	}
	if err := p.swap(c); err != nil {
		return nil, fmt.Errorf("reloading: %w", err)
	}
	restart = restartNeeded(old, cfg)
	p.logger.Info("configuration reloaded", "listeners", len(p.entries()), "destinations", len(cfg.Destinations), "restart_needed", restart)
	return restart, nil
}

// prepare makes the rest of a change: the router and the sessions' policy.
func (p *Proxy) prepare(c *change, old *config.Config) error {
	router := p.router.Load()
	if !sameStore(old, c.cfg) {
		declared := func(name string) bool { return c.cfg.Destination(name) != nil || p.declared(name) }
		store, err := newStore(c.cfg, declared, p.logger)
		if err != nil {
			return err
		}
		if router, err = route.New(routerOptions(c.cfg, store, p.logger)); err != nil {
			closeStore(store, p.logger)
			return err
		}
		c.newRouter, c.newStore = router, store
	}
	var err error
	if c.policy, c.dials, err = p.policy(c.cfg, router); err != nil {
		return err
	}
	return p.security.certs.Replace(pairs(c.cfg)) // last: nothing after it can fail but for want of memory
}

// sameStore tells whether the mapping store and its cache can serve on.
func sameStore(a, b *config.Config) bool {
	x, y := a.Mapping, b.Mapping
	return x.Source == y.Source && x.CacheMaxEntries == y.CacheMaxEntries && x.Normalize == y.Normalize &&
		reflect.DeepEqual(a.Routing.MasterUserSeparators, b.Routing.MasterUserSeparators) &&
		reflect.DeepEqual(x.File, y.File) && reflect.DeepEqual(x.Redis, y.Redis) && reflect.DeepEqual(x.SQL, y.SQL)
}

// swap puts a change in force.
func (p *Proxy) swap(c *change) error {
	p.cfg.Store(c.cfg)
	p.level.Set(c.cfg.Server.LogLevel)
	p.security.dials = c.dials
	router, oldRouter := c.policy.Router, p.router.Load()
	if router == oldRouter {
		if err := router.Reconfigure(routerOptions(c.cfg, nil, p.logger)); err != nil {
			c.drop(p.logger)
			return err
		}
	}
	p.router.Store(router)
	oldStore := p.store
	if c.newStore != nil {
		p.store = c.newStore
	}
	c.newRouter = nil
	if err := p.sessions.Apply(c.policy); err != nil {
		c.drop(p.logger)
		return err
	}
	if err := p.enter(c); err != nil {
		return err
	}
	if router != oldRouter {
		oldRouter.Close() // a login that still waits on it asks the new one
		closeStore(oldStore, p.logger)
	} else if _, err := router.Reload(context.Background()); err != nil && !errors.Is(err, route.ErrNoReload) {
		p.logger.Error("mapping file not read again", logx.Err, err)
	}
	if p.admin != nil && c.cfg.Admin != nil {
		p.admin.SetToken([]byte(c.cfg.Admin.Token.Reveal()))
	}
	p.security.warn(c.cfg, p.logger)
	p.exposeCertificates(c.cfg)
	return nil
}

// restartNeeded names what a reload cannot change (SPEC 8).
func restartNeeded(a, b *config.Config) (keys []string) {
	note := func(key string, same bool) {
		if !same {
			keys = append(keys, key)
		}
	}
	note("server.threads", a.Server.Threads == b.Server.Threads)
	note("server.engine", a.Server.Engine == b.Server.Engine)
	note("server.ktls", a.Server.KTLS == b.Server.KTLS)
	note("server.user", a.Server.User == b.Server.User && a.Server.Group == b.Server.Group)
	note("server.log_format", a.Server.LogFormat == b.Server.LogFormat)
	note("admin.bind", (a.Admin == nil) == (b.Admin == nil) && (a.Admin == nil || a.Admin.Bind == b.Admin.Bind))
	note("metrics.bind", (a.Metrics == nil) == (b.Metrics == nil) && (a.Metrics == nil || a.Metrics.Bind == b.Metrics.Bind))
	return keys
}

// ReloadFile reads the configuration file again and puts it in force (SIGHUP and POST /config/reload). What is wrong with
// it is in the error, every line of it, and in the log.
func (p *Proxy) ReloadFile() (restart []string, err error) {
	cfg, warnings, err := config.Load(p.cfg.Load().Path, LoadOptions())
	if err == nil && !p.o.Partial {
		if list := config.Unbuilt(cfg); len(list) > 0 {
			err = list
		}
	}
	if err == nil {
		restart, err = p.Reload(cfg)
	}
	if err != nil {
		p.logger.Error("configuration not reloaded: the old one stays in force", logx.Err, err)
		return nil, err
	}
	for _, w := range warnings {
		p.logger.Warn("configuration", "problem", w.String())
	}
	return restart, nil
}
