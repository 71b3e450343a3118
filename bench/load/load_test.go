package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"mailsplice/bench/mock"
	"mailsplice/bench/suite"
)

func TestNumbers(t *testing.T) {
	accounts, addrs := map[string]bool{}, map[string]bool{}
	for i := range 100_000 {
		account, addr := Account(i), SourceAddr(i)
		if accounts[account] || len(account) != 30 {
			t.Fatalf("account %d: %q is not new, or not of 30 bytes", i, account)
		}
		if addrs[addr.String()] || !addr.IsLoopback() {
			t.Fatalf("address %d: %v is not new, or not loopback", i, addr)
		}
		accounts[account], addrs[addr.String()] = true, true
		if n, ok := Number(account); n != i || !ok {
			t.Fatalf("%q: got number %d, %v; want %d", account, n, ok, i)
		}
	}
	for _, i := range []int{1 << 29, 1<<30 - 1} { // whatever a long churn reaches
		if a := SourceAddr(i); !a.IsLoopback() || a.To4()[3] == 0 || a.To4()[3] == 255 {
			t.Errorf("address %d: got %v", i, a)
		}
	}
}

func TestNoNumber(t *testing.T) {
	for _, name := range []string{"", "user", "user000000001", "user000000001@mail.example.com", "user1@mail.example.org", "x" + Account(1), Account(1) + "x"} {
		if n, ok := Number(name); ok {
			t.Errorf("%q: got number %d, want none", name, n)
		}
	}
}

func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// legs runs a test with a server over each kind of leg.
func legs(t *testing.T, test func(t *testing.T, s *mock.Server, target Target)) {
	for name, agreed := range map[string]suite.Suite{"plain": {}, "tls": suite.TLS13GCM.ECDSA(), "tls 1.2": suite.TLS12GCM.ECDSA(),
		"tls 1.2 with CBC": suite.TLS12CBC.ECDSA()} {
		t.Run(name, func(t *testing.T) {
			var config *tls.Config
			if name != "plain" {
				config = selfSigned(t)
				agreed.Restrict(config)
			}
			s, err := mock.Serve("b0", config, agreed)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				s.Close(ctx)
			})
			test(t, s, Target{Addr: s.Addr(), TLS: name != "plain", Curve: "x25519", Suite: agreed})
		})
	}
}

// check wants a call without failures that did something so often; it returns the reply.
func check(t *testing.T, what string, done int, r Reply, err error) Reply {
	t.Helper()
	if err != nil || r.Failed > 0 || r.Done != done {
		t.Fatalf("%s: got %d done, %d failed (%s), %v; want %d done", what, r.Done, r.Failed, r.Error, err, done)
	}
	return r
}

func opened(t *testing.T, target Target, n int, idle bool) *holder {
	t.Helper()
	h := new(holder)
	t.Cleanup(h.close)
	r, err := h.open(OpenArgs{Target: target, First: 5, Count: n, AtOnce: 3, Idle: idle})
	check(t, "open", n, r, err)
	if got := r.Latency.Count(); got != uint64(n) {
		t.Errorf("open: %d latencies, want %d", got, n)
	}
	return h
}

// Clients take no port away from the proxy's own connections.
func TestPortAtConnect(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := Target{Addr: ln.Addr().String()}.dialTCP(7)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if host, _, err := net.SplitHostPort(conn.LocalAddr().String()); err != nil || host != SourceAddr(7).String() {
		t.Errorf("got address %s, %v; want %v", conn.LocalAddr(), err, SourceAddr(7))
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if on, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT); err != nil || on != 1 {
			t.Errorf("IP_BIND_ADDRESS_NO_PORT: got %d, %v", on, err)
		}
	})
}

func TestPing(t *testing.T) {
	legs(t, func(t *testing.T, s *mock.Server, target Target) {
		h := opened(t, target, 7, false)
		if joined := s.Counts().Joined; joined != 7 {
			t.Errorf("the server has %d sessions, want 7", joined)
		}
		for _, a := range []PingArgs{{Sessions: 7, AtOnce: 3, For: 50 * time.Millisecond}, {Sessions: 5, Every: 10 * time.Millisecond, For: 50 * time.Millisecond}} {
			r, err := h.ping(a)
			if err != nil || r.Failed > 0 || r.Done < 1 || r.Latency.Count() != uint64(r.Done) || r.Took <= 0 {
				t.Errorf("%+v: got %d done, %d failed (%s), %v", a, r.Done, r.Failed, r.Error, err)
			}
		}
		if _, err := h.ping(PingArgs{Sessions: 8, AtOnce: 1}); err == nil {
			t.Error("more sessions than there are: no error")
		}
	})
}

