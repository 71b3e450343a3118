package admin

import (
	"errors"
	"net/http"
)

// call is one row of SPEC 8's table. Gates, document (GET /openapi.json) and tests read the same rows.
type call struct {
	method, path string // path as it is matched, but for the alias
	about        string
	params       []param
	needs        func(*Server) error // what this process may lack: 501
	quiet        bool                // changes nothing: logged at debug
	body         string              // what the body holds, for the document; empty: it is ignored
	maxBody      int64               // in bytes, of a call with a body
	media        string              // of the answer, when that is not JSON
	answer       any                 // zero value of the answer, for the document; nil: not described by one
	also         []int               // statuses beyond those that every call can end in
	do           func(*Server, *request) (any, error)
}

// name is what the log calls it: no identifier is in it.
func (c *call) name() string { return c.method + " " + c.path }

// aliasPath is the kick call with its identifier in the path.
const aliasPath = "/connections/{identifier}"

// Parameters that several calls take.
var (
	identifier     = param{name: "identifier", kind: anIdentifier, required: true, about: "An account. It is normalized, but not cut at master-user separators."}
	anyIdentifier  = param{name: "identifier", kind: anIdentifier, about: identifier.about}
	destination    = param{name: "destination", kind: aName, required: true, about: "A configured destination."}
	anyDestination = param{name: "destination", kind: aName, about: "A destination."}
	kickToo        = param{name: "kick", kind: aFlag, about: "Also end the sessions of what was written. Default false."}
	rate           = param{name: "rate", kind: aNumber, lowest: 1, highest: maxRate, about: "End so many a second, in the background."}
	masters        = param{name: "master", kind: aFlag, about: "false spares sessions of master users. Default true."}
)

// table is the calls behind the token, all but the alias.
var table = []*call{
	{method: http.MethodGet, path: "/openapi.json", about: "This API.", media: jsonMedia, quiet: true, do: (*Server).describe},
	{method: http.MethodGet, path: "/metrics", about: "Figures in Prometheus's text form.", media: metricsMedia, quiet: true, do: (*Server).metrics},
	{method: http.MethodGet, path: "/stats", about: "Figures of cache and sessions.", quiet: true, answer: statsShown{}, do: (*Server).stats},

	{method: http.MethodGet, path: "/destinations", about: "Health and sessions of each destination.", needs: needDestinations, quiet: true,
		answer: destinationsShown{}, do: (*Server).showDestinations},
	{method: http.MethodPost, path: "/destinations/reset", about: "Clears a destination's health state.", params: []param{destination},
		needs: needDestinations, answer: destinationReset{}, also: []int{http.StatusNotFound}, do: (*Server).resetDestination},

	{method: http.MethodGet, path: "/mappings", about: "Where a login of the account would go. It neither fills the cache nor counts.",
		params: []param{identifier}, quiet: true, answer: mappingShown{}, do: (*Server).showMapping},
	{method: http.MethodPut, path: "/mappings", about: "Writes a mapping and invalidates it.", params: []param{identifier, destination, kickToo},
		needs: needWriter, answer: mappingPut{}, do: (*Server).putMapping},
	{method: http.MethodDelete, path: "/mappings", about: "Removes a mapping and invalidates it.", params: []param{identifier},
		needs: needWriter, answer: mappingDeleted{}, do: (*Server).deleteMapping},
	{method: http.MethodPost, path: "/mappings/reload", about: "Reads the mapping source again, all or nothing, where it is a file. The counts are those of identifiers.",
		answer: reloaded{}, do: (*Server).reloadMappings},
	{method: http.MethodGet, path: "/mappings/export", about: "Every mapping, as POST /mappings/bulk takes it. A connection that breaks before the end was a store that failed.",
		needs: needListing, media: tsvMedia, quiet: true, also: []int{http.StatusServiceUnavailable}, do: (*Server).export},
	{method: http.MethodGet, path: "/mappings/summary", about: "Counts mappings by destination.", needs: needListing, quiet: true,
		answer: summaryShown{}, also: []int{http.StatusServiceUnavailable}, do: (*Server).summary},
	{method: http.MethodGet, path: "/mappings/unmapped", about: "Identifiers lately routed to the default destination, the latest first.", needs: needUnmapped, quiet: true,
		answer: unmappedShown{}, do: (*Server).showUnmapped},
	{method: http.MethodPost, path: "/mappings/bulk", about: "Writes many mappings, all or none, and invalidates them.", params: []param{kickToo},
		needs: needBulk, body: bulkBody, maxBody: maxBulkBytes, answer: bulkWritten{}, also: []int{http.StatusServiceUnavailable}, do: (*Server).bulkWrite},

	{method: http.MethodPost, path: "/cache/invalidate", about: "Forgets what is cached of one account, or of all.", params: []param{anyIdentifier},
		answer: invalidated{}, do: (*Server).invalidate},

	{method: http.MethodGet, path: "/connections", about: "Joined sessions, in any order; total counts those that match, listed or not.",
		params: []param{anyIdentifier, anyDestination, {name: "limit", kind: aNumber, about: limitAbout}},
		needs:  needConnections, quiet: true, answer: connectionsShown{}, do: (*Server).showConnections},
	{method: http.MethodPost, path: "/connections/kick", about: kickAbout, params: []param{anyIdentifier, anyDestination, rate, masters},
		answer: kicked{}, also: []int{http.StatusServiceUnavailable}, do: (*Server).kick},
	{method: http.MethodPost, path: "/connections/delay", about: "Lets new logins of the account wait, for so long from now on.",
		params: []param{identifier, {name: "seconds", kind: aNumber, required: true, about: "More than 300 counts as 300. 0 removes the delay."}},
		needs:  needHolds, answer: delayed{}, also: []int{http.StatusServiceUnavailable}, do: (*Server).delay},
	{method: http.MethodPost, path: "/connections/hold", about: "Answers logins of the account with the temporary error, for so long from now on; those of master users excepted.",
		params: []param{identifier, {name: "seconds", kind: aNumber, required: true, highest: maxHoldSeconds, about: "0 removes the hold."}},
		needs:  needHolds, answer: held{}, also: []int{http.StatusServiceUnavailable}, do: (*Server).hold},

	{method: http.MethodPost, path: "/config/reload", about: "Reads the configuration again and swaps it in, or refuses it whole with every error.", needs: needReloader,
		answer: configReloaded{}, also: []int{http.StatusServiceUnavailable}, do: (*Server).reloadConfig},
}

