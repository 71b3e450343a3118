package dial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// minShare is what every address gets of an attempt (SPEC 2.1, backend_timeout), as long as there is time at all.
	minShare = time.Second
	// maxAddrs bounds the addresses of one host that are tried; more of them could not have minShare each anyway.
	maxAddrs = 16
)

// Conn is a socket lent to the calling goroutine, which alone uses it, but for Interrupt.
type Conn interface {
	// FD is the descriptor, for system calls that do not block; the Conn goes on owning it.
	FD() int
	// SetDeadline bounds later waits, which then fail with os.ErrDeadlineExceeded; zero lifts the bound.
	SetDeadline(time.Time)
	// WaitWrite waits until the socket can be written or has failed.
	WaitWrite() error
	// Interrupt ends a wait and makes later ones fail. Any goroutine may call it at any time.
	Interrupt()
	Close() error
}

// Waiter lends sockets while a loop watches them. C is its own kind of Conn, which Dial returns.
type Waiter[C Conn] interface {
	// Adopt owns fd from now on; on an error it has closed it.
	Adopt(fd int) (C, error)
}

// Target is what a destination offers for one protocol. Immutable.
type Target struct {
	Destination string   // for errors
	Hosts       []string // names or addresses, tried in order; at least one
	Port        uint16
	Sources     *Sources // nil: the kernel chooses
}

// Options are the settings of a Dialer.
type Options struct {
	// Own tells whether an address is one of the proxy's own listeners, to which nothing is ever dialled (SPEC 2.11);
	// nil: none is. It may be called at any time by many goroutines.
	Own func(netip.AddrPort) bool
	// Resolve finds the addresses of a name in the order in which they are to be tried; nil: the system's configuration,
	// by Go's resolver. It returns soon after ctx has ended.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	Logger  *slog.Logger // nil: nobody
}

// Dialer holds what dials share: the DNS cache and counters. It is safe for concurrent use.
type Dialer struct {
	own   func(netip.AddrPort) bool
	names *names

	dials, sourceBusy atomic.Uint64
}

// New makes a Dialer. Close gives back what it holds.
func New(o Options) *Dialer {
	d := &Dialer{own: o.Own}
	if d.own == nil {
		d.own = func(netip.AddrPort) bool { return false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d.names = newNames(o.Resolve, o.Logger)
	return d
}

// Close ends the DNS look-ups under way and waits for them. Later dials of names fail.
func (d *Dialer) Close() { d.names.close() }

// Stats are counts since the start.
type Stats struct {
	Dials             uint64 // connects begun, one for each address and source address tried
	SourceUnavailable uint64 // connects that a source address could not serve (EADDRNOTAVAIL)
	Lookups           uint64 // DNS look-ups begun
	LookupErrors      uint64
	StaleAnswers      uint64 // dials that used an old DNS answer since a new one could not be had
}

// Stats reads the counters.
func (d *Dialer) Stats() Stats {
	return Stats{
		Dials: d.dials.Load(), SourceUnavailable: d.sourceBusy.Load(),
		Lookups: d.names.lookups.Load(), LookupErrors: d.names.errors.Load(), StaleAnswers: d.names.stale.Load(),
	}
}

// Reached is what took a connection.
type Reached struct {
	Addr netip.AddrPort
	Host int // index in Target.Hosts
}

// Dial connects to the first address of the target that takes the connection, and says which one it was. The Conn has
// no deadline set. Errors are of type *Error. When ctx ends, Dial does.
func Dial[C Conn](ctx context.Context, d *Dialer, w Waiter[C], t Target) (C, Reached, error) {
	var none C
	var tried attempts
	for i, host := range t.Hosts {
		addrs, err := d.addresses(ctx, host, t.Port)
		if err != nil {
			tried.add(PhaseResolve, host, err)
		}
		for j, addr := range addrs {
			left := len(addrs) - j + len(t.Hosts) - i - 1 // hosts not yet resolved count as one address each
			conn, err := connect(ctx, d, w, t.Sources, addr, share(ctx, left))
			if err == nil {
				return conn, Reached{addr, i}, nil
			}
			tried.add(PhaseConnect, addr.String(), err)
			if ctx.Err() != nil {
				break
			}
		}
		if ctx.Err() != nil || errors.Is(err, ErrOwnListener) {
			break
		}
	}
	return none, Reached{}, tried.sum(ctx, t.Destination)
}

// addresses resolves a host. One of our own listeners among the addresses spoils them all: this is no backend.
func (d *Dialer) addresses(ctx context.Context, host string, port uint16) ([]netip.AddrPort, error) {
	ips, err := d.names.find(ctx, host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		addr := netip.AddrPortFrom(ip, port)
		if d.own(addr) {
			return nil, fmt.Errorf("%s: %w", addr, ErrOwnListener)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// share ends the time of the next of n addresses: an equal part of what is left, at least minShare, never more than is
// left. Zero: no end.
func share(ctx context.Context, n int) time.Time {
	end, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	now := time.Now()
	part := max(end.Sub(now)/time.Duration(max(n, 1)), minShare)
	if by := now.Add(part); by.Before(end) {
		return by
	}
	return end
}

// connect connects to one address until the deadline, from each source address of its family until one is free.
func connect[C Conn](ctx context.Context, d *Dialer, w Waiter[C], s *Sources, to netip.AddrPort, by time.Time) (C, error) {
	from, n := s.next(to.Addr())
	err := error(unix.EADDRNOTAVAIL)
	for i := 0; i < max(n, 1) && errors.Is(err, unix.EADDRNOTAVAIL); i++ {
		var conn C
		d.dials.Add(1)
		if conn, err = connectFrom(ctx, w, from(i), to, by); err == nil {
			return conn, nil
		}
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			d.sourceBusy.Add(1)
		}
	}
	var none C
	return none, err
}

// connectFrom makes one socket and connects it. On an error it is closed.
func connectFrom[C Conn](ctx context.Context, w Waiter[C], from netip.Addr, to netip.AddrPort, by time.Time) (C, error) {
	var none C
	fd, err := begin(from, to)
	if err != nil {
		return none, err
	}
	conn, err := w.Adopt(fd)
	if err != nil {
		return none, &localError{err}
	}
	conn.SetDeadline(by)
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(interrupted); conn.Interrupt() })
	err = finish(conn)
	if !stop() {
		<-interrupted // the Conn must not be closed, or handed out, under it
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return none, err
	}
	conn.SetDeadline(time.Time{})
	return conn, nil
}

// finish waits for the end of a non-blocking connect(2). A peer that can be named is the end of it; else the socket knows
// why, or was woken too early.
func finish(c Conn) error {
	for {
		if err := c.WaitWrite(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return errTimeout
			}
			return err
		}
		peer, err := syscall.Getpeername(c.FD()) // x/sys/unix asks the socket a second question each time
		switch {
		case err == nil:
			return checkSelf(c.FD(), peer)
		case err != unix.ENOTCONN:
			return os.NewSyscallError("getpeername", err)
		}
		errno, err := unix.GetsockoptInt(c.FD(), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			return os.NewSyscallError("getsockopt", err)
		case errno != 0:
			return os.NewSyscallError("connect", unix.Errno(errno))
		}
	}
}
