package config

import (
	"net/netip"
	"sort"
	"time"
)

// Bind is a local address and port to listen on, unmapped, port never 0, without a zone.
type Bind = netip.AddrPort

// Listener is SPEC 2.3.
type Listener struct {
	Name string `name:"NAME"`

	// Protocol that clients speak.
	Protocol Protocol `toml:"protocol" rule:"required"`
	// Addresses to listen on; [::] takes IPv4 too unless a listener binds that port on an IPv4 address.
	Bind []Bind `toml:"bind" rule:"required"`
	// How TLS begins.
	TLS TLSMode `toml:"tls" rule:"required"`
	// Whether a PROXY header, version 1 or 2, is read from the peer.
	ProxyProtocol ProxyProtocol `toml:"proxy_protocol" default:"off"`
	// Networks that may send a PROXY header or announce a client by XCLIENT or ID; required unless proxy_protocol is off.
	ProxyTrusted []netip.Prefix `toml:"proxy_trusted" default:""`
	// Concurrent connections over all its addresses, joined sessions included; 0: no limit of its own.
	MaxConnections int `toml:"max_connections" default:"8192" min:"0" max:"1000000000"`
	// From accept to a complete authentication command.
	PreauthTimeout time.Duration `toml:"preauth_timeout" default:"30s"`
	// Refused or malformed authentications before the connection is closed.
	MaxAuthAttempts int `toml:"max_auth_attempts" default:"3" min:"1" max:"1000000"`
	// HTTP only: trust keeps the client's Forwarded and X-Forwarded-For, off strips them.
	Forwarded Forwarded `toml:"forwarded" default:"off"`
}

// Destination is SPEC 2.4.
type Destination struct {
	Name string `name:"NAME"`

	// Host name or address of the backend; this or hosts is required.
	Host string `toml:"host" is:"host"`
	// Several of them, tried in order. After Load it is never empty: Host alone is a list of one.
	Hosts []string `toml:"hosts" is:"host"`
	// Name for SNI and verification; unset: the host. Required when the host is an address and its certificate is checked.
	TLSServerName string `toml:"tls_server_name" is:"host"`
	// SHA-256 of the backend's certificate (DER) in 64 hex digits, colons ignored; replaces every other check.
	TLSPinnedCertSHA256 *Fingerprint `toml:"tls_pinned_cert_sha256"`
	// No verification at all; warned about.
	TLSAllowInvalidCerts bool `toml:"tls_allow_invalid_certs" default:"false"`
	// PEM client certificate for mutual TLS; needs tls_client_key.
	TLSClientCert string `toml:"tls_client_cert" is:"path"`
	// PEM key of the client certificate.
	TLSClientKey string `toml:"tls_client_key" is:"path"`
	// PEM bundle to verify against; unset: the platform's roots.
	TLSCA string `toml:"tls_ca" is:"path"`
	// Offer X25519MLKEM768 to this backend.
	TLSPostQuantum bool `toml:"tls_post_quantum" default:"false"`
	// Default of forwarding: true means proxy, false none.
	ProxyProtocol bool `toml:"proxy_protocol" default:"true"`
	// How the backend learns who the client is; unset: proxy or none, as proxy_protocol says.
	Forwarding Forwarding `toml:"forwarding"`
	// HTTP: append the client to Forwarded and X-Forwarded-For.
	Forwarded bool `toml:"forwarded" default:"false"`
	// Local addresses to connect from, in turn among those of the right family.
	SourceIPs []netip.Addr `toml:"source_ips" default:""`
	// Replace the backend's refusal text by a generic one.
	HideAuthErrors bool `toml:"hide_auth_errors" default:"false"`
	// Permit credentials on a plain leg.
	AllowPlaintextAuth bool `toml:"allow_plaintext_auth" default:"false"`
	// Where each protocol is served.
	Endpoints []*Endpoint `toml:"protocol"`
}

// Endpoint is [destination.NAME.protocol.PROTO]: where and how a destination serves one protocol.
type Endpoint struct {
	Protocol Protocol `name:"PROTO"`

	// TCP port.
	Port uint16 `toml:"port" rule:"required" min:"1" max:"65535"`
	// How TLS begins on this leg.
	TLS TLSMode `toml:"tls" rule:"required"`
	// Overrides the destination's forwarding for this leg. After Load it is the one in effect (http: xclient means none).
	Forwarding Forwarding `toml:"forwarding"`
}

// Listener finds a listener by name; nil when there is none.
func (c *Config) Listener(name string) *Listener {
	for _, l := range c.Listeners {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// Destination finds one by name; nil when there is none.
func (c *Config) Destination(name string) *Destination {
	i := sort.Search(len(c.Destinations), func(i int) bool { return c.Destinations[i].Name >= name })
	if i < len(c.Destinations) && c.Destinations[i].Name == name {
		return c.Destinations[i]
	}
	return nil
}

// Endpoint finds where the destination serves p; nil when it does not.
func (d *Destination) Endpoint(p Protocol) *Endpoint {
	for _, e := range d.Endpoints {
		if e.Protocol == p {
			return e
		}
	}
	return nil
}

// V6Only reports whether a listener's socket on [::] must leave IPv4 alone, because some listener binds the same port on
// an IPv4 address (SPEC 2.3). It is false for every other address.
func (c *Config) V6Only(b Bind) bool {
	if b.Addr() != netip.IPv6Unspecified() {
		return false
	}
	for _, l := range c.Listeners {
		for _, o := range l.Bind {
			if o.Port() == b.Port() && o.Addr().Is4() {
				return true
			}
		}
	}
	return false
}

// OwnListener reports whether connecting to ep would reach one of the proxy's own listeners (SPEC 2.11). local says
// which addresses are this machine's, for listeners on a wildcard; loopback always is.
func (c *Config) OwnListener(ep netip.AddrPort, local func(netip.Addr) bool) bool {
	addr := ep.Addr().Unmap()
	for _, l := range c.Listeners {
		for _, b := range l.Bind {
			if b.Port() != ep.Port() {
				continue
			}
			if b.Addr() == addr || c.covers(b, addr) && (addr.IsUnspecified() || addr.IsLoopback() || local(addr)) {
				return true
			}
		}
	}
	return false
}

// covers reports whether b is a wildcard that takes connections to addr, if addr is local.
func (c *Config) covers(b Bind, addr netip.Addr) bool {
	if !b.Addr().IsUnspecified() {
		return false
	}
	return b.Addr().Is4() == addr.Is4() || b.Addr().Is6() && !c.V6Only(b)
}