// Every idle session answers, and idles again afterwards.
func TestSweep(t *testing.T) {
	legs(t, func(t *testing.T, s *mock.Server, target Target) {
		h := opened(t, target, 7, true)
		for range 2 {
			r, err := h.sweep(SweepArgs{AtOnce: 3})
			check(t, "sweep", 7, r, err)
		}
		if n, err := s.Push("* OK pushed 1"); n != 7 || err != nil {
			t.Fatalf("pushed to %d sessions, %v", n, err)
		}
		r, err := h.await(AwaitArgs{Within: time.Minute})
		check(t, "await", 7, r, err)
		h.clients[3].conn.Close()
		if r, err = h.sweep(SweepArgs{AtOnce: 3}); err != nil || r.Done != 6 || r.Failed != 1 || !strings.Contains(r.Error, "session 3 ") {
			t.Errorf("one has gone: got %d done, %d failed (%s), %v", r.Done, r.Failed, r.Error, err)
		}
	})
}

func TestBulk(t *testing.T) {
	legs(t, func(t *testing.T, _ *mock.Server, target Target) {
		h := opened(t, target, 2, false)
		const n = 3*pieceBytes + 5
		for _, up := range []bool{false, true, false} {
			r, err := h.bulk(BulkArgs{Streams: 2, Bytes: n, Up: up})
			if check(t, fmt.Sprint("up ", up), 2, r, err); r.Bytes != 2*n {
				t.Errorf("up %v: moved %d bytes, want %d", up, r.Bytes, 2*n)
			}
		}
		r, err := h.ping(PingArgs{Sessions: 2, AtOnce: 2, For: 10 * time.Millisecond})
		if err != nil || r.Failed > 0 {
			t.Errorf("afterwards: %d failed (%s), %v", r.Failed, r.Error, err)
		}
	})
}

func TestAwait(t *testing.T) {
	legs(t, func(t *testing.T, s *mock.Server, target Target) {
		h := opened(t, target, 4, true)
		if n, err := s.Push(fmt.Sprintf("* OK pushed %d", time.Now().UnixNano())); n != 4 || err != nil {
			t.Fatalf("push: got %d, %v", n, err)
		}
		r, err := h.await(AwaitArgs{Within: 20 * time.Second})
		check(t, "await", 4, r, err)
	})
}

func TestLogins(t *testing.T) {
	legs(t, func(t *testing.T, s *mock.Server, target Target) {
		var h holder
		for _, resume := range []bool{false, true} {
			r, err := h.login(LoginArgs{Target: target, Count: 12, AtOnce: 3, Resume: resume})
			want := 0
			if resume && target.TLS {
				want = 9 // all but the first of each worker
			}
			if check(t, "login", 12, r, err); r.Resumed != want {
				t.Errorf("resume %v: %d resumed, want %d", resume, r.Resumed, want)
			}
			if want := map[bool]int{true: 12}[target.TLS && native(target.Suite)]; r.Agreed != want {
				t.Errorf("resume %v: %d agreed, want %d", resume, r.Agreed, want)
			}
		}
		if logins := s.Counts().Logins; logins != 24 {
			t.Errorf("the server has seen %d logins, want 24", logins)
		}
		c := s.Counts()
		if want := map[bool]int{true: 24}[target.TLS && native(target.Suite)]; c.Agreed != want {
			t.Errorf("the server has agreed in %d handshakes of %d, want %d", c.Agreed, c.Handshakes, want)
		}
		r, err := h.login(LoginArgs{Target: target, Count: 1 << 30, AtOnce: 2, For: 20 * time.Millisecond})
		if err != nil || r.Failed > 0 || r.Done < 1 {
			t.Errorf("for a time: got %d done, %d failed, %v", r.Done, r.Failed, err)
		}
	})
}

// native says whether a handshake must come to s: in TLS 1.3 crypto/tls prefers another suite where the processor lacks AES.
func native(s suite.Suite) bool {
	return s.Version != tls.VersionTLS13 || cpu.X86.HasAES || cpu.ARM64.HasAES || cpu.S390X.HasAES
}

func TestPreauth(t *testing.T) {
	legs(t, func(t *testing.T, s *mock.Server, target Target) {
		h := new(holder)
		defer h.close()
		for _, silent := range []bool{true, false} {
			r, err := h.preauth(PreauthArgs{Target: target, Count: 3, AtOnce: 2, Silent: silent})
			check(t, fmt.Sprint("silent ", silent), 3, r, err)
		}
		if joined := s.Counts().Joined; joined != 0 || len(h.waiting) != 6 {
			t.Errorf("got %d joined, %d held; want 0 and 6", joined, len(h.waiting))
		}
	})
}

