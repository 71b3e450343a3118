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

// request is a call that passed the gates.
type request struct {
	*http.Request
	w       http.ResponseWriter
	query   query
	sent    bool        // the call has begun to answer by itself
	account string      // the identifier it is about, for the log; well-formed
	notes   []slog.Attr // what else the log should know
}

// statusError is an error with the status it is answered with.
type statusError struct {
	status int
	error
}

func badRequest(err error) error { return statusError{http.StatusBadRequest, err} }

// ServeHTTP takes one request through the gates in the order of SPEC 8.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := &request{Request: r, w: w}
	defer s.recovered(req)
	path := strings.TrimSuffix(r.URL.EscapedPath(), "/")
	if path == healthPath {
		healthz(w, r, s.o.Draining)
		return
	}
	if !s.admit(w, r) {
		return
	}
	methods, id := find(path)
	if methods == nil {
		fail(w, http.StatusNotFound, "no such call")
		return
	}
	c := methods[method(r)]
	if c == nil {
		notAllowed(w, r, allowed(methods))
		return
	}
	most := max(c.maxBody, maxBodyBytes)
	if r.ContentLength > most {
		turnAway(w, http.StatusRequestEntityTooLarge, bodyTooLarge(most).Error())
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, most)
	s.serve(req, c, id)
}

func bodyTooLarge(most int64) error {
	return statusError{http.StatusRequestEntityTooLarge, fmt.Errorf("a body of more than %d bytes", most)}
}

func notAllowed(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("method %q is not allowed here", r.Method))
}

// serve is the part of the way that depends on the call; id is the identifier from the path, if that holds one.
func (s *Server) serve(r *request, c *call, id string) {
	start := s.o.Now()
	body, err := s.run(r, c, id)
	status := http.StatusOK
	switch {
	case r.sent:
	case err == nil:
		answer(r.w, status, body)
	default:
		status = s.refuse(r.w, err)
	}
	attrs := []slog.Attr{slog.String(logx.Call, c.name()), slog.Int(logx.Status, status), slog.Any(logx.Client, clientOf(r.Request)),
		slog.Duration(logx.Duration, s.o.Now().Sub(start))}
	if r.account != "" {
		attrs = append(attrs, slog.String(logx.Account, s.o.Redactor.Account(r.account)))
	}
	s.log(r, c, status, err, append(attrs, r.notes...))
	if r.sent && err != nil {
		panic(http.ErrAbortHandler) // the client must not take half an answer for the whole
	}
}

func (s *Server) log(r *request, c *call, status int, err error, attrs []slog.Attr) {
	level := slog.LevelInfo
	failed := status == http.StatusInternalServerError || r.sent && err != nil
	switch {
	case failed && r.Context().Err() == nil: // else it failed because the client left
		level = slog.LevelError
		attrs = append(attrs, slog.String(logx.Err, s.scrub(err, r.account)))
	case c.quiet:
		level = slog.LevelDebug
	}
	s.o.Log.LogAttrs(r.Context(), level, "admin call", attrs...)
}

func (s *Server) run(r *request, c *call, id string) (body any, err error) {
	if c.needs != nil {
		if err := c.needs(s); err != nil {
			return nil, err
		}
	}
	if r.query, err = parseQuery(r.URL.RawQuery, c.params); err != nil {
		return nil, badRequest(err)
	}
	params := c.params
	if c == alias {
		r.query["identifier"] = id
		params = append([]param{identifier}, params...)
	}
	if who := r.query["identifier"]; checkIdentifier(who) == nil {
		r.account = who // whatever else is wrong, the log tells whom the call was about
	}
	if err := r.query.check(params); err != nil {
		return nil, badRequest(err)
	}
	return c.do(s, r)
}

// maxProblems bounds how many are listed in an answer.
const maxProblems = 1000

// retryBusy is what a client is told to wait after a 503, in seconds: a bulk write or an export may well take that long.
const retryBusy = "5"

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
	case errors.Is(err, ErrReadOnly), errors.Is(err, ErrNoList):
		status = http.StatusNotImplemented
	case errors.Is(err, ErrBusy):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retryBusy)
	}
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(slices.Clip(problems[:maxProblems]), fmt.Sprintf("and %d more", more))
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
	if m := calls[path]; m != nil || !below {
		return m, ""
	}
	id, err := url.PathUnescape(rest)
	if err != nil || id == "" || strings.Contains(rest, "/") {
		return nil, ""
	}
	return aliasCalls, id
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
func (s *Server) recovered(r *request) {
	p := recover()
	switch {
	case p == nil:
		return
	case p == http.ErrAbortHandler: // net/http's word for breaking the connection off
		panic(p)
	}
	s.o.Log.Error("admin call panicked", slog.Any(logx.Err, p), slog.String(logx.Stack, string(debug.Stack())))
	if r.sent {
		panic(http.ErrAbortHandler)
	}
	fail(r.w, http.StatusInternalServerError, "internal error")
}
