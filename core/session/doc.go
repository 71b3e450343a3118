// Package session takes a connection from accept to its end: the pre-auth dialogue, the look-up, the login at the
// backend, the hand-over to the bridge, and the line in the log.
//
// Each phase has one owner (DESIGN 1, 5):
//
//	accept          lobby.accept      loop       a record in the slab, a dialogue beside it
//	pre-auth        lobby.pump        loop       reads, feeds the protocol machine, writes its answers
//	login           attempt.run       goroutine  resolves, dials, replays; the client leg is parked meanwhile
//	verdict, join   lobby.decide      loop       answers the client, gives both descriptors to the bridge
//	joined          bridge.Bridge     loop       bytes; ends in lobby.ended
//
// A lobby is what one loop holds. Only its loop touches it; goroutines post messages, whose tokens carry a generation,
// so that a verdict for a session that has ended is dropped together with the backend socket it brings.
//
// A login enters the registry before its look-up and is judged again when it joins: one that began before its account
// was moved or kicked cannot end on the old backend (SECURITY 31).
package session
