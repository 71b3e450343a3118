package config

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// derive fills in what depends on other keys or on the environment.
func (k *checker) derive() {
	k.logLevel()
	k.separators()
	for _, d := range k.c.Destinations {
		k.hosts(d)
		k.forwarding(d)
	}
	k.cipherSuites()
	if m := k.c.Mapping.SQL; m != nil {
		m.URL = k.sqliteURL(m.URL)
	}
	if k.c.Admin != nil {
		k.token(k.c.Admin)
	}
}

// logLevel applies the variables of SPEC 2.1. RUST_LOG often holds more than a level, and is ignored then.
func (k *checker) logLevel() {
	if v := k.o.Env("MAILSPLICE_LOG"); v != "" {
		if !k.setLevel(v) {
			k.errors = append(k.errors, Problem{File: "environment", Key: "$MAILSPLICE_LOG", Found: quote(v),
				Allowed: "one of debug info warn error"})
		}
		return
	}
	k.setLevel(k.o.Env("RUST_LOG"))
}

func (k *checker) setLevel(s string) bool {
	level, ok := parseLevel(strings.ToLower(strings.TrimSpace(s)))
	if ok {
		k.c.Server.LogLevel = level.(slog.Level)
	}
	return ok
}

// separators drops empty ones, which would cut every identifier at its first byte (SPEC 2.6).
func (k *checker) separators() {
	r := &k.c.Routing
	r.MasterUserSeparators = slices.DeleteFunc(r.MasterUserSeparators, func(s string) bool { return s == "" })
}

func (k *checker) hosts(d *Destination) {
	key := join("destination", d.Name)
	host, hosts := k.c.IsSet(key+".host"), k.c.IsSet(key+".hosts")
	switch {
	case host && hosts:
		k.fail(key+".hosts", "both host and hosts", "one of them")
	case !host && !hosts:
		k.fail(key+".host", "nothing", stringKinds["host"].allowed)
	case hosts && len(d.Hosts) == 0 && !k.failed(key+".hosts"):
		k.fail(key+".hosts", "an empty list", "at least one host")
	}
	if d.Host != "" {
		d.Hosts = []string{d.Host}
	}
}

// failed reports whether key has a problem already.
func (k *checker) failed(key string) bool {
	return slices.ContainsFunc(k.errors, func(p Problem) bool { return p.Key == key })
}

// forwarding settles what each leg does (SPEC 2.4).
func (k *checker) forwarding(d *Destination) {
	if d.Forwarding == 0 {
		d.Forwarding = ForwardNone
		if d.ProxyProtocol {
			d.Forwarding = ForwardProxy
		}
	}
	for _, e := range d.Endpoints {
		if e.Forwarding == 0 {
			e.Forwarding = d.Forwarding
		}
		if e.Protocol == HTTP && e.Forwarding == ForwardXClient {
			e.Forwarding = ForwardNone
		}
	}
}

// cipherSuites works out what is left of TLS 1.2 (SPEC 2.2). Those of 1.3 are not negotiable in crypto/tls.
func (k *checker) cipherSuites() {
	p := &k.c.TLS.Protocols
	const key = "tls.protocols.disable_cipher_suites"
	off := map[uint16]bool{}
	for _, name := range p.DisableCipherSuites {
		s := cipherSuite(name)
		switch {
		case s == nil:
			k.fail(key, quote(name), "standard names of cipher suites, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
		case !slices.Contains(s.SupportedVersions, tls.VersionTLS12):
			k.warn(key, quote(name)+", which stays on", "suites of TLS 1.2; those of TLS 1.3 cannot be switched off")
		default:
			off[s.ID] = true
		}
	}
	if len(off) == 0 {
		return
	}
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) && !off[s.ID] {
			p.CipherSuites = append(p.CipherSuites, s.ID)
		}
	}
	if len(p.CipherSuites) == 0 && p.MinVersion != TLS13 {
		k.fail(key, "no suite of TLS 1.2 left", "at least one, or min_version = \"1.3\"")
	}
}

// cipherSuite finds a suite by its standard name; TLS13_ is taken for TLS_ (SPEC 2.2).
func cipherSuite(name string) *tls.CipherSuite {
	if rest, ok := strings.CutPrefix(name, "TLS13_"); ok {
		name = "TLS_" + rest
	}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// sqliteURL makes the path of sqlite://PATH independent of the working folder (SPEC 2).
func (k *checker) sqliteURL(u Secret) Secret {
	path, ok := strings.CutPrefix(u.value, "sqlite://")
	if !ok || path == "" || path[0] == '/' || path[0] == ':' {
		return u
	}
	return Secret{"sqlite://" + k.o.resolvePath(path)}
}

// maxTokenFile bounds a token file; a token is a line.
const maxTokenFile = 64 << 10

// tokenVariables are those that may hold the admin token; the first that does wins.
var tokenVariables = []string{"MAILSPLICE_ADMIN_TOKEN", "PROXY_ADMIN_TOKEN"}

// token finds the admin token (SPEC 2.10): the environment wins over the file that holds it, and over the key.
func (k *checker) token(a *Admin) {
	for _, name := range tokenVariables {
		if v := strings.TrimSpace(k.o.Env(name)); v != "" {
			k.checkToken(a, "$"+name, v)
			return
		}
	}
	const fileKey, key = "admin.bearer_token_file", "admin.bearer_token"
	switch {
	case a.BearerTokenFile != "" && !a.BearerToken.Empty():
		k.fail(fileKey, "both bearer_token_file and bearer_token", "one of them")
	case a.BearerTokenFile != "":
		b, err := read(a.BearerTokenFile, maxTokenFile)
		if err != nil {
			k.fail(fileKey, quote(a.BearerTokenFile)+": "+cause(err).Error(), "a file that can be read")
			return
		}
		k.checkToken(a, fileKey, strings.TrimSpace(string(b)))
		clear(b)
		k.warnReadable(fileKey, a.BearerTokenFile)
	case !a.BearerToken.Empty():
		k.checkToken(a, key, strings.TrimSpace(a.BearerToken.value))
		k.warnReadable(key, k.o.Path)
	case !k.failed(key) && !k.failed(fileKey):
		k.fail(key, "nothing", "bearer_token_file, bearer_token or $MAILSPLICE_ADMIN_TOKEN")
	}
}

func (k *checker) checkToken(a *Admin, key, token string) {
	if len(token) < a.MinTokenLen {
		k.fail(key, fmt.Sprintf("a token of %d bytes", len(token)), fmt.Sprintf("at least %d (min_token_len)", a.MinTokenLen))
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		k.fail(key, "a token with blanks or unprintable characters", "printable ASCII without blanks")
	}
	a.Token = Secret{token}
}

// worldRead is the permission that everybody has who can reach the file.
const worldRead = 0o004

// warnReadable warns about a secret that every user of the machine can read (SPEC 2).
func (k *checker) warnReadable(key, path string) {
	if st, err := os.Stat(path); err == nil && st.Mode()&worldRead != 0 {
		k.warn(key, fmt.Sprintf("%s readable by everybody (mode %04o)", quote(filepath.Base(path)), st.Mode().Perm()),
			"a file that only the service's user and group can read")
	}
}
