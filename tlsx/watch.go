package tlsx

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"
)

// watchInterval is how often the certificate files are looked at. A change is served when it has stood still for one look:
// within two to three seconds.
const watchInterval = time.Second

// loaded is a pair as it is served, and what is known about its files.
type loaded struct {
	pair    Pair
	cert    *tls.Certificate
	served  stamps // files that cert was read from
	seen    stamps // files at the last look
	refused stamps // files that could not be served, and were reported
}

// stamps tells whether the two files of a pair have changed.
type stamps struct{ cert, key stamp }

// stamp identifies a file's contents without reading them; zero for a file that is not there. Symbolic links are
// followed, so that a switched link is a change.
type stamp struct {
	device, inode  uint64
	size, modified int64 // bytes; ns
}

// loadPair takes the stamps first: a change during the reading is one more change.
func loadPair(p Pair) (loaded, error) {
	now := p.stamps()
	cert, err := p.load()
	if err != nil {
		return loaded{}, fmt.Errorf("certificate %q: %w", p.Name, err)
	}
	return loaded{pair: p, cert: cert, served: now, seen: now}, nil
}

func (p Pair) stamps() stamps {
	var s stamps
	if len(p.CertPEM) == 0 {
		s.cert = stampOf(p.CertFile)
	}
	if len(p.KeyPEM) == 0 {
		s.key = stampOf(p.KeyFile)
	}
	return s
}

func stampOf(file string) stamp {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	s := stamp{size: info.Size(), modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = sys.Dev, sys.Ino
	}
	return s
}

// Watch serves changed files until ctx ends. A pair that does not load is reported once for each state of its files, and
// the old one stays (SPEC 2.2).
func (c *Certificates) Watch(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.look(log)
		}
	}
}

// look goes once over all files. Files that changed since the last look are left alone until the next: certificate and
// key are two files, and nobody replaces both at once.
func (c *Certificates) look(log *slog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.loaded {
		l := &c.loaded[i]
		now := l.pair.stamps()
		quiet := now == l.seen
		l.seen = now
		if quiet && now != l.served && now != l.refused {
			c.reload(i, log)
		}
	}
}

// reload serves the files of the pair as they are now, or reports why not. The caller holds mu.
func (c *Certificates) reload(i int, log *slog.Logger) {
	name := c.loaded[i].pair.Name
	fresh, err := loadPair(c.loaded[i].pair)
	if err == nil {
		list := slices.Clone(c.loaded)
		list[i] = fresh
		err = c.serve(list)
	}
	if err != nil {
		c.loaded[i].refused = c.loaded[i].seen
		log.Error("changed certificate not loaded, the old one stays", "certificate", name, "err", err)
		return
	}
	log.Info("changed certificate loaded", "certificate", name, "sha256", Fingerprint(fresh.cert.Leaf), "expires", fresh.cert.Leaf.NotAfter)
}
