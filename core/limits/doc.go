// Package limits keeps two tables of client addresses: how many connections each has open, for max_sessions_per_ip (SPEC
// 2.1), and how its logins have failed, for the delay of SPEC 12. It does no I/O, starts no goroutine and waits for
// nothing; the caller closes, refuses and delays.
//
// An address is an IPv4 address or an IPv6 /64, which one client has to itself. Which address counts is the caller's
// choice: the peer's, or the one that a trusted peer announced.
//
// Both tables have the same build (DESIGN 5): 256 shards by a seeded hash, each one array of 16-byte slots without pointers
// under its own lock, open addressing, between a quarter and three quarters full. So an entry costs 21 to 64 bytes, free
// slots included, and 32 bytes in a table of 1,048,576, the most there are. Arrays grow and shrink by halves; nothing else
// allocates.
//
// When a shard has no room for a new entry, an IPv6 address counts as its /48, for which a sixteenth of every shard is
// kept. Where not even that helps, or the address is IPv4, Connections lets the newcomer in uncounted, because a table that
// is full must not turn mail off, and Delays forgets the mildest of a few others.
package limits