// alias is POST /connections/I. Identifiers called kick, delay or hold need the call with a parameter, or an escape.
var alias = &call{method: http.MethodPost, path: aliasPath, about: "The same as POST /connections/kick.", params: []param{anyDestination, rate, masters},
	answer: kicked{}, also: []int{http.StatusServiceUnavailable}, do: (*Server).kick}

// calls is the table by path and method; aliasCalls are those of the paths that hold an identifier.
var (
	calls      = byPath(table)
	aliasCalls = byPath([]*call{alias})[aliasPath]
)

func byPath(rows []*call) map[string]map[string]*call {
	m := make(map[string]map[string]*call)
	for _, c := range rows {
		if m[c.path] == nil {
			m[c.path] = make(map[string]*call)
		}
		m[c.path][c.method] = c
	}
	return m
}

// Media types of answers.
const (
	jsonMedia    = "application/json"
	tsvMedia     = "text/tab-separated-values; charset=utf-8"
	metricsMedia = "text/plain; version=0.0.4; charset=utf-8"
)

func needWriter(s *Server) error {
	if !s.o.Mappings.Writable() {
		return ErrReadOnly
	}
	return nil
}

func needBulk(s *Server) error {
	if err := needWriter(s); err != nil {
		return err
	}
	return lacking(s.o.Bulk == nil, "the mapping source cannot be written to in one piece")
}

func needListing(s *Server) error { return lacking(s.o.Listing == nil, ErrNoList.Error()) }

func needUnmapped(s *Server) error {
	return lacking(s.o.Unmapped == nil, "identifiers without a mapping are not remembered here")
}

func needConnections(s *Server) error {
	return lacking(s.o.Connections == nil, "sessions cannot be listed here")
}

func needHolds(s *Server) error {
	return lacking(s.o.Holds == nil, "logins cannot be delayed or held here")
}

func needDestinations(s *Server) error {
	return lacking(s.o.Destinations == nil, "the health of destinations is not kept here")
}

func needReloader(s *Server) error {
	return lacking(s.o.ReloadConfig == nil, "the configuration cannot be reloaded here")
}

func lacking(missing bool, text string) error {
	if missing {
		return statusError{http.StatusNotImplemented, errors.New(text)}
	}
	return nil
}

// describe answers with the document made of the table.
func (s *Server) describe(*request) (any, error) { return s.openapi, nil }
