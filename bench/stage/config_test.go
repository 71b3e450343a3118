package stage

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"mailsplice/bench/load"
	"mailsplice/core/config"
	"mailsplice/core/proxy"
)

// The real configuration reader takes what is written, for every pair of legs, and understands it as meant.
func TestConfiguration(t *testing.T) {
	front, err := newCertificate(RSA, ProxyName)
	if err != nil {
		t.Fatal(err)
	}
	back, err := newCertificate(ECDSA, BackendHost)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("MAILSPLICE_ADMIN_TOKEN", strings.Repeat("t", 40))
	legs := map[bool]config.TLSMode{true: config.TLSImplicit, false: config.TLSPlain}
	for _, client := range []bool{true, false} {
		for _, backend := range []bool{true, false} {
			t.Run(fmt.Sprintf("client TLS %v, backend TLS %v", client, backend), func(t *testing.T) {
				o := Options{ClientTLS: client, BackendTLS: backend, LogLevel: "warn", Destination: func(i int) int { return i % 2 }}
				o.Accounts = 3
				s := &Setting{Options: o, Listen: "127.0.0.1:1143", Backends: []string{"127.0.0.1:2001", "127.0.0.1:2002"}, Front: front, Back: back}
				p := &mailspliceProcess{dir: t.TempDir()}
				if p.admin = "127.0.0.1:9443"; p.writeFiles(s, "\n[oauth]\njwt_username_claim = \"name\"\n") != nil {
					t.Fatal("writing files")
				}
				cfg, warnings, err := config.Load(filepath.Join(p.dir, "mailsplice.toml"), proxy.LoadOptions())
				if err != nil || len(warnings) > 0 {
					t.Fatalf("got warnings %v, error %v", warnings, err)
				}
				if len(cfg.Listeners) != 1 || cfg.Listeners[0].TLS != legs[client] || cfg.Listeners[0].MaxConnections != 0 {
					t.Errorf("listeners: got %+v", cfg.Listeners)
				}
				if len(cfg.Destinations) != 2 || cfg.Destinations[1].Endpoint(config.IMAP).TLS != legs[backend] {
					t.Errorf("destinations: got %+v", cfg.Destinations)
				}
			})
		}
	}
}

func TestMappings(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(mappings(MaxAccounts, func(i int) int { return i % 3 }), "\n"), "\n")
	if len(lines) != MaxAccounts || lines[0] != load.Account(0)+"\tb0" || lines[5] != load.Account(5)+"\tb2" {
		t.Errorf("got %d lines, the first %q, the sixth %q", len(lines), lines[0], lines[5])
	}
}

func TestEnvironment(t *testing.T) {
	got := withoutMailsplice([]string{"PATH=/bin", "MAILSPLICE_LOG=debug", "PROXY_CONFIG=x", "RUST_LOG=info", "HOME=/"})
	if strings.Join(got, " ") != "PATH=/bin HOME=/" {
		t.Errorf("got %q", got)
	}
}

func TestUnknownKey(t *testing.T) {
	if _, err := newCertificate("dsa", ProxyName); err == nil || !strings.Contains(err.Error(), `found "dsa"`) {
		t.Errorf("got %v", err)
	}
}
