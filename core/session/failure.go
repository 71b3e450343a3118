package session

import (
	"errors"
	"fmt"
)

// Reasons of an end that no package below has a word for.
const (
	clientLeft  = "client left"
	clientBroke = "client tls" // it broke the rules of TLS, or refused by an alert
	clientStuck = "client does not read"
	noResources = "resources"
)

// Phase is where in reaching a backend something failed; a closed set for logs and labels.
type Phase string

// The phases.
const (
	PhaseNone     Phase = ""
	PhaseResolve  Phase = "resolve"
	PhaseConnect  Phase = "connect"
	PhaseTLS      Phase = "tls"
	PhaseGreeting Phase = "greeting"
	PhaseAuth     Phase = "auth"
	PhaseRelay    Phase = "relay"
)

// Failure is why a backend gave no verdict.
type Failure struct {
	Phase Phase
	// HostLevel failures mark a destination down by themselves; the others may be one client's fault (SPEC 7).
	HostLevel bool
	// Retryable: another attempt may follow (SPEC 2.1, backend_connect_retries).
	Retryable bool
	Err       error
}

func (f *Failure) Error() string { return fmt.Sprintf("backend failed (%s): %v", f.Phase, f.Err) }

// Unwrap is the cause.
func (f *Failure) Unwrap() error { return f.Err }

var (
	errTooManyLogins = errors.New("too many logins in flight at the destination")
	errHeld          = errors.New("an administrator holds the account")
	errDown          = errors.New("destination is down")
	errLoop          = errors.New("forwarding loop: no hops left")
	errNoDestination = errors.New("destination is not configured")
	errWrongService  = errors.New("destination does not offer the protocol")
	errUnfitLeg      = errors.New("credentials must not go over this leg: not encrypted and allow_plaintext_auth is off")
	errPanic         = errors.New("a bug, see the log")
	errClosing       = errors.New("the process is closing")
	errClosedEarly   = errors.New("backend closed the connection")
	errNoAnswer      = errors.New("client gave no answer to the backend's challenge in time")
)
