package tlsx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"time"
)

// Validity of the generated certificate. Nobody can verify it, so the span only has to outlive the process; the hour
// before its making is for clients whose clock is behind.
const (
	selfSignedSpan = 825 * 24 * time.Hour // the longest that Apple's clients accept from a server at all
	selfSignedSkew = time.Hour
)

// selfSigned makes a P-256 certificate for hostname, localhost and the loopback addresses. The key never leaves memory.
func selfSigned(hostname string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{ // x509 draws the serial number
		Subject:               pkix.Name{CommonName: "mailsplice, generated at start"},
		NotBefore:             now.Add(-selfSignedSkew),
		NotAfter:              now.Add(selfSignedSpan - selfSignedSkew),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	addName(template, hostname)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("for %q: %w", hostname, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// addName adds hostname as what it is; server.hostname may be an address or be unset.
func addName(template *x509.Certificate, hostname string) {
	ip := net.ParseIP(hostname)
	switch {
	case hostname == "" || hostname == "localhost":
	case ip != nil:
		template.IPAddresses = append(template.IPAddresses, ip)
	default:
		template.DNSNames = append(template.DNSNames, hostname)
	}
}
