package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"mailsplice/core/admin"
	"mailsplice/core/bridge"
	"mailsplice/core/config"
	"mailsplice/core/dial"
	"mailsplice/core/engine"
	"mailsplice/core/logx"
	"mailsplice/core/metrics"
	"mailsplice/core/route"
	"mailsplice/core/session"
	"mailsplice/tlsx/ktls"
)

// Options are what a configuration does not say.
type Options struct {
	LogWriter io.Writer
	// Version is what the program calls itself.
	Version string
	// MaxLoginDelay bounds how long a refused login waits for its answer; 0: as SPEC 12 says.
	MaxLoginDelay time.Duration
	// Partial: a reload accepts keys whose feature is not built yet, as the start did.
	Partial bool
	// Resolve finds the addresses of a backend's name, in the order in which they are to be tried; nil: the system's
	// configuration by Go's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Proxy is a running proxy.
type Proxy struct {
	// immutable after Start
	o        Options
	log      *logx.Log
	logger   *slog.Logger
	level    *slog.LevelVar
	redactor *logx.Redactor
	engine   *engine.Engine
	maxFDs   int
	dialer   *dial.Dialer
	sessions *session.Sessions
	kernel   *ktls.Support // nil: not to be used
	metrics  *metrics.Set
	admin    *admin.Server
	adminLn  net.Listener
	// scraped is nil without [metrics].
	scraped   *admin.MetricsServer
	scrapedLn net.Listener
	stop      chan struct{} // ends the periodic goroutine
	stopped   chan struct{}

	cfg    atomic.Pointer[config.Config] // in force
	router atomic.Pointer[route.Router]

	reloading sync.Mutex // held by Reload and Shutdown; guards what follows
	security  *security
	store     route.Store // of the router in force
	over      bool        // Shutdown has begun

	entrances atomic.Pointer[[]*entrance] // written under reloading
}

// Start binds every address, changes to server.user and server.group, and serves cfg. Errors of type *BindError say which
// listener could not bind. On an error nothing keeps running, but the change of user stays.
func Start(cfg *config.Config, o Options) (*Proxy, error) {
	p := &Proxy{o: o, metrics: metrics.New(), level: new(slog.LevelVar), redactor: logx.NewRedactor(logx.Redacted),
		stop: make(chan struct{}), stopped: make(chan struct{})}
	p.cfg.Store(cfg)
	p.entrances.Store(new([]*entrance))
	p.level.Set(cfg.Server.LogLevel)
	p.log = newLog(cfg, o, p.level)
	p.logger = p.log.Logger()
	var err error
	if p.kernel, err = kernelTLS(cfg.Server.KTLS, p.logger); err != nil {
		p.log.Close(context.Background())
		return nil, err
	}
	c, err := p.occupy(cfg)
	if err == nil {
		err = p.build(cfg)
	}
	if err != nil {
		c.drop(p.logger)
		closeListeners(p.adminLn, p.scrapedLn)
		p.log.Close(context.Background())
		return nil, err
	}
	p.engine.Start()
	if err := p.open(c); err != nil {
		p.teardown(context.Background())
		return nil, err
	}
	go p.tick() // until Shutdown
	p.logger.Info("serving", "version", o.Version, "listeners", len(p.entries()), "destinations", len(cfg.Destinations))
	return p, nil
}

// build makes everything that does not yet listen.
func (p *Proxy) build(cfg *config.Config) error {
	store, err := newStore(cfg, p.declared, p.logger)
	if err != nil {
		return err
	}
	router, err := route.New(routerOptions(cfg, store, p.logger))
	if err != nil {
		closeStore(store, p.logger)
		return err
	}
	p.router.Store(router)
	p.store = store
	if p.security, err = newSecurity(cfg, p.logger); err != nil {
		p.closeRouter()
		return err
	}
	p.dialer = newDialer(p.logger, p.o, p.cfg.Load)
	if err := p.assemble(cfg, router); err != nil {
		p.closeRouter()
		p.security.close()
		p.dialer.Close()
		return err
	}
	p.expose()
	return nil
}

// assemble makes the engine and the sessions on it.
func (p *Proxy) assemble(cfg *config.Config, router *route.Router) error {
	policy, dials, err := p.policy(cfg, router)
	if err != nil {
		return err
	}
	p.security.dials = dials
	if p.engine, err = p.newEngine(cfg); err != nil {
		return err
	}
	p.sessions, err = session.New(session.Options{Engine: p.engine, Dialer: p.dialer, Log: p.logger, Metrics: p.metrics, Policy: policy,
		MaxLoginDelay: p.o.MaxLoginDelay, Kernel: p.kernel})
	if err != nil {
		p.engine.Stop()
	}
	return err
}

// declared tells whether a destination exists in the configuration in force.
func (p *Proxy) declared(destination string) bool {
	return p.cfg.Load().Destination(destination) != nil
}

// newEngine makes the loops. Handshakes and look-ups must not starve them (DESIGN 2, CPU fairness), which the engine sees to (Adapt),
// and the slots for handshakes.
func (p *Proxy) newEngine(cfg *config.Config) (*engine.Engine, error) {
	loops := cfg.Server.Threads
	if loops == 0 {
		loops = cpus
	}
	fds, err := engine.RaiseFileLimit()
	if err != nil {
		return nil, err
	}
	p.maxFDs = fds
	p.warnDescriptors(cfg, fds)
	return engine.New(engine.Options{Loops: loops, CPUs: cpus, MaxFDs: fds, Log: p.logger})
}

// cpus is how many the process may use, cgroup quota included, before the engine changes GOMAXPROCS.
var cpus = runtime.GOMAXPROCS(0)

// warnDescriptors compares what the configuration may need with the limit (DESIGN 2).
func (p *Proxy) warnDescriptors(cfg *config.Config, limit int) {
	if need := Descriptors(cfg); need > limit {
		p.logger.Warn("open file limit is below what the configuration may need; newcomers will be turned away", "limit", limit, "need", need)
	}
}

// Descriptors is how many open files cfg may need: two for every connection, one for every one not authenticated, two for
// every pipe, and 256 for the rest.
func Descriptors(cfg *config.Config) int {
	connections := 0
	for _, l := range cfg.Listeners {
		connections += l.MaxConnections
	}
	return 2*connections + cfg.Server.MaxPreauth + 2*bridge.MaxPipes + 256
}

func (p *Proxy) serveMetrics() {
	if err := p.scraped.Serve(p.scrapedLn); err != nil {
		p.logger.Error("metrics listener stopped", logx.Err, err)
	}
}

func (p *Proxy) openAdmin(cfg *config.Config) error {
	var err error
	p.admin, err = admin.New(admin.Options{
		TLS:   p.security.admin(),
		Token: []byte(cfg.Admin.Token.Reveal()), LockoutThreshold: cfg.Admin.LockoutThreshold, LockoutDuration: cfg.Admin.LockoutDuration,
		Mappings: &mappings{p}, Sessions: kicker{p.sessions}, Stats: p.stats, Draining: p.sessions.Draining, Metrics: p.metrics.WritePrometheus,
		Bulk: bulk{p}, Listing: listing{p}, Connections: connections{p.sessions}, Holds: holds{p.sessions}, Destinations: homes{p.sessions},
		Unmapped: p.unmapped, ReloadConfig: p.reloadConfig,
		Log: p.logger, Redactor: newRedactor(cfg, p.redactor),
	})
	if err != nil {
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

// Addr is the first bound address of a listener, which tells the port when 0 was asked for.
func (p *Proxy) Addr(listener string) netip.AddrPort {
	for _, e := range p.entries() {
		if e.serve.Load().name == listener {
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
	p.reloading.Lock()
	defer p.reloading.Unlock()
	p.over = true
	close(p.stop)
	<-p.stopped
	grace := p.cfg.Load().Server.ShutdownGrace
	p.logger.Info("draining", "sessions", p.sessions.Counts().Joined, "grace", grace)
	p.closeEntries(ctx)
	p.sessions.Drain(ctx, grace)
	p.logger.Info("stopped")
	p.teardown(ctx)
}

// closeEntries waits until every queued newcomer was taken, so that it gets its farewell and not a reset.
func (p *Proxy) closeEntries(ctx context.Context) {
	for _, e := range p.entries() {
		e.ln.Close()
	}
	for _, e := range p.entries() {
		select {
		case <-e.ln.Done():
		case <-ctx.Done():
			return
		}
	}
}

// teardown stops everything that runs; sessions that are left end with the process.
func (p *Proxy) teardown(ctx context.Context) {
	for _, e := range p.entries() {
		e.ln.Close()
	}
	if p.admin != nil {
		p.admin.Shutdown(ctx)
	}
	if p.scraped != nil {
		p.scraped.Shutdown(ctx)
	}
	closeListeners(p.adminLn, p.scrapedLn) // if the start came to an end before they were served
	p.sessions.Close()
	p.engine.Stop()
	p.sessions.Release()
	p.dialer.Close()
	p.closeRouter()
	p.security.close()
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	p.log.Close(flush)
}

// closeRouter ends look-ups, then what they went to.
func (p *Proxy) closeRouter() {
	p.router.Load().Close()
	closeStore(p.store, p.logger)
}

// flushTimeout bounds the wait for whoever reads the log.
const flushTimeout = 2 * time.Second
