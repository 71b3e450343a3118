package stage

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Key is the kind of key that the proxy shows to clients.
type Key string

// The kinds.
const (
	ECDSA Key = "ecdsa" // P-256
	RSA   Key = "rsa"   // 2048 bits
)

// Names in the certificates that clients and proxies see.
const (
	ProxyName   = "mail.example.org"
	BackendHost = "backend.example.org"
)

const rsaBits = 2048

// Certificate is a self-signed one. Whoever holds CertPEM trusts it and no other.
type Certificate struct {
	CertPEM, KeyPEM []byte
	SHA256          [sha256.Size]byte // of the DER form
}

func newCertificate(kind Key, name string) (*Certificate, error) {
	key, err := generate(kind)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		// OpenSSL trusts a self-signed certificate only if it may sign certificates.
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &Certificate{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
		SHA256:  sha256.Sum256(der),
	}, nil
}

func generate(kind Key) (crypto.Signer, error) {
	switch kind {
	case ECDSA:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("key: found %q, allowed %s or %s", string(kind), ECDSA, RSA)
}
