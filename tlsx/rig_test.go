package tlsx

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	before := descriptors()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
		if after := descriptors(); after > before {
			os.Stderr.WriteString("descriptors were left open\n")
			code = 1
		}
	}
	os.Exit(code)
}

// descriptors counts this process's sockets.
func descriptors() (n int) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); bytes.HasPrefix([]byte(to), []byte("socket:")) {
			n++
		}
	}
	return n
}

// patience bounds every handshake and wait of the tests.
const patience = 20 * time.Second

// testSocket is a Socket that waits with poll(2).
type testSocket struct {
	fd       int
	deadline time.Time
	reads    [][]byte // what each Read brought
}

func (s *testSocket) FD() int                 { return s.fd }
func (s *testSocket) SetDeadline(t time.Time) { s.deadline = t }

func (s *testSocket) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, p)
		if err == unix.EAGAIN {
			if err := s.wait(unix.POLLIN); err != nil {
				return 0, err
			}
			continue
		}
		if err == nil {
			s.reads = append(s.reads, bytes.Clone(p[:n]))
		}
		return max(n, 0), err
	}
}

func (s *testSocket) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, err := unix.SendmsgN(s.fd, p[done:], nil, nil, unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			done += n
		case unix.EAGAIN:
			if err := s.wait(unix.POLLOUT); err != nil {
				return done, err
			}
		default:
			return done, err
		}
	}
	return len(p), nil
}

func (s *testSocket) wait(events int16) error {
	for {
		left := time.Until(s.deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: events}}, int(left.Milliseconds())+1)
		if n > 0 || err != nil && err != unix.EINTR {
			return nil // the call tells
		}
	}
}

// connect is a connection over loopback: our end and the peer's. Both are closed with the test.
func connect(t testing.TB) (*testSocket, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ours := adopt(t, accepted)
	t.Cleanup(func() { peer.Close() })
	peer.SetDeadline(time.Now().Add(patience))
	return ours, peer
}

// adopt takes a connection's descriptor out of Go's hands.
func adopt(t testing.TB, c net.Conn) *testSocket {
	t.Helper()
	s := &testSocket{fd: -1}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	c.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	s.SetDeadline(time.Now().Add(patience))
	return s
}

// result is what a handshake came to.
type result struct {
	taken *Taken
	err   error
}

// handshaker is a ServerConfig or a ClientConfig.
type handshaker interface {
	Handshake(Socket, time.Time) (*Taken, error)
}

// begin runs our end in a goroutine that ends with the handshake.
func begin(c handshaker, s Socket) <-chan result {
	done := make(chan result, 1)
	go func() {
		taken, err := c.Handshake(s, time.Now().Add(patience))
		done <- result{taken, err}
	}()
	return done
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	a.cert = sign(t, template, template, key, key)
	a.pool.AddCert(a.cert)
	return a
}

func sign(t testing.TB, template, parent *x509.Certificate, key, by crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue makes a certificate for name, valid until then.
func (a *authority) issue(t testing.TB, name, keyType string, until time.Time) *tls.Certificate {
	t.Helper()
	key := keys()[keyType]
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	leaf := sign(t, template, a.cert, key, a.key)
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// newServer is a listener's policy with an ECDSA and an RSA certificate for mail.example.com.
func newServer(t testing.TB, change ...func(*ServerOptions)) *ServerConfig {
	t.Helper()
	certs, err := NewCertificates("", []Pair{pair(t, "ecdsa", "ecdsa", "mail.example.com"), pair(t, "rsa", "rsa", "mail.example.com")})
	if err != nil {
		t.Fatal(err)
	}
	o := ServerOptions{Certificates: certs, Protocols: []string{"imap"}, PostQuantum: true, Tickets: NewTicketKeys(), Slots: NewSlots(SlotsOptions{Usual: 2, Waiting: 8})}
	for _, f := range change {
		f(&o)
	}
	c, err := NewServerConfig(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newClient is a destination's policy that trusts anything.
func newClient(t testing.TB, change ...func(*ClientOptions)) *ClientConfig {
	t.Helper()
	o := ClientOptions{Destination: "new", ServerName: "mail.example.com", AllowInvalid: true, Slots: NewSlots(SlotsOptions{Usual: 2, Waiting: 8})}
	for _, f := range change {
		f(&o)
	}
	c, err := NewClientConfig(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends some data each way, large and small, and wants it unchanged. Both ends belong to the caller.
func exchange(t testing.TB, ours *Stream, peer io.ReadWriter) {
	t.Helper()
	for _, size := range []int{1, 100, 20_000, 50_000, 7} {
		data := make([]byte, size)
		rand.Read(data)
		sent := make(chan error, 1)
		go func() { // until it is written or the deadline of peer
			_, err := peer.Write(data)
			sent <- err
		}()
		if got := readN(t, ours, size); !bytes.Equal(got, data) {
			t.Fatalf("%d bytes from the peer arrived changed", size)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := ours.Write(data)
			sent <- err
		}()
		got := make([]byte, size)
		if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes to the peer arrived changed: %v", size, err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
}

func readN(t testing.TB, s Socket, n int) []byte {
	t.Helper()
	var got []byte
	for buf := make([]byte, 4096); len(got) < n; {
		k, err := s.Read(buf[:min(len(buf), n-len(got))])
		if err != nil || k == 0 {
			t.Fatalf("reading: %v after %d of %d bytes", err, len(got), n)
		}
		got = append(got, buf[:k]...)
	}
	return got
}
