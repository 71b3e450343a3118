package proxy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailsplice/core/bridge"
	"mailsplice/core/config"
	"mailsplice/core/mailfake"
	"mailsplice/core/mailfake/port"
)

// patience bounds every wait of a test. It is generous: the race detector on a busy machine is slow.
const patience = 20 * time.Second

// The secrets of the tests; none may ever stand in a log.
const (
	password = "open-sesame-71"
	wrong    = "close-sesame-82"
	token    = "tok-abcdefghijklmnopqrstuvwxyz-93"
	bearer   = "0123456789abcdef0123456789abcdef-admin"
	badToken = "fedcba9876543210fedcba9876543210-admin" // for the admin API
	idValue  = "what-a-client-says-of-itself-64"
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

	protocol         string // of the listener and of both backends; imap when empty
	capabilities     string // of the listener; credentials in the clear are allowed when empty
	bind             string // of the listener; any port when empty
	listenerTLS      string // in place of the mode's
	mappings         string
	plainAuth        string            // allow_plain_auth_without_tls, true when empty
	files            map[string]string // beside the configuration
	legacyForwarding string            // none when empty
	long             bool              // no end of shutdown_grace
	onLegacy, onNew  mailfake.Options
	legacyAddr       netip.AddrPort // in place of the rig's own backend
	legacyHost       string         // in place of the rig's own backend's line
	legacyTLS        string         // in place of the mode's, and so below
	newTLS           string
	legacyPin        string // in place of the rig's own backend's
	legacyTrust      string // a line in place of the pin
	legacyCheck      string // in place of server name and pin

	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	patient bool // refusals come as late as SPEC 12 wants them
}

// rig is a proxy between two backends, with everything needed to look at it.
type rig struct {
	t           *testing.T
	dir         string
	proxy       *Proxy
	log         *logText
	ownLegs     bool          // other legs than the mode's
	patient     bool          // refusals come as late as SPEC 12 wants them
	entrance    string        // the listener that clients use
	listener    string        // its TLS
	lanes       []bridge.Lane // what sessions with legacy and new run on
	resolve     func(ctx context.Context, host string) ([]netip.Addr, error)
	legacy, new *mailfake.Backend
	https       *http.Client
	clients     []*mailfake.Client
	stopped     bool
	hurried     bool // sessions were left to their fate
	audits      bool // it looks for what is left behind
}

// newRig starts it. At the test's end everything is closed, and it is asserted that nothing was left open or running and
// that the log holds neither a secret nor a bug.
func newRig(t *testing.T, s stage) *rig {
	t.Helper()
	s.protocol = cmp.Or(s.protocol, "imap")
	own := s.listenerTLS+s.newTLS != "" // the test asserts their lane itself
	if own {
		s.onLegacy.TLS, s.onNew.TLS = anySuite(s.onLegacy.TLS, mode.legacyOf(s)), anySuite(s.onNew.TLS, mode.newOf(s))
	}
	r := emptyRig(t, s)
	r.log.whole = strings.Contains(s.server, "log_accounts = true")
	r.ownLegs = own
	r.write("conf", r.config(s))
	o := LoadOptions()
	if s.resolve != nil {
		o.Resolve = nil // what the test's names mean is nobody else's business
	}
	r.start(config.Load(r.path("conf"), o))
	return r
}

// audited is the test whose first rig looks for what is left behind, when it finishes as the last one: before that the
// others may still be busy.
var audited *testing.T

