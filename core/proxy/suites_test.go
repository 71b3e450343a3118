package proxy

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mailsplice/core/mailfake"
)

// suite is how one leg is encrypted; zero: not at all.
type suite struct{ version, id uint16 }

// suites are all that crypto/tls agrees on with its own defaults, and none.
var suites = []suite{
	{},
	{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256},
	{tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384},
	{tls.VersionTLS13, tls.TLS_CHACHA20_POLY1305_SHA256},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA},
}

func (s suite) String() string {
	if s.id == 0 {
		return "clear"
	}
	return tls.CipherSuiteName(s.id)
}

// lanes in the order of what they cost (DESIGN 3.11).
var lanes = []string{"plain", "record", "conn"}

func (s suite) lane() int {
	switch {
	case s.id == 0:
		return 0
	case strings.Contains(s.String(), "CBC"):
		return 2
	}
	return 1
}

func (s suite) apply(c *tls.Config) {
	c.MinVersion, c.MaxVersion, c.CipherSuites = s.version, s.version, []uint16{s.id}
}

// server is settings that agree on nothing else.
func (s suite) server(pair [2]tls.Certificate) *tls.Config {
	c := &tls.Config{Certificates: pair[:]}
	if s.apply(c); strings.Contains(s.String(), "RSA") {
		c.Certificates = pair[1:]
	}
	if strings.Contains(s.String(), "ECDSA") {
		c.Certificates = pair[:1]
	}
	return c
}

// matrix is a rig whose legs take any suite: legacy's on demand, new and a second listener in the clear.
type matrix struct {
	*rig
	backend atomic.Pointer[tls.Config] // of legacy's next handshake
	pair    [2]tls.Certificate         // of legacy: ECDSA, RSA
	reads   atomic.Int64               // of bulk that legacy and new have begun
	pauses  atomic.Bool                // the backends read slowly
}

const matrixConfig = `
[tls.certificate.ecdsa]
cert = "ecdsa.pem"
key = "ecdsa.key"
default = true
[tls.certificate.rsa]
cert = "rsa.pem"
key = "rsa.key"
default = true
[listener.clear]
protocol = "imap"
bind = ["%s"]
tls = "plain"
`

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{pair: [2]tls.Certificate{issue(keys().ecdsa, "legacy.test"), issue(keys().rsa, "legacy.test")}}
	files := map[string]string{}
	files["ecdsa.pem"], files["ecdsa.key"] = pemOf(issue(keys().ecdsa, "mail.example.test"))
	files["rsa.pem"], files["rsa.key"] = pemOf(issue(keys().rsa, "mail.example.test"))
	for _, c := range m.pair {
		cert, _ := pemOf(c)
		files["legacy.pem"] += cert
	}
	chosen := func(*tls.ClientHelloInfo) (*tls.Config, error) { return m.backend.Load(), nil }
	hooks := mailfake.Hooks{mailfake.OnData: func(*mailfake.Session) mailfake.Move {
		m.slowly(m.reads.Add(1))
		return mailfake.Continue
	}}
	m.rig = newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: crossed().legacy, newTLS: "plain", mappings: "clear new\n", files: files,
		legacyTrust: `tls_ca = "legacy.pem"`, rest: fmt.Sprintf(matrixConfig, freePort(t)),
		onLegacy: mailfake.Options{TLS: &tls.Config{GetConfigForClient: chosen}, Hooks: hooks}, onNew: mailfake.Options{Hooks: hooks}})
	t.Cleanup(func() { m.only13(0) })
	return m
}

// slowly is called in front of a backend's reads: a few wait until the proxy holds bytes that nobody takes.
func (m *matrix) slowly(n int64) {
	if m.pauses.Load() && (n == 8 || n == 64) && !within(func() bool { return m.proxy.sessions.Counts().StashBytes > 0 }) {
		m.t.Error("the backend was never slow enough for a stash")
	}
}

// join logs a client in over a pair of suites, and asserts that both ends and the lane are what they should be.
func (m *matrix) join(c, b suite) *mailfake.Client {
	m.t.Helper()
	force := func(s suite) {
		m.only13(0)
		if s.version == tls.VersionTLS13 {
			m.only13(s.id)
		}
	}
	force(c)
	var cl *mailfake.Client
	if c.id == 0 {
		var err error
		if cl, err = mailfake.DialWith(m.proxy.Addr("clear").String(), mailfake.ClientOptions{Timeout: patience}); err != nil {
			m.t.Fatal(err)
		}
		m.clients = append(m.clients, cl)
	} else {
		cl = m.secure(anybody(c.apply))
	}
	m.command(cl, "NOOP", "OK") // the proxy's side of the handshake is done, too
	force(b)
	user, home, at := "alice", "legacy", m.legacy
	if b.id == 0 {
		user, home, at = "clear", "new", m.new
	} else {
		m.backend.Store(b.server(m.pair))
	}
	m.command(cl, "LOGIN "+user+" "+password, "OK")
	if got := cl.TLSState().CipherSuite; got != c.id {
		m.t.Errorf("client: got suite %04x, want %v", got, c)
	}
	if got := last(m.t, at).State.CipherSuite; got != b.id {
		m.t.Errorf("backend: got suite %04x, want %v", got, b)
	}
	m.rig.lane(home, lanes[max(c.lane(), b.lane())], 1)
	return cl
}

