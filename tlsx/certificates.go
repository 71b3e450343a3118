package tlsx

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// anyName as a subject means the same as Pair.Default.
const anyName = "*"

// Pair is one configured certificate with its key.
type Pair struct {
	Name string // for error texts

	// The chain, leaf first, and the key. PEM text where that is given, else the files' contents.
	CertFile, KeyFile string
	CertPEM, KeyPEM   []byte

	// Subjects are the host names it serves; empty means the leaf's DNS names, else its CN. `*` makes it a default.
	Subjects []string
	// Default serves the names that nothing else does; at most one pair per key type.
	Default bool
}

// Certificates chooses a certificate by what a ClientHello asks for and supports. It is safe for any goroutine; the
// choice takes no lock and remembers nothing about the names asked for (SECURITY 17).
type Certificates struct {
	fallback *tls.Certificate // immutable after New
	current  atomic.Pointer[choice]

	mu     sync.Mutex
	loaded []loaded // guarded by mu
}

// NewCertificates loads pairs, which may be none, and generates the fallback certificate for hostname (SPEC 2.2). All
// pairs that do not load are reported, not just the first.
func NewCertificates(hostname string, pairs []Pair) (*Certificates, error) {
	fallback, err := selfSigned(hostname)
	if err != nil {
		return nil, fmt.Errorf("generating the fallback certificate: %w", err)
	}
	c := &Certificates{fallback: fallback}
	if err := c.Replace(pairs); err != nil {
		return nil, err
	}
	return c, nil
}

// Replace loads pairs and puts them in the place of those before, for handshakes that start from now on. On an error
// those before stay.
func (c *Certificates) Replace(pairs []Pair) error {
	next := make([]loaded, len(pairs))
	var errs []error
	for i, p := range pairs {
		var err error
		if next[i], err = loadPair(p); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.serve(next)
}

// serve puts a configuration in place, unless its parts contradict one another. The caller holds mu.
func (c *Certificates) serve(list []loaded) error {
	next := &choice{exact: make(map[string]candidates), wildcard: make(map[string]candidates)}
	var errs []error
	for i := range list {
		if err := next.add(list[i].pair, list[i].cert); err != nil {
			errs = append(errs, fmt.Errorf("certificate %q: %w", list[i].pair.Name, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	next.finish()
	c.loaded = list
	c.current.Store(next)
	return nil
}

// GetCertificate is for tls.Config. It never fails: a client that supports none of the certificates for its name gets
// the first of them, and with it the handshake's own alert.
func (c *Certificates) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cert := c.current.Load().pick(hello); cert != nil {
		return cert, nil
	}
	return c.fallback, nil
}

// Expiry is when the pair of this name that is served now expires; zero if there is none.
func (c *Certificates) Expiry(name string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.loaded {
		if l := &c.loaded[i]; l.pair.Name == name && l.cert.Leaf != nil {
			return l.cert.Leaf.NotAfter
		}
	}
	return time.Time{}
}

// FallbackServes reports whether some client can be shown the generated certificate: there is no default, and not one
// certificate for all names either. Worth a warning (SPEC 2.2).
func (c *Certificates) FallbackServes() bool { return len(c.current.Load().others) == 0 }

// Fallback is the generated certificate. It stays the same over Replace.
func (c *Certificates) Fallback() *x509.Certificate { return c.fallback.Leaf }

// Fingerprint is the SHA-256 of a certificate's DER in lower-case hex, the form of tls_pinned_cert_sha256.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// candidates are certificates of different key types for the same name, in the order they are offered.
type candidates []*tls.Certificate

// choice is one loaded configuration; immutable once it serves.
type choice struct {
	exact    map[string]candidates // by whole name
	wildcard map[string]candidates // by what follows `*.`
	others   candidates            // for all other names
	subjects [][]string            // of each pair, sorted; nil after finish
	all      candidates            // nil after finish
}

func (c *choice) add(p Pair, cert *tls.Certificate) error {
	subjects := normalized(p.Subjects)
	if len(subjects) == 0 {
		subjects = normalized(names(cert.Leaf))
	}
	if p.Default && !slices.Contains(subjects, anyName) {
		subjects = append(subjects, anyName)
	}
	for _, s := range subjects {
		if err := c.register(s, cert); err != nil {
			return err
		}
	}
	c.subjects, c.all = append(c.subjects, subjects), append(c.all, cert)
	return nil
}

// register files cert under one subject.
func (c *choice) register(subject string, cert *tls.Certificate) error {
	parent, wild := strings.CutPrefix(subject, "*.")
	switch {
	case subject == anyName:
		return c.others.put(cert, "default")
	case wild:
		return putUnder(c.wildcard, parent, cert, subject)
	default:
		return putUnder(c.exact, subject, cert, subject)
	}
}

func putUnder(m map[string]candidates, key string, cert *tls.Certificate, subject string) error {
	l := m[key]
	err := l.put(cert, subject)
	m[key] = l
	return err
}

// put keeps one certificate per key type: several may share a subject only when the client's abilities tell them apart.
func (l *candidates) put(cert *tls.Certificate, subject string) error {
	for _, other := range *l {
		if rank(other) == rank(cert) {
			return fmt.Errorf("subject %q has another %v certificate", subject, cert.Leaf.PublicKeyAlgorithm)
		}
	}
	*l = append(*l, cert)
	slices.SortFunc(*l, func(a, b *tls.Certificate) int { return rank(a) - rank(b) })
	return nil
}

// finish lets a sole certificate serve all names. Certificates with the very same subjects are one here: they differ in
// their key type only.
func (c *choice) finish() {
	sole := len(c.all) > 0 && len(c.others) == 0
	for _, s := range c.subjects {
		sole = sole && slices.Equal(s, c.subjects[0])
	}
	if sole {
		for _, cert := range c.all {
			_ = c.others.put(cert, anyName) // key types differ, or the subjects would have collided
		}
	}
	c.subjects, c.all = nil, nil
}

// pick is the certificate for a hello, nil when there is none for its name. SPEC 2.2 in order: the exact name; the name
// with its first label replaced, by a wildcard or by the parent's own certificate; the wildcard below the name; the
// default. The first certificate that the client supports wins; where it supports none, the first at all.
func (c *choice) pick(hello *tls.ClientHelloInfo) *tls.Certificate {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	_, parent, _ := strings.Cut(name, ".")
	tiers := [...]candidates{c.exact[name], c.wildcard[parent], c.wildcard[name], c.exact[parent], c.others}
	var first *tls.Certificate
	for _, tier := range tiers {
		for _, cert := range tier {
			if supports(hello, cert) {
				return cert
			}
			if first == nil {
				first = cert
			}
		}
	}
	return first
}

// supports asks about key type, version and suites only: which names a certificate serves is the configuration's
// business, and may well be others than the leaf holds.
func supports(hello *tls.ClientHelloInfo, cert *tls.Certificate) bool {
	nameless := *hello
	nameless.ServerName = ""
	return nameless.SupportsCertificate(cert) == nil
}

// rank orders key types by what a handshake costs us: Go's RSA signing is by far the dearest.
func rank(cert *tls.Certificate) int {
	switch cert.Leaf.PublicKeyAlgorithm {
	case x509.ECDSA:
		return 0
	case x509.Ed25519:
		return 1
	default:
		return 2
	}
}
