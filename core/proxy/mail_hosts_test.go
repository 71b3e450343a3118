package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// book is a DNS that a test writes.
type book struct {
	mu    sync.Mutex
	names map[string][]netip.Addr
	asked map[string]int
}

func (b *book) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked == nil {
		b.asked = map[string]int{}
	}
	b.asked[host]++
	if list := b.names[host]; len(list) > 0 {
		return list, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// elsewhere is a port that is free on several loopback addresses, and a stage whose backend listens on one of them.
func elsewhere(t *testing.T, addr string, s stage) stage {
	t.Helper()
	port := netip.MustParseAddrPort(freePort(t)).Port()
	s.onLegacy.Listen = netip.AddrPortFrom(netip.MustParseAddr(addr), port).String()
	s.legacyAddr = netip.MustParseAddrPort(s.onLegacy.Listen)
	return s
}

// The next host, and the next address of a name, is tried when one does not take the connection (SPEC 2.4).
func TestHosts(t *testing.T) {
	dns := &book{names: map[string][]netip.Addr{
		"one.test": addrs("127.0.0.4", "127.0.0.5", "127.0.0.3"), "dead.test": addrs("127.0.0.4"), "good.test": addrs("127.0.0.3"), "v6.test": addrs("::1", "127.0.0.3"),
	}}
	for _, c := range []struct{ name, hosts, lands string }{
		{"addresses", `hosts = ["127.0.0.4", "127.0.0.3"]`, "legacy"},
		{"name with several addresses", `host = "one.test"`, "legacy"},
		{"name with addresses of both families", `host = "v6.test"`, "legacy"},
		{"names", `hosts = ["dead.test", "good.test"]`, "legacy"},
		{"name that does not exist first", `hosts = ["none.test", "good.test"]`, "legacy"},
		{"nobody there", `hosts = ["127.0.0.4", "dead.test", "none.test"]`, ""},
		{"name that does not exist", `host = "none.test"`, ""},
	} {
		eachTongue(t, func(t *testing.T, tg tongue) {
			if tg.name != "pop3" && c.name != "names" {
				return // the dialler does not know what is spoken
			}
			r := newMailRig(t, tg, elsewhere(t, "127.0.0.3", stage{legacyHost: c.hosts, resolve: dns.resolve, server: "backend_connect_retries = 0"}))
			cl := r.client()
			if c.lands == "" {
				r.plain(cl, "alice", password, tg.down)
				return
			}
			r.enter(cl, "alice")
			r.lands(cl, c.lands)
		})
	}
}

// A name is asked for once while its answer is fresh, and again after a failure (DESIGN 5).
func TestNamesAreKept(t *testing.T) {
	dns := &book{names: map[string][]netip.Addr{"good.test": addrs("127.0.0.3")}}
	r := newMailRig(t, tongueOf("pop3"), elsewhere(t, "127.0.0.3", stage{legacyHost: `host = "good.test"`, resolve: dns.resolve}))
	for range 5 {
		r.in("alice")
	}
	dns.mu.Lock()
	defer dns.mu.Unlock()
	if got := dns.asked["good.test"]; got != 1 {
		t.Errorf("look-ups: got %d, want 1", got)
	}
}

// A failure to reach the backend is retried as often as configured, each time with all hosts (SPEC 2.1).
func TestConnectRetries(t *testing.T) {
	for _, retries := range []int{0, 1, 2} {
		dns := &book{}
		r := newMailRig(t, tongueOf("submission"), stage{legacyHost: `hosts = ["none.test", "neither.test"]`, resolve: dns.resolve, server: fmt.Sprintf("backend_connect_retries = %d", retries)})
		r.plain(r.client(), "alice", password, "454 4.7.0")
		dns.mu.Lock()
		if one, two := dns.asked["none.test"], dns.asked["neither.test"]; one != retries+1 || two != retries+1 {
			t.Errorf("%d retries: look-ups: got %d and %d, want %d each", retries, one, two, retries+1)
		}
		dns.mu.Unlock()
	}
}

// Backends are reached from the configured addresses in turn, whatever is spoken (SPEC 2.4).
func TestSourceIPs(t *testing.T) {
	for _, tg := range append([]tongue{passed[0]}, tongues...) {
		r := newMailRig(t, tg, stage{legacy: `source_ips = ["127.0.0.8", "127.0.0.9", "::1"]`})
		for i := range 4 {
			c := r.client()
			if !passesThrough(tg.name) {
				r.enter(c, "alice")
			}
			r.lands(c, "legacy")
			sessions := r.legacy.Sessions()
			if got, want := sessions[i].Peer.Addr().String(), []string{"127.0.0.8", "127.0.0.9"}[i%2]; got != want {
				t.Errorf("%s: login %d: came from %s, want %s", tg.name, i, got, want)
			}
		}
	}
}

// authority signs certificates of backends.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// server is a backend's settings with a certificate for name, and what it was asked for.
func (a *authority) server(t *testing.T, name string, asked *string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return mode.suites(&tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		*asked = h.ServerName
		return &cert, nil
	}})
}

