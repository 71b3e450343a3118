package load

import (
	"time"

	"mailsplice/bench/measure"
)

// OpenArgs ask for more sessions that have logged in; the process keeps them.
type OpenArgs struct {
	Target
	First, Count int // numbers of the sessions
	AtOnce       int // logins in progress
	Idle         bool
}

// LoginArgs ask for logins whose sessions end at once.
type LoginArgs struct {
	Target
	First, Count int
	AtOnce       int
	Resume       bool          // TLS sessions are resumed, all but the first of each of AtOnce workers
	For          time.Duration // end earlier; 0: when all are done
}

// PreauthArgs ask for connections that do not log in; the process keeps them.
type PreauthArgs struct {
	Target
	First, Count int
	AtOnce       int
	Silent       bool // not even TLS
}

// PingArgs ask for NOOP round trips on the first sessions.
type PingArgs struct {
	Sessions int           // how many of them
	AtOnce   int           // round trips in progress; each worker goes round its share of the sessions
	Every    time.Duration // of each session; 0: the next one as soon as one is over
	For      time.Duration
}

// BulkArgs ask for bytes on the first sessions, all at once.
type BulkArgs struct {
	Streams int
	Bytes   int64 // of each stream
	Up      bool  // towards the backend
}

// FloodArgs ask for handshakes that are given up when the server has done its part.
type FloodArgs struct {
	Target
	First  int
	AtOnce int
	For    time.Duration
}

// SweepArgs make every idle session end its IDLE, do a NOOP, and begin to idle again.
type SweepArgs struct {
	AtOnce int // sessions at work
}

// AwaitArgs make all idle sessions wait for a line "* OK pushed N", N its time of departure in Unix nanoseconds.
type AwaitArgs struct{ Within time.Duration }

// FollowArgs make all sessions wait for their end, log in again, and say where they landed.
type FollowArgs struct {
	Target
	First  int // number of the first session that the process holds
	Within time.Duration
}

// Reply is what became of a call. Failures do not end a call; the first is told.
type Reply struct {
	Done, Failed int
	Error        string // of the first failure
	Resumed      int    // of Done
	Agreed       int    // of Done: with the Suite of the Target, and X25519; only logins count it
	Bytes        int64
	Took         time.Duration
	Latency      measure.Histogram
	Homes        map[string]int // sessions by the backend they are on
}

// Merge adds another process's reply; they ran at the same time.
func (r *Reply) Merge(o Reply) {
	r.Done, r.Failed, r.Resumed, r.Bytes = r.Done+o.Done, r.Failed+o.Failed, r.Resumed+o.Resumed, r.Bytes+o.Bytes
	r.Agreed += o.Agreed
	r.Took = max(r.Took, o.Took)
	r.Latency.Merge(o.Latency)
	if r.Error == "" {
		r.Error = o.Error
	}
	for home, n := range o.Homes {
		if r.Homes == nil {
			r.Homes = map[string]int{}
		}
		r.Homes[home] += n
	}
}
