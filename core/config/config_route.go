package config

import (
	"regexp"
	"time"
)

// Mapping is SPEC 2.5.
type Mapping struct {
	// Where mappings are stored.
	Source MappingSource `toml:"source" rule:"required"`
	// What is done to identifiers in look-ups, in the file and in writes.
	Normalize Normalize `toml:"normalize" default:"none"`
	// How long a mapping that was found is cached.
	PositiveTTL time.Duration `toml:"positive_ttl" default:"600s"`
	// How long the absence of a mapping is cached.
	NegativeTTL time.Duration `toml:"negative_ttl" default:"30s"`
	// Most entries in the cache.
	CacheMaxEntries int `toml:"cache_max_entries" default:"1000000" min:"1" max:"1000000000"`
	// Bound of one look-up in the store.
	LookupTimeout time.Duration `toml:"lookup_timeout" default:"5s"`
	// What to answer when the store fails and no earlier answer is known.
	OnStoreError OnStoreError `toml:"on_store_error" default:"default"`
	// What becomes of an account's sessions elsewhere when its mapping changes.
	OnChange OnChange `toml:"on_change" default:"keep"`
	// A text file; nil without the table.
	File *MappingFile `toml:"file"`
	// Redis or Valkey; nil without the table.
	Redis *MappingRedis `toml:"redis"`
	// A database; nil without the table.
	SQL *MappingSQL `toml:"sql"`
}

// MappingFile is [mapping.file].
type MappingFile struct {
	// File with lines "identifier destination"; it must exist and may be empty.
	Path string `toml:"path" is:"path" rule:"required"`
}

// MappingRedis is [mapping.redis].
type MappingRedis struct {
	// redis:// or rediss:// with one or more HOST:PORT, or redis+sentinel:// or rediss+sentinel:// with /MASTER/DB.
	URL Secret `toml:"url" rule:"required"`
	// Put before every identifier to make a key.
	KeyPrefix string `toml:"key_prefix" is:"any" default:"route:"`
	// Most connections to the server.
	PoolSize int `toml:"pool_size" default:"16" min:"1" max:"10000"`
}

// MappingSQL is [mapping.sql].
type MappingSQL struct {
	// postgres://, postgresql://, mysql://, sqlite://PATH or sqlite::memory:. After Load a relative PATH is absolute.
	URL Secret `toml:"url" rule:"required"`
	// Look-up: the identifier is the first bind parameter, the destination the first column of the first row.
	Query string `toml:"query" rule:"required"`
	// Most connections to the database.
	PoolSize int `toml:"pool_size" default:"16" min:"1" max:"10000"`
	// Write of a mapping: identifier, destination. Without it or delete_query the store is read-only.
	UpsertQuery string `toml:"upsert_query"`
	// Removal of a mapping: identifier.
	DeleteQuery string `toml:"delete_query"`
	// All mappings, as identifier and destination, for export.
	ListQuery string `toml:"list_query"`
	// PostgreSQL only: channel to LISTEN on; each payload is an identifier to invalidate, an empty one all.
	NotifyChannel string `toml:"notify_channel"`
}

// Writable reports whether both statements that change mappings are there.
func (m *MappingSQL) Writable() bool { return m.UpsertQuery != "" && m.DeleteQuery != "" }

// Routing is SPEC 2.6.
type Routing struct {
	// Destination of accounts without a mapping.
	DefaultDestination string `toml:"default_destination" rule:"required"`
	// Destination of smtp and lmtp listeners; needed if there is one.
	SMTPPassthroughDestination string `toml:"smtp_passthrough_destination"`
	// What separates an account from a master user behind it; [] switches this off.
	MasterUserSeparators []string `toml:"master_user_separators" is:"any" default:"%"`
	// Domain to add when an identifier without @ has no mapping as it is.
	DefaultDomain string `toml:"default_domain" is:"domain"`
}

// Capabilities is SPEC 2.7. The defaults hold on every backend that a default deployment meets.
type Capabilities struct {
	// Announced on imap listeners.
	IMAP IMAPCapabilities `toml:"imap"`
	// Announced on pop3 listeners.
	POP3 POP3Capabilities `toml:"pop3"`
	// Announced on submission listeners.
	Submission SubmissionCapabilities `toml:"submission"`
	// Announced on managesieve listeners.
	ManageSieve SieveCapabilities `toml:"managesieve"`
}

