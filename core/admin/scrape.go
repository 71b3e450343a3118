package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
)

// Paths that the plain listener has, too.
const (
	healthPath  = "/healthz"
	metricsPath = "/metrics"
)

// healthz needs no token and is not subject to the lockout: load balancers ask it.
func healthz(w http.ResponseWriter, r *http.Request, draining func() bool) {
	switch {
	case method(r) != http.MethodGet:
		notAllowed(w, r, "GET, HEAD")
	case draining():
		put(w, http.StatusServiceUnavailable, text{textMedia, []byte("draining")})
	default:
		put(w, http.StatusOK, text{textMedia, []byte("ok")})
	}
}

const textMedia = "text/plain; charset=utf-8"

func (s *Server) metrics(*request) (any, error) { return figures(s.o.Metrics), nil }

// figures gathers the text before any of it is sent: a client that reads slowly holds nothing but memory.
func figures(write func(io.Writer)) text {
	var b bytes.Buffer
	write(&b)
	return text{metricsMedia, b.Bytes()}
}

// MetricsOptions is what the plain listener of `[metrics]` needs (SPEC 2.10). All are required; the functions are called
// by many goroutines at once.
type MetricsOptions struct {
	Metrics  func(io.Writer) // writes the text of GET /metrics
	Draining func() bool
	Log      *slog.Logger
}

// MetricsHandler answers /metrics and /healthz without a token, and nothing else: 404, and 405 with Allow, are JSON as
// those of the API are. It does not depend on a Server, since `[metrics]` may stand without `[admin]`.
func MetricsHandler(o MetricsOptions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimSuffix(r.URL.EscapedPath(), "/"); {
		case path == healthPath:
			healthz(w, r, o.Draining)
		case path != metricsPath:
			fail(w, http.StatusNotFound, "no such call")
		case method(r) != http.MethodGet:
			notAllowed(w, r, "GET, HEAD")
		default:
			answer(w, http.StatusOK, figures(o.Metrics))
		}
	})
}

// maxScrapers is how many connections the plain listener holds; the newest above it is closed unanswered.
const maxScrapers = 64

// MetricsServer is the plain HTTP/1.1 server of `[metrics]`: a MetricsHandler with the bounds that a public port needs.
type MetricsServer struct{ http *http.Server }

// NewMetricsServer runs nothing before Serve.
func NewMetricsServer(o MetricsOptions) *MetricsServer {
	return &MetricsServer{&http.Server{
		Handler:                      MetricsHandler(o),
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  headerTimeout,
		WriteTimeout:                 requestTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}}
}

// Serve answers on ln, which it owns and closes, until Shutdown. It returns nil after a Shutdown.
func (m *MetricsServer) Serve(ln net.Listener) error {
	err := m.http.Serve(limit(ln, maxScrapers))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving metrics on %s: %w", ln.Addr(), err)
}

// Shutdown stops accepting and lets answers in progress finish until ctx ends; then it closes their connections.
func (m *MetricsServer) Shutdown(ctx context.Context) error {
	err := m.http.Shutdown(ctx)
	if err == nil {
		return nil
	}
	m.http.Close()
	return fmt.Errorf("shutting down the metrics listener: %w", err)
}
