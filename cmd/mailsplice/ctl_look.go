package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (f *ctlFlags) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Figures of the proxy: sessions, logins, cache", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.one(cmd, call{method: http.MethodGet, path: "/stats"}, showStatus)
		},
	}
}

// stats are the figures of GET /stats that are shown with words of their own.
type stats struct {
	CacheHits   uint64  `json:"cache_hits"`
	CacheMisses uint64  `json:"cache_misses"`
	HitRate     float64 `json:"hit_rate_pct"`
	Entries     int     `json:"cache_entries"`
	Sessions    int     `json:"active_connections"`
	Preauth     int     `json:"preauth_connections"`
	Logins      int     `json:"logins_in_progress"`
	Uptime      int64   `json:"uptime_s"`
	Draining    bool    `json:"draining"`
}

func (s *stats) state() string {
	if s.Draining {
		return "draining"
	}
	return "serving"
}

func showStatus(w io.Writer, raw json.RawMessage) error {
	s, err := decode[stats](raw)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("state", s.state()+", up "+span(time.Duration(s.Uptime)*time.Second))
	t.row("sessions", strconv.Itoa(s.Sessions))
	t.row("before login", strconv.Itoa(s.Preauth))
	t.row("logins in progress", strconv.Itoa(s.Logins))
	t.row("cache", fmt.Sprintf("%.2f %% of %d look-ups, %d entries", s.HitRate, s.CacheHits+s.CacheMisses, s.Entries))
	for _, x := range extras(raw, "cache_hits", "cache_misses", "hit_rate_pct", "cache_entries", "active_connections", "preauth_connections",
		"logins_in_progress", "uptime_s", "draining") {
		t.row(strings.ReplaceAll(x.name, "_", " "), x.value)
	}
	return t.flush()
}

func (f *ctlFlags) destinationsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "destinations", Short: "Health of every destination", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.one(cmd, call{method: http.MethodGet, path: "/destinations"}, showDestinations)
		},
	}
	c.AddCommand(&cobra.Command{
		Use: "reset DESTINATION", Short: "Forget a destination's failures: logins try it again at once", Args: cobra.ExactArgs(1),
		ValidArgsFunction: f.completeDestination(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			k := call{method: http.MethodPost, path: "/destinations/reset", query: params{"destination", args[0]}}
			return f.one(cmd, k, sentence("%s: failures forgotten", args[0], "destination", "reset"))
		},
	})
	return c
}

// destination is one of GET /destinations.
type destination struct {
	Name      string  `json:"destination"`
	Failures  int     `json:"consecutive_failures"`
	Sources   int     `json:"failure_sources"`
	HostLevel bool    `json:"host_level_failure"`
	Down      bool    `json:"down"`
	DownFor   float64 `json:"down_for_s"`
	Sessions  int     `json:"sessions"`
}

type destinationList struct {
	Destinations []destination `json:"destinations"`
}

func showDestinations(w io.Writer, raw json.RawMessage) error {
	list, err := decode[destinationList](raw)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("DESTINATION", "STATE", "SESSIONS", "FAILURES IN A ROW")
	for _, d := range list.Destinations {
		t.row(d.Name, d.state(), strconv.Itoa(d.Sessions), d.failures())
	}
	return t.flush()
}

func (d *destination) state() string {
	if d.Down {
		return "DOWN for " + span(time.Duration(d.DownFor*float64(time.Second)))
	}
	return "up"
}

func (d *destination) failures() string {
	if d.Failures == 0 {
		return "0"
	}
	text := fmt.Sprintf("%d, from %d client addresses", d.Failures, d.Sources)
	if d.HostLevel {
		text += ", the host itself failed"
	}
	return text
}

func (f *ctlFlags) sessionsCommand() *cobra.Command {
	var destination string
	var limit int
	c := &cobra.Command{
		Use: "sessions [IDENTIFIER]", Short: "Live sessions, of all or of one account", Args: cobra.MaximumNArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			q := params{"identifier", argument(args, 0), "destination", destination, "limit", strconv.Itoa(limit)}
			return f.one(cmd, call{method: http.MethodGet, path: "/connections", query: q}, showSessions)
		},
	}
	c.Flags().StringVar(&destination, "destination", "", "only those of this destination")
	c.Flags().IntVar(&limit, "limit", 100, "most sessions to list")
	f.completeFlag(c, "destination")
	return c
}

// session is one of GET /connections.
type session struct {
	ID          string    `json:"id"`
	Identifier  string    `json:"identifier"`
	Protocol    string    `json:"protocol"`
	Destination string    `json:"destination"`
	Client      string    `json:"client"`
	Since       time.Time `json:"since"`
	In          uint64    `json:"bytes_in"`
	Out         uint64    `json:"bytes_out"`
	ClientTLS   string    `json:"client_tls"`
	Master      bool      `json:"master"`
}

func showSessions(w io.Writer, raw json.RawMessage) error {
	list, err := decode[struct {
		Connections []session `json:"connections"`
		Total       int       `json:"total"`
	}](raw)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("ID", "ACCOUNT", "PROTOCOL", "DESTINATION", "CLIENT", "SINCE", "IN", "OUT", "CLIENT TLS")
	for _, s := range list.Connections {
		account := s.Identifier
		if s.Master {
			account += " (master user)"
		}
		t.row(s.ID, account, s.Protocol, s.Destination, s.Client, s.Since.Local().Format(time.DateTime), bytesText(float64(s.In)), bytesText(float64(s.Out)), s.ClientTLS)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%d of %d sessions\n", len(list.Connections), max(list.Total, len(list.Connections)))
	return err
}

func (f *ctlFlags) routeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "route IDENTIFIER", Short: "Where the next login of an account goes", Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.one(cmd, call{method: http.MethodGet, path: "/mappings", query: params{"identifier", args[0]}}, showRoute)
		},
	}
}

func showRoute(w io.Writer, raw json.RawMessage) error {
	m, err := decode[struct {
		Normalized  string `json:"normalized"`
		Destination string `json:"destination"`
		Default     bool   `json:"routed_to_default"`
		Cached      bool   `json:"cached"`
	}](raw)
	if err != nil {
		return err
	}
	why := "mapped"
	if m.Default {
		why = "no mapping, so the default destination"
	}
	if m.Cached {
		why += "; cached"
	}
	_, err = fmt.Fprintf(w, "%s -> %s (%s)\n", clean(m.Normalized), clean(m.Destination), why)
	return err
}
