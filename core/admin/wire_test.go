package admin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// both runs a test over HTTP/1.1 and HTTP/2, against a server on loopback.
func both(t *testing.T, test func(t *testing.T, b *bench, send func(method, target string, body io.Reader) (*http.Response, error))) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			b := newBench(t)
			url, client := b.serve(t)
			client.Transport.(*http.Transport).ForceAttemptHTTP2 = proto == "HTTP/2.0"
			test(t, b, func(method, target string, body io.Reader) (*http.Response, error) {
				r, err := http.NewRequest(method, url+target, body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+testToken)
				resp, err := client.Do(r)
				if err == nil && resp.Proto != proto {
					t.Errorf("got %s, want %s", resp.Proto, proto)
				}
				return resp, err
			})
		})
	}
}

func TestExportAndBulkOverTheWire(t *testing.T) {
	both(t, func(t *testing.T, b *bench, send func(string, string, io.Reader) (*http.Response, error)) {
		b.mappings.entries = many(20_000)
		resp, err := send("GET", "/mappings/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		text := body(t, resp)
		if got := strings.Count(text, "\n"); resp.StatusCode != 200 || got != 20_000 {
			t.Fatalf("export: got %d with %d lines", resp.StatusCode, got)
		}
		resp, err = send("POST", "/mappings/bulk", io.MultiReader(strings.NewReader(text))) // chunked
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, resp); resp.StatusCode != 200 || got != `{"written":20000,"removed":0}`+"\n" {
			t.Errorf("bulk: got %d %s", resp.StatusCode, got)
		}
	})
}

func TestExportThatFailsMidwayBreaksOff(t *testing.T) {
	tests := []struct {
		name   string
		midway func() error
		log    string
	}{
		{"store fails", func() error { return errors.New("cursor lost") }, `level=ERROR msg="admin call" call="GET /mappings/export" status=200`},
		{"crash", func() error { panic("cursor") }, "admin call panicked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, b *bench, send func(string, string, io.Reader) (*http.Response, error)) {
				b.mappings.entries, b.mappings.midway = many(20_000), tt.midway
				resp, err := send("GET", "/mappings/export", nil)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err == nil || len(text) == 0 || bytes.Contains(text, []byte("error")) {
					t.Errorf("got %d bytes, %v, want some and an error", len(text), err)
				}
				if !strings.Contains(b.log.String(), tt.log) {
					t.Errorf("got %s, want %s in it", b.log, tt.log)
				}
				b.mappings.midway = nil
				if resp, err = send("GET", "/stats", nil); err != nil || resp.StatusCode != 200 {
					t.Fatalf("the next call: got %v, %v", resp, err)
				}
				body(t, resp)
			})
		})
	}
}

// comments is so many bytes of comment lines.
func comments(n int64) io.Reader { return io.LimitReader(new(commentSource), n) }

type commentSource struct{}

func (*commentSource) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
		if i%1024 == 1023 {
			p[i] = '\n'
		}
	}
	return len(p), nil
}

// The real bound, announced, is tried in TestEveryStatusOfTheDocument; here a smaller one is met on the way.
func TestBulkBodyIsBounded(t *testing.T) {
	const most = 1 << 20
	row := calls["/mappings/bulk"]["POST"]
	row.maxBody = most
	t.Cleanup(func() { row.maxBody = maxBulkBytes })
	both(t, func(t *testing.T, b *bench, send func(string, string, io.Reader) (*http.Response, error)) {
		for size, want := range map[int64]string{
			most:     `200 {"written":0,"removed":0}`,
			most + 1: `413 {"error":"a body of more than 1048576 bytes"}`,
		} {
			resp, err := send("POST", "/mappings/bulk", comments(size)) // chunked: its length is not known before
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(body(t, resp))); got != want {
				t.Errorf("%d bytes: got %s, want %s", size, got, want)
			}
		}
		if got := len(b.mappings.bulks); got != 1 {
			t.Errorf("got %d applied, want 1", got)
		}
	})
}

// raw sends text over TLS without HTTP/2 and returns all that comes back until the server closes.
func (b *bench) raw(t *testing.T, url, text string) string {
	t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: b.roots})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	go io.WriteString(c, text) // until c closes: the server may not read it all
	got, _ := io.ReadAll(c)    // a reset, because of what it has not read, may come after the answer
	return string(got)
}

