package session

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailsplice/core/dial"
	"mailsplice/core/engine"
	"mailsplice/core/logx"
	"mailsplice/core/mailfake"
	"mailsplice/core/metrics"
	"mailsplice/core/route"
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/imap"
)

func TestMain(m *testing.M) {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // Go's own poller makes its descriptors before they are counted
		ln.Close()
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of a test.
const patience = 20 * time.Second

const password = "open-sesame-71"

// everybody lives at the default destination.
type noMappings struct{}

func (noMappings) Lookup(context.Context, string) (string, bool, error) { return "", false, nil }

// rig is sessions on an engine of one loop, in front of one backend.
type rig struct {
	t        *testing.T
	engine   *engine.Engine
	sessions *Sessions
	backend  *mailfake.Backend
	dest     *Destination
	addr     string
	log      lockedText
	close    func() // sessions and engine; once
}

type lockedText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newRig takes it all down at the test's end and asserts that nothing is left. spoil changes the destination first.
func newRig(t *testing.T, sp Speaker, o mailfake.Options, spoil ...func(*Destination)) *rig {
	t.Helper()
	r := &rig{t: t}
	var err error
	fds := openFDs(t)
	if r.backend, err = mailfake.NewIMAP(o); err != nil {
		t.Fatal(err)
	}
	if r.engine, err = engine.New(engine.Options{Loops: 1}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&r.log, nil))
	r.dest = &Destination{Name: "legacy", Hosts: []string{"127.0.0.1"}, AllowPlaintextAuth: true,
		Legs: map[Protocol]Leg{IMAP: {Port: r.backend.Addr().Port()}}}
	for _, f := range spoil {
		f(r.dest)
	}
	router, err := route.New(route.Options{Store: noMappings{}, Destinations: []string{"legacy"}, Default: "legacy"})
	if err != nil {
		t.Fatal(err)
	}
	dialer := dial.New(dial.Options{})
	r.sessions, err = New(Options{Engine: r.engine, Dialer: dialer, Log: log, Metrics: metrics.New(),
		Policy: Policy{Destinations: []*Destination{r.dest}, Router: router, Redactor: logx.NewRedactor(logx.Redacted),
			Limits: Limits{MaxPreauth: 100, BackendTimeout: time.Hour, ProxyTTL: 7, BridgeIdle: time.Hour, HalfClosed: time.Hour, StashBytes: 1 << 20}}})
	if err != nil {
		t.Fatal(err)
	}
	r.engine.Start()
	lo, err := r.sessions.AddListener(&Listener{Name: "in", Protocol: IMAP, Speaker: sp, PreauthTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	lo.Addr = netip.MustParseAddrPort("127.0.0.1:0")
	ln, err := r.engine.Listen(lo)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	r.close = sync.OnceFunc(func() {
		ln.Close()
		r.sessions.Close()
		r.engine.Stop()
		r.sessions.Release()
		dialer.Close()
		router.Close()
	})
	t.Cleanup(func() {
		r.close()
		r.backend.Close()
		if r.engine.OpenFDs() != 0 || !within(func() bool { return openFDs(t) <= fds }) {
			t.Errorf("open descriptors at the end: %d of the engine, %d in all, want %d", r.engine.OpenFDs(), openFDs(t), fds)
		}
	})
	return r
}

func openFDs(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

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
		r.t.Fatalf("waiting for %s: it did not happen\n%s", what, &r.log)
	}
}

func (r *rig) dial() *mailfake.Client {
	r.t.Helper()
	c, err := mailfake.DialWith(r.addr, mailfake.ClientOptions{Timeout: patience})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

func (r *rig) login(user string) *mailfake.Client {
	r.t.Helper()
	c := r.dial()
	if err := c.Login(user, password); err != nil {
		r.t.Fatalf("%v\n%s", err, &r.log)
	}
	return c
}

func speaker() *IMAPSpeaker {
	return &IMAPSpeaker{Options: &imap.ClientOptions{Banner: "ready", Advertise: []string{"IMAP4rev1"}, AllowPlainAuth: true}}
}

// shaky is a Speaker whose machines panic at chosen calls.
type shaky struct {
	*IMAPSpeaker
	client, backend func(call string, e dialog.EventKind, p []byte) bool
}

func (s shaky) Client(f Facts) dialog.Machine {
	return &trap{s.IMAPSpeaker.Client(f), s.client}
}

func (s shaky) Backend(f BackendFacts) dialog.Machine {
	return &trap{s.IMAPSpeaker.Backend(f), s.backend}
}

// trap panics in the calls for which at says so.
type trap struct {
	dialog.Machine
	at func(call string, e dialog.EventKind, p []byte) bool
}

func (m *trap) spring(call string, e dialog.EventKind, p []byte) {
	if m.at != nil && m.at(call, e, p) {
		panic("sprung at " + call)
	}
}

func (m *trap) Feed(p []byte) int {
	m.spring("feed", 0, p)
	return m.Machine.Feed(p)
}

func (m *trap) Tell(e dialog.Event) {
	m.spring("tell", e.Kind, nil)
	m.Machine.Tell(e)
}

func (m *trap) Release() {
	m.spring("release", 0, nil)
	m.Machine.Release()
}

func contains(p []byte, word string) bool { return strings.Contains(string(p), word) }
