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
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailsplice/core/config"
	"mailsplice/core/mailfake"
	"mailsplice/core/proxy"
)

// stage is everything that the demo runs: two backends, the proxy, its files.
type stage struct {
	dir         string
	legacy, new *mailfake.Backend
	proxy       *proxy.Proxy
	token       string
	https       *http.Client
}

// demoConfig is what the demo serves: an ordinary configuration, but without TLS on the mail ports.
const demoConfig = `# mailsplice demo
[server]
hostname = "localhost"
shutdown_grace = "1s"

[tls.certificate.demo]
cert = "cert.pem"
key = "key.pem"
default = true

[listener.imap]
protocol = "imap"
bind = ["127.0.0.1:%[1]d"]
tls = "plain"

[capabilities.imap]
allow_plain_auth_without_tls = true

[destination.legacy]
host = "127.0.0.1"
forwarding = "xclient"
allow_plaintext_auth = true
[destination.legacy.protocol.imap]
port = %[2]d
tls = "plain"

[destination.new]
host = "127.0.0.1"
forwarding = "proxy"
allow_plaintext_auth = true
[destination.new.protocol.imap]
port = %[3]d
tls = "plain"

[mapping]
source = "file"
normalize = "lowercase"
[mapping.file]
path = "mappings.tsv"

[routing]
default_destination = "legacy"

[admin]
bind = "127.0.0.1:%[4]d"
tls = "implicit"
bearer_token_file = "token"
`

// newStage starts everything. On an error nothing keeps running.
func newStage(log io.Writer) (s *stage, err error) {
	s = &stage{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "mailsplice-demo-"); err != nil {
		return nil, err
	}
	accounts := map[string]string{demoAccount: demoPassword}
	if s.legacy, err = mailfake.NewIMAP(mailfake.Options{Name: "legacy", Accounts: accounts}); err != nil {
		return nil, err
	}
	if s.new, err = mailfake.NewIMAP(mailfake.Options{Name: "new", Accounts: accounts, Proxy: mailfake.ProxyRequired}); err != nil {
		return nil, err
	}
	if err := s.files(); err != nil {
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

// files writes certificate, token, mappings and configuration.
func (s *stage) files() error {
	cert, key, err := demoCertificate()
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	s.https = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	var token [24]byte
	rand.Read(token[:])
	s.token = hex.EncodeToString(token[:])
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(demoConfig, ports[0], s.legacy.Addr().Port(), s.new.Addr().Port(), ports[1])
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

// freePorts finds loopback ports that nobody uses at the moment.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // held until all are found, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
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
	for _, b := range []*mailfake.Backend{s.legacy, s.new} {
		if b != nil {
			b.Close()
		}
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}
