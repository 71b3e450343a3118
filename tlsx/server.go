package tlsx

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ServerOptions is the policy of a listener towards its clients (SPEC 2.2).
type ServerOptions struct {
	Certificates *Certificates // may be replaced and watched meanwhile
	MinVersion   uint16        // tls.VersionTLS12, also if 0, or tls.VersionTLS13
	CipherSuites []uint16      // of TLS 1.2; nil: those of crypto/tls
	PostQuantum  bool          // offer X25519MLKEM768
	// Protocols is what ALPN may choose from, at least one. A client that offers none is served; one that offers only
	// others gets no_application_protocol (SPEC 12, SECURITY 21).
	Protocols []string
	Tickets   *TicketKeys // shared by all listeners, kept over reloads
	Slots     *Slots      // shared by all handshakes; nil: no bound
}

// ServerConfig does the handshakes of a listener. It is immutable but for the ticket keys, which follow their owner; any
// goroutine may use it.
type ServerConfig struct {
	base    *tls.Config // its ticket keys are guarded by itself
	tickets *TicketKeys
	slots   *Slots

	mu        sync.Mutex
	installed uint64 // generation of the ticket keys in base; guarded by mu
}

// NewServerConfig makes the policy ready. Empty Protocols is an error: crypto/tls would accept every protocol then.
func NewServerConfig(o ServerOptions) (*ServerConfig, error) {
	if len(o.Protocols) == 0 || slices.Contains(o.Protocols, "") {
		return nil, fmt.Errorf("making TLS settings: found ALPN protocols %q, allowed at least one and none empty", o.Protocols)
	}
	if o.Certificates == nil || o.Tickets == nil {
		return nil, errors.New("making TLS settings: certificates or ticket keys are missing")
	}
	c := &ServerConfig{tickets: o.Tickets, slots: o.Slots}
	c.base = &tls.Config{
		GetCertificate:     o.Certificates.GetCertificate,
		GetConfigForClient: c.forClient,
		MinVersion:         max(o.MinVersion, tls.VersionTLS12), // RFC 8996
		CipherSuites:       o.CipherSuites,
		CurvePreferences:   groups(o.PostQuantum),
		NextProtos:         slices.Clone(o.Protocols),
	}
	return c, nil
}

// groups are the key exchanges we take part in; crypto/tls has its own order. Without post-quantum ones a client's hello is
// a kilobyte shorter.
func groups(postQuantum bool) []tls.CurveID {
	classic := []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
	if postQuantum {
		return append([]tls.CurveID{tls.X25519MLKEM768}, classic...)
	}
	return classic
}

// Handshake does the handshake with a client in the calling goroutine, and takes the connection over. It ends by deadline,
// which stays set on sock. The error is an *Error; whatever alert there was to send has been sent.
func (c *ServerConfig) Handshake(sock Socket, deadline time.Time) (*Taken, error) {
	c.refreshTickets()
	sock.SetDeadline(deadline)
	w := &wire{sock: sock, role: roleServer, slots: c.slots, deadline: deadline}
	defer w.letGo()
	conn := tls.Server(w, c.base)
	if err := conn.Handshake(); err != nil {
		w.secrets.wipe()
		w.release()
		return nil, newError("client", w, err)
	}
	return w.finish(conn), nil
}

// refreshTickets installs the owner's keys if they have changed. Handshakes that run meanwhile go on with what they have.
func (c *ServerConfig) refreshTickets() {
	set := c.tickets.current()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.installed != set.generation {
		c.installed = set.generation
		c.base.SetSessionTicketKeys(set.keys)
	}
}

// supportedVersions is the extension's number (RFC 8446 4.2.1).
const supportedVersions = 43

// forClient gives each handshake its own settings, which log the keys to the connection's own wire. A client that cannot
// do TLS 1.3 gets no ticket: a resumed TLS 1.2 session logs nothing (DESIGN 3.5). The extension must be there, since
// without it crypto/tls lists 1.3 for a client whose hello only claims that version, and then speaks 1.2.
func (c *ServerConfig) forClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	config := c.base.Clone()
	config.GetConfigForClient = nil
	config.KeyLogWriter = &hello.Conn.(*wire).secrets
	config.SessionTicketsDisabled = !slices.Contains(hello.Extensions, supportedVersions) ||
		!slices.Contains(hello.SupportedVersions, tls.VersionTLS13)
	return config, nil
}
