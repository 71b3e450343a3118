// Package dial turns a destination into a connected socket: names to addresses with a cache, addresses in order, source
// addresses in turn, everything inside one attempt's deadline (SPEC 2.1, 2.4; DESIGN 5).
//
// The socket is a bare descriptor that a loop watches; it is never wrapped for Go's own poller. The calling goroutine
// borrows it through a Waiter, which the loop of core/engine satisfies:
//
//	park, peer, err := dial.Dial(ctx, dialer, loop, target)
//
// The deadline of ctx is that of the attempt. Retries are the caller's; Error says whether one makes sense.
package dial
