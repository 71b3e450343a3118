package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
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

type fakeSessions struct{ kicks []Kick }

func (f *fakeSessions) Kick(k Kick) int {
	f.kicks = append(f.kicks, k)
	return 3
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
	mappings *fakeMappings
	sessions *fakeSessions
	log      *syncBuffer
	draining bool
	now      time.Time
	roots    *x509.CertPool
}

func newBench(t *testing.T) *bench {
	t.Helper()
	certs, err := tlsx.NewCertificates("localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		mappings: &fakeMappings{entries: map[string]string{"alice@example.org": "new"}},
		sessions: &fakeSessions{},
		log:      &syncBuffer{},
		now:      time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC),
		roots:    x509.NewCertPool(),
	}
	b.roots.AddCert(certs.Fallback())
	b.Server, err = New(b.options(&tls.Config{GetCertificate: certs.GetCertificate, NextProtos: []string{"imap"}}))
	if err != nil {
		t.Fatal(err)
	}
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
		Stats:            func() Stats { return Stats{CacheHits: 2, CacheMisses: 1, CacheEntries: 5, Connections: 7, Preauth: 4} },
		Draining:         func() bool { return b.draining },
		Metrics:          func(w io.Writer) { io.WriteString(w, "mailsplice_sessions 7\n") },
		Log:              slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Redactor:         logx.NewRedactor(logx.Redacted),
		Now:              func() time.Time { return b.now },
	}
}

// ask sends a request past the network. The options change it before.
func (b *bench) ask(method, target string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "192.0.2.1:4000"
	r.Header.Set("Authorization", "Bearer "+testToken)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
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

func serveInto(done chan<- error, s *Server, ln net.Listener) { done <- s.Serve(ln) }

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
