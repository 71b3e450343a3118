package peers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"mailsplice/bench/load"
	"mailsplice/bench/stage"
)

// Nginx as a mail proxy.
type Nginx struct{}

// Name is "nginx".
func (Nginx) Name() string { return "nginx" }

// PlainBackend implements stage.PlainBackend.
func (Nginx) PlainBackend() {}

// Difference implements stage.Different.
func (Nginx) Difference() string {
	return "its leg to backends is always plain, which is less work; it asks an HTTP service for the backend of each login, " +
		"whose CPU time is not counted; writes no log"
}

var modulesPath = regexp.MustCompile(`--modules-path=(\S+)`)

// modules is the directory of nginx's modules, if the mail module is there.
func (Nginx) modules(ctx context.Context) (string, error) {
	text, err := exec.CommandContext(ctx, "nginx", "-V").CombinedOutput()
	if err != nil {
		return "", err
	}
	found := modulesPath.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("nginx -V does not tell its modules-path")
	}
	dir := string(found[1])
	if _, err := os.Stat(filepath.Join(dir, "ngx_mail_module.so")); err != nil {
		return "", fmt.Errorf("nginx's mail module is not installed (bench/install.sh): %w", err)
	}
	return dir, nil
}

// Version implements Peer.
func (n Nginx) Version(ctx context.Context) (string, error) {
	version, err := said(ctx, "nginx", "-v")
	if err != nil {
		return "", err
	}
	_, err = n.modules(ctx)
	return version, err
}

// Start implements stage.Starter.
func (n Nginx) Start(ctx context.Context, s *stage.Setting) (stage.Proxy, error) {
	if err := s.Single(); err != nil {
		return nil, err
	}
	v, err := newValues(s)
	if err != nil {
		return nil, err
	}
	if v.Modules, err = n.modules(ctx); err != nil {
		return nil, err
	}
	auth, err := serveAuth(s)
	if err != nil {
		return nil, err
	}
	v.Auth = auth.Addr
	path, err := v.write(s, "nginx.conf")
	if err != nil {
		auth.Close()
		return nil, err
	}
	r, err := launch(ctx, s, "nginx", "-p", v.Dir+"/", "-c", path, "-e", filepath.Join(v.Dir, "log"))
	if err != nil {
		auth.Close()
		return nil, err
	}
	return nginxProxy{r, auth}, nil
}

// nginxProxy ends the HTTP service too.
type nginxProxy struct {
	*running
	auth *http.Server
}

func (p nginxProxy) Stop() {
	p.running.Stop()
	p.auth.Close()
}

// serveAuth starts the service that tells nginx the backend of an account: header fields in, header fields out.
func serveAuth(s *stage.Setting) (*http.Server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Addr: ln.Addr().String(), Handler: authHandler(s), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(ln) // ends with Close
	return server, nil
}

func authHandler(s *stage.Setting) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		home := 0 // of unknown accounts
		if i, ok := load.Number(r.Header.Get("Auth-User")); ok && i < s.Accounts {
			home = s.Destination(i)
		}
		host, port, err := net.SplitHostPort(s.Backends[home])
		if err != nil {
			w.Header().Set("Auth-Status", err.Error())
			return
		}
		w.Header().Set("Auth-Status", "OK")
		w.Header().Set("Auth-Server", host)
		w.Header().Set("Auth-Port", port)
	})
}
