// Package bridge joins the two legs of a session once its login is accepted, and from then on moves bytes. It knows
// nothing of mail.
//
// A joined session is two descriptors and a record of under 100 bytes in an engine.Slab; it has no goroutine and no
// buffer. Each loop has one Bridge, all of whose methods run on that loop. Bytes are read into the loop's buffer and
// written to the other leg at once; what that leg does not take is stashed, and the leg it came from is not read until
// the stash has drained, so that a session pins at most one stash each way (DESIGN 4).
//
//	           relay                             flush
//	leg A ───▶ loop's buffer ───▶ leg B    stash ───▶ leg B, then A is read again
//	                 └─ EAGAIN ─▶ stash; A pauses
//
// How a session ends. A leg's end of input becomes SHUT_WR on the other leg, never before the stash for it has drained,
// and the opposite direction goes on; with both directions over, both descriptors are closed. A leg that breaks (reset,
// or a write that fails) takes its own direction down, but what it had sent before still reaches the other leg, then
// FIN. Everything that the bridge ends by itself (idle, half-closed, kick) goes through Loop.Retire, so that no peer
// sees RST in place of bytes that were meant for it. The exceptions are a session that is ended for its memory, where a
// leg that lost bytes is reset, since a truncated stream must not look complete, and one whose handler panicked.
//
// While an event is served, reads and writes only set flags; settle ends the session at the event's end. That keeps the
// loop's buffer and the record valid through the whole call, although Loop.Retire reads into that buffer.
package bridge
