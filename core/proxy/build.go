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
	"mailsplice/core/logx"
	"mailsplice/core/route"
	"mailsplice/core/session"
	"mailsplice/core/store/file"
	"mailsplice/core/store/redis"
	"mailsplice/core/store/sql"
	"mailsplice/protocols/imap"
	"mailsplice/protocols/sasl"
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
	switch cfg.Mapping.Source {
	case config.SourceRedis:
		return newRedisStore(cfg.Mapping, log)
	case config.SourceSQL:
		return newSQLStore(cfg.Mapping, log)
	}
	return newFileStore(cfg, log)
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

func newFileStore(cfg *config.Config, log *slog.Logger) (route.Store, error) {
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

func newDialer(cfg *config.Config, log *slog.Logger) *dial.Dialer {
	return dial.New(dial.Options{Logger: log, Own: func(a netip.AddrPort) bool { return cfg.OwnListener(a, isLocal) }})
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
			if p, ok := sessionProtocol(e.Protocol); ok {
				if x.Legs[p], err = sec.leg(d, e); err != nil {
					return nil, err
				}
			}
		}
		list = append(list, x)
	}
	return list, nil
}

func sessionProtocol(p config.Protocol) (session.Protocol, bool) {
	if p == config.IMAP {
		return session.IMAP, true
	}
	return 0, false
}

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
	if l.Protocol != config.IMAP {
		return nil, nil
	}
	policy, err := sec.listener(l)
	if err != nil {
		return nil, err
	}
	cfg := sec.cfg
	c := cfg.Capabilities.IMAP
	o := &imap.ClientOptions{Banner: c.Banner, Advertise: c.Advertise, AllowPlainAuth: c.AllowPlainAuthWithoutTLS,
		StartTLSOffered: l.TLS == config.TLSStart, TokenClaim: cfg.OAuth.JWTUsernameClaim, MaxAttempts: l.MaxAuthAttempts}
	for _, name := range c.SASL {
		o.Mechanisms = append(o.Mechanisms, sasl.Parse(name))
	}
	return &session.Listener{Name: l.Name, Protocol: session.IMAP, Speaker: &session.IMAPSpeaker{Options: o}, Mode: tlsMode(l.TLS), TLS: policy,
		MaxConnections: l.MaxConnections, PreauthTimeout: l.PreauthTimeout, Trusted: l.ProxyTrusted}, nil
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
