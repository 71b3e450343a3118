package config

import (
	"log/slog"
	"time"
)

// Config is one valid configuration. Lists of named tables are sorted by name, endpoints by protocol.
type Config struct {
	// Path is the file it was read from, as given to Load; empty for Parse without one.
	Path string

	// The process: threads, deadlines, limits, logging.
	Server Server `toml:"server"`
	// Certificates and TLS settings towards clients.
	TLS TLS `toml:"tls"`
	// Entrances for clients, by name.
	Listeners []*Listener `toml:"listener"`
	// Backends, by name.
	Destinations []*Destination `toml:"destination"`
	// Which destination holds which account, and how answers are cached.
	Mapping Mapping `toml:"mapping"`
	// What happens to accounts without a mapping.
	Routing Routing `toml:"routing"`
	// What is announced to clients before login.
	Capabilities Capabilities `toml:"capabilities"`
	// How tokens are read.
	OAuth OAuth `toml:"oauth"`
	// HTTP front.
	HTTP HTTPFront `toml:"http"`
	// Admin API; nil without the table.
	Admin *Admin `toml:"admin"`
	// Plain-HTTP listener with nothing but /metrics and /healthz; nil without the table.
	Metrics *Metrics `toml:"metrics"`

	// RunAs is who the process becomes after binding; nil without server.user and server.group.
	RunAs *Identity

	set   map[string]bool // paths of the keys that the file holds
	lines keyLines
}

// IsSet reports whether the file holds the key or table, by its path such as "listener.imap.tls".
func (c *Config) IsSet(path string) bool { return c.set[path] }

// Server is SPEC 2.1.
type Server struct {
	// Event-loop threads; 0: one per CPU the process may use.
	Threads int `toml:"threads" default:"0" min:"0" max:"1024"`
	// Name in greetings, EHLO and forwarding data; unset: the local address of the connection.
	Hostname string `toml:"hostname" is:"host"`
	// Time for sessions to end by themselves after SIGTERM or SIGINT.
	ShutdownGrace time.Duration `toml:"shutdown_grace" default:"30s"`
	// A joined session without a byte in either direction for this long is closed.
	BridgeIdle time.Duration `toml:"bridge_idle" default:"1800s"`
	// One attempt to reach and prepare a backend; its verdict on a login has another of the same length.
	BackendTimeout time.Duration `toml:"backend_timeout" default:"10s"`
	// Further attempts after a retryable failure, 200 ms apart; 0: none.
	BackendConnectRetries int `toml:"backend_connect_retries" default:"1" min:"0" max:"100"`
	// Consecutive failures that mark a destination down; 0: never.
	HostDownThreshold int `toml:"host_down_threshold" default:"5" min:"0" max:"1000000"`
	// Distinct client addresses that a streak of client-level failures must span; 0: no such demand.
	HostDownMinClients int `toml:"host_down_min_clients" default:"2" min:"0" max:"1000000"`
	// How long a destination stays down before one connection may probe it.
	HostDownCooldown time.Duration `toml:"host_down_cooldown" default:"30s"`
	// Hop budget sent in forwarding data, one less at each hop.
	ProxyTTL int `toml:"proxy_ttl" default:"7" min:"1" max:"255"`
	// Least severity that is logged; trace reads as debug. MAILSPLICE_LOG overrides, else RUST_LOG if it is a bare level.
	LogLevel slog.Level `toml:"log_level" default:"info"`
	// Shape of a log line.
	LogFormat LogFormat `toml:"log_format" default:"text"`
	// Log account names whole instead of redacted.
	LogAccounts bool `toml:"log_accounts" default:"false"`
	// How the event loops wait; auto picks what suits the kernel.
	Engine Engine `toml:"engine" default:"auto"`
	// Kernel TLS: auto uses it where kernel and cipher allow, require refuses to start without.
	KTLS KTLS `toml:"ktls" default:"auto"`
	// Concurrent connections from one client address (IPv6: one /64) over all listeners; 0: no limit.
	MaxSessionsPerIP int `toml:"max_sessions_per_ip" default:"0" min:"0" max:"1000000000"`
	// Share the listening ports with other processes; otherwise a taken port is fatal.
	ReusePort bool `toml:"reuse_port" default:"false"`
	// A joined session with one direction closed ends after this long without a byte.
	HalfClosed time.Duration `toml:"half_closed" default:"60s"`
	// Bytes of memory for what slow peers have not taken yet, all sessions together.
	StashLimit int64 `toml:"stash_limit" is:"size" default:"256MiB"`
	// User to change to after binding; it must be able to read every certificate, key, token and mapping file.
	User string `toml:"user"`
	// Group to change to after binding; unset: the user's own.
	Group string `toml:"group"`
	// Connections not yet authenticated over all listeners; further ones are refused.
	MaxPreauth int `toml:"max_preauth" default:"20000" min:"1" max:"1000000000"`
}

