package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"mailsplice/core/logx"
)

// call is one row of SPEC 8's table.
type call struct {
	name   string   // for the log: no identifier is in it
	params []string // what the query may hold
	writes bool     // changes mappings: 501 when the source is read-only
	quiet  bool     // changes nothing: logged at debug
	do     func(*Server, *request) (any, error)
}

// calls by path and method. The kick call also answers at /connections/IDENTIFIER, see find.
var calls = map[string]map[string]*call{
	"/stats": {
		http.MethodGet: {name: "GET /stats", quiet: true, do: (*Server).stats},
	},
	"/metrics": {
		http.MethodGet: {name: "GET /metrics", quiet: true, do: (*Server).metrics},
	},
	"/mappings": {
		http.MethodGet:    {name: "GET /mappings", params: []string{"identifier"}, quiet: true, do: (*Server).showMapping},
		http.MethodPut:    {name: "PUT /mappings", params: []string{"identifier", "destination", "kick"}, writes: true, do: (*Server).putMapping},
		http.MethodDelete: {name: "DELETE /mappings", params: []string{"identifier"}, writes: true, do: (*Server).deleteMapping},
	},
	"/mappings/reload": {
		http.MethodPost: {name: "POST /mappings/reload", do: (*Server).reloadMappings},
	},
	"/connections/kick": {
		http.MethodPost: {name: "POST /connections/kick", params: []string{"identifier", "destination", "master"}, do: (*Server).kick},
	},
}

// alias is POST /connections/IDENTIFIER: the kick call with its identifier in the path.
var alias = map[string]*call{
	http.MethodPost: {name: "POST /connections/I", params: []string{"destination", "master"}, do: (*Server).kick},
}

// reserved are the calls below /connections that an identifier in the path cannot be mistaken for, those of SPEC 8 that
// have no row yet among them: a hold must not turn into a kick.
var reserved = []string{"kick", "delay", "hold"}

// request is a call that passed the gates.
type request struct {
	*http.Request
	query   query
	account string // the identifier it was about, for the log; set by the call once it is known to be well-formed
}

// statusError is an error with the status it is answered with.
type statusError struct {
	status int
	error
}

func badRequest(err error) error { return statusError{http.StatusBadRequest, err} }

// ServeHTTP takes one request through the gates in the order of SPEC 8.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.recovered(w)
	path := strings.TrimSuffix(r.URL.EscapedPath(), "/")
	if path == "/healthz" {
		s.healthz(w, r)
		return
	}
	if !s.admit(w, r) {
		return
	}
	if r.ContentLength > maxBodyBytes {
		turnAway(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a body of more than %d bytes", maxBodyBytes))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	methods, id := find(path)
	if methods == nil {
		fail(w, http.StatusNotFound, "no such call")
		return
	}
	c := methods[method(r)]
	if c == nil {
		w.Header().Set("Allow", allowed(methods))
		fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("method %q is not allowed here", r.Method))
		return
	}
	s.serve(w, r, c, id)
}

// serve is the part of the way that depends on the call; id is the identifier from the path, if that holds one.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, c *call, id string) {
	start := s.o.Now()
	req := &request{Request: r}
	body, err := s.run(req, c, id)
	status := http.StatusOK
	if err == nil {
		deliver(w, body)
	} else {
		status = s.refuse(w, err)
	}
	attrs := []slog.Attr{slog.String(logx.Call, c.name), slog.Int(logx.Status, status), slog.Any(logx.Client, clientOf(r)),
		slog.Duration(logx.Duration, s.o.Now().Sub(start))}
	if req.account != "" {
		attrs = append(attrs, slog.String(logx.Account, s.o.Redactor.Account(req.account)))
	}
	level := slog.LevelInfo
	switch {
	case status == http.StatusInternalServerError && r.Context().Err() == nil: // else it failed because the client left
		level = slog.LevelError
		attrs = append(attrs, slog.String(logx.Err, s.scrub(err, req.account)))
	case c.quiet:
		level = slog.LevelDebug
	}
	s.o.Log.LogAttrs(r.Context(), level, "admin call", attrs...)
}

func (s *Server) run(r *request, c *call, id string) (body any, err error) {
	if c.writes && !s.o.Mappings.Writable() {
		return nil, ErrReadOnly
	}
	if r.query, err = parseQuery(r.URL.RawQuery, c.params); err != nil {
		return nil, badRequest(err)
	}
	if id != "" {
		r.query["identifier"] = id
	}
	return c.do(s, r)
}

// refuse answers with what err stands for.
func (s *Server) refuse(w http.ResponseWriter, err error) int {
	var known statusError
	var problems Problems
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, &known):
		status = known.status
	case errors.As(err, &problems), errors.Is(err, ErrInvalid):
		status = http.StatusBadRequest
	case errors.Is(err, ErrReadOnly):
		status = http.StatusNotImplemented
	}
	answer(w, status, failure{Error: err.Error(), Problems: problems})
	return status
}

// scrub takes the account out of an error text before it goes to the log; the operator who asked gets it whole.
func (s *Server) scrub(err error, account string) string {
	text := err.Error()
	if account == "" {
		return text
	}
	stored, filed := s.o.Mappings.Normalize(account)
	for _, form := range []string{filed, stored, account} { // the longest first
		short := s.o.Redactor.Account(form)
		escaped := strings.Trim(strconv.Quote(form), `"`) // as %q writes it
		text = strings.ReplaceAll(strings.ReplaceAll(text, form, short), escaped, short)
	}
	return text
}

// find is the calls at path, and the identifier where path holds one. The path comes percent-encoded, so that an
// identifier may hold a slash.
func find(path string) (methods map[string]*call, id string) {
	rest, below := strings.CutPrefix(path, "/connections/")
	if !below || slices.Contains(reserved, rest) {
		return calls[path], ""
	}
	id, err := url.PathUnescape(rest)
	if err != nil || id == "" || strings.Contains(rest, "/") {
		return nil, ""
	}
	return alias, id
}

// method takes HEAD for GET; net/http leaves out the body.
func method(r *http.Request) string {
	if r.Method == http.MethodHead {
		return http.MethodGet
	}
	return r.Method
}

func allowed(methods map[string]*call) string {
	var names []string
	for m := range methods {
		names = append(names, m)
		if m == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// recovered makes a panic in a call a failure of that call.
func (s *Server) recovered(w http.ResponseWriter) {
	if p := recover(); p != nil {
		s.o.Log.Error("admin call panicked", slog.Any(logx.Err, p), slog.String(logx.Stack, string(debug.Stack())))
		fail(w, http.StatusInternalServerError, "internal error")
	}
}
