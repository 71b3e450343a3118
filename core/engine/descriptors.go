package engine

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// reserveFDs are left for what is not a session: listeners, loops, logs, stores, DNS and the admin API.
const reserveFDs = 256

// descriptors accounts for the process's open files, so that accepting stops before a login's dial would meet EMFILE.
type descriptors struct {
	limit   int64
	open    atomic.Int64 // session sockets open now, lingering ones too
	pending atomic.Int64 // sessions whose backend socket is still to come
	pipes   atomic.Int64 // ends of pipes open now; they outlive sessions
	spots   atomic.Int64 // open now, idle ones too
}

// RaiseFileLimit raises the soft limit of open files to the hard one and returns it (getrlimit(2)).
func RaiseFileLimit() (int, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	if r.Cur < r.Max {
		r.Cur = r.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
			return 0, fmt.Errorf("raising the limit of open files: %w", err)
		}
	}
	return int(r.Cur), nil
}

func (d *descriptors) opened(n int64) { d.open.Add(n) }
func (d *descriptors) closed(n int64) { d.open.Add(-n) }

// room tells whether one more session, with the backend socket it will want, fits.
func (d *descriptors) room() bool {
	return d.open.Load()+d.pending.Load()+d.pipes.Load()+d.spots.Load()+2 <= d.limit-reserveFDs
}
