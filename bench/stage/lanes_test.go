package stage

import (
	"errors"
	"strings"
	"testing"

	"mailsplice/bench/suite"
)

func TestSessionsInLane(t *testing.T) {
	tests := []struct {
		name, line, lane string
		n                int
		ok               bool
	}{
		{"some", `mailsplice_sessions{protocol="imap",destination="b0",lane="conn"} 12`, "conn", 12, true},
		{"none", `mailsplice_sessions{protocol="pop3",destination="b1",lane="record"} 0`, "record", 0, true},
		{"labels in another order", `mailsplice_sessions{lane="plain",protocol="imap"} 3`, "plain", 3, true},
		{"no number", `mailsplice_sessions{protocol="imap",destination="b0",lane="conn"} many`, "conn", 0, false},
		{"a comment", `# TYPE mailsplice_sessions gauge`, "", 0, true},
		{"another gauge", `mailsplice_sessions_per_address{lane="conn"} 12`, "", 0, true},
		{"another label", `mailsplice_sessions{airplane="conn"} 12`, "", 0, true},
		{"nothing", "", "", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lane, n, err := sessionsInLane(tt.line)
			if lane != tt.lane || n != tt.n || (err == nil) != tt.ok {
				t.Errorf("got %q, %d, %v; want %q, %d, ok %v", lane, n, err, tt.lane, tt.n, tt.ok)
			}
		})
	}
}

// Legs without TLS have no suite, also when they are the proxy's own choice.
func TestNoLegForSuite(t *testing.T) {
	for _, o := range []Options{
		{Proxy: Naive{}, Suite: suite.TLS12CBC},
		{Proxy: plainBackend{}, Suite: suite.TLS12GCM, BackendTLS: true},
	} {
		if s, err := Open(t.Context(), o); !errors.Is(err, ErrCannot) || !strings.Contains(err.Error(), "no leg has TLS") {
			t.Errorf("%s: got %v, %v", o.Proxy.Name(), s, err)
		}
	}
}

// plainBackend is as nginx is.
type plainBackend struct{ Naive }

func (plainBackend) PlainBackend() {}