func TestTokenOfAMebibyte(t *testing.T) {
	const size = 1 << 20
	b := newBench(t)
	url, client := b.serve(t)
	if got := b.raw(t, url, "GET /stats HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+strings.Repeat("x", size)+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("HTTP/1.1: got %q, want a 431", got)
	}
	r, err := http.NewRequest("GET", url+"/stats", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", size))
	if resp, err := client.Do(r); err == nil { // the client knows the bound from the server's settings
		t.Errorf("HTTP/2: got %d %s, want an error", resp.StatusCode, body(t, resp))
	}
	r.Header.Set("Authorization", "Bearer "+testToken)
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); resp.StatusCode != 200 {
		t.Errorf("the right one afterwards: got %d %s, want 200", resp.StatusCode, got)
	}
	// Where the bound does not stop it, it is a wrong token like any other.
	wantAnswer(t, b.ask("GET", "/stats", withToken("Bearer "+strings.Repeat("x", size))), 401, `{"error":"missing or wrong bearer token"}`)
}

func TestLockoutOverTheWire(t *testing.T) {
	b := newBench(t)
	url, client := b.serve(t)
	const request = "GET /stats HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n"
	for range 3 {
		if got := b.raw(t, url, request); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
			t.Fatalf("got %q, want a 401", got)
		}
	}
	if got := b.raw(t, url, request); !strings.HasPrefix(got, "HTTP/1.1 429 ") || !strings.Contains(got, "\r\nRetry-After: 60\r\n") {
		t.Errorf("got %q, want a 429 with Retry-After", got)
	}
	resp, err := client.Get(url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != "ok" {
		t.Errorf("healthz: got %q, want ok", got)
	}
}

func metricsOptions(b *bench) MetricsOptions {
	return MetricsOptions{Metrics: b.o.Metrics, Draining: b.o.Draining, Log: slog.New(slog.NewTextHandler(b.log, nil))}
}

func TestMetrics(t *testing.T) {
	w := newBench(t).ask("GET", "/metrics/")
	if w.Code != 200 || w.Body.String() != "mailsplice_cache_hits 2\n" || w.Header().Get("Content-Type") != metricsMedia {
		t.Errorf("got %d %s %q", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
}

func TestMetricsHandler(t *testing.T) {
	tests := []struct {
		name, method, target string
		draining             bool
		status               int
		want, allow          string
	}{
		{"metrics", "GET", "/metrics", false, 200, "mailsplice_cache_hits 2\n", ""},
		{"trailing slash and query", "GET", "/metrics/?name=x", false, 200, "mailsplice_cache_hits 2\n", ""},
		{"while draining", "HEAD", "/metrics", true, 200, "mailsplice_cache_hits 2\n", ""}, // net/http drops the body
		{"health", "GET", "/healthz", false, 200, "ok", ""},
		{"health while draining", "GET", "/healthz", true, 503, "draining", ""},
		{"nothing of the API", "GET", "/stats", false, 404, `{"error":"no such call"}` + "\n", ""},
		{"root", "GET", "/", false, 404, `{"error":"no such call"}` + "\n", ""},
		{"method", "POST", "/metrics", false, 405, `{"error":"method \"POST\" is not allowed here"}` + "\n", "GET, HEAD"},
		{"method of health", "DELETE", "/healthz", false, 405, `{"error":"method \"DELETE\" is not allowed here"}` + "\n", "GET, HEAD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.draining = tt.draining
			w := httptest.NewRecorder()
			MetricsHandler(metricsOptions(b)).ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, nil))
			if w.Code != tt.status || w.Body.String() != tt.want || w.Header().Get("Allow") != tt.allow {
				t.Errorf("got %d %q Allow %q, want %d %q %q", w.Code, w.Body, w.Header().Get("Allow"), tt.status, tt.want, tt.allow)
			}
		})
	}
}

func TestMetricsServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := NewMetricsServer(metricsOptions(newBench(t)))
	done := make(chan error, 1)
	go serveInto(done, m, ln) // until Shutdown
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); resp.StatusCode != 200 || got != "mailsplice_cache_hits 2\n" {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := m.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	for name, d := range map[string]time.Duration{"header": m.http.ReadHeaderTimeout, "read": m.http.ReadTimeout, "write": m.http.WriteTimeout, "idle": m.http.IdleTimeout} {
		if d <= 0 || d > 2*time.Minute {
			t.Errorf("%s timeout: got %v, want one below two minutes", name, d)
		}
	}
}
