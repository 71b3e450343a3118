package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsplice/core/logx"
	"mailsplice/tlsx"
)

const testToken = "0123456789abcdef0123456789abcdef"

// fakeMappings lower-cases, knows the destinations old and new, and adds the domain example.org.
type fakeMappings struct {
	entries  map[string]string
	readOnly bool
	err      error // of every call that can fail
	reload   Reload
	forgot   []string // invalidated; "*" stands for all
	bulks    [][]Change
	midway   func() error // of Each, after all entries
}

func (f *fakeMappings) Normalize(id string) (stored, account string) {
	stored = strings.ToLower(id)
	if strings.Contains(stored, "@") {
		return stored, stored
	}
	return stored, stored + "@example.org"
}
func (f *fakeMappings) Declared(d string) bool { return d == "old" || d == "new" }
func (f *fakeMappings) Writable() bool         { return !f.readOnly }

func (f *fakeMappings) Peek(_ context.Context, id string) (Mapping, error) {
	stored, _ := f.Normalize(id)
	if d, ok := f.entries[stored]; ok {
		return Mapping{Normalized: stored, Destination: d, Cached: true}, f.err
	}
	return Mapping{Normalized: stored, Destination: "old", Default: true}, f.err
}

func (f *fakeMappings) Put(_ context.Context, id, destination string) error {
	stored, _ := f.Normalize(id)
	if f.err == nil {
		f.entries[stored] = destination
	}
	return f.err
}

func (f *fakeMappings) Delete(_ context.Context, id string) (bool, error) {
	stored, _ := f.Normalize(id)
	_, existed := f.entries[stored]
	delete(f.entries, stored)
	return existed, f.err
}

func (f *fakeMappings) Reload(context.Context) (Reload, error) { return f.reload, f.err }

func (f *fakeMappings) Invalidate(id string) { f.forgot = append(f.forgot, id) }
func (f *fakeMappings) InvalidateAll()       { f.forgot = append(f.forgot, "*") }

func (f *fakeMappings) Apply(_ context.Context, changes []Change) error {
	f.bulks = append(f.bulks, changes)
	return f.err
}

func (f *fakeMappings) Each(ctx context.Context, yield func(string, string) error) error {
	if f.err != nil {
		return f.err
	}
	for _, id := range slices.Sorted(maps.Keys(f.entries)) {
		if err := yield(id, f.entries[id]); err != nil {
			return err
		}
	}
	if f.midway == nil {
		return nil
	}
	return f.midway()
}

// fakeSessions has three sessions for whatever is kicked.
type fakeSessions struct {
	mu    sync.Mutex
	kicks []Kick
	ended int          // of selections
	size  int          // of the next selection; 0: 3, below it: 0
	held  []string     // what Delay and Hold were told
	err   error        // of Delay, Hold and List
	asked []any        // filters and limits of List
	list  []Connection // what it gives
}

func (f *fakeSessions) Kick(k Kick) int {
	f.kicks = append(f.kicks, k)
	return 3
}

func (f *fakeSessions) Select(k Kick) Selection {
	f.kicks = append(f.kicks, k)
	if f.size == 0 {
		return &fakeSelection{f, 3}
	}
	return &fakeSelection{f, max(f.size, 0)}
}

// told is how many sessions of selections were ended.
func (f *fakeSessions) told() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

type fakeSelection struct {
	f    *fakeSessions
	left int
}

func (x *fakeSelection) Len() int { return x.left }

func (x *fakeSelection) End(n int) {
	x.f.mu.Lock()
	defer x.f.mu.Unlock()
	n = min(n, x.left)
	x.f.ended += n
	x.left -= n
}

func (f *fakeSessions) Delay(account string, d time.Duration) error {
	f.held = append(f.held, fmt.Sprint("delay ", account, " ", d))
	return f.err
}

func (f *fakeSessions) Hold(account string, d time.Duration) error {
	f.held = append(f.held, fmt.Sprint("hold ", account, " ", d))
	return f.err
}

func (f *fakeSessions) List(_ context.Context, filter Filter, limit int) ([]Connection, int, error) {
	f.asked = append(f.asked, filter, limit)
	return f.list[:min(limit, len(f.list))], len(f.list), f.err
}

