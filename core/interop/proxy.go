package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// proxy is the program under test: the real binary with a configuration file.
type proxy struct {
	addr  netip.AddrPort // its IMAP listener
	admin netip.AddrPort
	dir   string
	cmd   *exec.Cmd
	done  chan error
}

// proxyOptions say what stands behind the proxy.
type proxyOptions struct {
	binary      string // empty: built from this module
	root        string
	ip          netip.Addr // of its listeners
	source      netip.Addr // it connects to the backends from here
	legacy, new netip.AddrPort
	down        netip.AddrPort // nobody listens there
	accounts    []account      // those whose home is not "legacy" get a mapping
}

//go:embed mailsplice.toml.tmpl
var proxyConf string

var proxyTemplate = template.Must(template.New("mailsplice.toml").Parse(proxyConf))

// startProxy writes configuration, certificate, token and mappings, and runs the binary until it accepts connections.
func startProxy(o proxyOptions) (*proxy, error) {
	p := &proxy{dir: filepath.Join(o.root, "proxy"), done: make(chan error, 1)}
	if err := p.layOut(o); err != nil {
		return nil, fmt.Errorf("laying out the proxy: %w", err)
	}
	if o.binary == "" {
		o.binary = p.path("mailsplice")
		build := exec.Command("go", "build", "-o", o.binary, "mailsplice/cmd/mailsplice")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building the proxy: %w\n%s", err, out)
		}
	}
	log, err := os.Create(p.path("log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(o.binary, "run", p.path("mailsplice.toml"))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the proxy: %w", err)
	}
	go p.reap() // ends with the process, which stop ends
	for _, addr := range []netip.AddrPort{p.addr, p.admin} {
		if err := awaitPort(addr, p.done); err != nil {
			p.stop()
			return nil, fmt.Errorf("starting the proxy: %w\n%s", err, p.logText())
		}
	}
	return p, nil
}

func (p *proxy) path(name string) string { return filepath.Join(p.dir, name) }

func (p *proxy) reap() { p.done <- p.cmd.Wait() }

func (p *proxy) stop() { stopProcess(p.cmd, p.done) }

func (p *proxy) logText() string {
	log, _ := os.ReadFile(p.path("log"))
	return string(log)
}

func (p *proxy) layOut(o proxyOptions) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	var err error
	if p.addr, err = freePort(o.ip); err != nil {
		return err
	}
	if p.admin, err = freePort(o.ip); err != nil {
		return err
	}
	cert, key, err := certificate(o.ip)
	if err != nil {
		return err
	}
	var token [24]byte
	_, _ = rand.Read(token[:]) // never fails
	var conf bytes.Buffer
	err = proxyTemplate.Execute(&conf, map[string]any{"IMAP": p.addr, "Admin": p.admin, "Source": o.source,
		"Legacy": o.legacy, "New": o.new, "Down": o.down})
	if err != nil {
		return err
	}
	secret := hex.EncodeToString(token[:])
	for name, data := range map[string][]byte{
		"mailsplice.toml": conf.Bytes(),
		"cert.pem":        cert,
		"key.pem":         key,
		"token":           []byte(secret + "\n"),
		"header":          []byte("Authorization: Bearer " + secret + "\n"), // curl reads it, so that it is in no argument list
		"mappings":        mappings(o.accounts),
	} {
		if err := os.WriteFile(p.path(name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func mappings(accounts []account) []byte {
	var out strings.Builder
	out.WriteString("# accounts that have moved\n")
	for _, a := range accounts {
		if a.home != "legacy" {
			fmt.Fprintf(&out, "%s\t%s\n", a.name, a.home)
		}
	}
	return []byte(out.String())
}

// certificate makes a self-signed leaf for ip, valid for a month.
func certificate(ip netip.Addr) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "mail.example.org"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(0, 1, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"mail.example.org"}, IPAddresses: []net.IP{ip.AsSlice()},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
