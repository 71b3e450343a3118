package tlsx

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
)

// load reads and matches certificate and key; the leaf is parsed.
func (p Pair) load() (*tls.Certificate, error) {
	certPEM, err := contents(p.CertPEM, p.CertFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := contents(p.KeyPEM, p.KeyFile)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("loading certificate and key: %w", err)
	}
	if cert.Leaf == nil { // x509keypairleaf=0 in GODEBUG
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, fmt.Errorf("parsing the leaf: %w", err)
		}
	}
	return &cert, nil
}

func contents(pem []byte, file string) ([]byte, error) {
	if len(pem) > 0 {
		return pem, nil
	}
	return os.ReadFile(file)
}

// names is what a certificate says it serves: its DNS names, else its CN.
func names(leaf *x509.Certificate) []string {
	if len(leaf.DNSNames) > 0 {
		return leaf.DNSNames
	}
	return []string{leaf.Subject.CommonName}
}

// normalized is subjects in the form that names are looked up in, sorted, each once.
func normalized(subjects []string) []string {
	var out []string
	for _, s := range subjects {
		if s = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(s), ".")); s != "" {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
