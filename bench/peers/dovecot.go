package peers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mailsplice/bench/load"
	"mailsplice/bench/stage"
)

// Dovecot as a login proxy.
type Dovecot struct{}

// Name is "dovecot".
func (Dovecot) Name() string { return "dovecot" }

// Difference implements stage.Different.
func (Dovecot) Difference() string {
	return "resumes a client's TLS session only in the process that began it, and none with backends; all its processes count: master, login, authentication, anvil, log"
}

// Version implements Peer.
func (Dovecot) Version(ctx context.Context) (string, error) {
	version, err := said(ctx, "dovecot", "--version")
	return "Dovecot " + version, err
}

// Start implements stage.Starter.
func (Dovecot) Start(ctx context.Context, s *stage.Setting) (stage.Proxy, error) {
	if err := s.Single(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: Dovecot needs root, to change to its own users", stage.ErrCannot)
	}
	v, err := newValues(s)
	if err != nil {
		return nil, err
	}
	// Its login processes have another user, and find their way from the root.
	if err := os.Chmod(v.Dir, 0o711); err != nil {
		return nil, err
	}
	path, err := v.write(s, "dovecot.conf")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(v.Dir, "accounts"), []byte(v.accounts(s)), 0o644); err != nil {
		return nil, err
	}
	return proxy(launch(ctx, s, "dovecot", "-F", "-c", path))
}

// accounts is a passwd-file: user:password:uid:gid:gecos:home:shell:extra.
func (v values) accounts(s *stage.Setting) string {
	var b strings.Builder
	for i := range s.Accounts {
		fmt.Fprintf(&b, "%s:::::::%s\n", load.Account(i), v.extra(s.Destination(i)))
	}
	return b.String()
}