// IMAPCapabilities is [capabilities.imap].
type IMAPCapabilities struct {
	// Text of the greeting.
	Banner string `toml:"banner" is:"text" default:"ready"`
	// Mechanisms of AUTHENTICATE.
	SASL []string `toml:"sasl" is:"sasl" default:"PLAIN LOGIN OAUTHBEARER XOAUTH2"`
	// Take logins on an unencrypted connection.
	AllowPlainAuthWithoutTLS bool `toml:"allow_plain_auth_without_tls" default:"false"`
	// Capabilities before login; STARTTLS, LOGINDISABLED and AUTH= are added as they apply.
	Advertise []string `toml:"advertise" is:"capability" default:"IMAP4rev1 ENABLE SASL-IR LITERAL+ ID"`
}

// POP3Capabilities is [capabilities.pop3].
type POP3Capabilities struct {
	// Text of the greeting.
	Banner string `toml:"banner" is:"text" default:"ready"`
	// Mechanisms of AUTH.
	SASL []string `toml:"sasl" is:"sasl" default:"PLAIN LOGIN OAUTHBEARER XOAUTH2"`
	// Take logins on an unencrypted connection.
	AllowPlainAuthWithoutTLS bool `toml:"allow_plain_auth_without_tls" default:"false"`
	// Lines of the CAPA answer; USER, SASL and STLS are added as they apply.
	Capa []string `toml:"capa" is:"text" default:"TOP UIDL RESP-CODES PIPELINING"`
}

// SubmissionCapabilities is [capabilities.submission].
type SubmissionCapabilities struct {
	// Text of the greeting, after the host name.
	Banner string `toml:"banner" is:"text" default:"ready"`
	// Mechanisms of AUTH.
	SASL []string `toml:"sasl" is:"sasl" default:"PLAIN LOGIN OAUTHBEARER XOAUTH2"`
	// Take logins on an unencrypted connection.
	AllowPlainAuthWithoutTLS bool `toml:"allow_plain_auth_without_tls" default:"false"`
	// Lines of the EHLO answer; AUTH, STARTTLS and XCLIENT are added as they apply.
	EHLO []string `toml:"ehlo" is:"text" default:"ENHANCEDSTATUSCODES 8BITMIME PIPELINING SIZE"`
}

// SieveCapabilities is [capabilities.managesieve].
type SieveCapabilities struct {
	// Text of the greeting.
	Banner string `toml:"banner" is:"text" default:"ready"`
	// Mechanisms of AUTHENTICATE.
	SASL []string `toml:"sasl" is:"sasl" default:"PLAIN LOGIN OAUTHBEARER XOAUTH2"`
	// Take logins on an unencrypted connection.
	AllowPlainAuthWithoutTLS bool `toml:"allow_plain_auth_without_tls" default:"false"`
	// Sieve extensions; by default those that Pigeonhole and Stalwart share.
	Sieve []string `toml:"sieve" is:"capability" default:"fileinto reject envelope encoded-character vacation subaddress comparator-i;ascii-numeric relational regex imap4flags copy include variables body enotify environment mailbox date index ihave duplicate mime foreverypart extracttext"`
	// Name of the implementation.
	Implementation string `toml:"implementation" is:"text" default:"mailsplice"`
}

// HTTPFront is SPEC 2.9.
type HTTPFront struct {
	// Most bytes of a request body that are held to find an identifier in it.
	BodyExtractCap int `toml:"body_extract_cap" default:"65536" min:"1" max:"1073741824"`
	// Most bytes of a request or response head.
	MaxHeadSize int `toml:"max_head_size" default:"65536" min:"1" max:"1073741824"`
	// No byte of a body, or no response head, for this long ends the exchange.
	RelayIdle time.Duration `toml:"relay_idle" default:"60s"`
	// How long a connection waits for its next request.
	KeepaliveTimeout time.Duration `toml:"keepalive_timeout" default:"75s"`
	// Requests on one connection; 0: no limit.
	MaxKeepaliveRequests int `toml:"max_keepalive_requests" default:"1000" min:"0" max:"1000000000"`
	// Rules in order; the first that matches decides, none: 404.
	Routes []*Route `toml:"route"`
}

// Route is [[http.route]] of SPEC 11.
type Route struct {
	// Pattern of the path: *, ? and ** match any characters; /x/** also matches /x.
	Match string `toml:"match" rule:"required"`
	// Send what matches here; this or extract is required, and this wins.
	Destination string `toml:"destination"`
	// Where used when no usable identifier is found: a destination, or default.
	Fallback string `toml:"fallback" default:"default"`
	// Find the identifier in the request; nil without the table.
	Extract *Extract `toml:"extract"`
}

// Extract says where a request carries its identifier.
type Extract struct {
	// Part of the request to look in.
	From ExtractFrom `toml:"from" rule:"required"`
	// Name of the query parameter; needed by query.
	Param string `toml:"param"`
	// Name of the header field; needed by header.
	Header string `toml:"header"`
	// Expression whose first group is the identifier, form-decoded; needed by body.
	Regex *regexp.Regexp `toml:"regex"`
}
