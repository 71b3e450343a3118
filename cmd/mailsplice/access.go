package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"mailsplice/core/config"
)

// access is how the admin API is reached: addresses, token, and whom to believe to be the proxy.
type access struct {
	proxies []endpoint
	token   string
	from    string // where the token comes from
	trust   trust
}

// endpoint is one admin API.
type endpoint struct {
	name string   // as configured or asked for
	dial []string // tried in order
}

// trust says which certificates are the proxy's.
type trust struct {
	exact []*x509.Certificate // by their bytes (SPEC 2.10)
	roots *x509.CertPool      // of --ca; nil without
	paths []string            // of exact, for error texts
}

// ctlFlags are the flags that every subcommand of ctl has.
type ctlFlags struct {
	file  string
	admin []string
	ca    string
	json  bool
}

// open finds out everything there is to know before the first call. The configuration is not needed where the flags and
// the environment say it all.
func (f *ctlFlags) open() (*access, error) {
	a := &access{}
	conf, err := f.config()
	if err != nil {
		return nil, err
	}
	if a.proxies, err = f.endpoints(conf); err != nil {
		return nil, err
	}
	if conf.TokenError != nil {
		return nil, &exitError{exitConfig, fmt.Errorf("no admin token: %w", conf.TokenError)}
	}
	a.token, a.from = conf.Token.Reveal(), conf.TokenFrom
	a.trust, err = f.trust(conf)
	return a, err
}

// config reads the file, or makes do with the environment's token where no file is known.
func (f *ctlFlags) config() (*config.Access, error) {
	path, err := f.path()
	if err == nil {
		conf, err := config.LoadAccess(path, config.Options{})
		if err != nil {
			return nil, &exitError{exitConfig, err}
		}
		return conf, nil
	}
	for _, name := range []string{"MAILSPLICE_ADMIN_TOKEN", "PROXY_ADMIN_TOKEN"} {
		if token := strings.TrimSpace(os.Getenv(name)); token != "" && len(f.admin) > 0 {
			return &config.Access{Token: config.NewSecret(token), TokenFrom: "$" + name}, nil
		}
	}
	return nil, err
}

func (f *ctlFlags) path() (string, error) {
	if f.file != "" {
		return f.file, nil
	}
	path, err := configPath(nil)
	if err != nil {
		return "", errors.New("no configuration file: give one with -c, or set MAILSPLICE_CONFIG; or give --admin and set MAILSPLICE_ADMIN_TOKEN")
	}
	return path, nil
}

// endpoints are those of --admin, else the one of the configuration.
func (f *ctlFlags) endpoints(conf *config.Access) (list []endpoint, err error) {
	for _, text := range f.admin {
		e, err := parseEndpoint(text, conf.Admin.Port())
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	if len(list) > 0 {
		return list, nil
	}
	if !conf.Admin.IsValid() {
		return nil, &exitError{exitConfig, errors.New("the configuration has no [admin] table: nothing to talk to (SPEC 2.10); --admin asks another proxy")}
	}
	return []endpoint{bound(conf.Admin)}, nil
}

// parseEndpoint reads HOST:PORT, or HOST where the configuration knows the port.
func parseEndpoint(text string, port uint16) (endpoint, error) {
	host, number, err := net.SplitHostPort(text)
	if err != nil {
		host, number = strings.Trim(text, "[]"), strconv.Itoa(int(port))
	}
	if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ ") {
		return endpoint{}, fmt.Errorf("--admin %q: not HOST:PORT, such as mail1.example.org:9443 or [2001:db8::1]:9443", text)
	}
	whole := net.JoinHostPort(host, number)
	return endpoint{whole, []string{whole}}, nil
}

// bound is how to reach what listens on an address of this machine: a wildcard by loopback. [::] takes IPv4 as well, which
// matters where IPv6 is switched off for the loopback interface.
func bound(b config.Bind) endpoint {
	at := func(a netip.Addr) string { return netip.AddrPortFrom(a, b.Port()).String() }
	v4, v6 := at(netip.AddrFrom4([4]byte{127, 0, 0, 1})), at(netip.IPv6Loopback())
	switch {
	case b.Addr() == netip.IPv4Unspecified():
		return endpoint{v4, []string{v4}}
	case b.Addr() == netip.IPv6Unspecified():
		return endpoint{v6, []string{v6, v4}}
	}
	return endpoint{b.String(), []string{b.String()}}
}

// trust is --ca, else the certificates of the configuration.
func (f *ctlFlags) trust(conf *config.Access) (t trust, err error) {
	paths := conf.Certificates
	if f.ca != "" {
		paths = []string{f.ca}
		t.roots = x509.NewCertPool()
	}
	for _, path := range paths {
		certs, err := readCertificates(path)
		if err != nil {
			return t, &exitError{exitConfig, err}
		}
		if f.ca == "" {
			certs = certs[:1] // the leaf
		}
		for _, c := range certs {
			t.exact = append(t.exact, c)
			if t.roots != nil {
				t.roots.AddCert(c)
			}
		}
		t.paths = append(t.paths, path)
	}
	return t, nil
}

func readCertificates(path string) (certs []*x509.Certificate, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %q: %w", path, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("reading certificate %q: no PEM certificate in it", path)
	}
	return certs, nil
}

// tls is the client's policy for one proxy. Without --ca no name is asked for, so that the default certificate is shown,
// which is then compared byte for byte; and a certificate that --ca holds itself needs no name in it either.
func (t *trust) tls(host string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true} // VerifyConnection decides
	if t.roots != nil {
		c.ServerName = host
	}
	c.VerifyConnection = func(s tls.ConnectionState) error { return t.verify(s.PeerCertificates, host) }
	return c
}

func (t *trust) verify(chain []*x509.Certificate, host string) error {
	if len(chain) == 0 {
		return &untrusted{t, nil, errors.New("it shows no certificate")}
	}
	for _, c := range t.exact {
		if bytes.Equal(c.Raw, chain[0].Raw) {
			return nil
		}
	}
	if t.roots == nil {
		return &untrusted{t, chain[0], nil}
	}
	o := x509.VerifyOptions{DNSName: host, Roots: t.roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return &untrusted{t, chain[0], err}
	}
	return nil
}
