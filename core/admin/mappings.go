package admin

import (
	"fmt"
	"log/slog"
	"time"

	"mailsplice/core/logx"
)

type mappingShown struct {
	Identifier      string `json:"identifier"`
	Normalized      string `json:"normalized"`
	Destination     string `json:"destination"`
	RoutedToDefault bool   `json:"routed_to_default"`
	Cached          bool   `json:"cached"`
}

func (s *Server) showMapping(r *request) (any, error) {
	m, err := s.o.Mappings.Peek(r.Context(), r.account)
	if err != nil {
		return nil, err
	}
	return mappingShown{r.account, m.Normalized, m.Destination, m.Default, m.Cached}, nil
}

type mappingPut struct {
	Identifier  string `json:"identifier"`
	Normalized  string `json:"normalized"`
	Destination string `json:"destination"`
	Kicked      *int   `json:"kicked,omitempty"` // only when asked for
}

func (s *Server) putMapping(r *request) (any, error) {
	destination := r.query["destination"]
	if !s.o.Mappings.Declared(destination) {
		return nil, badRequest(undeclared(destination))
	}
	r.notes = append(r.notes, slog.String(logx.Destination, destination))
	if err := s.o.Mappings.Put(r.Context(), r.account, destination); err != nil {
		return nil, err
	}
	stored, account := s.o.Mappings.Normalize(r.account)
	put := mappingPut{Identifier: r.account, Normalized: stored, Destination: destination}
	if r.query["kick"] == "true" {
		n := s.o.Sessions.Kick(Kick{Account: account})
		put.Kicked = &n
	}
	return put, nil
}

func undeclared(destination string) error {
	return fmt.Errorf("no destination %q is configured", destination)
}

type mappingDeleted struct {
	Identifier string `json:"identifier"`
	Normalized string `json:"normalized"`
	Existed    bool   `json:"existed"`
}

func (s *Server) deleteMapping(r *request) (any, error) {
	existed, err := s.o.Mappings.Delete(r.Context(), r.account)
	if err != nil {
		return nil, err
	}
	stored, _ := s.o.Mappings.Normalize(r.account)
	return mappingDeleted{r.account, stored, existed}, nil
}

type reloaded struct {
	Reloaded bool `json:"reloaded"`
	Added    *int `json:"added,omitempty"`
	Changed  *int `json:"changed,omitempty"`
	Removed  *int `json:"removed,omitempty"`
}

func (s *Server) reloadMappings(r *request) (any, error) {
	n, err := s.o.Mappings.Reload(r.Context())
	if err != nil || !n.Reloaded {
		return reloaded{}, err
	}
	return reloaded{true, &n.Added, &n.Changed, &n.Removed}, nil
}

type unmappedShown struct {
	Unmapped []unmappedEntry `json:"unmapped"`
}

type unmappedEntry struct {
	Identifier string `json:"identifier"`
	Seen       string `json:"seen" format:"date-time"`
}

func (s *Server) showUnmapped(*request) (any, error) {
	shown := unmappedShown{Unmapped: []unmappedEntry{}}
	for _, u := range s.o.Unmapped() {
		shown.Unmapped = append(shown.Unmapped, unmappedEntry{u.Identifier, stamp(u.Seen)})
	}
	return shown, nil
}

// stamp writes a time as the API shows it, RFC 3339 in UTC.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

type invalidated struct {
	Identifier string `json:"identifier,omitempty"`
	Normalized string `json:"normalized,omitempty"`
	All        bool   `json:"all"`
}

func (s *Server) invalidate(r *request) (any, error) {
	if r.account == "" {
		s.o.Mappings.InvalidateAll()
		return invalidated{All: true}, nil
	}
	s.o.Mappings.Invalidate(r.account)
	stored, _ := s.o.Mappings.Normalize(r.account)
	return invalidated{Identifier: r.account, Normalized: stored}, nil
}

// counted notes for the log how many the call was about.
func (r *request) counted(n int) { r.notes = append(r.notes, slog.Int(logx.Count, n)) }
