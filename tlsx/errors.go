package tlsx

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"

	"mailsplice/tlsx/record"
)

// Cause is why a handshake failed; a closed set for metric labels and for what may be tried again.
type Cause uint8

// The causes. SPEC 2.1: after CauseClosed and CauseTimeout a further attempt may follow, after CauseCertificate never.
const (
	CauseProtocol    Cause = iota + 1 // no TLS, rules broken, or nothing in common (version, suite, ALPN)
	CauseCertificate                  // the backend's certificate was not accepted: pin, chain, name or validity
	CauseAlert                        // the peer refused, by an alert
	CauseClosed                       // the connection ended or was interrupted
	CauseTimeout                      // the deadline passed
	CauseBusy                         // no slot: ours, not the peer's
)

// String is the name used in logs and metric labels.
func (c Cause) String() string {
	switch c {
	case CauseProtocol:
		return "protocol"
	case CauseCertificate:
		return "certificate"
	case CauseAlert:
		return "alert"
	case CauseClosed:
		return "closed"
	case CauseTimeout:
		return "timeout"
	case CauseBusy:
		return "busy"
	}
	return "unknown"
}

// Error is why a handshake failed. It holds no secret and no byte of the connection but protocol names, quoted.
type Error struct {
	Cause Cause
	With  string // whom: "client", or `backend "name"`
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("TLS handshake with %s: %v", e.With, e.Err) }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// newError classifies what crypto/tls returned. What happened to the socket comes first, since crypto/tls may have worded
// it anew.
func newError(with string, w *wire, err error) *Error {
	e := &Error{Cause: CauseProtocol, With: with, Err: err}
	if w.fail != nil {
		e.Err = w.fail
	}
	var certificate *CertificateError
	switch {
	case errors.Is(w.fail, errBusy):
		e.Cause = CauseBusy
	case errors.Is(w.fail, os.ErrDeadlineExceeded):
		e.Cause = CauseTimeout
	case w.fail != nil:
		e.Cause = CauseClosed
	case errors.As(err, &certificate):
		e.Cause = CauseCertificate
	case remote(err):
		e.Cause = CauseAlert
	default:
		e.Err = plain(err)
	}
	return e
}

// remote reports whether err is an alert of the peer, as crypto/tls or as our own record layer has it.
func remote(err error) bool {
	var op *net.OpError
	var alert record.PeerAlert
	return errors.As(err, &alert) || errors.As(err, &op) && op.Op == "remote error"
}

// plain rids an error of the connection that crypto/tls puts in.
func plain(err error) error {
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		return errors.New(header.Msg)
	}
	return err
}
