package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"time"

	"mailsplice/core/admin"
	"mailsplice/core/config"
	"mailsplice/core/dial"
	"mailsplice/core/engine"
	"mailsplice/core/logx"
	"mailsplice/core/metrics"
	"mailsplice/core/route"
	"mailsplice/core/session"
)

// Options are what a configuration does not say.
type Options struct {
	LogWriter io.Writer
	// Version is what the program calls itself.
	Version string
}

// Proxy is a running proxy.
type Proxy struct {
	cfg      *config.Config
	log      *logx.Log
	logger   *slog.Logger
	security *security
	engine   *engine.Engine
	router   *route.Router
	dialer   *dial.Dialer
	sessions *session.Sessions
	metrics  *metrics.Set
	entries  []entrance
	admin    *admin.Server
	adminLn  net.Listener
	stop     chan struct{} // ends the periodic goroutine
	stopped  chan struct{}
}

// entrance is one bound address of a listener.
type entrance struct {
	name string
	ln   *engine.Listener
}

// Start serves cfg. Errors of type *BindError say which listener could not bind. On an error nothing keeps running.
func Start(cfg *config.Config, o Options) (*Proxy, error) {
	p := &Proxy{cfg: cfg, log: newLog(cfg, o), metrics: metrics.New(), stop: make(chan struct{}), stopped: make(chan struct{})}
	p.logger = p.log.Logger()
	if err := p.build(); err != nil {
		p.log.Close(context.Background())
		return nil, err
	}
	p.engine.Start()
	if err := p.open(); err != nil {
		p.teardown(context.Background())
		return nil, err
	}
	go p.tick() // until Shutdown
	p.logger.Info("serving", "version", o.Version, "listeners", len(p.entries), "destinations", len(cfg.Destinations))
	return p, nil
}

// build makes everything that does not yet listen.
func (p *Proxy) build() error {
	store, err := newStore(p.cfg, p.logger)
	if err != nil {
		return err
	}
	if p.router, err = newRouter(p.cfg, store, p.logger); err != nil {
		return err
	}
	if p.security, err = newSecurity(p.cfg, p.logger); err != nil {
		p.router.Close()
		return err
	}
	dests, err := destinations(p.security)
	if err == nil {
		p.engine, err = p.newEngine()
	}
	if err != nil {
		p.router.Close()
		p.security.close()
		return err
	}
	p.dialer = newDialer(p.cfg, p.logger)
	s := p.cfg.Server
	p.sessions = session.New(session.Options{
		Engine: p.engine, Destinations: dests, PassThrough: p.cfg.Routing.SMTPPassthroughDestination, Router: p.router, Dialer: p.dialer,
		Limits: session.Limits{MaxPreauth: s.MaxPreauth, BackendTimeout: s.BackendTimeout, ConnectRetries: s.BackendConnectRetries,
			ProxyTTL: s.ProxyTTL, BridgeIdle: s.BridgeIdle, HalfClosed: s.HalfClosed, StashBytes: s.StashLimit},
		KickOnChange: p.cfg.Mapping.OnChange == config.ChangeKick,
		Log:          p.logger, Redactor: newRedactor(p.cfg), Metrics: p.metrics,
	})
	p.expose()
	return nil
}

// newEngine makes the loops and gives them processors of their own: handshakes and look-ups must not starve them
// (DESIGN 2, CPU fairness).
func (p *Proxy) newEngine() (*engine.Engine, error) {
	loops := p.cfg.Server.Threads
	if loops == 0 {
		loops = cpus
	}
	runtime.GOMAXPROCS(cpus + loops)
	fds, err := engine.RaiseFileLimit()
	if err != nil {
		return nil, err
	}
	p.warnDescriptors(fds)
	return engine.New(engine.Options{Loops: loops, MaxFDs: fds, Log: p.logger})
}

// cpus is how many the process may use, cgroup quota included, before newEngine changes GOMAXPROCS.
var cpus = runtime.GOMAXPROCS(0)

// warnDescriptors compares what the configuration may need with the limit (DESIGN 2).
func (p *Proxy) warnDescriptors(limit int) {
	if need := Descriptors(p.cfg); need > limit {
		p.logger.Warn("open file limit is below what the configuration may need; newcomers will be turned away", "limit", limit, "need", need)
	}
}

// Descriptors is how many open files cfg may need: two for every connection, one for every one not authenticated, and
// 256 for the rest.
func Descriptors(cfg *config.Config) int {
	connections := 0
	for _, l := range cfg.Listeners {
		connections += l.MaxConnections
	}
	return 2*connections + cfg.Server.MaxPreauth + 256
}

// open binds the listeners, the admin API last.
func (p *Proxy) open() error {
	for _, l := range p.cfg.Listeners {
		ln, err := newListener(p.security, l)
		if err != nil {
			return err
		}
		if ln == nil {
			p.logger.Warn("listener is not served: its feature is not built yet", logx.Listener, l.Name)
			continue
		}
		o := p.sessions.AddListener(ln)
		for _, addr := range l.Bind {
			o.Addr, o.V6Only, o.ReusePort = addr, p.cfg.V6Only(addr), p.cfg.Server.ReusePort
			x, err := p.engine.Listen(o)
			if err != nil {
				return &BindError{l.Name, err}
			}
			p.entries = append(p.entries, entrance{l.Name, x})
		}
	}
	if p.cfg.Admin == nil {
		return nil
	}
	return p.openAdmin()
}

