package tlsx

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// CertificateError is why a backend's certificate is not accepted. No further attempt follows (SPEC 2.1).
type CertificateError struct{ Err error }

func (e *CertificateError) Error() string { return "checking certificate: " + e.Err.Error() }

// Unwrap is the cause.
func (e *CertificateError) Unwrap() error { return e.Err }

// maxTrusted bounds the leaves whose chain is remembered: one per server behind a destination's name.
const maxTrusted = 16

// verifier is the certificate policy of a ClientConfig; immutable but for what it remembers.
type verifier struct {
	pin   *[sha256.Size]byte
	any   bool           // tls_allow_invalid_certs
	name  string         // the leaf must be for
	roots *x509.CertPool // nil: the platform's
	now   func() time.Time

	mu      sync.Mutex
	trusted []trusted // newest last; guarded by mu
}

// trusted is a leaf that once was verified for this name up to these roots. It stays so for as long as every certificate
// of that chain is valid, whatever else the server sends along, and a resumption sends nothing at all.
type trusted struct {
	leaf          [sha256.Size]byte
	after, before time.Time // valid between
}

// check decides about a connection, full or resumed (SECURITY 25). A pin replaces every other check, and holds even where
// any certificate would do (SPEC 2.4). The error is a *CertificateError.
func (v *verifier) check(state *tls.ConnectionState) error {
	certs := state.PeerCertificates
	if len(certs) == 0 {
		return &CertificateError{errors.New("backend has shown none")}
	}
	sum := sha256.Sum256(certs[0].Raw)
	switch {
	case v.pin != nil && sum != *v.pin:
		return &CertificateError{fmt.Errorf("its SHA-256 is %x, pinned is %x", sum, *v.pin)}
	case v.pin != nil, v.any:
		return nil
	}
	now := v.now()
	if v.remembers(sum, now) {
		return nil
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{
		DNSName:       v.name,
		Roots:         v.roots,
		Intermediates: pool(certs[1:]),
		CurrentTime:   now,
	})
	if err != nil {
		return &CertificateError{err}
	}
	v.remember(sum, chains[0])
	return nil
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func (v *verifier) remembers(leaf [sha256.Size]byte, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range v.trusted {
		if t.leaf == leaf {
			return !now.Before(t.after) && !now.After(t.before)
		}
	}
	return false
}

func (v *verifier) remember(leaf [sha256.Size]byte, chain []*x509.Certificate) {
	t := trusted{leaf: leaf, after: chain[0].NotBefore, before: chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(t.after) {
			t.after = c.NotBefore
		}
		if c.NotAfter.Before(t.before) {
			t.before = c.NotAfter
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trusted = slices.DeleteFunc(v.trusted, func(old trusted) bool { return old.leaf == leaf })
	if len(v.trusted) == maxTrusted {
		v.trusted = slices.Delete(v.trusted, 0, 1)
	}
	v.trusted = append(v.trusted, t)
}
