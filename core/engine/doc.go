// Package engine runs one event loop per CPU and owns every socket on it. It knows nothing of mail.
//
// Its contract is readiness: a handler is told that a descriptor may be read, may be written, or is gone, and makes the
// system calls itself. Watching is edge-triggered and covers both directions at once, so a handler that stops short of
// EAGAIN must remember it, and calls Loop.Later to be called again; a loop with work left polls without sleeping.
//
// Ownership is the rule that everything else rests on (DESIGN 2): one owner closes a descriptor. A loop owns what was
// handed to it by Watch; a Park owns a backend socket while a goroutine dials and logs in; Retire owns what is being
// closed politely. Whoever else wants an end calls Park.Interrupt, or posts a message to the owning loop. A number that
// was closed can therefore never be written to by somebody who still remembers it (SECURITY 32).
//
// Records live in a Slab: memory mapped outside the Go heap, pointer-free, addressed by index and generation, so that a
// million sessions cost the collector nothing. A Token carries kind, generation and index through epoll, timers and
// messages; an owner looks it up and ignores it when the generation is old.
//
// All methods of Loop belong to its own goroutine unless their comment says otherwise.
package engine