// leave wants the last answer, close_notify and FIN.
func (m *matrix) leave(cl *mailfake.Client) {
	m.t.Helper()
	m.ended(cl)
	cl.Close()
	m.await("the session to be gone", func() bool { return m.proxy.sessions.Counts().Joined == 0 })
}

// Every suite on one leg with every suite on the other: what one end says the other hears, and the lanes are each other's
// oracle (DESIGN 3.11).
func TestSuitePairs(t *testing.T) {
	m := newMatrix(t)
	for i, c := range suites {
		for j, b := range suites {
			cl := m.join(c, b)
			if err := cl.Echo(100<<10, uint64(16*i+j), mailfake.Pace{}, mailfake.Pace{}); err != nil {
				t.Fatalf("%v to %v: %v\n%s", c, b, err, m.log)
			}
			m.command(cl, "LOGOUT", "OK")
			m.leave(cl)
		}
	}
}

// bulkBytes is more than all the sockets between client and backend hold.
const bulkBytes = 40 << 20

// bulkSums are the checksums of what is sent, one of two patterns in turn.
var bulkSums = sync.OnceValue(func() [2]string {
	return [2]string{mailfake.PatternSum(bulkBytes, 0), mailfake.PatternSum(bulkBytes, 1)}
})

// Slow readers of a long download and a long upload get every byte, the last ones too, although LOGOUT and FIN are right
// behind them. With MAILSPLICE_SOAK=1 the pairs of suites take turns; without, some pairs are enough.
func TestBulkThroughSuites(t *testing.T) {
	m := newMatrix(t)
	rounds, of := 2, [][2]int{{1, 4}, {9, 2}} // in TLS on both legs
	if mode.listener == "plain" {
		of = [][2]int{{10, 3}, {0, 7}} // lane conn, and a leg in the clear
	}
	if os.Getenv("MAILSPLICE_SOAK") == "1" {
		rounds, of = 50, nil // in each of two modes
		for i := range len(suites) * len(suites) {
			of = append(of, [2]int{(i + i/len(suites)) % len(suites), i % len(suites)})
		}
		if mode.listener != "plain" {
			of = of[len(of)/2:]
		}
	}
	for i := range rounds {
		c, b := suites[of[i%len(of)][0]], suites[of[i%len(of)][1]]
		m.download(m.join(c, b), fmt.Sprint(c, " from ", b), i%2)
		m.upload(m.join(c, b), fmt.Sprint(c, " to ", b), i%2)
	}
}

// download reads slowly, with LOGOUT pipelined behind it.
func (m *matrix) download(cl *mailfake.Client, name string, seed int) {
	m.t.Helper()
	if err := cl.SendRaw(fmt.Sprintf("a XSOURCE %d %d\r\nz LOGOUT\r\n", bulkBytes, seed)); err != nil {
		m.t.Fatal(err)
	}
	if _, err := cl.Expect("* SOURCE"); err != nil {
		m.t.Fatal(err)
	}
	sum, buf := sha256.New(), make([]byte, 64<<10)
	for left, n := bulkBytes, 0; left > 0; n++ {
		if n == 8 || n == 64 {
			m.await(name+": a stash", func() bool { return m.proxy.sessions.Counts().StashBytes > 0 })
		}
		k, err := cl.Read(buf[:min(left, len(buf))])
		if err != nil {
			m.t.Fatalf("%s: %v with %d bytes to come\n%s", name, err, left, m.log)
		}
		_, _ = sum.Write(buf[:k])
		left -= k
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != bulkSums()[seed] {
		m.t.Errorf("%s: other bytes arrived", name)
	}
	m.answers(cl, name, bulkSums()[seed])
}

// upload writes to a backend that reads slowly; LOGOUT and FIN are right behind it.
func (m *matrix) upload(cl *mailfake.Client, name string, seed int) {
	m.t.Helper()
	m.reads.Store(0)
	m.pauses.Store(true)
	defer m.pauses.Store(false)
	_, err := fmt.Fprintf(cl, "a XSINK %d\r\n", bulkBytes)
	if err == nil {
		_, err = io.CopyN(cl, mailfake.Pattern(uint64(seed)), bulkBytes)
	}
	if err == nil {
		err = cl.SendRaw("z LOGOUT\r\n")
	}
	if err == nil {
		err = cl.CloseWrite()
	}
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", name, err, m.log)
	}
	m.answers(cl, name, bulkSums()[seed])
}

// answers reads what stands behind the bulk, down to the end.
func (m *matrix) answers(cl *mailfake.Client, name, sum string) {
	m.t.Helper()
	if got, err := cl.Answer("a"); err != nil || got.String() != "OK sha256="+sum {
		m.t.Fatalf("%s: got %q, %v, want the checksum %s\n%s", name, got, err, sum, m.log)
	}
	if got, err := cl.Answer("z"); err != nil || got.Status != "OK" {
		m.t.Fatalf("%s: got %q, %v, want OK", name, got, err)
	}
	m.leave(cl)
}