// emptyRig is two backends and a mapping file, and no proxy yet.
func emptyRig(t *testing.T, s stage) *rig {
	t.Helper()
	freePort(t) // Go's own poller makes its descriptors before they are counted
	ignore, fds := goleak.IgnoreCurrent(), openFDs(t)
	r := &rig{t: t, dir: t.TempDir(), log: &logText{}, entrance: cmp.Or(s.protocol, "imap"), resolve: s.resolve, patient: s.patient}
	r.listener = mode.listenerOf(s)
	r.lanes = []bridge.Lane{costlier(r.listener, mode.legacyOf(s)), costlier(r.listener, mode.new)}
	r.audits, audited = audited != t, t
	rigs++
	t.Cleanup(func() { r.finish(ignore, fds) })
	s.onLegacy.Protocol, s.onNew.Protocol = protocolNamed(s.protocol), protocolNamed(s.protocol)
	r.legacy, r.new = backend(t, "legacy", mode.legacyOf(s), s.onLegacy), backend(t, "new", mode.newOf(s), s.onNew)
	r.https = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	r.write("mappings", s.mappings)
	for name, text := range s.files {
		r.write(name, text)
	}
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
	o := Options{LogWriter: r.log, Version: "test", Resolve: r.resolve, MaxLoginDelay: time.Millisecond}
	if r.patient {
		o.MaxLoginDelay = 0
	}
	if r.proxy, err = Start(cfg, o); err != nil {
		r.t.Fatal(err)
	}
}

// anySuite is the policy of a backend whose lane is not the mode's.
func anySuite(own *tls.Config, leg string) *tls.Config {
	if own != nil || leg == "plain" {
		return own
	}
	return &tls.Config{Certificates: []tls.Certificate{backendCertificate()}}
}

func backend(t *testing.T, name, encrypted string, o mailfake.Options) *mailfake.Backend {
	t.Helper()
	o.Name = name
	o.Implicit = encrypted == "implicit"
	if encrypted != "plain" && o.TLS == nil {
		o.TLS = mode.suites(&tls.Config{Certificates: []tls.Certificate{backendCertificate()}})
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

func freePort(t *testing.T) string { return mustPort(t).String() }

func mustPort(t *testing.T) netip.AddrPort {
	t.Helper()
	addr, err := port.Free(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	return addr
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
		r.tookOver()
		r.https.CloseIdleConnections()
	}
	for _, b := range []*mailfake.Backend{r.legacy, r.new} {
		if b != nil {
			b.Close()
		}
	}
	r.log.judge(r.t)
	if !r.audits {
		return
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
}

// assertLane wants every joined session in the lane that its legs have, and no takeover to have failed.
func (r *rig) assertLane() {
	r.t.Helper()
	c := r.proxy.sessions.Counts()
	right := c.Lanes[r.lanes[0]]
	if r.lanes[1] != r.lanes[0] {
		right += c.Lanes[r.lanes[1]]
	}
	if slices.Contains(r.lanes, bridge.LanePlain) { // where a plain session goes that moves much
		right += c.Lanes[bridge.LaneSplice]
	}
	if slices.Contains(r.lanes, bridge.LaneRecord) { // and one in TLS, if the kernel can
		right += c.Lanes[bridge.LaneKTLS]
	}
	if c.Joined == 0 || right != c.Joined {
		r.t.Errorf("lanes of %d sessions: got %v, want all in %v", c.Joined, c.Lanes, r.lanes)
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

// tookOver asserts that no leg stayed with crypto/tls that need not (DESIGN 3.11).
func (r *rig) tookOver() {
	var text bytes.Buffer
	r.proxy.metrics.WritePrometheus(&text)
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(line, "mailsplice_takeover_failed_total") && !strings.HasSuffix(line, " 0\n") {
			r.t.Errorf("got %s", line)
		}
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

// clientFDs is how many descriptors one client costs the engine before its login: in lane conn it has a pair of sockets.
func clientFDs() int {
	if mode.cbc {
		return 3
	}
	return 1
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

// try is dialWith for a connection that may be refused. Whoever is welcome starts TLS where the mode says so.
func (r *rig) try(o mailfake.ClientOptions) (*mailfake.Client, error) {
	c, err := r.connect(r.client(o))
	if err == nil && !r.ownLegs && r.listener == "starttls" && strings.HasPrefix(c.Greeting, "* OK") {
		err = startTLS(c)
	}
	return c, err
}

func startTLS(c *mailfake.Client) error {
	if _, err := c.Must("STARTTLS"); err != nil {
		return err
	}
	return c.TLS(mode.clientTLS())
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
	if !r.ownLegs {
		r.assertLane()
	}
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
func (r *rig) ended(c interface{ WaitEnd() (mailfake.End, error) }) mailfake.End {
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
