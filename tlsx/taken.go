package tlsx

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"

	"mailsplice/tlsx/record"
)

// Taken is a connection behind its handshake. Exactly one of Leg and Conn carries it.
type Taken struct {
	// Leg goes on with the connection, with Ahead and then from the next byte in the socket on. Valid where Conn is nil. It holds keys: move it,
	// do not copy it.
	Leg   record.Leg
	Facts Facts
	// Ahead is what was read behind the handshake, for Leg.Open before anything from the socket; less than
	// record.MaxRecord bytes. It is empty where Conn is not nil, which has it.
	Ahead []byte

	// Conn goes on instead, in lane conn, for the Reason. It uses the Socket of the handshake, from whichever goroutine calls
	// it, and never closes it.
	Conn   *tls.Conn
	Reason Reason

	// Peer is the certificate of a backend; nil on a client's leg.
	Peer *x509.Certificate
	// Tickets fills a ClientConfig's session cache; nil where there is nothing to come: on a client's leg, in TLS 1.2 and
	// beside Conn.
	Tickets *Tickets
}

// Facts is what logs, forwarding data and the admin API say about a leg.
type Facts struct {
	Version  uint16 // tls.VersionTLS12 or tls.VersionTLS13
	Suite    uint16
	SNI      string // on a client's leg as asked for, at most 255 bytes, not verified; else the name that we asked for
	ALPN     string
	Resumed  bool
	PeerCert [sha256.Size]byte // of a backend's certificate (DER); zero on a client's leg
}

// String is version and suite, the form of GET /connections (SPEC 8).
func (f Facts) String() string {
	return tls.VersionName(f.Version) + " " + tls.CipherSuiteName(f.Suite)
}

// Reason is why a connection stays with crypto/tls; the label of takeover_failed_total.
type Reason string

// The reasons. ReasonSuite is no failure: Failed says so.
const (
	ReasonNone    Reason = ""
	ReasonSuite   Reason = "suite"   // CBC, which our record layer does not do
	ReasonSecrets Reason = "secrets" // no key log: a resumption of TLS 1.2, which neither leg allows
	ReasonRecords Reason = "records" // not between two records, or Finished was not exactly one
	ReasonTickets Reason = "tickets" // what was sealed with the application key could not be counted
)

// Failed reports whether there should have been a takeover.
func (r Reason) Failed() bool { return r != ReasonNone && r != ReasonSuite }

// finish takes the connection over, or leaves it with crypto/tls. Either way w keeps no secret.
func (w *wire) finish(conn *tls.Conn) *Taken {
	state := conn.ConnectionState()
	t := &Taken{Facts: facts(&state)}
	if w.role == roleClient && len(state.PeerCertificates) > 0 {
		t.Peer = state.PeerCertificates[0]
		t.Facts.PeerCert = sha256.Sum256(t.Peer.Raw)
	}
	t.Leg, t.Reason = w.takeOver(&state)
	if t.Reason != ReasonNone {
		t.Conn = conn
	} else {
		t.Ahead = w.rest()
		w.release()
		if w.role == roleClient && state.Version == tls.VersionTLS13 {
			t.Tickets = newTickets(conn, w, t.Leg.In())
		}
	}
	w.done, w.flight = true, nil
	w.secrets.wipe()
	return t
}

func facts(state *tls.ConnectionState) Facts {
	return Facts{
		Version: state.Version,
		Suite:   state.CipherSuite,
		SNI:     state.ServerName,
		ALPN:    state.NegotiatedProtocol,
		Resumed: state.DidResume,
	}
}

// takeOver makes our record layer's leg of what the handshake left behind (DESIGN 3.4).
func (w *wire) takeOver(state *tls.ConnectionState) (record.Leg, Reason) {
	switch {
	case !record.Supports(state.Version, state.CipherSuite):
		return record.Leg{}, ReasonSuite
	case !w.settled():
		return record.Leg{}, ReasonRecords
	case state.Version == tls.VersionTLS13:
		return w.takeOver13(state.CipherSuite)
	}
	return w.takeOver12(state.CipherSuite)
}

// takeOver13 counts the tickets that a server has already sealed with its application key. Everything else begins at 0.
func (w *wire) takeOver13(suite uint16) (record.Leg, Reason) {
	client, err := record.NewHalf13(suite, w.secrets.client.bytes())
	if err != nil {
		return record.Leg{}, ReasonSecrets
	}
	server, err := record.NewHalf13(suite, w.secrets.server.bytes())
	if err != nil {
		return record.Leg{}, ReasonSecrets
	}
	if w.role == roleServer {
		if len(w.flight) > maxFlightBytes {
			return record.Leg{}, ReasonTickets
		}
		if _, err := server.SkipSealed(w.flight); err != nil {
			return record.Leg{}, ReasonTickets
		}
	}
	return w.leg(client, server)
}

// takeOver12 needs both Finished to have been one record each, and nothing else in them: a HelloRequest behind the
// server's would be lost to us (RFC 5246 7.4.1.1).
func (w *wire) takeOver12(suite uint16) (record.Leg, Reason) {
	if w.secrets.master.n == 0 || w.helloN < helloBytes {
		return record.Leg{}, ReasonSecrets
	}
	if !w.read.onlyFinished(suite) || !w.written.onlyFinished(suite) {
		return record.Leg{}, ReasonRecords
	}
	client, server, err := record.NewHalves12(suite, w.secrets.master.bytes(), w.secrets.clientRandom[:], w.serverRandom())
	if err != nil {
		return record.Leg{}, ReasonSecrets
	}
	return w.leg(client, server)
}

// Sizes in bytes of a TLS 1.2 Finished: message header and 12 (RFC 5246 7.4.9), tag, and the explicit nonce of AES-GCM.
const (
	finishedBytes      = 4 + 12
	tagBytes           = 16
	explicitNonceBytes = 8
)

func (c *passed) onlyFinished(suite uint16) bool {
	want := finishedBytes + tagBytes + explicitNonceBytes
	if suite == tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 || suite == tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 {
		want -= explicitNonceBytes // RFC 7905 2
	}
	return c.records == 1 && c.bodyBytes == want
}

// leg joins the directions as our role has it. The halves are wiped.
func (w *wire) leg(client, server record.Half) (record.Leg, Reason) {
	defer client.Wipe()
	defer server.Wipe()
	role, in, out := record.AsServer, &client, &server
	if w.role == roleClient {
		role, in, out = record.AsClient, &server, &client
	}
	leg, err := record.NewLeg(role, *in, *out)
	if err != nil {
		return record.Leg{}, ReasonSecrets
	}
	return leg, ReasonNone
}
