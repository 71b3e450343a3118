package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"mailsplice/core/config"
	"mailsplice/core/session"
	"mailsplice/tlsx"
)

// security is what the TLS of all listeners and destinations shares.
type security struct {
	cfg     *config.Config
	certs   *tlsx.Certificates
	tickets *tlsx.TicketKeys
	slots   *tlsx.Slots

	stopWatching context.CancelFunc
	watched      chan struct{} // closed when the certificate files are watched no more
}

// newSecurity loads the certificates and watches their files until close.
func newSecurity(cfg *config.Config, log *slog.Logger) (*security, error) {
	var pairs []tlsx.Pair
	for _, c := range cfg.TLS.Certificates {
		pairs = append(pairs, tlsx.Pair{Name: c.Name, CertFile: c.Cert, KeyFile: c.Key, Subjects: c.Subjects, Default: c.Default})
	}
	certs, err := tlsx.NewCertificates(cfg.Server.Hostname, pairs)
	if err != nil {
		return nil, err
	}
	if certs.FallbackServes() && presents(cfg) {
		log.Warn("no default certificate: a self-signed one is presented", "sha256", tlsx.Fingerprint(certs.Fallback()))
	}
	s := &security{cfg: cfg, certs: certs, tickets: tlsx.NewTicketKeys(), slots: tlsx.NewSlots(cpus, tlsx.DefaultWaiting), watched: make(chan struct{})}
	var ctx context.Context
	ctx, s.stopWatching = context.WithCancel(context.Background())
	go s.watch(ctx, log)
	return s, nil
}

// presents tells whether anybody is ever shown a certificate.
func presents(cfg *config.Config) bool {
	for _, l := range cfg.Listeners {
		if l.TLS != config.TLSPlain {
			return true
		}
	}
	return cfg.Admin != nil
}

// watch ends with ctx.
func (s *security) watch(ctx context.Context, log *slog.Logger) {
	defer close(s.watched)
	s.certs.Watch(ctx, log)
}

func (s *security) close() {
	s.stopWatching()
	<-s.watched
}

// admin is the policy of the admin API.
func (s *security) admin() *tls.Config {
	return &tls.Config{GetCertificate: s.certs.GetCertificate, MinVersion: tls.VersionTLS12}
}

// alpn is what each protocol goes by in ALPN (SPEC 12).
var alpn = map[config.Protocol][]string{
	config.IMAP: {"imap"}, config.POP3: {"pop3"}, config.ManageSieve: {"managesieve"},
	config.Submission: {"submission", "smtp"}, config.SMTP: {"smtp"}, config.LMTP: {"lmtp"},
}

// listener is the policy towards a listener's clients; nil when it has no TLS.
func (s *security) listener(l *config.Listener) (*tlsx.ServerConfig, error) {
	if l.TLS == config.TLSPlain {
		return nil, nil
	}
	p := s.cfg.TLS.Protocols
	o := tlsx.ServerOptions{Certificates: s.certs, MinVersion: tls.VersionTLS12, CipherSuites: p.CipherSuites, PostQuantum: p.PostQuantum,
		Protocols: alpn[l.Protocol], Tickets: s.tickets, Slots: s.slots}
	if p.MinVersion == config.TLS13 {
		o.MinVersion = tls.VersionTLS13
	}
	c, err := tlsx.NewServerConfig(o)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", l.Name, err)
	}
	return c, nil
}

// leg makes the session's side of an endpoint. Each has session caches of its own: what was agreed for one protocol is not
// resumed for another (DESIGN 3.7).
func (s *security) leg(d *config.Destination, e *config.Endpoint) (session.Leg, error) {
	leg := session.Leg{Port: e.Port, Mode: tlsMode(e.TLS), Announce: announce(e.Forwarding)}
	if leg.Mode == session.Plain {
		return leg, nil
	}
	o := tlsx.ClientOptions{Destination: d.Name, AllowInvalid: d.TLSAllowInvalidCerts, PostQuantum: d.TLSPostQuantum,
		Slots: s.slots, Pin: (*[32]byte)(d.TLSPinnedCertSHA256)}
	var err error
	if o.Roots, err = roots(d.TLSCA); err == nil && d.TLSClientCert != "" {
		var cert tls.Certificate
		cert, err = tls.LoadX509KeyPair(d.TLSClientCert, d.TLSClientKey)
		o.Certificate = &cert
	}
	if err != nil {
		return leg, fmt.Errorf("destination %q: %w", d.Name, err)
	}
	names := d.Hosts
	if d.TLSServerName != "" {
		names = []string{d.TLSServerName}
	}
	for _, o.ServerName = range names {
		c, err := tlsx.NewClientConfig(o)
		if err != nil {
			return leg, err
		}
		leg.TLS = append(leg.TLS, c)
	}
	return leg, nil
}

// roots reads a PEM bundle; nil for none: the platform's.
func roots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %q", path)
	}
	return pool, nil
}
