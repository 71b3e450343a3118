package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"mailsplice/core/config"
	"mailsplice/core/dial"
	"mailsplice/core/engine"
	"mailsplice/tlsx"
)

// Bounds of a probe of all legs.
const (
	probesAtOnce  = 16
	maxProbeBytes = 256 << 10 // that one backend may say; a login's machine takes 64 KiB
	expirySoon    = 14 * 24 * time.Hour
)

// ErrProbe says that at least one leg does not do what the configuration asks of it. What is wrong has been written.
var ErrProbe = errors.New("a backend does not do what the configuration asks of it")

// Probe connects to every leg of every destination, as a login would come to it, and writes what it finds to w: the
// backend's certificate, its capabilities, and whether it takes our word about clients (SPEC 2). No login is tried. A leg
// takes at most backend_timeout, twice where its certificate is not accepted. The error is ErrProbe, or says why the probe
// could not be made, or is ctx's.
//
// A backend is told of the probe as of a client, at the address that the probe itself comes from.
func Probe(ctx context.Context, cfg *config.Config, w io.Writer) error {
	p, err := newProber(cfg)
	if err != nil {
		return err
	}
	defer p.close()
	failed, err := p.all(ctx, w)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("probing backends: %w", ctx.Err())
	case err != nil:
		return fmt.Errorf("writing the result: %w", err)
	case failed > 0:
		return ErrProbe
	}
	return nil
}

// prober is what all probes share.
type prober struct {
	cfg      *config.Config
	security *security // its policies towards backends only
	engine   *engine.Engine
	dialer   *dial.Dialer
	name     string // in EHLO; empty: an address literal
}

// newProber starts one loop, which lends the sockets.
func newProber(cfg *config.Config) (*prober, error) {
	nobody := slog.New(slog.DiscardHandler)
	e, err := engine.New(engine.Options{Loops: 1, Log: nobody})
	if err != nil {
		return nil, err
	}
	e.Start()
	return &prober{cfg: cfg, engine: e, dialer: newDialer(nobody, Options{}, func() *config.Config { return cfg }), name: cfg.Server.Hostname,
		security: &security{slots: tlsx.SlotsFor(cpus)}}, nil
}

func (p *prober) close() {
	p.dialer.Close()
	p.engine.Stop()
}

// target is one leg at one host.
type target struct {
	d    *config.Destination
	e    *config.Endpoint
	host int // index into d.Hosts
}

func (p *prober) targets() (list []target) {
	for _, d := range p.cfg.Destinations {
		for _, e := range d.Endpoints {
			for i := range d.Hosts {
				list = append(list, target{d, e, i})
			}
		}
	}
	return list
}

// all probes everything, a few at a time, and writes the reports in the configuration's order, each as soon as its turn
// has come.
func (p *prober) all(ctx context.Context, w io.Writer) (failed int, err error) {
	list := p.targets()
	reports, slots := make([]chan *report, len(list)), make(chan struct{}, probesAtOnce)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, t := range list {
		reports[i] = make(chan *report, 1)
		wg.Go(func() { // ends with its deadline or ctx
			select {
			case slots <- struct{}{}:
				reports[i] <- p.one(ctx, t)
				<-slots
			case <-ctx.Done():
				reports[i] <- newReport(p, t)
			}
		})
	}
	for _, r := range reports {
		done := <-r
		if ctx.Err() != nil {
			return failed, nil
		}
		if _, err := io.WriteString(w, done.text()); err != nil {
			return failed, err
		}
		if done.failure != nil {
			failed++
		}
	}
	_, err = fmt.Fprintf(w, "%d legs probed, %d failed\n", len(list), failed)
	return failed, err
}

// report is what was found out about one target.
type report struct {
	head    string
	lines   [][2]string
	failure error
}

func newReport(p *prober, t target) *report {
	return &report{head: fmt.Sprintf("%s %s  %s:%d %s", t.d.Name, t.e.Protocol, bracketed(t.d.Hosts[t.host]), t.e.Port, t.e.TLS)}
}

// bracketed writes a host as it stands before a port.
func bracketed(host string) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return "[" + host + "]"
	}
	return host
}

func (r *report) say(what, format string, args ...any) {
	r.lines = append(r.lines, [2]string{what, fmt.Sprintf(format, args...)})
}

func (r *report) text() string {
	var b strings.Builder
	b.WriteString(r.head + "\n")
	for _, l := range r.lines {
		fmt.Fprintf(&b, "  %-13s %s\n", l[0], l[1])
	}
	result := "ok"
	if r.failure != nil {
		result = "FAILED: " + r.failure.Error()
	}
	fmt.Fprintf(&b, "  %-13s %s\n", "result", result)
	return b.String()
}

// certificate says what the backend shows. Its names are foreign text, and quoted.
func (r *report) certificate(c *x509.Certificate, now time.Time) {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{c.Subject.CommonName}
	}
	const most = 8
	if len(names) > most {
		names = append(names[:most:most], "...")
	}
	r.say("certificate", "%q, issued by %q", strings.Join(names, " "), c.Issuer.String())
	r.say("expires", "%s%s", c.NotAfter.UTC().Format(time.DateTime)+" UTC", remaining(c.NotAfter.Sub(now)))
	r.say("sha256", "%s", tlsx.Fingerprint(c))
}

// remaining warns as `check` does about our own certificates (SPEC 2).
func remaining(left time.Duration) string {
	days := int(left / (24 * time.Hour))
	switch {
	case left <= 0:
		return ", WARNING: it has expired"
	case left < expirySoon:
		return fmt.Sprintf(", WARNING: in %d days", days)
	}
	return fmt.Sprintf(" (in %d days)", days)
}
