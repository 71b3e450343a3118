// Package dialog is the contract between a protocol machine and whatever drives it.
//
// A machine is one side of a pre-authentication dialogue: the client side, where mailsplice acts as the server, or the
// backend side, where it acts as the client. It does no I/O, reads no clock and starts no goroutine, so an event loop
// or a blocking goroutine can drive the same code:
//
//	m.Tell(Event{Kind: Begin})
//	for {
//		for a := m.Next(); a.Kind != None; a = m.Next() { carry out a }
//		n := m.Feed(p); p = p[n:]   // n == 0: the machine waits for an Event, or p is empty
//	}
//
// The rules both sides of the contract keep:
//
//   - Feed consumes at most one command or response (or a part of one), so that answers can be written, and a slow
//     reader noticed, between two of them. It consumes at least one byte of a non-empty p unless the machine waits.
//   - After StartTLS, LoginReady and Close, and after Relay on the side that expects an answer, the machine waits: Feed
//     returns 0 until the answering event. What lies unconsumed then is the rule: behind STARTTLS it ends the session,
//     behind an accepted login it is the tail for the other leg, behind a refused one it is fed again.
//   - The driver takes actions until None before it feeds again. The bytes of an action live until the next call of any
//     method; builds of the tests overwrite them afterwards.
//   - After Close or Done nothing more comes out and nothing is consumed.
package dialog
