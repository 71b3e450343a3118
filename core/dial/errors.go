package dial

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Phase says how far a dial came.
type Phase uint8

// The phases.
const (
	PhaseResolve Phase = iota + 1
	PhaseConnect
)

// String is the name used in logs and metric labels.
func (p Phase) String() string {
	switch p {
	case PhaseResolve:
		return "resolve"
	case PhaseConnect:
		return "connect"
	}
	return "unknown"
}

// Scope says whose failure it is, for the health of the destination (SPEC 7).
type Scope uint8

// The scopes.
const (
	// ScopeNone: not the destination's. The proxy lacks descriptors or source ports, the dial would have led to itself, or
	// the caller gave up.
	ScopeNone Scope = iota
	// ScopeHost: the host could not be resolved, reached, or not in time.
	ScopeHost
)

// ErrOwnListener: the target is the proxy itself (SPEC 2.11). Someone must act.
var ErrOwnListener = errors.New("address is a listener of this proxy")

var (
	errTimeout   = errors.New("timeout")
	errNoAddress = errors.New("no address")

	errClosed       = errors.New("dialer is closed")
	errTooManyNames = errors.New("too many names are being resolved")
)

// Error is why a Dial failed.
type Error struct {
	Phase       Phase  // the furthest that any address came
	Scope       Scope  // ScopeHost if any failure was the host's
	Retryable   bool   // a further attempt may succeed (SPEC 2.1, backend_connect_retries)
	Destination string // Target.Destination
	Addr        string // the host or address that was tried last
	Err         error  // what happened to each of them
}

// Error names phase, destination and each address.
func (e *Error) Error() string {
	doing := "connecting to"
	if e.Phase == PhaseResolve {
		doing = "resolving"
	}
	return fmt.Sprintf("%s destination %q: %v", doing, e.Destination, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// localError is a failure on our side of the network.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// local tells whether a failure says nothing about the host.
func local(err error) bool {
	var l *localError
	return errors.As(err, &l) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, ErrOwnListener) ||
		errors.Is(err, context.Canceled)
}

// attempts gathers what went wrong in one Dial.
type attempts struct {
	worst Error
	joint error
}

func (a *attempts) add(p Phase, addr string, err error) {
	a.worst.Phase = max(a.worst.Phase, p)
	a.worst.Addr = addr
	if !local(err) {
		a.worst.Scope = ScopeHost
	}
	err = fmt.Errorf("%s: %w", addr, err)
	if a.joint != nil {
		err = fmt.Errorf("%w; %w", a.joint, err)
	}
	a.joint = err
}

// sum makes one error of all. A caller who gave up has learnt nothing about the host.
func (a *attempts) sum(ctx context.Context, destination string) error {
	e := a.worst
	e.Destination, e.Err, e.Retryable = destination, a.joint, true
	if e.Err == nil {
		e.Phase, e.Err = PhaseResolve, errNoAddress
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		e.Scope, e.Retryable = ScopeNone, false
	}
	if errors.Is(e.Err, ErrOwnListener) {
		e.Scope, e.Retryable = ScopeNone, false
	}
	return &e
}
