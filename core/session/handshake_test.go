package session

import (
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"mailsplice/core/mailfake"
	"mailsplice/tlsx"
)

// SECURITY 33: handshakes in progress are bounded. The newest is closed, those that are under way go on, and what ends makes
// room.
func TestHandshakesAreBounded(t *testing.T) {
	r := newRig(t, speaker(), mailfake.Options{})
	certs, err := tlsx.NewCertificates("mail.example.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := tlsx.NewServerConfig(tlsx.ServerOptions{Certificates: certs, Protocols: []string{"imap"}, Tickets: tlsx.NewTicketKeys()})
	if err != nil {
		t.Fatal(err)
	}
	lo, err := r.sessions.AddListener(&Listener{Name: "sealed", Protocol: IMAP, Speaker: speaker(), PreauthTimeout: time.Hour, Mode: ImplicitTLS, TLS: policy})
	if err != nil {
		t.Fatal(err)
	}
	lo.Addr = netip.MustParseAddrPort("127.0.0.1:0")
	ln, err := r.engine.Listen(lo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ln.Close)
	dial := func() (*mailfake.Client, error) {
		return mailfake.DialWith(ln.Addr().String(), mailfake.ClientOptions{Timeout: patience, TLS: &tls.Config{InsecureSkipVerify: true}})
	}
	r.sessions.handshakes.Add(maxHandshakes) // as if so many were under way
	for range 3 {
		if c, err := dial(); err == nil {
			c.Close()
			t.Fatal("a handshake beyond the bound")
		}
	}
	if got := r.sessions.handshakes.Load(); got != maxHandshakes {
		t.Errorf("handshakes in progress: got %d, want %d: those turned away do not count", got, maxHandshakes)
	}
	r.sessions.handshakes.Add(-1)
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login("alice", password); err != nil {
		t.Error(err)
	}
	r.await("the place to be given back", func() bool { return r.sessions.handshakes.Load() == maxHandshakes-1 })
	r.sessions.handshakes.Store(0)
}
