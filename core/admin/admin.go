package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"mailsplice/core/logx"
)

// Bounds of one server. The API has a handful of users; whoever is not one of them must not be able to hold more than
// this.
const (
	maxConnections = 128              // accepted at once; the newest above it is closed unanswered
	maxStreams     = 16               // concurrent HTTP/2 requests of a connection
	maxHeaderBytes = 16 << 10         // request line and headers; three octets each for a 512-byte identifier fit easily
	maxBodyBytes   = 64 << 10         // of a call that takes no body: whatever comes is ignored
	headerTimeout  = 10 * time.Second // handshake, and request line and headers
	requestTimeout = 30 * time.Second // a whole request; a store call has lookup_timeout, 5 s
	idleTimeout    = 60 * time.Second // between two requests of a connection
)

// Options is what New needs. Everything is required unless it says otherwise. Functions and interfaces are called by many
// goroutines at once.
type Options struct {
	// TLS presents the certificates of SPEC 2.2. It is cloned; ALPN is set here.
	TLS *tls.Config
	// Token is the bearer token, trimmed and checked for length by whoever read it. The caller keeps ownership and should
	// zero it: the server keeps a hash.
	Token []byte
	// LockoutThreshold failures from one address within LockoutDuration lock it out for LockoutDuration.
	LockoutThreshold int
	LockoutDuration  time.Duration

	Mappings Mappings
	Sessions Sessions
	// Stats, Draining and Metrics, which writes the text of GET /metrics, are called from any goroutine.
	Stats    func() Stats
	Draining func() bool
	Metrics  func(io.Writer)

	// What this process may lack: the calls that need a nil one are answered with 501.
	Bulk         Bulk
	Listing      Listing
	Connections  Connections
	Holds        Holds
	Destinations Destinations
	// Unmapped lists identifiers lately routed to the default destination, the latest first, a bounded number.
	Unmapped func() []Unmapped
	// ReloadConfig reads the configuration again and swaps it in, or refuses it whole, with Problems that hold every error.
	// It returns the keys that are different now and take a restart. ErrBusy: a reload is under way.
	ReloadConfig func(context.Context) (restartNeeded []string, err error)

	// Log gets one info line per call that changes something, and warnings. Redactor makes identifiers fit for it.
	Log      *slog.Logger
	Redactor *logx.Redactor
	// Now is the clock of the lockout; nil means time.Now.
	Now func() time.Time
}

// Server is the admin API.
type Server struct {
	o       Options // immutable after New
	http    *http.Server
	token   token
	lockout *lockout
	refused *logx.Throttle // "token refused" lines
	locked  *logx.Throttle // "address locked out" lines
	started time.Time
	openapi json.RawMessage // immutable after New
	pacer   *pacer
	bulk    gate
	listing gate
}

// New checks the options; nothing runs before Serve.
func New(o Options) (*Server, error) {
	switch {
	case o.TLS == nil || o.Mappings == nil || o.Sessions == nil || o.Stats == nil || o.Draining == nil || o.Metrics == nil || o.Log == nil:
		return nil, errors.New("making the admin server: an option is missing")
	case len(o.Token) == 0:
		return nil, errors.New("making the admin server: no token")
	case o.LockoutThreshold < 1 || o.LockoutDuration <= 0:
		return nil, fmt.Errorf("making the admin server: lockout of %d failures in %v, both must be above zero", o.LockoutThreshold, o.LockoutDuration)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, lockout: newLockout(o.LockoutThreshold, o.LockoutDuration), refused: logx.Every(time.Second), locked: logx.Every(time.Second), started: o.Now(),
		openapi: document(), pacer: newPacer(o.Sessions, o.Log), bulk: make(gate, maxBulks), listing: make(gate, maxListings)}
	s.SetToken(o.Token)
	s.o.Token = nil
	s.http = s.newHTTP()
	return s, nil
}

func (s *Server) newHTTP() *http.Server {
	cfg := s.o.TLS.Clone()
	cfg.NextProtos = []string{"h2", "http/1.1"} // nothing else, whatever was handed in (SECURITY 21)
	return &http.Server{
		Handler:                      s,
		TLSConfig:                    cfg,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  requestTimeout,
		WriteTimeout:                 requestTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		DisableGeneralOptionsHandler: true, // `OPTIONS *` needs the token too
		ErrorLog:                     slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
}

// Serve answers on ln, which it owns and closes, until Shutdown. It returns nil after a Shutdown, which may still be
// waiting for calls in progress then.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.ServeTLS(limit(ln, maxConnections), "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving the admin API on %s: %w", ln.Addr(), err)
}

// Shutdown stops paced kicks and accepting, and lets calls in progress finish until ctx ends; then it closes their
// connections.
func (s *Server) Shutdown(ctx context.Context) error {
	s.pacer.close()
	err := s.http.Shutdown(ctx)
	if err == nil {
		return nil
	}
	s.http.Close()
	return fmt.Errorf("shutting down the admin API: %w", err)
}

// SetToken makes another token the valid one from the next request on. The caller keeps ownership of it.
func (s *Server) SetToken(t []byte) { s.token.set(t) }
