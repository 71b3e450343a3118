package route

import (
	"context"
	"errors"
)

// Store is a source of mappings. It is used by many goroutines at once.
type Store interface {
	// Lookup finds the destination of a normalised identifier. It returns soon after ctx has ended. An empty destination
	// counts as not found. The error must not name the identifier, since it is logged.
	Lookup(ctx context.Context, identifier string) (destination string, found bool, err error)
}

// Writer is a Store that can be written to. When a call returns without error the change is durable and every Lookup
// that begins afterwards sees it.
type Writer interface {
	// Put maps a normalised identifier to a destination.
	Put(ctx context.Context, identifier, destination string) error
	// Delete removes a mapping and tells whether there was one.
	Delete(ctx context.Context, identifier string) (existed bool, err error)
}

// Reloader is a Store that holds a copy of its source and can read it again.
type Reloader interface {
	// Reload reads the source, all or nothing, and returns exactly the identifiers whose mapping is new, different, gone.
	Reload(ctx context.Context) (added, changed, removed []string, err error)
}

// Notifier is a Store that learns of changes which did not come through this Router, for instance from other proxies.
type Notifier interface {
	// Notify sets the function that is to be called with the changed identifiers, or with nil if any may have changed,
	// as soon as Lookup shows the change. It is called once, before the first Lookup. An identifier's last answer is
	// forgotten; at nil the last answers still serve if the store fails.
	Notify(changed func(identifiers []string))
}

// Watcher is a Notifier whose notices come over a channel that can break, a network connection for instance.
type Watcher interface {
	Notifier
	// Watch opens the channel and sets two functions: lost is to be called as soon as notices may be missed, back when
	// none will be missed from then on; never one of them twice in a row, never both at once, lost first. Until lost is
	// called the channel counts as working, so a store that has none (an old server) calls neither. Watch is called once,
	// after Notify and before the first Lookup, and does not block.
	Watch(lost, back func())
}

// Instant is a Store whose Lookup neither blocks nor fails, since it has everything in memory. It is asked by whoever wants to
// know, without a goroutine and a time-out.
type Instant interface {
	// Instant says that it is so.
	Instant()
}

// BulkWriter is a Writer that can change many mappings at once.
type BulkWriter interface {
	Writer
	// Apply makes all changes or none of them, with Writer's promise. It maps normalised identifiers to destinations; an
	// empty one removes the mapping. The map belongs to the caller again when Apply returns.
	Apply(ctx context.Context, changes map[string]string) error
}

// Lister is a Store that can tell all its mappings.
type Lister interface {
	// All calls yield with every mapping that exists during the whole call, in no particular order, and gives up with
	// yield's error. One that is written meanwhile may be left out or come twice, the last time being the valid one.
	All(ctx context.Context, yield func(identifier, destination string) error) error
}

// Limited is a Store whose configuration decides whether it is a Writer and a Lister, and not its type alone.
type Limited interface {
	Writable() bool
	Listable() bool
}

// Account is an identifier made ready for look-up.
type Account struct {
	// Lookup is what Resolve takes: the identifier, cut at the master separator and normalised.
	Lookup string
	// Registry is what sessions are filed under: Lookup, with the default domain added if it has none (SPEC 2.6).
	Registry string
	// Master: a master user logs in for the account (SPEC 4 point 3).
	Master bool
}

// Result is where an account's login goes.
type Result struct {
	Destination string
	// Default: there is no usable mapping, Destination is the default one.
	Default bool
	// Stale: the store could not be asked, this is its last known answer.
	Stale bool
}

// Mapping is what an administrator sees of an identifier.
type Mapping struct {
	// Normalized is the identifier as it is looked up.
	Normalized string
	// Destination is the mapping as stored, or the default destination if there is none.
	Destination string
	// Found: there is a mapping.
	Found bool
	// Cached: the next login would be answered from the cache.
	Cached bool
}

// Changes counts what a reload changed.
type Changes struct {
	Added, Changed, Removed int
}

// Stats are counts since the start, but for Entries and Lookups, which are present values.
type Stats struct {
	Hits, Misses uint64 // resolutions answered from the cache, and others
	Entries      int    // in the cache, expired ones included
	Evictions    uint64 // for space
	StoreLookups uint64 // accounts that the store was asked for
	StoreErrors  uint64 // time-outs included
	StaleAnswers uint64 // store errors that a known answer covered
	Undeclared   uint64 // answers that named no declared destination
	Lookups      int    // under way
	Broken       bool   // the store's notices of changes do not arrive, entries live shorter
}

// The errors that callers tell apart.
var (
	// ErrIdentifier: no account can be read out of the identifier, or it can be nobody's mapping (SPEC 4 points 2, 3).
	ErrIdentifier = errors.New("identifier not acceptable")
	// ErrUnavailable: no destination can be given now; the login gets the temporary failure.
	ErrUnavailable = errors.New("mapping not available")
	// ErrReadOnly: the store cannot be written to.
	ErrReadOnly = errors.New("mapping store is read-only")
	// ErrUndeclared: a mapping may only name a declared destination.
	ErrUndeclared = errors.New("destination not declared")
	// ErrNoBulk: the store cannot change many mappings at once.
	ErrNoBulk = errors.New("mapping store has no all-or-nothing writes")
	// ErrNoList: the store cannot tell its mappings.
	ErrNoList = errors.New("mapping store cannot be listed")
	// ErrNoReload: the store has nothing to reload.
	ErrNoReload = errors.New("mapping store does not reload")
)
