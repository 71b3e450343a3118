package proxy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailsplice/core/bridge"
	"mailsplice/core/config"
	"mailsplice/core/mailfake"
)

// patience bounds every wait of a test. It is generous: the race detector on a busy machine is slow.
const patience = 20 * time.Second

// The secrets of the tests; none may ever stand in a log.
const (
	password = "open-sesame-71"
	wrong    = "close-sesame-82"
	token    = "tok-abcdefghijklmnopqrstuvwxyz-93"
	bearer   = "0123456789abcdef0123456789abcdef-admin"
)

// backends let everybody in who knows password or token.
func check(c mailfake.Credentials) mailfake.Verdict {
	if c.Password == password || c.Token == token {
		return mailfake.Accept()
	}
	return mailfake.Refuse()
}

// stage says how a rig differs from the plain one. The texts are lines of TOML.
type stage struct {
	server, listener, legacy, new, mapping, routing, rest string

	mappings         string
	legacyForwarding string // none when empty
	long             bool   // no end of shutdown_grace
	onLegacy, onNew  mailfake.Options
	legacyAddr       netip.AddrPort // in place of the rig's own backend
	legacyTLS        string         // in place of the mode's
	legacyPin        string         // in place of the rig's own backend's
}

// rig is a proxy between two backends, with everything needed to look at it.
type rig struct {
	t           *testing.T
	dir         string
	proxy       *Proxy
	log         *logText
	entrance    string // the listener that clients use
	legacy, new *mailfake.Backend
	https       *http.Client
	clients     []*mailfake.Client
	stopped     bool
	hurried     bool // sessions were left to their fate
}

// legs is how the connections of a rig are encrypted, in the words of the configuration.
type legs struct{ listener, legacy, new string }

// mode is what the whole suite runs with: each test says the same of a session whatever carries it.
var mode legs

// modes are the reference migration's (in the clear here), and TLS everywhere: STARTTLS to one backend, implicit to the other.
var modes = []legs{{"plain", "plain", "plain"}, {"implicit", "starttls", "implicit"}}

func (l legs) String() string { return l.listener + "-" + l.legacy + "-" + l.new }

// lane is what sessions run on in this mode.
func (l legs) lane() string {
	if l.listener == "plain" {
		return "plain"
	}
	return "record"
}

// transport is what the backend is told of the client's leg.
func (l legs) transport() string {
	if l.listener == "plain" {
		return "insecure"
	}
	return "TLS"
}

// client is how a client comes in.
func (l legs) client(o mailfake.ClientOptions) mailfake.ClientOptions {
	if l.listener == "implicit" {
		o.TLS = clientTLS
	}
	return o
}

const rigConfig = `
[server]
hostname = "localhost"
threads = 2
shutdown_grace = "%[13]s"
log_level = "debug"
%[1]s
[listener.imap]
protocol = "imap"
bind = ["%[2]s"]
tls = "%[14]s"
%[3]s
[capabilities.imap]
allow_plain_auth_without_tls = true
[destination.legacy]
host = "127.0.0.1"
allow_plaintext_auth = true
forwarding = "%[12]s"
tls_server_name = "legacy.test"
tls_pinned_cert_sha256 = "%[17]s"
%[4]s
[destination.legacy.protocol.imap]
port = %[5]d
tls = "%[15]s"
[destination.new]
host = "127.0.0.1"
allow_plaintext_auth = true
forwarding = "none"
tls_server_name = "new.test"
tls_pinned_cert_sha256 = "%[18]s"
%[6]s
[destination.new.protocol.imap]
port = %[7]d
tls = "%[16]s"
[mapping]
source = "file"
%[8]s
[mapping.file]
path = "mappings"
[routing]
default_destination = "legacy"
%[9]s
[admin]
bind = "%[10]s"
bearer_token = "` + bearer + `"
%[11]s
`

