package interop

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"mailsplice/core/mailfake/port"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// door is a kind of entrance: how a client comes to TLS, in the words of SPEC 2.3.
type door string

const (
	plain    door = "plain"
	implicit door = "implicit"
	starttls door = "starttls"
)

// proxy is the program under test: the real binary with a configuration file.
type proxy struct {
	doors map[door]netip.AddrPort // its IMAP listeners
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
	legacy, new *dovecot
	down        netip.AddrPort // nobody listens there
	peer        netip.AddrPort // nobody but a test listens there
	tls         bool           // on every leg, else on none
	accounts    []account      // those whose home is not "legacy" get a mapping
}

//go:embed mailsplice.toml.tmpl
var plainConf string

//go:embed mailsplice-tls.toml.tmpl
var tlsConf string

var (
	plainTemplate = template.Must(template.New("mailsplice.toml").Parse(plainConf))
	tlsTemplate   = template.Must(template.New("mailsplice-tls.toml").Parse(tlsConf))
)

// startProxy writes configuration, certificate, token and mappings, and runs the binary until it accepts connections.
func startProxy(o proxyOptions) (*proxy, error) {
	p := &proxy{doors: map[door]netip.AddrPort{}, dir: filepath.Join(o.root, "proxy"), done: make(chan error, 1)}
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
	for _, addr := range append(slices.Collect(maps.Values(p.doors)), p.admin) {
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
	doors, text := []door{plain}, plainTemplate
	if o.tls {
		doors, text = []door{implicit, starttls}, tlsTemplate
	}
	var err error
	for _, d := range doors {
		if p.doors[d], err = port.Free(o.ip); err != nil {
			return err
		}
	}
	if p.admin, err = port.Free(o.ip); err != nil {
		return err
	}
	pin, err := o.legacy.fingerprint()
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for name, c := range map[string]struct {
		ip   netip.Addr
		host string
		kind keyType
	}{
		"cert": {o.ip, proxyHost, ecKey}, "rsa": {o.ip, proxyHost, rsaKey},
		"peer-ec": {o.peer.Addr(), peerHost, ecKey}, "peer-rsa": {o.peer.Addr(), peerHost, rsaKey},
		"own": {o.source, "proxy.example.org", ecKey}, // shown to a backend that asks
	} {
		if files[name+".pem"], files[name+".key"], err = certificate(c.ip, c.host, c.kind); err != nil {
			return err
		}
	}
	files["ca.pem"] = slices.Concat(files["cert.pem"], files["rsa.pem"])
	files["peer-ca.pem"] = slices.Concat(files["peer-ec.pem"], files["peer-rsa.pem"])
	var token [24]byte
	_, _ = rand.Read(token[:]) // never fails
	var conf bytes.Buffer
	err = text.Execute(&conf, map[string]any{"Plain": p.doors[plain], "Implicit": p.doors[implicit], "StartTLS": p.doors[starttls], "Admin": p.admin, "Source": o.source,
		"Legacy": o.legacy.addr, "New": o.new.addr, "Down": o.down, "Peer": o.peer, "LegacyPin": pin, "NewCert": o.new.path("cert.pem")})
	if err != nil {
		return err
	}
	secret := hex.EncodeToString(token[:])
	files["mailsplice.toml"] = conf.Bytes()
	files["token"] = []byte(secret + "\n")
	files["header"] = []byte("Authorization: Bearer " + secret + "\n") // curl reads it, so that it is in no argument list
	files["mappings"] = mappings(o.accounts)
	for name, data := range files {
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

// Names in the certificates of the proxy and of what stands at proxyOptions.peer.
const (
	proxyHost = "mail.example.org"
	peerHost  = "peer.example.org"
)

// keyType is what a certificate's key is.
type keyType uint8

const (
	ecKey keyType = iota
	rsaKey
)

func (k keyType) generate() (crypto.Signer, error) {
	if k == rsaKey {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// certificate makes a self-signed leaf for ip, host and further addresses, valid for a month.
func certificate(ip netip.Addr, host string, kind keyType, more ...netip.Addr) (cert, key []byte, err error) {
	private, err := kind.generate()
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: host},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(0, 1, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{host}, IPAddresses: []net.IP{ip.AsSlice()},
		BasicConstraintsValid: true,
	}
	for _, a := range more {
		leaf.IPAddresses = append(leaf.IPAddresses, a.AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, private.Public(), private)
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
