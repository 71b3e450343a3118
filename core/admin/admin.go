package admin

import (
	"context"
	"crypto/tls"
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
	maxBodyBytes   = 64 << 10         // none of the calls takes a body so far
	headerTimeout  = 10 * time.Second // handshake, and request line and headers
	requestTimeout = 30 * time.Second // a whole request; a store call has lookup_timeout, 5 s
	idleTimeout    = 60 * time.Second // between two requests of a connection
)

// Options is what New needs. Everything is required unless it says otherwise.
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
	// Stats and Draining are called from any goroutine.
	Stats    func() Stats
	Draining func() bool
	// Metrics writes the Prometheus text (SPEC 10), from any goroutine; its errors are the writer's.
	Metrics func(io.Writer)

	// Log gets one info line per call that changes something, and warnings. Redactor makes identifiers fit for it.
	Log      *slog.Logger
	Redactor *logx.Redactor
	// Now is the clock of the lockout; nil means time.Now.
	Now func() time.Time
}

// Mapping is what a look-up of one identifier says now.
type Mapping struct {
	Normalized  string // the form it is looked up in
	Destination string // where a login would go
	Default     bool   // no mapping: Destination is the default one
	Cached      bool   // the cache holds a live answer
}

// Reload is what re-reading the mapping source changed. Reloaded is false for a source that cannot be re-read; the counts
// are zero then.
type Reload struct {
	Reloaded                bool
	Added, Changed, Removed int
}

// Mappings is what the mapping calls need. Identifiers come as the operator wrote them, well-formed by SPEC 4 point 2;
// they are normalized but not cut at master separators. An error that wraps ErrInvalid is the caller's fault, ErrReadOnly
// the configuration's, Problems the mapping file's; any other is a failure of the store. No error may carry credentials.
type Mappings interface {
	// Normalize is the form under which identifier is stored (SPEC 2.5), and the account its sessions are filed under,
	// which has a domain where the configuration gives a default one (SPEC 2.6).
	Normalize(identifier string) (stored, account string)
	// Declared reports whether the configuration has this destination.
	Declared(destination string) bool
	// Writable reports whether the source takes Put and Delete.
	Writable() bool
	// Peek neither fills the cache nor counts.
	Peek(ctx context.Context, identifier string) (Mapping, error)
	// Put and Delete write and invalidate before they return.
	Put(ctx context.Context, identifier, destination string) error
	Delete(ctx context.Context, identifier string) (existed bool, err error)
	Reload(ctx context.Context) (Reload, error)
}

// Kick selects sessions and logins in progress. At least one of Account and Destination is set; both must match.
type Kick struct {
	Account      string // as Mappings.Normalize gives it
	Destination  string
	SpareMasters bool // leave master-user sessions alone
}

// Sessions ends sessions. Kick returns how many it told to end and does not wait for them.
type Sessions interface {
	Kick(Kick) int
}

// Errors for implementations of Mappings.
var (
	ErrInvalid  = errors.New("invalid")
	ErrReadOnly = errors.New("the mapping source is read-only")
)

// Problems is every bad line of a mapping file that was not loaded.
type Problems []string

// Error counts them; the answer lists them.
func (p Problems) Error() string {
	return fmt.Sprintf("mapping file: %d problems, nothing changed", len(p))
}

// Server is the admin API.
type Server struct {
	o       Options // immutable after New
	http    *http.Server
	token   token
	lockout *lockout
	refused *logx.Throttle // "token refused" lines
	started time.Time
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
	s := &Server{o: o, lockout: newLockout(o.LockoutThreshold, o.LockoutDuration), refused: logx.Every(time.Second), started: o.Now()}
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

// Shutdown stops accepting and lets calls in progress finish until ctx ends; then it closes their connections.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err == nil {
		return nil
	}
	s.http.Close()
	return fmt.Errorf("shutting down the admin API: %w", err)
}

// SetToken makes another token the valid one from the next request on. The caller keeps ownership of it.
func (s *Server) SetToken(t []byte) { s.token.set(t) }