func (p *Proxy) openAdmin() error {
	m := &mappings{router: p.router, declared: map[string]bool{}}
	for _, d := range p.cfg.Destinations {
		m.declared[d.Name] = true
	}
	var err error
	p.admin, err = admin.New(admin.Options{
		TLS:   p.security.admin(),
		Token: []byte(p.cfg.Admin.Token.Reveal()), LockoutThreshold: p.cfg.Admin.LockoutThreshold, LockoutDuration: p.cfg.Admin.LockoutDuration,
		Mappings: m, Sessions: kicker{p.sessions}, Stats: p.stats, Draining: p.sessions.Draining, Metrics: p.metrics.WritePrometheus,
		Log: p.logger, Redactor: newRedactor(p.cfg),
	})
	if err != nil {
		return err
	}
	if p.adminLn, err = listenAdmin(context.Background(), p.cfg.Admin.Bind); err != nil {
		return err
	}
	go p.serveAdmin() // until Shutdown
	return nil
}

func (p *Proxy) serveAdmin() {
	if err := p.admin.Serve(p.adminLn); err != nil {
		p.logger.Error("admin API stopped", logx.Err, err)
	}
}

func (p *Proxy) stats() admin.Stats {
	c, r := p.sessions.Counts(), p.router.Stats()
	return admin.Stats{CacheHits: r.Hits, CacheMisses: r.Misses, CacheEvictions: r.Evictions, CacheEntries: r.Entries,
		StoreErrors: r.StoreErrors, Connections: c.Joined, Preauth: c.Preauth, Logins: c.Logins, LogDropped: p.log.Dropped()}
}

// expose registers the figures that others keep.
func (p *Proxy) expose() {
	read := func(f func(route.Stats) float64) func() float64 { return func() float64 { return f(p.router.Stats()) } }
	p.metrics.Cache(metrics.Cache{
		Hits:      read(func(s route.Stats) float64 { return float64(s.Hits) }),
		Misses:    read(func(s route.Stats) float64 { return float64(s.Misses) }),
		Evictions: read(func(s route.Stats) float64 { return float64(s.Evictions) }),
		Entries:   read(func(s route.Stats) float64 { return float64(s.Entries) }),
	})
	p.metrics.StoreErrors(storeSource(p.cfg), read(func(s route.Stats) float64 { return float64(s.StoreErrors) }))
}

const (
	// lagEvery is how often the loops' longest turn is sampled.
	lagEvery = time.Second
	// figuresEvery is the period of the `metrics` line (SPEC 10).
	figuresEvery = 60 * time.Second
)

// tick samples loop lag and writes the periodic line. Shutdown ends it.
func (p *Proxy) tick() {
	defer close(p.stopped)
	lag, figures := time.NewTicker(lagEvery), time.NewTicker(figuresEvery)
	defer lag.Stop()
	defer figures.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-lag.C:
			for _, l := range p.engine.Loops() {
				p.metrics.LoopLag(time.Duration(l.LagSeconds() * float64(time.Second)))
			}
		case <-figures.C:
			s := p.stats()
			p.logger.Info("metrics", logx.CacheHits, s.CacheHits, logx.CacheMisses, s.CacheMisses, logx.HitRatePct, s.HitRatePct(),
				logx.ActiveConnections, s.Connections)
		}
	}
}

// Addr is the first bound address of a listener, which tells the port when 0 was asked for.
func (p *Proxy) Addr(listener string) netip.AddrPort {
	for _, e := range p.entries {
		if e.name == listener {
			return e.ln.Addr()
		}
	}
	return netip.AddrPort{}
}

// AdminAddr is where the admin API listens; empty without one.
func (p *Proxy) AdminAddr() string {
	if p.adminLn == nil {
		return ""
	}
	return p.adminLn.Addr().String()
}

// Shutdown closes the listeners, gives connections before login their farewell, lets joined sessions live for
// shutdown_grace and ends them cleanly (SPEC 9). When ctx ends it hurries.
func (p *Proxy) Shutdown(ctx context.Context) {
	close(p.stop)
	<-p.stopped
	p.logger.Info("draining", "sessions", p.sessions.Counts().Joined, "grace", p.cfg.Server.ShutdownGrace)
	p.closeEntries(ctx)
	p.sessions.Drain(ctx, p.cfg.Server.ShutdownGrace)
	p.logger.Info("stopped")
	p.teardown(ctx)
}

// closeEntries waits until every queued newcomer was taken, so that it gets its farewell and not a reset.
func (p *Proxy) closeEntries(ctx context.Context) {
	for _, e := range p.entries {
		e.ln.Close()
	}
	for _, e := range p.entries {
		select {
		case <-e.ln.Done():
		case <-ctx.Done():
			return
		}
	}
}

// teardown stops everything that runs; sessions that are left end with the process.
func (p *Proxy) teardown(ctx context.Context) {
	for _, e := range p.entries {
		e.ln.Close()
	}
	if p.admin != nil && p.adminLn != nil {
		p.admin.Shutdown(ctx)
	}
	p.sessions.Close()
	p.engine.Stop()
	p.sessions.Release()
	p.dialer.Close()
	p.router.Close()
	p.security.close()
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	p.log.Close(flush)
}

// flushTimeout bounds the wait for whoever reads the log.
const flushTimeout = 2 * time.Second
