package bridge

import "mailsplice/core/engine"

// The legs of a session, as indexes.
const (
	client = iota
	backend
)

var legNames = [2]string{"client", "backend"}

// flag is a set of things known about a leg.
type flag uint8

const (
	inputEnded  flag = 1 << iota // nothing more will be read from it: its end or an error was read
	finished                     // SHUT_WR is done: nothing more will be written to it
	broken                       // writing to it fails
	hungUp                       // the peer has closed its sending direction; bytes may wait before that end
	gone                         // it was reported as shut in both directions or in error
	queued                       // it is on the ready list and will be read in its turn
	truncated                    // bytes meant for it were dropped for their memory
	outputEnded = finished | broken
)

// lane says how a leg's bytes are carried. The others of DESIGN 3.11 have their seat here.
type lane uint8

const lanePlain lane = 1 // read(2) and sendmsg(2) on the descriptor

// leg is one transport of a session.
type leg struct {
	moved uint64 // bytes taken for it from the other leg
	fd    int32
	stash handle // what it has not taken yet; 0: nothing
	flags flag
}

// open tells whether the leg may still be read.
func (l *leg) open() bool { return l.flags&inputEnded == 0 }

// takes tells whether writing to the leg makes sense: it is neither shut nor broken.
func (l *leg) takes() bool { return l.flags&outputEnded == 0 }

// record is what a joined session costs.
type record struct {
	legs     [2]leg
	tag      uint64
	lastByte int64 // when a byte was last read or written, in the loop's nanoseconds
	halved   int64 // when a direction ended; 0: both are alive
	timer    engine.TimerID
	reason   Reason // the first cause of an end; 0: none yet
}

// doomed tells that the session was chosen to be ended for its memory, and waits on the ready list for that.
func (r *record) doomed() bool { return r.reason == StashFull }

// blame notes the first cause of the end.
func (r *record) blame(why Reason) {
	if r.reason == 0 {
		r.reason = why
	}
}

// over tells that both directions have ended: neither leg can be written to any more.
func (r *record) over() bool { return !r.legs[client].takes() && !r.legs[backend].takes() }

// session is a record with its name.
type session struct {
	id ID
	*record
}
