package bridge

import "mailsplice/core/engine"

// The legs of a session, as indexes.
const (
	client = iota
	backend
)

var legNames = [2]string{"client", "backend"}

// flag is a set of things known about a leg.
type flag uint16

const (
	inputEnded  flag = 1 << iota // nothing more will be read from it: its end or an error was read
	finished                     // SHUT_WR is done: nothing more will be written to it
	broken                       // writing to it fails
	hungUp                       // the peer has closed its sending direction; bytes may wait before that end
	gone                         // it was reported as shut in both directions or in error
	queued                       // it is on the ready list and will be read in its turn
	truncated                    // bytes meant for it were dropped for their memory
	unclean                      // its input ended without close_notify, which a leg in TLS owes
	unopened                     // raw may hold whole records
	condemned                    // its peer broke the rules of TLS, or has sent an alert
	inKernel                     // the kernel opens its records
	outKernel                    // the kernel seals its records
	stays                        // the direction from it does not go into the kernel
	draining                     // the kernel has records for it that TCP has not got yet, and FIN waits
	outputEnded = finished | broken
)

// leg is one transport of a session.
type leg struct {
	moved uint64 // bytes of plaintext taken for it from the other leg
	fd    int32
	stash handle // what it has not taken yet, sealed in LaneRecord; 0: nothing
	raw   handle // what was read from it and not opened yet: a partial record; 0: nothing
	tls   uint32 // its state in the slab of sealed legs; 0: none
	flags flag
	lane  Lane
	full  int8 // how many reads in a row have filled the buffer, up to spliceAfter; or neverSpliced
}

// open tells whether the leg may still be read.
func (l *leg) open() bool { return l.flags&inputEnded == 0 }

// takes tells whether writing to the leg makes sense: it is neither shut nor broken.
func (l *leg) takes() bool { return l.flags&outputEnded == 0 }

// state is what a joined session costs.
type state struct {
	legs     [2]leg
	tag      uint64
	lastByte int64 // when a byte was last read or written, in the loop's nanoseconds
	halved   int64 // when a direction ended; 0: both are alive
	timer    engine.TimerID
	reason   Reason // the first cause of an end; 0: none yet
}

// lane is the session's: the dearer one of its legs.
func (r *state) lane() Lane { return max(r.legs[client].lane, r.legs[backend].lane) }

// condemned tells that the session ends at once because of what one of its peers did in TLS.
func (r *state) condemned() bool { return (r.legs[client].flags|r.legs[backend].flags)&condemned != 0 }

// doomed tells that the session was chosen to be ended for its memory, and waits on the ready list for that.
func (r *state) doomed() bool { return r.reason == StashFull }

// blame notes the first cause of the end.
func (r *state) blame(why Reason) {
	if r.reason == 0 {
		r.reason = why
	}
}

// over tells that both directions have ended: neither leg can be written to any more.
func (r *state) over() bool { return !r.legs[client].takes() && !r.legs[backend].takes() }

// session is a state with its name.
type session struct {
	id ID
	*state
}
