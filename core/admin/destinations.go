package admin

import (
	"log/slog"
	"net/http"

	"mailsplice/core/logx"
)

type destinationsShown struct {
	Destinations []destinationShown `json:"destinations"`
}

type destinationShown struct {
	Destination         string `json:"destination"`
	ConsecutiveFailures int    `json:"consecutive_failures"`
	FailureSources      int    `json:"failure_sources" about:"Client addresses that the failures came from."`
	HostLevelFailure    bool   `json:"host_level_failure"`
	Down                bool   `json:"down"`
	DownForSeconds      int64  `json:"down_for_s" about:"Since it is down, cooldowns that passed included."`
	Sessions            int    `json:"sessions"`
}

func (s *Server) showDestinations(*request) (any, error) {
	shown := destinationsShown{Destinations: []destinationShown{}}
	for _, d := range s.o.Destinations.Snapshot() {
		shown.Destinations = append(shown.Destinations, destinationShown{d.Name, d.Failures, d.Sources, d.HostFail, d.Down,
			int64(d.DownFor.Seconds()), d.Sessions})
	}
	return shown, nil
}

type destinationReset struct {
	Destination string `json:"destination"`
	Reset       bool   `json:"reset"`
}

func (s *Server) resetDestination(r *request) (any, error) {
	name := r.query["destination"]
	if !s.o.Destinations.Reset(name) {
		return nil, statusError{http.StatusNotFound, undeclared(name)}
	}
	r.notes = append(r.notes, slog.String(logx.Destination, name))
	return destinationReset{name, true}, nil
}

type configReloaded struct {
	Reloaded      bool     `json:"reloaded"`
	RestartNeeded []string `json:"restart_needed" about:"Keys that are different now and take a restart."`
}

func (s *Server) reloadConfig(r *request) (any, error) {
	keys, err := s.o.ReloadConfig(r.Context())
	if err != nil {
		return nil, err
	}
	return configReloaded{true, append([]string{}, keys...)}, nil
}
