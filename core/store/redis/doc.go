// Package redis is the mapping source in Redis or Valkey (SPEC 2.5): one string for each mapping, its key is a prefix and
// the identifier, its value the destination.
//
//	SET route:alice@example.org new
//
// The address names one server, the nodes of a cluster, or sentinels and the name they know the primary by:
//
//	redis://[USER:PASSWORD@]HOST[:6379][,HOST...][/DB]        rediss:// for TLS
//	redis+sentinel://[USER:PASSWORD@]HOST[:26379][,HOST...]/PRIMARY[/DB][?sentinel_user=U&sentinel_password=P]
//
// A server that says it belongs to a cluster is taken as one even if it is named alone. User and password are those of
// the servers; sentinels have their own. TLS verifies against the platform's roots and the host name.
//
// Notices. A change by anybody reaches the router by server-assisted client-side caching (SPEC 4.2): on a connection of
// its own, kept open to every primary, the store says `CLIENT TRACKING ON BCAST PREFIX route:`. The server then tells of
// every key with the prefix that is written, expires or is evicted; FLUSHALL and FLUSHDB make everything doubtful.
// Broadcasting is chosen over tracking what was read, since the router's cache outlives connections (a server forgets
// what a broken one has read), since the server need not remember a million keys for each proxy, and since one
// connection, not every one of the pool, carries each notice once. The library's own cache is switched off: there is one
// cache, the router's, with its rules about stale answers.
//
// Notices and look-ups travel on different connections, which does no harm: a notice leaves the server after the write,
// and the router disowns every look-up that began before the notice came.
//
// Notices need RESP3 and CLIENT TRACKING. Where a server, a proxy in between or an access list lacks them, that is logged
// and mappings live in the cache for their configured time. While the connection is broken, a primary was replaced or the
// cluster's primaries changed, the router is told so (core/store/channel). PING, every second or two, finds silent deaths.
//
// All writes are single commands or one MULTI/EXEC and are as durable as the server's persistence makes them. In a
// cluster MULTI/EXEC covers one slot, so Apply is all or nothing only if all keys share one: a key_prefix with a hash tag,
// for instance `{route}:`, does that. Otherwise Apply goes slot by slot and its error says how many were written.
//
// Everything that varies is a command argument of its own (SECURITY 10). Errors carry the server's words up to the first
// quoted text, since servers quote keys; user and password appear in none.
package redis
