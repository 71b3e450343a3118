package tlstest

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mailsplice/tlsx/record"
	"mailsplice/tlsx/tlstest/terminal"
)

// OpenSSLPeer starts s_client or s_server and takes over the near end, in a role. A machine without openssl is told so, and the
// test is skipped; with MAILSPLICE_INTEROP=1 it fails.
func (s Suite) OpenSSLPeer(t testing.TB, role record.Role) (*net.TCPConn, *record.Leg, *terminal.Terminal) {
	t.Helper()
	var conn net.Conn
	var p *terminal.Terminal
	var err error
	if role == record.AsServer {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		p = terminal.OpenSSL(t, patience, append([]string{"s_client", "-connect", ln.Addr().String()}, s.OpenSSL...)...)
		ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		if conn, err = ln.Accept(); err != nil {
			t.Fatal(err)
		}
	} else {
		cert, key := pemFiles(t)
		p = terminal.OpenSSL(t, patience, append([]string{"s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-cert", cert, "-key", key}, s.OpenSSL...)...)
		if conn, err = net.Dial("tcp", p.Until("ACCEPT ")); err != nil {
			t.Fatal(err)
		}
	}
	return conn.(*net.TCPConn), s.Take(t, conn, role), p
}

// pemFiles are Certificate and its key as openssl reads them.
func pemFiles(t testing.TB) (cert, key string) {
	t.Helper()
	pair := Certificate()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
