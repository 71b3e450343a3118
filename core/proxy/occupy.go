package proxy

import (
	"context"
	"net"
	"net/netip"

	"mailsplice/core/admin"
	"mailsplice/core/config"
)

// occupy binds every address and becomes who the proxy runs as. From here on everything is read and written as that user, as
// reloads will.
func (p *Proxy) occupy(cfg *config.Config) (*change, error) {
	c := &change{cfg: cfg, bound: map[place]int{}}
	if err := p.bindAll(c); err != nil {
		return c, err
	}
	var err error
	if cfg.Metrics != nil {
		if p.scrapedLn, err = listenPlain(context.Background(), "metrics", netip.AddrPort(cfg.Metrics.Bind)); err != nil {
			return c, err
		}
	}
	if cfg.Admin != nil {
		if p.adminLn, err = listenPlain(context.Background(), "admin", netip.AddrPort(cfg.Admin.Bind)); err != nil {
			return c, err
		}
	}
	if err := become(cfg.RunAs); err != nil {
		return c, err
	}
	if id := cfg.RunAs; id != nil {
		p.logger.Info("changed user", "uid", id.UID, "gid", id.GID)
	}
	return c, readable(cfg)
}

// closeListeners gives back what nothing serves on yet.
func closeListeners(list ...net.Listener) {
	for _, ln := range list {
		if ln != nil {
			ln.Close()
		}
	}
}

// open begins to serve on what is bound, the admin API last.
func (p *Proxy) open(c *change) error {
	if err := p.shape(c); err != nil {
		c.drop(p.logger)
		return err
	}
	if err := p.enter(c); err != nil {
		return err
	}
	if p.scrapedLn != nil {
		p.openMetrics()
	}
	if p.adminLn == nil {
		return nil
	}
	return p.openAdmin(c.cfg)
}

// openMetrics is the plain listener for a scraper (SPEC 2.10).
func (p *Proxy) openMetrics() {
	p.scraped = admin.NewMetricsServer(admin.MetricsOptions{Metrics: p.metrics.WritePrometheus, Draining: p.sessions.Draining, Log: p.logger})
	go p.serveMetrics() // until Shutdown
}
