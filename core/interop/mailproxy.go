package interop

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"fmt"
	"mailsplice/core/mailfake/port"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
)

// mailProxyHost is server.hostname of the reference scenario, and the name in the proxy's certificate.
const mailProxyHost = "mail.example.com"

// entrance is where clients come in: a listener, in both families.
type entrance struct{ v4, v6 netip.AddrPort }

// at is the address of the family of source.
func (e entrance) at(source netip.Addr) netip.AddrPort {
	if source.Is6() {
		return e.v6
	}
	return e.v4
}

// mailProxy is the program under test with all its protocols: the real binary with a configuration file.
type mailProxy struct {
	*program
	dir       string
	admin     netip.AddrPort
	listeners map[string]entrance
}

// mailProxyOptions say what is served.
type mailProxyOptions struct {
	root, name string
	ip         netip.Addr // of its listeners, besides ::1
	binary     string
	text       string         // template of the configuration
	listeners  []string       // names in it
	facts      map[string]any // of it
	mappings   string
	roots      string // PEM file that stands for the platform's roots
}

var (
	//go:embed migration.toml.tmpl
	migrationConf string
	//go:embed migration-more.toml.tmpl
	migrationMoreConf string
	//go:embed passthrough.toml.tmpl
	passThroughConf string
)

// startMailProxy writes the files and runs the binary until it accepts connections. The caller stops it.
func startMailProxy(o mailProxyOptions) (*mailProxy, error) {
	p := &mailProxy{dir: filepath.Join(o.root, o.name), listeners: map[string]entrance{}}
	if err := p.layOut(o); err != nil {
		return nil, fmt.Errorf("laying out %s: %w", o.name, err)
	}
	var err error
	p.program, err = startProgram(o.name, []string{"SSL_CERT_FILE=" + o.roots, "MAILSPLICE_LOG=debug"}, []string{p.path("log")},
		o.binary, "run", p.path("mailsplice.toml"))
	if err != nil {
		return nil, err
	}
	addrs := []netip.AddrPort{p.admin}
	for _, e := range p.listeners {
		addrs = append(addrs, e.v4, e.v6)
	}
	for _, addr := range addrs {
		if err := awaitPort(addr, p.done); err != nil {
			p.stop()
			return nil, fmt.Errorf("starting %s: %w\n%s", o.name, err, p.logText())
		}
	}
	return p, nil
}

func (p *mailProxy) path(name string) string { return filepath.Join(p.dir, name) }

func (p *mailProxy) layOut(o mailProxyOptions) (err error) {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	if p.admin, err = port.Free(o.ip); err != nil {
		return err
	}
	bind := map[string]string{}
	for _, name := range o.listeners {
		var e entrance
		if e.v4, err = port.Free(o.ip); err != nil {
			return err
		}
		if e.v6, err = quietPort(netip.IPv6Loopback()); err != nil {
			return err
		}
		p.listeners[name], bind[name] = e, fmt.Sprintf("%q, %q", e.v4, e.v6)
	}
	o.facts["Bind"], o.facts["Admin"] = bind, p.admin
	var conf bytes.Buffer
	t, err := template.New(o.name).Option("missingkey=error").Parse(o.text)
	if err == nil {
		err = t.Execute(&conf, o.facts)
	}
	if err != nil {
		return err
	}
	return p.write(o.ip, conf.Bytes(), o.mappings)
}

// write makes the files that the configuration names.
func (p *mailProxy) write(ip netip.Addr, conf []byte, mappings string) error {
	cert, key, err := certificate(ip, mailProxyHost, ecKey, netip.IPv6Loopback())
	if err != nil {
		return err
	}
	var token [24]byte
	_, _ = rand.Read(token[:]) // never fails
	secret := hex.EncodeToString(token[:])
	for name, data := range map[string][]byte{
		"mailsplice.toml": conf,
		"cert.pem":        cert,
		"key.pem":         key,
		"token":           []byte(secret + "\n"),
		"header":          []byte("Authorization: Bearer " + secret + "\n"), // curl reads it, so that it is in no argument list
		"mappings.tsv":    []byte(mappings),
	} {
		if err := os.WriteFile(p.path(name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// quietPort finds a free port that the kernel gives nobody by itself: all stages share ::1, and connect from it.
func quietPort(ip netip.Addr) (netip.AddrPort, error) {
	const lowest, ports, tries = 20000, 10000, 100
	var err error
	for range tries {
		at := netip.AddrPortFrom(ip, lowest+uint16(mathrand.IntN(ports)))
		var l net.Listener
		if l, err = net.Listen("tcp", at.String()); err == nil {
			_ = l.Close()
			return at, nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("finding a free port on %s: %w", ip, err)
}

// buildProxy makes the binary unless one is named.
func buildProxy(root, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	binary := filepath.Join(root, "mailsplice")
	build := exec.Command("go", "build", "-o", binary, "mailsplice/cmd/mailsplice")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the proxy: %w\n%s", err, out)
	}
	return binary, nil
}
