package config

import (
	"reflect"
	"strings"
)

// Every enumeration starts at 1; 0 means unset and prints as "".

// Protocol is what is spoken on a listener or a leg.
type Protocol uint8

// The protocols.
const (
	IMAP Protocol = iota + 1
	POP3
	ManageSieve
	Submission
	SMTP
	LMTP
	HTTP
)

// String is the name in the file.
func (p Protocol) String() string { return enumName(p) }

// Interactive reports whether mailsplice answers the dialogue before login itself (SPEC 2.11).
func (p Protocol) Interactive() bool { return p >= IMAP && p <= Submission }

// PassThrough reports whether the stream is joined without a login (SPEC 3.5).
func (p Protocol) PassThrough() bool { return p == SMTP || p == LMTP }

// Credentials reports whether logins travel on a leg of this protocol (SPEC 2.11).
func (p Protocol) Credentials() bool { return p.Interactive() || p == HTTP }

// TLSMode is how TLS begins on a leg.
type TLSMode uint8

// The modes.
const (
	TLSImplicit TLSMode = iota + 1
	TLSStart
	TLSPlain
)

// String is the name in the file.
func (m TLSMode) String() string { return enumName(m) }

// Forwarding is how a backend learns who the client is (SPEC 5).
type Forwarding uint8

// The ways.
const (
	ForwardProxy Forwarding = iota + 1
	ForwardXClient
	ForwardNone
)

// String is the name in the file.
func (f Forwarding) String() string { return enumName(f) }

// ProxyProtocol says whether a listener reads a PROXY header.
type ProxyProtocol uint8

// The choices.
const (
	ProxyOff ProxyProtocol = iota + 1
	ProxyOptional
	ProxyRequired
)

// String is the name in the file.
func (p ProxyProtocol) String() string { return enumName(p) }

// Forwarded says what becomes of a client's Forwarded headers.
type Forwarded uint8

// The choices.
const (
	ForwardedOff Forwarded = iota + 1
	ForwardedTrust
)

// String is the name in the file.
func (f Forwarded) String() string { return enumName(f) }

// LogFormat is the shape of a log line.
type LogFormat uint8

// The shapes.
const (
	LogText LogFormat = iota + 1
	LogJSON
)

// String is the name in the file.
func (f LogFormat) String() string { return enumName(f) }

// Engine is how event loops wait.
type Engine uint8

// The engines.
const (
	EngineAuto Engine = iota + 1
	EngineEpoll
	EngineURing
)

// String is the name in the file.
func (e Engine) String() string { return enumName(e) }

// KTLS is whether kernel TLS is used.
type KTLS uint8

// The choices.
const (
	KTLSAuto KTLS = iota + 1
	KTLSOff
	KTLSRequire
)

// String is the name in the file.
func (k KTLS) String() string { return enumName(k) }

// TLSVersion is a least version of TLS.
type TLSVersion uint8

// The versions.
const (
	TLS12 TLSVersion = iota + 1
	TLS13
)

// String is the name in the file.
func (v TLSVersion) String() string { return enumName(v) }

// MappingSource is where mappings are stored.
type MappingSource uint8

// The sources.
const (
	SourceFile MappingSource = iota + 1
	SourceRedis
	SourceSQL
)

// String is the name in the file.
func (s MappingSource) String() string { return enumName(s) }

// Normalize is what is done to identifiers.
type Normalize uint8

// The choices.
const (
	NormalizeNone Normalize = iota + 1
	NormalizeLowercase
)

// String is the name in the file.
func (n Normalize) String() string { return enumName(n) }

// OnStoreError is the answer when a store fails.
type OnStoreError uint8

// The answers.
const (
	StoreErrorDefault OnStoreError = iota + 1
	StoreErrorUnavailable
)

// String is the name in the file.
func (o OnStoreError) String() string { return enumName(o) }

// OnChange is what a changed mapping does to sessions.
type OnChange uint8

// The choices.
const (
	ChangeKeep OnChange = iota + 1
	ChangeKick
)

// String is the name in the file.
func (o OnChange) String() string { return enumName(o) }

// ExtractFrom is the part of a request that carries the identifier.
type ExtractFrom uint8

// The parts.
const (
	FromAuthorization ExtractFrom = iota + 1
	FromQuery
	FromHeader
	FromBody
)

// String is the name in the file.
func (f ExtractFrom) String() string { return enumName(f) }

// enums holds the names of each enumeration in the order of its values.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[Protocol]():      {"imap", "pop3", "managesieve", "submission", "smtp", "lmtp", "http"},
	reflect.TypeFor[TLSMode]():       {"implicit", "starttls", "plain"},
	reflect.TypeFor[Forwarding]():    {"proxy", "xclient", "none"},
	reflect.TypeFor[ProxyProtocol](): {"off", "optional", "required"},
	reflect.TypeFor[Forwarded]():     {"off", "trust"},
	reflect.TypeFor[LogFormat]():     {"text", "json"},
	reflect.TypeFor[Engine]():        {"auto", "epoll", "io_uring"},
	reflect.TypeFor[KTLS]():          {"auto", "off", "require"},
	reflect.TypeFor[TLSVersion]():    {"1.2", "1.3"},
	reflect.TypeFor[MappingSource](): {"file", "redis", "sql"},
	reflect.TypeFor[Normalize]():     {"none", "lowercase"},
	reflect.TypeFor[OnStoreError]():  {"default", "unavailable"},
	reflect.TypeFor[OnChange]():      {"keep", "kick"},
	reflect.TypeFor[ExtractFrom]():   {"authorization", "query", "header", "body"},
}

func enumName[E ~uint8](e E) string {
	names := enums[reflect.TypeFor[E]()]
	if e == 0 || int(e) > len(names) {
		return ""
	}
	return names[e-1]
}

// enumValue is the inverse of enumName; 0 when s is no name of t.
func enumValue(t reflect.Type, s string) uint64 {
	for i, n := range enums[t] {
		if n == s {
			return uint64(i) + 1
		}
	}
	return 0
}

func enumAllowed(t reflect.Type) string {
	return "one of " + strings.Join(enums[t], " ")
}