// newRig starts it. At the test's end everything is closed, and it is asserted that nothing was left open or running and
// that the log holds neither a secret nor a bug.
func newRig(t *testing.T, s stage) *rig {
	t.Helper()
	r := emptyRig(t, s)
	if !s.legacyAddr.IsValid() {
		s.legacyAddr = r.legacy.Addr()
	}
	grace := "100ms"
	if s.long {
		grace = "1h"
	}
	r.write("conf", fmt.Sprintf(rigConfig, s.server, freePort(t), s.listener, s.legacy, s.legacyAddr.Port(), s.new, r.new.Addr().Port(),
		s.mapping, s.routing, freePort(t), s.rest, cmp.Or(s.legacyForwarding, "none"), grace, mode.listener, cmp.Or(s.legacyTLS, mode.legacy), mode.new,
		cmp.Or(s.legacyPin, pin(backendCertificate())), pin(backendCertificate())))
	r.start(config.Load(r.path("conf"), LoadOptions()))
	return r
}

// emptyRig is two backends and a mapping file, and no proxy yet.
func emptyRig(t *testing.T, s stage) *rig {
	t.Helper()
	freePort(t) // Go's own poller makes its descriptors before they are counted
	ignore, fds := goleak.IgnoreCurrent(), openFDs(t)
	r := &rig{t: t, dir: t.TempDir(), log: &logText{}, entrance: "imap"}
	rigs++
	t.Cleanup(func() { r.finish(ignore, fds) })
	r.legacy, r.new = backend(t, "legacy", mode.legacy, s.onLegacy), backend(t, "new", mode.new, s.onNew)
	r.https = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	r.write("mappings", s.mappings)
	return r
}

// start takes what config.Load gives.
func (r *rig) start(cfg *config.Config, _ config.Problems, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	if list := config.Unbuilt(cfg); len(list) > 0 {
		r.t.Fatal(list)
	}
	if r.proxy, err = Start(cfg, Options{LogWriter: r.log, Version: "test"}); err != nil {
		r.t.Fatal(err)
	}
}

func backend(t *testing.T, name, encrypted string, o mailfake.Options) *mailfake.Backend {
	t.Helper()
	o.Name = name
	if encrypted != "plain" {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{backendCertificate()}}
		o.Implicit = encrypted == "implicit"
	}
	if o.Check == nil && o.Accounts == nil {
		o.Check = check
	}
	if o.Protocol == 0 {
		o.Protocol = mailfake.IMAP
	}
	b, err := mailfake.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// backendCertificate is what all backends show, made once.
var backendCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"backend.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func pin(c tls.Certificate) string { return fmt.Sprintf("%x", sha256.Sum256(c.Certificate[0])) }

// clientTLS is how clients shake hands: the proxy shows a certificate made at its start.
var clientTLS = &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.test", ClientSessionCache: tls.NewLRUClientSessionCache(8)}

