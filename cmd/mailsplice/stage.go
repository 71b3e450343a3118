package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailsplice/core/config"
	"mailsplice/core/mailfake"
	"mailsplice/core/mailfake/port"
	"mailsplice/core/proxy"
)

// stage is everything that the demo runs: two mail services, the proxy, its files.
type stage struct {
	dir   string
	pairs []*pair
	proxy *proxy.Proxy
	token string
	roots *x509.CertPool // the demo's own certificate
	https *http.Client
}

// pair is the two servers of one protocol, and how clients and servers of it come to TLS.
type pair struct {
	protocol                  mailfake.Protocol
	listener, onLegacy, onNew string // tls of listener and legs, in the words of SPEC 2.3
	legacy, new               *mailfake.Backend
	at                        netip.AddrPort // of the listener
}

var loopback = netip.MustParseAddr("127.0.0.1")

func newPairs() []*pair {
	return []*pair{
		{protocol: mailfake.IMAP, listener: "implicit", onLegacy: "starttls", onNew: "implicit"},
		{protocol: mailfake.POP3, listener: "implicit", onLegacy: "starttls", onNew: "implicit"},
		{protocol: mailfake.Submission, listener: "starttls", onLegacy: "starttls", onNew: "starttls"},
		{protocol: mailfake.ManageSieve, listener: "starttls", onLegacy: "starttls", onNew: "starttls"},
	}
}

// demoConfig is what the demo serves: an ordinary configuration, with TLS on every leg. What each protocol adds follows.
const demoConfig = `# mailsplice demo
[server]
hostname = "localhost"
shutdown_grace = "1s"

[tls.certificate.demo]
cert = "cert.pem"
key = "key.pem"
default = true

[mapping]
source = "file"
normalize = "lowercase"
[mapping.file]
path = "mappings.tsv"

[routing]
default_destination = "legacy"

[admin]
bind = "127.0.0.1:%d"
tls = "implicit"
bearer_token_file = "token"

# is told about clients by ID and XCLIENT
[destination.legacy]
host = "127.0.0.1"
tls_server_name = "localhost"
tls_ca = "cert.pem"
forwarding = "xclient"

# is told about clients by a PROXY header
[destination.new]
host = "127.0.0.1"
tls_server_name = "localhost"
tls_ca = "cert.pem"
forwarding = "proxy"
`

const demoProtocol = `
[listener.%[1]s]
protocol = "%[1]s"
bind = ["127.0.0.1:%[2]d"]
tls = "%[3]s"
[destination.legacy.protocol.%[1]s]
port = %[4]d
tls = "%[5]s"
[destination.new.protocol.%[1]s]
port = %[6]d
tls = "%[7]s"
`

// newStage starts everything. On an error nothing keeps running.
func newStage(log io.Writer) (s *stage, err error) {
	s = &stage{pairs: newPairs(), roots: x509.NewCertPool()}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "mailsplice-demo-"); err != nil {
		return nil, err
	}
	cert, key, err := demoCertificate()
	if err != nil {
		return nil, err
	}
	if err := s.start(cert, key); err != nil {
		return nil, err
	}
	if err := s.files(cert, key); err != nil {
		return nil, err
	}
	cfg, _, err := config.Load(s.path("demo.toml"), proxy.LoadOptions())
	if err != nil {
		return nil, err
	}
	s.proxy, err = proxy.Start(cfg, proxy.Options{LogWriter: log, Version: version})
	return s, err
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// start runs the mail servers.
func (s *stage) start(cert, key []byte) error {
	s.roots.AppendCertsFromPEM(cert)
	shown, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	o := mailfake.Options{Accounts: map[string]string{demoAccount: demoPassword}, TLS: &tls.Config{Certificates: []tls.Certificate{shown}}}
	for _, p := range s.pairs {
		legacy, fresh := o, o
		legacy.Name, legacy.Protocol, legacy.XClient, legacy.Implicit = "legacy", p.protocol, mailfake.XClientDovecot, p.onLegacy == "implicit"
		if p.legacy, err = mailfake.New(legacy); err != nil {
			return err
		}
		fresh.Name, fresh.Protocol, fresh.Proxy, fresh.Implicit = "new", p.protocol, mailfake.ProxyRequired, p.onNew == "implicit"
		if p.new, err = mailfake.New(fresh); err != nil {
			return err
		}
	}
	return nil
}

// files writes certificate, token, mappings and configuration.
func (s *stage) files(cert, key []byte) error {
	s.https = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}}}
	var token [24]byte
	rand.Read(token[:])
	s.token = hex.EncodeToString(token[:])
	admin, err := port.Free(loopback)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(demoConfig, admin.Port())
	for _, p := range s.pairs {
		if p.at, err = port.Free(loopback); err != nil {
			return err
		}
		text += fmt.Sprintf(demoProtocol, p.protocol, p.at.Port(), p.listener, p.legacy.Addr().Port(), p.onLegacy, p.new.Addr().Port(), p.onNew)
	}
	for name, content := range map[string]string{
		"cert.pem": string(cert), "key.pem": string(key), "token": s.token + "\n", "demo.toml": text,
		"mappings.tsv": "# account <tab> destination\n",
	} {
		if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func demoCertificate() (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "mailsplice demo"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}

// call asks the admin API and returns its answer.
func (s *stage) call(method, path string) (string, error) {
	req, err := http.NewRequest(method, "https://"+s.proxy.AdminAddr()+path, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := s.https.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, body)
	}
	return strings.TrimSpace(string(body)), nil
}

// close takes down whatever was started.
func (s *stage) close() {
	if s.https != nil {
		s.https.CloseIdleConnections()
	}
	if s.proxy != nil {
		s.proxy.Shutdown(context.Background())
	}
	for _, p := range s.pairs {
		for _, b := range []*mailfake.Backend{p.legacy, p.new} {
			if b != nil {
				b.Close()
			}
		}
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}
