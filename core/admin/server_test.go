package admin

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no TLS", func(o *Options) { o.TLS = nil }, "an option is missing"},
		{"no mappings", func(o *Options) { o.Mappings = nil }, "an option is missing"},
		{"no metrics", func(o *Options) { o.Metrics = nil }, "an option is missing"},
		{"no token", func(o *Options) { o.Token = nil }, "no token"},
		{"no threshold", func(o *Options) { o.LockoutThreshold = 0 }, "lockout of 0 failures"},
		{"no duration", func(o *Options) { o.LockoutDuration = 0 }, "both must be above zero"},
	}
	b := newBench(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := b.options(&tls.Config{})
			tt.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestBothVersionsOfHTTP(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			url, client := newBench(t).serve(t)
			client.Transport.(*http.Transport).ForceAttemptHTTP2 = proto == "HTTP/2.0"
			for path, want := range map[string]int{"/stats": 200, "/nothing": 404} {
				req, err := http.NewRequest("GET", url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+testToken)
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if text := body(t, resp); resp.Proto != proto || resp.StatusCode != want {
					t.Errorf("%s: got %s %d %s, want %s %d", path, resp.Proto, resp.StatusCode, text, proto, want)
				}
			}
		})
	}
}

func TestForeignALPNIsRefused(t *testing.T) {
	b := newBench(t)
	url, _ := b.serve(t)
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: b.roots, NextProtos: []string{"imap"}})
	if err == nil {
		c.Close()
		t.Fatalf("got a connection with %q, want an alert", c.ConnectionState().NegotiatedProtocol)
	}
	if !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("got %v, want the alert no application protocol", err)
	}
}

func TestStrangersLoseTheirConnection(t *testing.T) {
	b := newBench(t)
	url, _ := b.serve(t)
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: b.roots})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET /stats HTTP/1.1\r\nHost: x\r\n\r\n")
	text, err := io.ReadAll(c) // until the server closes
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 401 ") {
		t.Errorf("got %q, %v, want a 401 and the end", text, err)
	}
}

func TestLargeBodyIsRefused(t *testing.T) {
	b := newBench(t)
	url, client := b.serve(t)
	req, err := http.NewRequest("POST", url+"/mappings/reload", strings.NewReader(strings.Repeat("x", maxBodyBytes+1)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testToken)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if text := body(t, resp); resp.StatusCode != 413 || !strings.Contains(text, "65536") {
		t.Errorf("got %d %s, want 413 with the bound", resp.StatusCode, text)
	}
}

func TestEveryWaitIsBounded(t *testing.T) {
	h := newBench(t).http
	for name, d := range map[string]time.Duration{"header": h.ReadHeaderTimeout, "read": h.ReadTimeout, "write": h.WriteTimeout, "idle": h.IdleTimeout} {
		if d <= 0 || d > 2*time.Minute {
			t.Errorf("%s timeout: got %v, want one below two minutes", name, d)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := limit(inner, 2)
	accepted := make(chan net.Conn, 8)
	done := make(chan struct{})
	go acceptInto(accepted, ln, done) // until ln closes
	defer func() { ln.Close(); <-done }()

	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	first := <-accepted
	dial()
	defer (<-accepted).Close()

	third := dial()
	third.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := third.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("third connection: got %d, %v, want it closed", n, err)
	}
	first.Close()
	first.Close() // must free one place only
	dial()
	defer (<-accepted).Close()
	fifth := dial()
	fifth.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := fifth.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("fifth connection: got %d, %v, want it closed", n, err)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func acceptInto(accepted chan<- net.Conn, ln net.Listener, done chan<- struct{}) {
	defer close(done)
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		accepted <- c
	}
}