// TLS is SPEC 2.2.
type TLS struct {
	// Certificates shown to clients, by name.
	Certificates []*Certificate `toml:"certificate"`
	// Versions and cipher suites towards clients.
	Protocols TLSProtocols `toml:"protocols"`
}

// Certificate is one chain with its key. Both files are known to load and to match.
type Certificate struct {
	Name string `name:"NAME"`

	// PEM chain, leaf first.
	Cert string `toml:"cert" is:"path" rule:"required"`
	// PEM private key.
	Key string `toml:"key" is:"path" rule:"required"`
	// Host names it serves, *.example.com and * included; unset: the names in the certificate.
	Subjects []string `toml:"subjects" is:"subject"`
	// Serve it when no name matches; at most one per key type.
	Default bool `toml:"default" default:"false"`
}

// TLSProtocols is [tls.protocols].
type TLSProtocols struct {
	// Oldest TLS version that clients may use.
	MinVersion TLSVersion `toml:"min_version" default:"1.2"`
	// Accepted for compatibility: the order of cipher suites is always the server's.
	IgnoreClientOrder bool `toml:"ignore_client_order" default:"false"`
	// TLS 1.2 cipher suites to switch off, by standard name.
	DisableCipherSuites []string `toml:"disable_cipher_suites"`
	// Offer the hybrid key exchange X25519MLKEM768 to clients.
	PostQuantum bool `toml:"post_quantum" default:"true"`

	// CipherSuites is what remains of TLS 1.2 for crypto/tls.Config; nil when nothing is disabled.
	CipherSuites []uint16
}

// OAuth is SPEC 2.8.
type OAuth struct {
	// JWT claim that names the account; the usual ones are tried after it.
	JWTUsernameClaim string `toml:"jwt_username_claim" default:"email"`
}

// Admin is SPEC 2.10.
type Admin struct {
	// Address of the admin API.
	Bind Bind `toml:"bind" rule:"required"`
	// Always TLS from the first byte.
	TLS TLSMode `toml:"tls" default:"implicit"`
	// File that holds the token; blanks around it are cut.
	BearerTokenFile string `toml:"bearer_token_file" is:"path"`
	// The token itself. MAILSPLICE_ADMIN_TOKEN, else PROXY_ADMIN_TOKEN, win over both keys.
	BearerToken Secret `toml:"bearer_token"`
	// Least length of the token in bytes.
	MinTokenLen int `toml:"min_token_len" default:"32" min:"1" max:"65536"`
	// Wrong tokens from one address that lock it out.
	LockoutThreshold int `toml:"lockout_threshold" default:"5" min:"1" max:"1000000"`
	// How long it stays locked out, and how long a wrong token is remembered.
	LockoutDuration time.Duration `toml:"lockout_duration" default:"5m"`

	// Token is the one in force, wherever it came from; never empty.
	Token Secret
}

// Metrics is [metrics] of SPEC 2.10.
type Metrics struct {
	// Address of the plain-HTTP listener for a scraper, such as 127.0.0.1:9464.
	Bind Bind `toml:"bind" rule:"required"`
}