// freePort is a loopback address that nobody uses at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func mustPort(t *testing.T) netip.AddrPort {
	t.Helper()
	return netip.MustParseAddrPort(freePort(t))
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) read(name string) string {
	r.t.Helper()
	text, err := os.ReadFile(r.path(name))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// stop takes the proxy down; finish does, unless the test did.
func (r *rig) stop() {
	if r.proxy == nil || r.stopped {
		return
	}
	r.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r.proxy.Shutdown(ctx)
}

// rigs is how many there are. A proxy that is still up has goroutines that wait for the next login.
var rigs int

const waitingCrew = "mailsplice/core/session.(*crew).work"

func (r *rig) finish(ignore goleak.Option, fds int) {
	for _, c := range r.clients {
		c.Close()
	}
	r.stop()
	if r.proxy != nil {
		r.settled()
		r.https.CloseIdleConnections()
	}
	for _, b := range []*mailfake.Backend{r.legacy, r.new} {
		if b != nil {
			b.Close()
		}
	}
	if !within(func() bool { return openFDs(r.t) <= fds }) {
		r.t.Errorf("open descriptors at the end: got %d, want %d", openFDs(r.t), fds)
	}
	allowed := []goleak.Option{ignore}
	if rigs--; rigs > 0 {
		allowed = append(allowed, goleak.IgnoreAnyFunction(waitingCrew))
	}
	if err := goleak.Find(allowed...); err != nil {
		r.t.Error(err)
	}
	r.log.judge(r.t)
}

// assertLane wants every joined session in the mode's lane, and no takeover to have failed.
func (r *rig) assertLane() {
	r.t.Helper()
	c := r.proxy.sessions.Counts()
	lane := map[string]bridge.Lane{"plain": bridge.LanePlain, "record": bridge.LaneRecord, "conn": bridge.LaneConn}[mode.lane()]
	if c.Joined == 0 || c.Lanes[lane] != c.Joined {
		r.t.Errorf("lanes of %d sessions: got %v, want all in %v", c.Joined, c.Lanes, lane)
	}
	if n := r.proxy.sessions.TakeoversFailed(); n != 0 {
		r.t.Errorf("failed takeovers: got %d, want 0", n)
	}
}

// settled asserts that all accounts are balanced once the proxy is down.
func (r *rig) settled() {
	e, c := r.proxy.engine, r.proxy.sessions.Counts()
	if n := r.proxy.sessions.TakeoversFailed(); n != 0 {
		r.t.Errorf("failed takeovers: got %d, want 0", n)
	}
	load := 0
	for _, l := range e.Loops() {
		load += l.Load()
	}
	if r.hurried {
		return
	}
	if c.Preauth != 0 || c.Joined != 0 || c.Logins != 0 || c.StashBytes != 0 || e.Pending() != 0 || load != 0 {
		r.t.Errorf("left at the end: %+v, %d pending backends, load %d", c, e.Pending(), load)
	}
	if n := e.OpenFDs(); n != 0 {
		r.t.Errorf("the engine counts %d open descriptors at the end", n)
	}
}

// within tells whether cond comes true before patience runs out.
func within(cond func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func (r *rig) await(what string, cond func() bool) {
	r.t.Helper()
	if !within(cond) {
		r.t.Fatalf("waiting for %s: it did not happen\n%s", what, r.log)
	}
}

// awaitClosed waits for a channel that somebody closes.
func (r *rig) awaitClosed(what string, c <-chan struct{}) {
	r.t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		r.t.Fatalf("waiting for %s: it did not happen\n%s", what, r.log)
	}
}

func openFDs(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func (r *rig) addr() string { return r.proxy.Addr(r.entrance).String() }

// dial connects to the proxy and reads its greeting.
func (r *rig) dial() *mailfake.Client {
	r.t.Helper()
	return r.dialWith(mailfake.ClientOptions{})
}

func (r *rig) dialWith(o mailfake.ClientOptions) *mailfake.Client {
	r.t.Helper()
	c, err := r.try(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// try is dialWith for a connection that may be refused.
func (r *rig) try(o mailfake.ClientOptions) (*mailfake.Client, error) {
	return r.connect(mode.client(o))
}

// dialPlain never shakes hands and waits for no greeting.
func (r *rig) dialPlain() *mailfake.Client {
	r.t.Helper()
	c, err := r.connect(mailfake.ClientOptions{Hold: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) connect(o mailfake.ClientOptions) (*mailfake.Client, error) {
	o.Timeout = patience
	c, err := mailfake.DialWith(r.addr(), o)
	if err == nil {
		r.clients = append(r.clients, c)
	}
	return c, err
}

// login is a client that is in.
func (r *rig) login(user string) *mailfake.Client {
	r.t.Helper()
	c := r.dial()
	if err := c.Login(user, password); err != nil {
		r.t.Fatalf("login of %q: %v\n%s", user, err, r.log)
	}
	return c
}

// landed asserts where a client is.
func (r *rig) landed(c *mailfake.Client, want string) {
	r.t.Helper()
	if got, err := c.Landed(); err != nil || got != want {
		r.t.Fatalf("landed on %q (%v), want %q\n%s", got, err, want, r.log)
	}
	r.assertLane()
}

// command asserts how an answer begins.
func (r *rig) command(c *mailfake.Client, text, want string) mailfake.Reply {
	r.t.Helper()
	reply, err := c.Command(text)
	if err != nil || !strings.HasPrefix(reply.String(), want) {
		r.t.Fatalf("%s: got %q (%v), want %q\n%s", text, reply, err, want, r.log)
	}
	return reply
}

// ended asserts that a connection ends by FIN.
func (r *rig) ended(c *mailfake.Client) mailfake.End {
	r.t.Helper()
	end, err := c.WaitEnd()
	if err != nil || !end.Clean || end.Reset || end.Rest != "" {
		r.t.Fatalf("end of the connection: got %+v (%v), want a clean FIN\n%s", end, err, r.log)
	}
	return end
}

// call asks the admin API.
func (r *rig) call(method, path string) (status int, answer map[string]any) {
	r.t.Helper()
	return r.send(method, path, "")
}

// send is call with a body.
func (r *rig) send(method, path, body string) (status int, answer map[string]any) {
	r.t.Helper()
	req, err := http.NewRequest(method, "https://"+r.proxy.AdminAddr()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := r.https.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if strings.HasPrefix(string(text), "{") {
		if err := json.Unmarshal(text, &answer); err != nil {
			r.t.Fatal(err)
		}
	}
	return resp.StatusCode, answer
}

// must is call for what has to succeed.
func (r *rig) must(method, path string) map[string]any {
	r.t.Helper()
	status, answer := r.call(method, path)
	if status != http.StatusOK {
		r.t.Fatalf("%s %s: got %d %v", method, path, status, answer)
	}
	return answer
}

func (r *rig) put(identifier, destination string) {
	r.t.Helper()
	r.must("PUT", "/mappings?identifier="+identifier+"&destination="+destination)
}

// kick asserts how many sessions a call reached.
func (r *rig) kick(query string, want int) {
	r.t.Helper()
	if got := r.must("POST", "/connections/kick?"+query)["kicked"]; got != float64(want) {
		r.t.Fatalf("kick %s: reached %v, want %d", query, got, want)
	}
}

// metric is one value of /metrics; -1: there is none.
func (r *rig) metric(series string) int {
	var text bytes.Buffer
	r.proxy.metrics.WritePrometheus(&text)
	for line := range strings.Lines(text.String()) {
		if rest, ok := strings.CutPrefix(line, "mailsplice_"+series+" "); ok {
			var n float64
			fmt.Sscan(rest, &n)
			return int(n)
		}
	}
	return -1
}

// logged waits for n lines with a message: the log has a writer of its own.
func (r *rig) logged(message string, n int) []string {
	r.t.Helper()
	r.await(fmt.Sprintf("%d lines %q", n, message), func() bool { return len(r.log.lines(message)) >= n })
	return r.log.lines(message)
}

// logText is a captured log.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
	// bugs: a panic is what the test is about.
	bugs bool
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// lines are those with a message.
func (l *logText) lines(message string) (list []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "msg="+message+" ") || strings.Contains(line, `msg="`+message+`"`) {
			list = append(list, line)
		}
	}
	return list
}

// judge fails the test for what must never be in a log.
func (l *logText) judge(t *testing.T) {
	text := l.String()
	for _, secret := range []string{password, wrong, token, bearer} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds the secret %q:\n%s", secret, text)
		}
	}
	for _, word := range []string{"bug in", "panic"} {
		if !l.bugs && strings.Contains(text, word) {
			t.Errorf("the log tells of a bug:\n%s", text)
		}
	}
}
