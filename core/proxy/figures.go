package proxy

import (
	"runtime"
	"runtime/debug"
	"time"

	"mailsplice/core/admin"
	"mailsplice/core/config"
	"mailsplice/core/logx"
	"mailsplice/core/metrics"
	"mailsplice/core/route"
)

func (p *Proxy) stats() admin.Stats {
	c, r := p.sessions.Counts(), p.router.Load().Stats()
	return admin.Stats{CacheHits: r.Hits, CacheMisses: r.Misses, CacheEvictions: r.Evictions, CacheEntries: r.Entries,
		StoreErrors: r.StoreErrors, Connections: c.Joined, Preauth: c.Preauth, Logins: c.Logins, LogDropped: p.log.Dropped()}
}

// expose registers the figures that others keep.
func (p *Proxy) expose() {
	read := func(f func(route.Stats) float64) func() float64 {
		return func() float64 { return f(p.router.Load().Stats()) }
	}
	p.metrics.Cache(metrics.Cache{
		Hits:      read(func(s route.Stats) float64 { return float64(s.Hits) }),
		Misses:    read(func(s route.Stats) float64 { return float64(s.Misses) }),
		Evictions: read(func(s route.Stats) float64 { return float64(s.Evictions) }),
		Entries:   read(func(s route.Stats) float64 { return float64(s.Entries) }),
	})
	p.metrics.Descriptors(func() int { return p.engine.OpenFDs() + p.engine.PipeFDs() }, func() int { return p.maxFDs })
	p.exposeCertificates(p.cfg.Load())
	p.metrics.StoreErrors(storeSource(p.cfg.Load()), read(func(s route.Stats) float64 { return float64(s.StoreErrors) }))
}

// exposeCertificates registers when each configured certificate expires.
func (p *Proxy) exposeCertificates(cfg *config.Config) {
	for _, c := range cfg.TLS.Certificates {
		p.metrics.Certificate(c.Name, func() time.Duration {
			if at := p.security.certs.Expiry(c.Name); !at.IsZero() {
				return time.Until(at)
			}
			return 0 // not configured any more
		})
	}
}

const (
	// lagEvery is how often the loops' longest turn is sampled, and the number of processors adapted to what is going on.
	lagEvery = time.Second
	// figuresEvery is the period of the `metrics` line (SPEC 10).
	figuresEvery = 60 * time.Second
	// quietEvery is how often it is looked whether a storm of logins is over.
	quietEvery = 15 * time.Second
)

// settle gives back what a storm of logins has used.
func (p *Proxy) settle() {
	p.router.Load().Pack()
	runtime.GC() // pools keep what they have until the second collection
	debug.FreeOSMemory()
}

// tick samples loop lag, adapts the engine and writes the periodic line. Shutdown ends it.
func (p *Proxy) tick() {
	defer close(p.stopped)
	lag, figures, rest := time.NewTicker(lagEvery), time.NewTicker(figuresEvery), time.NewTicker(quietEvery)
	defer lag.Stop()
	defer figures.Stop()
	defer rest.Stop()
	var calm quiet
	for {
		select {
		case <-p.stop:
			return
		case <-lag.C:
			p.engine.Adapt(p.security.slots.Hurried())
			for _, l := range p.engine.Loops() {
				p.metrics.LoopLag(time.Duration(l.LagSeconds() * float64(time.Second)))
			}
		case <-rest.C:
			if s := p.stats(); calm.due(s.CacheHits + s.CacheMisses) {
				p.settle()
			}
		case <-figures.C:
			s := p.stats()
			p.logger.Info("metrics", logx.CacheHits, s.CacheHits, logx.CacheMisses, s.CacheMisses, logx.HitRatePct, s.HitRatePct(),
				logx.ActiveConnections, s.Connections)
		}
	}
}
