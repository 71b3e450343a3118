package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Access is what a configuration says about asking the proxy that serves it: for `ctl` and `healthcheck` (SPEC 9). It
// comes from a file that need not be valid as a whole: an operator must be able to end sessions while the file is being
// edited, and without the right to read private keys.
type Access struct {
	// Admin and Metrics are the addresses of [admin] and [metrics]; not valid without the table.
	Admin, Metrics Bind
	// Token is the admin token, wherever it came from; empty when TokenError says why there is none. TokenFrom names the
	// place: "$NAME", "admin.bearer_token" or the file.
	Token      Secret
	TokenFrom  string
	TokenError error
	// Certificates are the PEM files of the certificates that a client may be shown that names no host (SPEC 2.2): the
	// default ones, else all. Empty: the proxy makes one at start.
	Certificates []string
	// Destinations are the declared names.
	Destinations []string
}

// LoadAccess reads the file at path for what Access holds. The error says why the file could not be read, or is a Problems
// with what is wrong about the two addresses; whatever else is wrong is passed over. Of o, Env is used.
func LoadAccess(path string, o Options) (*Access, error) {
	src, err := read(path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("reading configuration %q: %w", path, cause(err))
	}
	o.Path = path
	o.fill()
	k := newChecker(o)
	tree, ok := k.parse(src)
	if !ok {
		return nil, k.errors
	}
	k.decode(tree)
	if ps := k.problemsOf("admin", "admin.bind", "metrics", "metrics.bind"); len(ps) > 0 {
		return nil, ps.inOrder(path)
	}
	return k.access(), nil
}

func (k *checker) problemsOf(keys ...string) Problems {
	return slices.DeleteFunc(slices.Clone(k.errors), func(p Problem) bool { return !slices.Contains(keys, p.Key) })
}

// access gathers what was decoded.
func (k *checker) access() *Access {
	a := &Access{Certificates: k.nameless()}
	for _, d := range k.c.Destinations {
		a.Destinations = append(a.Destinations, d.Name)
	}
	if m := k.c.Metrics; m != nil {
		a.Metrics = m.Bind
	}
	if k.c.Admin != nil {
		a.Admin = k.c.Admin.Bind
	}
	k.accessToken(a)
	return a
}

// accessToken finds the token. Only what keeps it from being found counts: whether it is long enough, the proxy has judged.
// Without [admin], for addresses from elsewhere, the environment may still hold one.
func (k *checker) accessToken(a *Access) {
	admin := cmp.Or(k.c.Admin, &Admin{})
	k.token(admin)
	a.Token, a.TokenFrom = admin.Token, k.tokenFrom(admin)
	if !a.Token.Empty() {
		return
	}
	if ps := k.problemsOf("admin.bearer_token", "admin.bearer_token_file"); len(ps) > 0 {
		a.TokenError = ps.inOrder(k.o.Path)
	}
}

func (k *checker) tokenFrom(a *Admin) string {
	for _, name := range tokenVariables {
		if strings.TrimSpace(k.o.Env(name)) != "" {
			return "$" + name
		}
	}
	return cmp.Or(a.BearerTokenFile, "admin.bearer_token")
}

// nameless lists the certificates for clients that ask for no name: the default ones. Without any, all count: the proxy
// shows a sole one then, or several of one name, and if it shows none of them that is seen (SPEC 2.2).
func (k *checker) nameless() (files []string) {
	list := k.c.TLS.Certificates
	some := slices.ContainsFunc(list, isDefault)
	for _, c := range list {
		if c.Cert != "" && (!some || isDefault(c)) {
			files = append(files, c.Cert)
		}
	}
	return files
}

func isDefault(c *Certificate) bool { return c.Default || slices.Contains(c.Subjects, "*") }
