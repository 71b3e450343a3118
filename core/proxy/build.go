package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"mailsplice/core/config"
	"mailsplice/core/dial"
	"mailsplice/core/health"
	"mailsplice/core/logx"
	"mailsplice/core/route"
	"mailsplice/core/session"
	"mailsplice/core/store/file"
	"mailsplice/core/store/redis"
	"mailsplice/core/store/sql"
)

// resolver is Go's own, so that a lookup is a goroutine and not a thread (DESIGN 5, CGO_ENABLED=0).
var resolver = &net.Resolver{PreferGo: true}

// newLog makes the logger of SPEC 2.1; a reload changes its level.
func newLog(cfg *config.Config, o Options, level slog.Leveler) *logx.Log {
	format := logx.Text
	if cfg.Server.LogFormat == config.LogJSON {
		format = logx.JSON
	}
	return logx.New(logx.Options{Writer: o.LogWriter, Format: format, Level: level})
}

// newRedactor is the redactor of before, whose key the log's reader has got used to, or one that redacts nothing.
func newRedactor(cfg *config.Config, redacting *logx.Redactor) *logx.Redactor {
	if cfg.Server.LogAccounts {
		return logx.NewRedactor(logx.Whole)
	}
	return redacting
}

// newStore opens the mapping source. declared tells whether a destination exists, as the configuration in force has it.
func newStore(cfg *config.Config, declared func(string) bool, log *slog.Logger) (route.Store, error) {
	switch cfg.Mapping.Source {
	case config.SourceRedis:
		return newRedisStore(cfg.Mapping, log)
	case config.SourceSQL:
		return newSQLStore(cfg.Mapping, log)
	}
	return newFileStore(cfg, declared, log)
}

func newRedisStore(m config.Mapping, log *slog.Logger) (route.Store, error) {
	return redis.New(redis.Options{URL: m.Redis.URL.Reveal(), KeyPrefix: m.Redis.KeyPrefix, PoolSize: m.Redis.PoolSize,
		Timeout: m.LookupTimeout, Logger: log})
}

func newSQLStore(m config.Mapping, log *slog.Logger) (route.Store, error) {
	return sql.New(sql.Options{URL: m.SQL.URL.Reveal(), Query: m.SQL.Query, UpsertQuery: m.SQL.UpsertQuery,
		DeleteQuery: m.SQL.DeleteQuery, ListQuery: m.SQL.ListQuery, NotifyChannel: m.SQL.NotifyChannel, PoolSize: m.SQL.PoolSize,
		Timeout: m.LookupTimeout, Logger: log})
}

// closeStore ends a store's connections, if it is of those that have some. It comes after the router's end.
func closeStore(s route.Store, log *slog.Logger) {
	if c, ok := s.(io.Closer); ok {
		if err := c.Close(); err != nil {
			log.Warn("closing the mapping store failed", logx.Err, err)
		}
	}
}

func newFileStore(cfg *config.Config, declared func(string) bool, log *slog.Logger) (route.Store, error) {
	rules := file.Rules{Normalize: normalization(cfg).Apply, Separators: cfg.Routing.MasterUserSeparators}
	rules.CheckDestination = func(name string) error {
		if !declared(name) {
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

// routerOptions are what a reload may change, and the store, which it may not.
func routerOptions(cfg *config.Config, store route.Store, log *slog.Logger) route.Options {
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
	return o
}

// newDialer makes a dialer that keeps away from the listeners of the configuration in force.
func newDialer(log *slog.Logger, o Options, cfg func() *config.Config) *dial.Dialer {
	return dial.New(dial.Options{Logger: log, Resolve: o.Resolve, Own: func(a netip.AddrPort) bool { return cfg().OwnListener(a, isLocal) }})
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

// policy makes what a reload replaces of the sessions', and the TLS policies towards backends that go with it.
func (p *Proxy) policy(cfg *config.Config, router *route.Router) (session.Policy, map[dialKey]dialPolicy, error) {
	s := cfg.Server
	out := session.Policy{
		PassThrough: cfg.Routing.SMTPPassthroughDestination, Router: router, Redactor: newRedactor(cfg, p.redactor),
		KickOnChange: cfg.Mapping.OnChange == config.ChangeKick,
		Health:       health.Limits{Threshold: s.HostDownThreshold, MinClients: s.HostDownMinClients, Cooldown: s.HostDownCooldown},
		Limits: session.Limits{MaxPreauth: s.MaxPreauth, SessionsPerIP: s.MaxSessionsPerIP, BackendTimeout: s.BackendTimeout, ConnectRetries: s.BackendConnectRetries,
			ProxyTTL: s.ProxyTTL, BridgeIdle: s.BridgeIdle, HalfClosed: s.HalfClosed, StashBytes: s.StashLimit},
	}
	dials := map[dialKey]dialPolicy{}
	for _, d := range cfg.Destinations {
		x := &session.Destination{Name: d.Name, Hosts: d.Hosts, HideAuthErrors: d.HideAuthErrors, AllowPlaintextAuth: d.AllowPlaintextAuth,
			Legs: map[session.Protocol]session.Leg{}}
		if len(d.SourceIPs) > 0 {
			x.Sources = dial.NewSources(d.SourceIPs)
		}
		for _, e := range d.Endpoints {
			protocol, ok := sessionProtocols[e.Protocol]
			if !ok {
				continue
			}
			var err error
			if x.Legs[protocol], err = p.security.leg(d, e, dials); err != nil {
				return out, nil, err
			}
		}
		out.Destinations = append(out.Destinations, x)
	}
	return out, dials, nil
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

// served is false for a listener whose protocol is not built yet, which only --partial lets through (SPEC 9).
func served(l *config.Listener) bool {
	_, ok := sessionProtocols[l.Protocol]
	return ok
}

// newListener makes the session's side of a listener.
func newListener(cfg *config.Config, sec *security, l *config.Listener) (*session.Listener, error) {
	policy, err := sec.listener(cfg, l)
	if err != nil {
		return nil, err
	}
	return &session.Listener{Name: l.Name, Protocol: sessionProtocols[l.Protocol], Speaker: speaker(cfg, l), Mode: tlsMode(l.TLS), TLS: policy,
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
	Name string // of the listener, or "admin" or "metrics"
	Err  error
}

func (e *BindError) Error() string { return fmt.Sprintf("listener %q: %v", e.Name, e.Err) }

// Unwrap is the cause.
func (e *BindError) Unwrap() error { return e.Err }

// listenPlain binds a listener of net/http's.
func listenPlain(ctx context.Context, name string, addr netip.AddrPort) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return nil, &BindError{name, err}
	}
	return ln, nil
}

// sectionProblems joins what is wrong with the mapping file into admin's form.
func sectionProblems(err error) []string { return strings.Split(err.Error(), "\n") }
