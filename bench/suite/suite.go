// Package suite is the choice of what the benchmark's own ends speak in TLS: clients offer one version and cipher suite, mock
// backends accept them and nothing else, so that every proxy between them has to use them on both legs.
//
// mailsplice's sessions are in lane record with TLS13GCM and TLS12GCM, and in lane conn with TLS12CBC, whose keys nobody
// takes over (DESIGN 3.11). Which lane it really was is measured, not concluded from here.
package suite

import "crypto/tls"

// Kind is a version and what encrypts, for either kind of certificate. Its text is what -suite takes.
type Kind string

// The kinds.
const (
	TLS13GCM Kind = "tls13-gcm"
	TLS12GCM Kind = "tls12-gcm"
	TLS12CBC Kind = "tls12-cbc"
)

// Kinds is the text of all, the default first.
func Kinds() []string { return []string{string(TLS13GCM), string(TLS12GCM), string(TLS12CBC)} }

// kind is what there is to know of a Kind.
type kind struct {
	ecdsa, rsa Suite
	text       string
	openSSL    string // for lists of ciphers of TLS 1.2
}

var kinds = map[Kind]kind{
	TLS13GCM: {ecdsa: Suite{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256}, rsa: Suite{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256}, text: "TLS 1.3, AES-128-GCM"},
	TLS12GCM: {Suite{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, Suite{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		"TLS 1.2, AES-128-GCM", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"},
	TLS12CBC: {Suite{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}, Suite{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA},
		"TLS 1.2, AES-128-CBC", "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA"},
}

// ECDSA is the suite towards a server with an ECDSA key; the zero Suite for a Kind that does not exist.
func (k Kind) ECDSA() Suite { return kinds[k].ecdsa }

// RSA is the suite towards a server with an RSA key; the zero Suite for a Kind that does not exist.
func (k Kind) RSA() Suite { return kinds[k].rsa }

// String is version and cipher as tables name them.
func (k Kind) String() string { return kinds[k].text }

// TLS12 says whether the version is 1.2, of which mailsplice resumes nothing (DESIGN 3.5).
func (k Kind) TLS12() bool { return kinds[k].ecdsa.Version == tls.VersionTLS12 }

// OpenSSL is a list of ciphers for servers and clients that take them in the words of openssl-ciphers(1), for both kinds of
// key; empty for TLS 1.3, whose suites have a list of their own.
func (k Kind) OpenSSL() string { return kinds[k].openSSL }

// Suite is one version and cipher suite, numbers as in crypto/tls. The zero Suite leaves both to crypto/tls.
type Suite struct{ Version, ID uint16 }

// Restrict makes c offer, or accept, nothing but s. Of TLS 1.3 crypto/tls lets nobody choose a suite: it prefers
// AES-128-GCM where the processor has instructions for AES. Agreed tells what came of it.
func (s Suite) Restrict(c *tls.Config) {
	if s == (Suite{}) {
		return
	}
	c.MinVersion, c.MaxVersion = s.Version, s.Version
	if s.Version != tls.VersionTLS13 {
		c.CipherSuites = []uint16{s.ID}
	}
}

// Agreed says whether a handshake came to s and to X25519, as all proxies can. The zero Suite is never agreed on.
func (s Suite) Agreed(c tls.ConnectionState) bool {
	return s != (Suite{}) && c.Version == s.Version && c.CipherSuite == s.ID && c.CurveID == tls.X25519
}
