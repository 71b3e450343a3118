package engine

// Kind selects the Handler of a Loop that a Token is for. Loop.Register hands them out.
type Kind uint8

// Token names what an event, a deadline or a message is about: 8 bits of kind, 24 of generation, 32 of slab index.
type Token uint64

// genMask keeps 24 bits of a generation: every reuse of an index counts two, so a stale token is mistaken for a live
// one only after 8 million reuses between an event's arrival and its delivery.
const genMask = 1<<24 - 1

// MakeToken packs a token. Only the low 24 bits of gen count; Slab hands out nothing else.
func MakeToken(k Kind, index, gen uint32) Token {
	return Token(k)<<56 | Token(gen&genMask)<<32 | Token(index)
}

// Kind is the handler's number.
func (t Token) Kind() Kind { return Kind(t >> 56) }

// Index is the slab index.
func (t Token) Index() uint32 { return uint32(t) }

// Gen is the generation.
func (t Token) Gen() uint32 { return uint32(t>>32) & genMask }

// Ready is a set of things that a descriptor may be.
type Ready uint8

// The members of Ready.
const (
	// Readable: read(2) would not block, perhaps since there is an end or an error to be read.
	Readable Ready = 1 << iota
	// Writable: write(2) would not block, perhaps since it fails.
	Writable
	// HangUp: the peer has closed its sending direction (EPOLLRDHUP). Bytes may still wait before the end.
	HangUp
	// Gone: both directions are shut or the socket has an error (EPOLLHUP, EPOLLERR). It comes with Readable and
	// Writable, so that the next system call tells which.
	Gone
	// Resumed marks a call that Loop.Later asked for, not the kernel.
	Resumed
)

// Handler serves the tokens of one kind on one loop. Its methods run on the loop and must not block.
type Handler interface {
	// Ready reports readiness. The token may be stale.
	Ready(t Token, r Ready)
	// Due is called when the deadline armed for t has passed. It returns when to call again, in the loop's nanoseconds,
	// or 0 to let the timer go; the TimerID is invalid then. An owner whose deadline has moved on since Arm simply
	// returns the new one.
	Due(t Token) (next int64)
	// Failed reports that a method of this handler panicked while it served t: the owner drops that record alone.
	Failed(t Token, cause any)
}

// Message is something posted to a loop. Exactly one of its methods is called, once.
type Message interface {
	// Deliver runs on the loop.
	Deliver()
	// Drop runs instead when the loop has stopped: it closes descriptors and frees buffers that the message carries.
	Drop()
}
