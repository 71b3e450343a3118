package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mailsplice/core/logx"
)

// Bounds of GET /connections. The whole answer is in memory, 400 bytes for a session.
const (
	defaultListed = 1000
	maxListed     = 10_000
	limitAbout    = "How many to list at most. Default 1000; more than 10000 counts as 10000; 0 only counts."
)

type connectionsShown struct {
	Connections []connectionShown `json:"connections"`
	Total       int               `json:"total"`
}

type connectionShown struct {
	ID          string `json:"id"`
	Identifier  string `json:"identifier"`
	Protocol    string `json:"protocol"`
	Listener    string `json:"listener"`
	Destination string `json:"destination"`
	Client      string `json:"client"`
	Since       string `json:"since" format:"date-time"`
	BytesIn     uint64 `json:"bytes_in" about:"From the client."`
	BytesOut    uint64 `json:"bytes_out" about:"To the client."`
	ClientTLS   string `json:"client_tls" about:"Version and cipher suite; empty without TLS."`
	BackendTLS  string `json:"backend_tls" about:"Version and cipher suite; empty without TLS."`
	Lane        string `json:"lane"`
	Master      bool   `json:"master" about:"A master user logged in for the account."`
}

func (s *Server) showConnections(r *request) (any, error) {
	f := Filter{Destination: r.query["destination"]}
	if r.account != "" {
		_, f.Account = s.o.Mappings.Normalize(r.account)
	}
	list, total, err := s.o.Connections.List(r.Context(), f, int(r.query.number("limit", defaultListed, maxListed)))
	if err != nil {
		return nil, err
	}
	shown := connectionsShown{Connections: make([]connectionShown, 0, len(list)), Total: total}
	for _, c := range list {
		shown.Connections = append(shown.Connections, connectionShown{c.ID, c.Account, c.Protocol, c.Listener, c.Destination, c.Client.String(),
			stamp(c.Since), c.BytesIn, c.BytesOut, c.ClientTLS, c.BackendTLS, c.Lane, c.Master})
	}
	return shown, nil
}

const kickAbout = "Ends sessions and logins in progress of an account, of a destination, or of an account at a destination. With a rate the " +
	"answer comes at once and counts those that will be ended: the ones there are now, none that begins later. A second call with " +
	"the same selection and a rate takes the place of the first; at most 16 are under way. They end with the process."

type kicked struct {
	Kicked int `json:"kicked"`
}

func (s *Server) kick(r *request) (any, error) {
	k := Kick{Destination: r.query["destination"], SpareMasters: r.query["master"] == "false"}
	if r.account != "" {
		_, k.Account = s.o.Mappings.Normalize(r.account)
	}
	if k.Destination != "" {
		r.notes = append(r.notes, slog.String(logx.Destination, k.Destination))
	}
	if k.Account == "" && k.Destination == "" {
		return nil, badRequest(errors.New(`missing parameter "identifier" or "destination"`))
	}
	n, err := s.end(k, int(r.query.number("rate", 0, maxRate)))
	if err != nil {
		return nil, err
	}
	r.counted(n)
	return kicked{n}, nil
}

// end kicks at once, or at so many a second.
func (s *Server) end(k Kick, rate int) (int, error) {
	if rate == 0 {
		return s.o.Sessions.Kick(k), nil
	}
	return s.pacer.start(k, rate)
}

const (
	maxDelaySeconds = 300    // SPEC 8; clients give up at about that
	maxHoldSeconds  = 86_400 // SPEC 8: a day
)

type delayed struct {
	Identifier string `json:"identifier"`
	Seconds    int    `json:"seconds" about:"What holds, after clamping."`
	Clamped    bool   `json:"clamped"`
}

func (s *Server) delay(r *request) (any, error) {
	n := r.query.number("seconds", 0, maxDelaySeconds+1)
	clamped := n > maxDelaySeconds
	n = min(n, maxDelaySeconds)
	_, account := s.o.Mappings.Normalize(r.account)
	if err := s.o.Holds.Delay(account, time.Duration(n)*time.Second); err != nil {
		return nil, fmt.Errorf("delaying logins: %w", err)
	}
	return delayed{r.account, int(n), clamped}, nil
}

type held struct {
	Identifier string `json:"identifier"`
	Seconds    int    `json:"seconds"`
}

// hold refuses what it would have to clamp, since whoever asks for two days plans on two days.
func (s *Server) hold(r *request) (any, error) {
	n := r.query.number("seconds", 0, maxHoldSeconds)
	_, account := s.o.Mappings.Normalize(r.account)
	if err := s.o.Holds.Hold(account, time.Duration(n)*time.Second); err != nil {
		return nil, fmt.Errorf("holding logins: %w", err)
	}
	return held{r.account, int(n)}, nil
}
