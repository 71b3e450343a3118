package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"mailsplice/core/config"
	"mailsplice/core/logx"
	"mailsplice/core/session"
	"mailsplice/tlsx"
)

// security is what the TLS of all listeners and destinations shares, over reloads too.
type security struct {
	certs   *tlsx.Certificates
	tickets *tlsx.TicketKeys
	slots   *tlsx.Slots
	dials   map[dialKey]dialPolicy // of the configuration in force; used under Proxy.reloading

	stopWatching context.CancelFunc
	watched      chan struct{} // closed when the certificate files are watched no more
}

// dialKey names one TLS policy towards backends. Each has a session cache of its own: what was agreed for one protocol is not
// resumed for another (DESIGN 3.7).
type dialKey struct {
	destination string
	protocol    config.Protocol
	name        string
}

// dialPolicy is a policy with what it was made of: a reload that leaves that alone leaves the session cache alone.
type dialPolicy struct {
	config *tlsx.ClientConfig
	madeOf dialSettings
}

type dialSettings struct {
	allowInvalid, postQuantum bool
	pin, roots, certificate   string // the bytes themselves
}

// newSecurity loads the certificates and watches their files until close.
func newSecurity(cfg *config.Config, log *slog.Logger) (*security, error) {
	certs, err := tlsx.NewCertificates(cfg.Server.Hostname, pairs(cfg))
	if err != nil {
		return nil, err
	}
	s := &security{certs: certs, tickets: tlsx.NewTicketKeys(), slots: tlsx.SlotsFor(cpus), watched: make(chan struct{})}
	s.warn(cfg, log)
	var ctx context.Context
	ctx, s.stopWatching = context.WithCancel(context.Background())
	go s.watch(ctx, log)
	return s, nil
}

// pairs are the configured certificates.
func pairs(cfg *config.Config) (list []tlsx.Pair) {
	for _, c := range cfg.TLS.Certificates {
		list = append(list, tlsx.Pair{Name: c.Name, CertFile: c.Cert, KeyFile: c.Key, Subjects: c.Subjects, Default: c.Default})
	}
	return list
}

// warn says at every start and reload what an operator should not get used to.
func (s *security) warn(cfg *config.Config, log *slog.Logger) {
	if s.certs.FallbackServes() && presents(cfg) {
		log.Warn("no default certificate: a self-signed one is presented", "sha256", tlsx.Fingerprint(s.certs.Fallback()))
	}
	for _, d := range cfg.Destinations {
		if d.TLSAllowInvalidCerts {
			log.Warn("certificates of the destination are not verified (tls_allow_invalid_certs)", logx.Destination, d.Name)
		}
	}
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
func (s *security) listener(cfg *config.Config, l *config.Listener) (*tlsx.ServerConfig, error) {
	if l.TLS == config.TLSPlain {
		return nil, nil
	}
	p := cfg.TLS.Protocols
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

// leg makes the session's side of an endpoint. The policies that it uses go into next.
func (s *security) leg(d *config.Destination, e *config.Endpoint, next map[dialKey]dialPolicy) (session.Leg, error) {
	leg := session.Leg{Port: e.Port, Mode: tlsMode(e.TLS), Announce: announce(e.Forwarding)}
	if leg.Mode == session.Plain {
		return leg, nil
	}
	names := d.Hosts
	if d.TLSServerName != "" {
		names = []string{d.TLSServerName}
	}
	for _, name := range names {
		p, err := s.dial(d, dialKey{d.Name, e.Protocol, name})
		if err != nil {
			return leg, fmt.Errorf("destination %q: %w", d.Name, err)
		}
		next[dialKey{d.Name, e.Protocol, name}] = p
		leg.TLS = append(leg.TLS, p.config)
	}
	return leg, nil
}

// dial makes a policy, or finds the one of before.
func (s *security) dial(d *config.Destination, key dialKey) (dialPolicy, error) {
	o := tlsx.ClientOptions{Destination: d.Name, ServerName: key.name, AllowInvalid: d.TLSAllowInvalidCerts, PostQuantum: d.TLSPostQuantum,
		Slots: s.slots, Pin: (*[32]byte)(d.TLSPinnedCertSHA256)}
	made := dialSettings{allowInvalid: o.AllowInvalid, postQuantum: o.PostQuantum}
	if o.Pin != nil {
		made.pin = string(o.Pin[:])
	}
	var err error
	if d.TLSCA != "" {
		if o.Roots, made.roots, err = roots(d.TLSCA); err != nil {
			return dialPolicy{}, err
		}
	}
	if d.TLSClientCert != "" {
		cert, err := tls.LoadX509KeyPair(d.TLSClientCert, d.TLSClientKey)
		if err != nil {
			return dialPolicy{}, err
		}
		o.Certificate, made.certificate = &cert, string(bytes.Join(cert.Certificate, nil))
	}
	if old, ok := s.dials[key]; ok && old.madeOf == made {
		return old, nil
	}
	c, err := tlsx.NewClientConfig(o)
	return dialPolicy{c, made}, err
}

// roots reads a PEM bundle.
func roots(path string) (*x509.CertPool, string, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, "", fmt.Errorf("no certificate in %q", path)
	}
	return pool, string(pem), nil
}
