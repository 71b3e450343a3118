package logx

// Keys of log attributes (STYLE 7). The message of a line is fixed text, variables go under these.
const (
	Session     = "session"     // session id
	Listener    = "listener"    // configured name
	Protocol    = "protocol"    // imap, pop3, ...
	Client      = "client"      // address and port of the client
	Destination = "destination" // configured name
	Account     = "account"     // always through a Redactor
	Phase       = "phase"       // where in the login it happened
	TLS         = "tls"         // version and suite of a leg
	Mode        = "mode"        // lane of a joined session
	BytesIn     = "bytes_in"    // from the client
	BytesOut    = "bytes_out"   // to the client
	Duration    = "duration"
	Reason      = "reason" // from a closed set
	Err         = "err"
)

// Keys of the periodic `metrics` line (SPEC 10).
const (
	CacheHits         = "cache_hits"
	CacheMisses       = "cache_misses"
	HitRatePct        = "hit_rate_pct"
	ActiveConnections = "active_connections"
)

// Keys of the lines about the process itself and about admin calls.
const (
	Call   = "call"   // method and path pattern of an admin call, never the path as sent
	Status = "status" // HTTP status of its answer
	Count  = "count"  // how many of what the message says
	Stack  = "stack"  // where a panic was recovered
)
