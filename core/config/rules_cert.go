package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxPEM bounds a certificate, key or CA file in bytes; the bundle of all public roots is a quarter of a megabyte.
const maxPEM = 4 << 20

// expirySoon is when a certificate is warned about (SPEC 2).
const expirySoon = 14 * 24 * time.Hour

// certificateRules: pairs load and match, and no two certificates of one key type claim the same name (SPEC 2.2).
func (k *checker) certificateRules() {
	type claim struct {
		name    string
		keyType x509.PublicKeyAlgorithm
	}
	taken := map[claim]string{}
	for _, c := range k.c.TLS.Certificates {
		key := join("tls.certificate", c.Name)
		if c.Cert == "" || c.Key == "" {
			continue
		}
		leaf := k.pair(key+".cert", c.Cert, key+".key", c.Key)
		if leaf == nil {
			continue
		}
		for _, name := range certificateNames(c, leaf) {
			cl := claim{name, leaf.PublicKeyAlgorithm}
			other, ok := taken[cl]
			taken[cl] = c.Name
			if ok && other != c.Name {
				k.fail(key+claimKey(c, name), fmt.Sprintf("%s, which %s serves with the same key type", quote(name), join("tls.certificate", other)),
					fmt.Sprintf("one %s certificate for each name", leaf.PublicKeyAlgorithm))
			}
		}
	}
}

// certificateNames lists what c serves in lower case; "*" stands for being the default.
func certificateNames(c *Certificate, leaf *x509.Certificate) []string {
	names := c.Subjects
	if names == nil {
		names = leaf.DNSNames
	}
	if c.Subjects == nil && len(names) == 0 && leaf.Subject.CommonName != "" {
		names = []string{leaf.Subject.CommonName}
	}
	all := make([]string, 0, len(names)+1)
	for _, n := range names {
		all = append(all, strings.ToLower(strings.TrimSuffix(n, ".")))
	}
	if c.Default {
		all = append(all, "*")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// claimKey is the key that makes c claim name.
func claimKey(c *Certificate, name string) string {
	switch {
	case name == "*" && c.Default:
		return ".default"
	case c.Subjects != nil:
		return ".subjects"
	}
	return ".cert"
}

// pair checks that a certificate and its key load and match, and returns the leaf; nil after a problem.
func (k *checker) pair(certKey, certPath, keyKey, keyPath string) *x509.Certificate {
	cert, err := read(certPath, maxPEM)
	if err != nil {
		k.fail(certKey, quote(certPath)+": "+cause(err).Error(), "a PEM chain that can be read")
	}
	private, keyErr := read(keyPath, maxPEM)
	defer clear(private)
	if keyErr != nil {
		k.fail(keyKey, quote(keyPath)+": "+cause(keyErr).Error(), "a PEM key that can be read")
	}
	if err != nil || keyErr != nil {
		return nil
	}
	k.warnReadable(keyKey, keyPath)
	p, err := tls.X509KeyPair(cert, private)
	if err != nil {
		k.fail(certKey, fmt.Sprintf("%s with %s: %v", quote(certPath), quote(keyPath), err), "a PEM chain, leaf first, and its key")
		return nil
	}
	k.expiryRule(certKey, p.Leaf)
	return p.Leaf
}

func (k *checker) expiryRule(key string, leaf *x509.Certificate) {
	left := leaf.NotAfter.Sub(k.o.Now())
	const allowed = "one that is valid for 14 days more"
	switch until := leaf.NotAfter.UTC().Format(time.RFC3339); {
	case left <= 0:
		k.warn(key, "a certificate that expired at "+until, allowed)
	case left < expirySoon:
		k.warn(key, "a certificate that expires at "+until, allowed)
	}
}