func TestFlood(t *testing.T) {
	legs(t, func(t *testing.T, _ *mock.Server, target Target) {
		var h holder
		r, err := h.flood(FloodArgs{Target: target, AtOnce: 2, For: 50 * time.Millisecond})
		if !target.TLS {
			if err == nil {
				t.Error("without TLS: no error")
			}
			return
		}
		if err != nil || r.Failed > 0 || r.Done < 1 {
			t.Errorf("got %d done, %d failed (%s), %v", r.Done, r.Failed, r.Error, err)
		}
	})
}

// What a server has sent is looked through up to what it has signed, whatever records it comes in.
func TestSigned(t *testing.T) {
	hello, certificate, exchange, done := "\x02\x00\x00\x03abc", "\x0b\x00\x01\x00"+strings.Repeat("c", 256), "\x0c\x00\x00\x02ab", "\x0e\x00\x00\x00"
	record := func(kind byte, body string) string {
		return string([]byte{kind, 3, 3, byte(len(body) >> 8), byte(len(body))}) + body
	}
	tests := []struct {
		name, in string
		want     error
	}{
		{"a record for each message", record(22, hello) + record(22, certificate) + record(22, exchange), nil},
		{"all in one", record(22, hello+certificate+exchange+done), nil},
		{"parted anywhere", record(22, hello+certificate[:7]) + record(22, certificate[7:]+exchange[:3]) + record(22, exchange[3:]), nil},
		{"TLS 1.3", record(22, hello) + record(20, "\x01") + record(23, "sealed"), nil},
		{"without the signature", record(22, hello+certificate+exchange[:5]), io.EOF},
		{"an alert", record(21, "\x02\x28"), io.EOF},
		{"half a record", record(22, hello)[:7], io.ErrUnexpectedEOF},
		{"too many records", strings.Repeat(record(22, hello), 9), errResponse},
	}
	for _, tt := range tests {
		if err := signed(strings.NewReader(tt.in)); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// A session that ends comes back, and says where it is.
func TestFollow(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	homes := make(chan string, 2)
	homes <- "b0"
	homes <- "b1"
	go func() { // ends with the listener
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			home := <-homes
			fmt.Fprintf(c, "* OK ready\r\n")
			line := make([]byte, 512)
			n, _ := c.Read(line)
			if !strings.HasPrefix(string(line[:n]), "a LOGIN "+Account(9)+" ") {
				home = "nowhere"
			}
			fmt.Fprintf(c, "a OK logged in on %s\r\n", home)
			c.Close()
		}
	}()
	var h holder
	defer h.close()
	target := Target{Addr: ln.Addr().String()}
	r, err := h.open(OpenArgs{Target: target, First: 9, Count: 1, AtOnce: 1})
	check(t, "open", 1, r, err)
	r, err = h.follow(FollowArgs{Target: target, First: 9, Within: 20 * time.Second})
	if check(t, "follow", 1, r, err); r.Homes["b1"] != 1 {
		t.Errorf("landed on %v, want b1", r.Homes)
	}
}

// What goes wrong is counted and told, and nothing is held.
func TestFailures(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // ends with the listener
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "* OK ready\r\na NO go away\r\n")
			c.(*net.TCPConn).CloseWrite()
			defer c.Close()
		}
	}()
	h := new(holder)
	target := Target{Addr: ln.Addr().String()}
	r, err := h.open(OpenArgs{Target: target, Count: 3, AtOnce: 2})
	if err != nil || r.Failed != 3 || r.Done != 0 || !strings.Contains(r.Error, "a NO go away") || len(h.clients) != 0 {
		t.Errorf("open: got %+v, %v, %d held", r, err, len(h.clients))
	}
	if r, err = h.login(LoginArgs{Target: target, Count: 2, AtOnce: 1}); err != nil || r.Failed != 2 {
		t.Errorf("login: got %+v, %v", r, err)
	}
	target.TLS = true
	if r, err = h.preauth(PreauthArgs{Target: target, Count: 2, AtOnce: 1}); err != nil || r.Failed != 2 || !strings.Contains(r.Error, "handshake") {
		t.Errorf("preauth: got %+v, %v", r, err)
	}
}

func TestMerge(t *testing.T) {
	a := Reply{Done: 1, Failed: 0, Bytes: 5, Took: 3, Homes: map[string]int{"b0": 1}}
	a.Latency.Add(time.Millisecond)
	b := Reply{Done: 2, Failed: 1, Error: "first", Resumed: 1, Bytes: 6, Took: 2, Homes: map[string]int{"b0": 1, "b1": 4}}
	a.Merge(b)
	a.Merge(Reply{Failed: 1, Error: "second"})
	if a.Done != 3 || a.Failed != 2 || a.Error != "first" || a.Resumed != 1 || a.Bytes != 11 || a.Took != 3 || a.Homes["b0"] != 2 || a.Homes["b1"] != 4 || a.Latency.Count() != 1 {
		t.Errorf("got %+v", a)
	}
}
