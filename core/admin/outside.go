package admin

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

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

// Mappings is what the mapping and cache calls need of every source. Identifiers come as the operator wrote them,
// well-formed by SPEC 4 point 2; they are normalized but not cut at master separators. An error that wraps ErrInvalid is
// the caller's fault, ErrReadOnly the configuration's, Problems the mapping file's; any other is a failure of the store. No
// error may carry credentials.
type Mappings interface {
	// Normalize is the form under which identifier is stored (SPEC 2.5), and the account its sessions are filed under,
	// which has a domain where the configuration gives a default one (SPEC 2.6). To normalize twice changes nothing.
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
	// Invalidate and InvalidateAll make the cache forget, look-ups under way included.
	Invalidate(identifier string)
	InvalidateAll()
}

// Change is one line of a bulk write.
type Change struct {
	Identifier  string // as Mappings.Normalize stores it; each at most once in a bulk write
	Destination string // declared; empty: the mapping is removed, if there is one
}

// Bulk is a source that can be written to in one piece.
type Bulk interface {
	// Apply makes all changes or none, durable and with their identifiers invalidated when it returns. It may keep changes.
	// Errors are as for Mappings.
	Apply(ctx context.Context, changes []Change) error
}

// Listing is a source that can list what it holds.
type Listing interface {
	// Each hands every mapping to yield once, in any order, as it was at some moment of the call. It stops at yield's first
	// error, which it returns. ErrNoList: this source cannot list.
	Each(ctx context.Context, yield func(identifier, destination string) error) error
}

// Unmapped is an identifier that a login was routed to the default destination for.
type Unmapped struct {
	Identifier string // as Mappings.Normalize stores it
	Seen       time.Time
}

// Kick selects sessions and logins in progress. At least one of Account and Destination is set; both must match.
type Kick struct {
	Account      string // as Mappings.Normalize gives it
	Destination  string // need not be declared: it may have been before a reload
	SpareMasters bool   // leave master-user sessions alone
}

// Sessions ends sessions.
type Sessions interface {
	// Kick ends what matches now and returns how many it told to end. It does not wait for them.
	Kick(Kick) int
	// Select notes what matches now, for a kick in portions. It ends nothing.
	Select(Kick) Selection
}

// Selection is the sessions and logins that matched at one moment. It is used by one goroutine at a time.
type Selection interface {
	// Len is how many have not been told to end yet.
	Len() int
	// End tells the next n of them, or all when they are fewer. One that has ended by itself counts as told.
	End(n int)
}

// Filter selects joined sessions; an empty field matches all.
type Filter struct {
	Account     string // as Mappings.Normalize gives it
	Destination string
}

// Connection is a joined session as GET /connections shows it.
type Connection struct {
	ID                string
	Account           string
	Protocol          string
	Listener          string
	Destination       string
	Client            netip.AddrPort
	Since             time.Time
	BytesIn, BytesOut uint64 // from and to the client
	ClientTLS         string // version and suite; empty: none
	BackendTLS        string
	Lane              string
	Master            bool // a master user logged in for the account
}

// Connections lists sessions.
type Connections interface {
	// List returns at most limit of the sessions that match, in any order, and how many match. limit may be 0.
	List(ctx context.Context, f Filter, limit int) (list []Connection, total int, err error)
}

// Holds keeps logins of an account (as Mappings.Normalize gives it) waiting or out for a time from now on. The tables are
// bounded: ErrBusy when they are full. 0 removes; a second call replaces the first.
type Holds interface {
	// Delay lets logins wait, and has their mapping looked up after the wait.
	Delay(account string, d time.Duration) error
	// Hold answers logins with the temporary error, those of master users excepted.
	Hold(account string, d time.Duration) error
}

// Destination is one destination's health (SPEC 7).
type Destination struct {
	Name     string
	Failures int           // of the streak
	Sources  int           // client addresses that the streak spans
	HostFail bool          // the streak holds a host-level failure
	Down     bool          //
	DownFor  time.Duration // since it is down; 0 unless Down
	Sessions int           // joined
}

// Destinations shows the health of the configured destinations.
type Destinations interface {
	// Snapshot lists them in the order of the configuration.
	Snapshot() []Destination
	// Reset clears the health state of one; false: it is not configured.
	Reset(name string) bool
}

// Errors for implementations of what is declared here.
var (
	ErrInvalid  = errors.New("invalid")                                     // 400
	ErrReadOnly = errors.New("the mapping source is read-only")             // 501
	ErrNoList   = errors.New("the mapping source cannot list its mappings") // 501
	ErrBusy     = errors.New("too much of this is under way, try later")    // 503
)

// Problems is everything wrong with a file or a body of which nothing was taken: 400.
type Problems []string

// Error says only that; the answer lists them.
func (p Problems) Error() string { return "refused as a whole, nothing changed" }
