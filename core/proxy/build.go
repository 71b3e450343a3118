package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"mailsplice/core/config"
	"mailsplice/core/dial"
	"mailsplice/core/logx"
	"mailsplice/core/route"
	"mailsplice/core/session"
	"mailsplice/core/store/file"
)

// resolver is Go's own, so that a lookup is a goroutine and not a thread (DESIGN 5, CGO_ENABLED=0).
var resolver = &net.Resolver{PreferGo: true}

// newLog makes the logger of SPEC 2.1.
func newLog(cfg *config.Config, o Options) *logx.Log {
	format := logx.Text
	if cfg.Server.LogFormat == config.LogJSON {
		format = logx.JSON
	}
	return logx.New(logx.Options{Writer: o.LogWriter, Format: format, Level: cfg.Server.LogLevel})
}

func newRedactor(cfg *config.Config) *logx.Redactor {
	if cfg.Server.LogAccounts {
		return logx.NewRedactor(logx.Whole)
	}
	return logx.NewRedactor(logx.Redacted)
}

// newStore opens the mapping source.
func newStore(cfg *config.Config, log *slog.Logger) (route.Store, error) {
	if cfg.Mapping.Source != config.SourceFile {
		return nil, fmt.Errorf("mapping source %v is not built yet", cfg.Mapping.Source)
	}
	rules := file.Rules{Normalize: normalization(cfg).Apply, Separators: cfg.Routing.MasterUserSeparators}
	rules.CheckDestination = func(name string) error {
		if cfg.Destination(name) == nil {
			return fmt.Errorf("destination %q is not declared", name)
		}
		return nil
	}
	return file.Open(cfg.Mapping.File.Path, file.Options{Rules: rules, Logger: log})
}

func normalization(cfg *config.Config) route.Normalization {
	if cfg.Mapping.Normalize == config.NormalizeLowercase {
		return route.Lowercase
	}
	return route.AsIs
}

func newRouter(cfg *config.Config, store route.Store, log *slog.Logger) (*route.Router, error) {
	o := route.Options{
		Store: store, Default: cfg.Routing.DefaultDestination,
		Normalize: normalization(cfg), MasterSeparators: cfg.Routing.MasterUserSeparators, DefaultDomain: cfg.Routing.DefaultDomain,
		PositiveTTL: cfg.Mapping.PositiveTTL, NegativeTTL: cfg.Mapping.NegativeTTL, LookupTimeout: cfg.Mapping.LookupTimeout,
		CacheMaxEntries: cfg.Mapping.CacheMaxEntries, Logger: log,
	}
	if cfg.Mapping.OnStoreError == config.StoreErrorUnavailable {
		o.OnStoreError = route.FallbackUnavailable
	}
	for _, d := range cfg.Destinations {
		o.Destinations = append(o.Destinations, d.Name)
	}
	return route.New(o)
}

func newDialer(cfg *config.Config, o Options, log *slog.Logger) *dial.Dialer {
	return dial.New(dial.Options{Logger: log, Resolve: o.Resolve, Own: func(a netip.AddrPort) bool { return cfg.OwnListener(a, isLocal) }})
}

// isLocal tells whether an address is this machine's: one that can be bound is.
func isLocal(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, x := range addrs {
		if p, err := netip.ParsePrefix(x.String()); err == nil && p.Addr().Unmap() == a.Unmap() {
			return true
		}
	}
	return false
}

// destinations turns the configured ones into the session's.
func destinations(sec *security) (list []*session.Destination, err error) {
	for _, d := range sec.cfg.Destinations {
		x := &session.Destination{Name: d.Name, Hosts: d.Hosts, HideAuthErrors: d.HideAuthErrors, AllowPlaintextAuth: d.AllowPlaintextAuth,
			Legs: map[session.Protocol]session.Leg{}}
		if len(d.SourceIPs) > 0 {
			x.Sources = dial.NewSources(d.SourceIPs)
		}
		for _, e := range d.Endpoints {
			if p, ok := sessionProtocols[e.Protocol]; ok {
				if x.Legs[p], err = sec.leg(d, e); err != nil {
					return nil, err
				}
			}
		}
		list = append(list, x)
	}
	return list, nil
}

var sessionProtocols = map[config.Protocol]session.Protocol{config.IMAP: session.IMAP, config.POP3: session.POP3,
	config.ManageSieve: session.ManageSieve, config.Submission: session.Submission, config.SMTP: session.SMTP, config.LMTP: session.LMTP}

func tlsMode(m config.TLSMode) session.TLSMode {
	switch m {
	case config.TLSImplicit:
		return session.ImplicitTLS
	case config.TLSStart:
		return session.StartTLS
	}
	return session.Plain
}

func announce(f config.Forwarding) session.Announce {
	switch f {
	case config.ForwardProxy:
		return session.AnnounceProxy
	case config.ForwardXClient:
		return session.AnnounceInProtocol
	}
	return session.AnnounceNone
}

// newListener makes the session's side of a listener; it is nil for one whose protocol is not built yet, which only
// --partial lets through (SPEC 9).
func newListener(sec *security, l *config.Listener) (*session.Listener, error) {
	protocol, ok := sessionProtocols[l.Protocol]
	if !ok {
		return nil, nil
	}
	policy, err := sec.listener(l)
	if err != nil {
		return nil, err
	}
	return &session.Listener{Name: l.Name, Protocol: protocol, Speaker: speaker(sec.cfg, l), Mode: tlsMode(l.TLS), TLS: policy,
		MaxConnections: l.MaxConnections, PreauthTimeout: l.PreauthTimeout, Header: headerMode(l.ProxyProtocol), Trusted: l.ProxyTrusted}, nil
}

func headerMode(p config.ProxyProtocol) session.HeaderMode {
	switch p {
	case config.ProxyOptional:
		return session.HeaderOptional
	case config.ProxyRequired:
		return session.HeaderRequired
	}
	return session.HeaderOff
}

// storeSource is the label of the mapping source.
func storeSource(cfg *config.Config) string { return cfg.Mapping.Source.String() }

// BindError is an address that could not be bound: exit code 3 (SPEC 9).
type BindError struct {
	Name string // of the listener, or "admin"
	Err  error
}

func (e *BindError) Error() string { return fmt.Sprintf("listener %q: %v", e.Name, e.Err) }

// Unwrap is the cause.
func (e *BindError) Unwrap() error { return e.Err }

// listenAdmin binds the admin API.
func listenAdmin(ctx context.Context, addr netip.AddrPort) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return nil, &BindError{"admin", err}
	}
	return ln, nil
}

// sectionProblems joins what is wrong with the mapping file into admin's form.
func sectionProblems(err error) []string { return strings.Split(err.Error(), "\n") }
