package tlsx

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// ClientOptions is the policy of one destination and protocol towards its backend (SPEC 2.4, SPEC 6).
type ClientOptions struct {
	Destination string             // for error texts
	ServerName  string             // for SNI, unless it is an address, and for verification
	Pin         *[sha256.Size]byte // SHA-256 of the leaf (DER): replaces chain, name and validity; nil: not pinned
	Roots       *x509.CertPool     // nil: the platform's
	Certificate *tls.Certificate   // shown to a backend that asks for one; nil: none
	Protocols   []string           // offered by ALPN; nil: none
	Slots       *Slots             // shared by all handshakes; nil: no bound

	AllowInvalid bool // no verification, but for the pin
	PostQuantum  bool // offer X25519MLKEM768
}

// ClientConfig does the handshakes with one destination, for one protocol, under one policy, and owns the sessions made
// that way. A change of policy is a new ClientConfig, with an empty cache (SECURITY 25). Any goroutine may use it.
type ClientConfig struct {
	with     string
	base     *tls.Config
	verify   verifier
	sessions sessions
	slots    *Slots
}

// NewClientConfig makes the policy ready. Without a name there is nothing to verify: an error, unless a pin or
// AllowInvalid takes its place.
func NewClientConfig(o ClientOptions) (*ClientConfig, error) {
	if o.ServerName == "" && o.Pin == nil && !o.AllowInvalid {
		return nil, fmt.Errorf("making TLS settings of destination %q: no name to verify", o.Destination)
	}
	if slices.Contains(o.Protocols, "") {
		return nil, fmt.Errorf("making TLS settings of destination %q: empty ALPN protocol", o.Destination)
	}
	c := &ClientConfig{
		with:   fmt.Sprintf("backend %q", o.Destination),
		verify: verifier{any: o.AllowInvalid, name: o.ServerName, roots: o.Roots, now: time.Now},
		slots:  o.Slots,
	}
	if o.Pin != nil {
		pin := *o.Pin
		c.verify.pin = &pin
	}
	c.base = &tls.Config{
		ServerName:         o.ServerName,
		InsecureSkipVerify: true, // VerifyConnection decides, on resumption too
		MinVersion:         tls.VersionTLS12,
		CurvePreferences:   groups(o.PostQuantum),
		NextProtos:         slices.Clone(o.Protocols),
	}
	if o.Certificate != nil {
		c.base.Certificates = []tls.Certificate{*o.Certificate}
	}
	return c, nil
}

// Handshake does the handshake with the backend in the calling goroutine, checks its certificate, and takes the connection
// over. It ends by deadline, which stays set on sock. The error is an *Error; on any, nothing of ours but the handshake has
// gone out.
//
// A backend that does not like our certificate may say so only now: in TLS 1.3 a client is done before the server has
// looked (RFC 8446 4.4.2.4). Stream knows.
func (c *ClientConfig) Handshake(sock Socket, deadline time.Time) (*Taken, error) {
	sock.SetDeadline(deadline)
	w := &wire{sock: sock, role: roleClient, slots: c.slots, deadline: deadline}
	defer w.letGo()
	if err := w.failed(w.grab()); err != nil { // making key shares is work
		return nil, newError(c.with, w, err)
	}
	conn := tls.Client(w, c.forDial(w))
	if err := conn.Handshake(); err != nil {
		w.secrets.wipe()
		w.release()
		return nil, newError(c.with, w, err)
	}
	return w.finish(conn), nil
}

// forDial gives the handshake its own key log and its own view of the session cache.
func (c *ClientConfig) forDial(w *wire) *tls.Config {
	cache := &dialSessions{shared: &c.sessions}
	config := c.base.Clone()
	config.KeyLogWriter = &w.secrets
	config.ClientSessionCache = cache
	config.VerifyConnection = func(state tls.ConnectionState) error {
		cache.tls13 = state.Version == tls.VersionTLS13
		return c.verify.check(&state)
	}
	return config
}