// Each host of a list is verified, and asked, under its own name, unless one is configured for all (SPEC 2.4).
func TestServerNamePerHost(t *testing.T) {
	ca := newAuthority(t)
	dns := &book{names: map[string][]netip.Addr{"dead.test": addrs("127.0.0.4"), "good.test": addrs("127.0.0.3")}}
	for _, c := range []struct{ name, check, cert, sni string }{
		{"own name", "", "good.test", "good.test"},
		{"name of another host", "", "dead.test", ""},
		{"one name for all", `tls_server_name = "shared.test"`, "shared.test", "shared.test"},
		{"one name for all, shown another", `tls_server_name = "shared.test"`, "good.test", ""},
	} {
		eachTongue(t, func(t *testing.T, tg tongue) {
			asked := ""
			s := elsewhere(t, "127.0.0.3", stage{legacyTLS: map[bool]string{true: "starttls", false: "implicit"}[tg.name == "pop3"],
				legacyHost: `hosts = ["dead.test", "good.test"]`, resolve: dns.resolve, legacyCheck: "tls_ca = \"ca.pem\"\n" + c.check, server: "backend_connect_retries = 2"})
			s.onLegacy.TLS = ca.server(t, c.cert, &asked)
			s.files = map[string]string{"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))}
			r := newMailRig(t, tg, s)
			cl := r.client()
			if c.sni == "" {
				r.plain(cl, "alice", password, tg.down)
				if got := r.legacy.Counts(); got.Connections != 1 || got.Accepted+got.Refused != 0 {
					t.Errorf("%s: got %+v, want one connection without a login: a certificate is not tried again", c.name, got)
				}
				return
			}
			r.enter(cl, "alice")
			r.lands(cl, "legacy")
			if asked != c.sni {
				t.Errorf("%s: SNI: got %q, want %q", c.name, asked, c.sni)
			}
		})
	}
}

// A name that comes to mean the proxy itself is not dialled: the operator hears of it, the client comes back later (SPEC 2.11).
func TestNameOfOneself(t *testing.T) {
	dns := &book{}
	eachTongue(t, func(t *testing.T, tg tongue) {
		addr := mustPort(t)
		dns.names = map[string][]netip.Addr{"self.test": addrs("127.0.0.1")}
		r := newMailRig(t, tg, stage{bind: addr.String(), legacyAddr: addr, legacyHost: `host = "self.test"`, resolve: dns.resolve, mappings: "nina new\n"})
		c := r.client()
		r.plain(c, "alice", password, tg.down)
		if line := r.logged("destination is a listener of this proxy", 1)[0]; !strings.Contains(line, "level=ERROR") {
			t.Errorf("log: %s", line)
		}
		if got := r.metric(fmt.Sprintf(`connections_accepted_total{listener=%q}`, tg.name)); got != 1 {
			t.Errorf("connections: got %d, want the client's alone", got)
		}
		r.enter(c, "nina")
		r.lands(c, "new")
	})
}

// What a backend offers as XCLIENT is nobody's business but the destination's: each leg has its own forwarding (SPEC 2.4).
func TestForwardingOfOneLeg(t *testing.T) {
	r := newMailRig(t, tongueOf("submission"), stage{legacyForwarding: "none", rest: "[destination.legacy.protocol.smtp]\nport = 25\ntls = \"plain\"\nforwarding = \"xclient\"\n",
		onLegacy: mailfake.Options{XClient: mailfake.XClientDovecot}})
	r.lands(r.in("alice"), "legacy")
	if s := r.legacy.Logins()[0]; s.XClients != 0 || s.Proxy != nil {
		t.Errorf("the client was announced: %s", attributes(s))
	}
}
