package session

import (
	"errors"
	"fmt"
	"time"

	"mailsplice/core/metrics"
	"mailsplice/tlsx"
)

// secure encrypts the backend leg. rest is what was read and not consumed: behind the go-ahead to STARTTLS there must be
// nothing, or the backend, or somebody between us, has said in the clear what would count as said inside TLS (SECURITY 6).
func (c *conversation) secure(rest []byte) error {
	if c.leg.Mode == StartTLS {
		if err := tlsx.CheckQuiet(c.g.park.FD(), rest); err != nil {
			return &Failure{Phase: PhaseTLS, Err: fmt.Errorf("starting TLS: %w", err)}
		}
	}
	s := c.a.lobby.s
	start := time.Now()
	taken, err := c.policy.Handshake(c.g.park, c.deadline)
	s.o.Metrics.Phase(metrics.PhaseBackendTLS, time.Since(start))
	if err != nil {
		return c.insecure(err)
	}
	s.tookOver(taken)
	c.g.suite = taken.Facts.Suite
	c.g.stream = tlsx.NewStream(c.g.park, taken, c.d.Name)
	return nil
}

// insecure classes a failed handshake. That a backend takes too long is the host's failure; the rest may be between it and
// this client (SPEC 7). A certificate that is not accepted is never tried again (SPEC 2.1).
func (c *conversation) insecure(err error) *Failure {
	f := &Failure{Phase: PhaseTLS, Err: err}
	var failed *tlsx.Error
	if errors.As(err, &failed) {
		f.HostLevel = failed.Cause == tlsx.CauseTimeout
		f.Retryable = !c.sent && (failed.Cause == tlsx.CauseTimeout || failed.Cause == tlsx.CauseClosed)
	}
	return f
}
