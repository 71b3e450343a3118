package peers

import (
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/template"

	"mailsplice/bench/stage"
)

//go:embed templates
var templates embed.FS

// values fill a template.
type values struct {
	Dir                    string // of all its files
	Listen, Host, Port     string // where clients come
	FrontHost, BackendHost string // names in the certificates
	ClientTLS, BackendTLS  bool
	Ciphers                string // of TLS 1.2, for OpenSSL; empty: not restricted, TLS 1.3 is what is spoken
	CPUs                   int
	Files                  int // that one process may open
	Connections            int // that one process can join: two files each
	Backends               []backend
	Auth, Modules          string // nginx only
}

// backend is one of them.
type backend struct{ Name, Host, Port string }

// spareFiles are for whatever a process opens besides sessions.
const spareFiles = 500

func newValues(s *stage.Setting) (v values, err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return v, err
	}
	v = values{Dir: s.Dir, Listen: s.Listen, FrontHost: stage.ProxyName, BackendHost: stage.BackendHost,
		ClientTLS: s.ClientTLS, BackendTLS: s.BackendTLS, Ciphers: s.Suite.OpenSSL(), CPUs: runtime.NumCPU(), Files: int(min(limit.Max, 1<<20))}
	v.Connections = (v.Files - spareFiles) / 2
	if v.Host, v.Port, err = net.SplitHostPort(s.Listen); err != nil {
		return v, err
	}
	for i, addr := range s.Backends {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return v, err
		}
		v.Backends = append(v.Backends, backend{stage.BackendName(i), host, port})
	}
	return v, nil
}

// write puts the certificates and the filled template into the directory, and returns the path of the latter.
func (v values) write(s *stage.Setting, name string) (path string, err error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{"extra": v.extra}).ParseFS(templates, "templates/"+name)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	if err := t.Execute(&text, v); err != nil {
		return "", err
	}
	path = filepath.Join(v.Dir, name)
	files := map[string]string{
		path:                              text.String(),
		filepath.Join(v.Dir, "front.pem"): string(s.Front.CertPEM) + string(s.Front.KeyPEM),
		filepath.Join(v.Dir, "back.pem"):  string(s.Back.CertPEM),
	}
	for file, text := range files {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return path, nil
}

// extra are Dovecot's fields of a passdb that say which backend to go on to.
func (v values) extra(i int) string {
	b := v.Backends[i]
	if v.BackendTLS {
		return fmt.Sprintf("nopassword=y proxy=y host=%s hostip=%s port=%s ssl=yes", v.BackendHost, b.Host, b.Port)
	}
	return fmt.Sprintf("nopassword=y proxy=y host=%s port=%s", b.Host, b.Port)
}
