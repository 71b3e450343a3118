package admin

import "fmt"

type mappingShown struct {
	Identifier      string `json:"identifier"`
	Normalized      string `json:"normalized"`
	Destination     string `json:"destination"`
	RoutedToDefault bool   `json:"routed_to_default"`
	Cached          bool   `json:"cached"`
}

func (s *Server) showMapping(r *request) (any, error) {
	id, err := r.identifier()
	if err != nil {
		return nil, err
	}
	m, err := s.o.Mappings.Peek(r.Context(), id)
	if err != nil {
		return nil, err
	}
	return mappingShown{id, m.Normalized, m.Destination, m.Default, m.Cached}, nil
}

type mappingPut struct {
	Identifier  string `json:"identifier"`
	Normalized  string `json:"normalized"`
	Destination string `json:"destination"`
	Kicked      *int   `json:"kicked,omitempty"` // only when asked for
}

func (s *Server) putMapping(r *request) (any, error) {
	id, err := r.identifier()
	if err != nil {
		return nil, err
	}
	destination, err := r.query.required("destination")
	if err != nil {
		return nil, badRequest(err)
	}
	kick, err := r.query.flag("kick", false)
	if err != nil {
		return nil, badRequest(err)
	}
	if !s.o.Mappings.Declared(destination) {
		return nil, badRequest(fmt.Errorf("no destination %q is configured", destination))
	}
	if err := s.o.Mappings.Put(r.Context(), id, destination); err != nil {
		return nil, err
	}
	stored, account := s.o.Mappings.Normalize(id)
	put := mappingPut{Identifier: id, Normalized: stored, Destination: destination}
	if kick {
		n := s.o.Sessions.Kick(Kick{Account: account})
		put.Kicked = &n
	}
	return put, nil
}

type mappingDeleted struct {
	Identifier string `json:"identifier"`
	Normalized string `json:"normalized"`
	Existed    bool   `json:"existed"`
}

func (s *Server) deleteMapping(r *request) (any, error) {
	id, err := r.identifier()
	if err != nil {
		return nil, err
	}
	existed, err := s.o.Mappings.Delete(r.Context(), id)
	if err != nil {
		return nil, err
	}
	stored, _ := s.o.Mappings.Normalize(id)
	return mappingDeleted{id, stored, existed}, nil
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

// identifier is the one the call is about, remembered for the log.
func (r *request) identifier() (string, error) {
	id, err := r.query.identifier()
	if err != nil {
		return "", badRequest(err)
	}
	r.account = id
	return id, nil
}