// fakeDestinations is the health of old and new.
type fakeDestinations struct{ reset []string }

func (f *fakeDestinations) Snapshot() []Destination {
	return []Destination{
		{Name: "old", Sessions: 12},
		{Name: "new", Failures: 7, Sources: 3, HostFail: true, Down: true, DownFor: 90*time.Second + 700*time.Millisecond},
	}
}

func (f *fakeDestinations) Reset(name string) bool {
	f.reset = append(f.reset, name)
	return name == "old" || name == "new"
}

// syncBuffer is a log writer that tests may read while the server writes.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// bench is a server with everything around it.
type bench struct {
	*Server
	t        *testing.T
	mappings *fakeMappings
	sessions *fakeSessions
	log      *syncBuffer
	health   *fakeDestinations
	draining bool
	restart  []string // what a reload of the configuration answers
	reload   error
	unmapped []Unmapped
	stats    func() Stats
	now      time.Time
	roots    *x509.CertPool
}

// certificates are made once.
var certificates = sync.OnceValues(func() (*tlsx.Certificates, error) { return tlsx.NewCertificates("localhost", nil) })

func newBench(t *testing.T) *bench {
	t.Helper()
	certs, err := certificates()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		t:        t,
		mappings: &fakeMappings{entries: map[string]string{"alice@example.org": "new"}},
		sessions: &fakeSessions{},
		health:   &fakeDestinations{},
		stats:    func() Stats { return Stats{CacheHits: 2, CacheMisses: 1, CacheEntries: 5, Connections: 7, Preauth: 4} },
		log:      &syncBuffer{},
		now:      time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC),
		roots:    x509.NewCertPool(),
	}
	b.roots.AddCert(certs.Fallback())
	b.Server, err = New(b.options(&tls.Config{GetCertificate: certs.GetCertificate, NextProtos: []string{"imap"}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pacer.close)
	return b
}

func (b *bench) options(cfg *tls.Config) Options {
	return Options{
		TLS:              cfg,
		Token:            []byte(testToken),
		LockoutThreshold: 3,
		LockoutDuration:  time.Minute,
		Mappings:         b.mappings,
		Sessions:         b.sessions,
		Stats:            func() Stats { return b.stats() },
		Metrics:          func(w io.Writer) { fmt.Fprintf(w, "mailsplice_cache_hits %d\n", b.stats().CacheHits) },
		Bulk:             b.mappings,
		Listing:          b.mappings,
		Connections:      b.sessions,
		Holds:            b.sessions,
		Destinations:     b.health,
		Unmapped:         func() []Unmapped { return b.unmapped },
		ReloadConfig:     func(context.Context) ([]string, error) { return b.restart, b.reload },
		Draining:         func() bool { return b.draining },
		Log:              slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Redactor:         logx.NewRedactor(logx.Redacted),
		Now:              func() time.Time { return b.now },
	}
}

// ask sends a request past the network. The options change it before. No answer is outside the document.
func (b *bench) ask(method, target string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "192.0.2.1:4000"
	r.Header.Set("Authorization", "Bearer "+testToken)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	wantDocumented(b.t, r, w.Code)
	return w
}

func withToken(header string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del("Authorization")
		if header != "" {
			r.Header.Set("Authorization", header)
		}
	}
}

func from(addr string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = addr }
}

// serve runs the server on loopback until the test ends and returns its base URL and a client that trusts it.
func (b *bench) serve(t *testing.T) (string, *http.Client) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go serveInto(done, b.Server, ln) // until Shutdown below
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.roots}, ForceAttemptHTTP2: true}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "https://" + ln.Addr().String(), &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// with gives the request a body of known length.
func with(text string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}
}

func serveInto(done chan<- error, s interface{ Serve(net.Listener) error }, ln net.Listener) {
	done <- s.Serve(ln)
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantAnswer(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if got := fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String())); got != fmt.Sprint(status, " ", body) {
		t.Errorf("got %s, want %d %s", got, status, body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: got %q, want application/json", got)
	}
}
