package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// openAPI is the document as a client reads it.
type openAPI struct {
	OpenAPI    string                          `json:"openapi"`
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	ID         string `json:"operationId"`
	Parameters []struct {
		Name     string `json:"name"`
		In       string `json:"in"`
		Required bool   `json:"required"`
		Schema   schema `json:"schema"`
	} `json:"parameters"`
	Responses map[string]struct {
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	} `json:"responses"`
}

type schema struct {
	Ref                  string            `json:"$ref"`
	Type                 string            `json:"type"`
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties *schema           `json:"additionalProperties"`
	Required             []string          `json:"required"`
	Items                *schema           `json:"items"`
}

var described = sync.OnceValue(func() (d openAPI) {
	if err := json.Unmarshal(document(), &d); err != nil {
		panic(err)
	}
	return d
})

// wantDocumented holds the status of an answer against the document.
func wantDocumented(t *testing.T, r *http.Request, status int) {
	t.Helper()
	path := strings.TrimSuffix(r.URL.EscapedPath(), "/")
	item := described().Paths[path]
	if rest, below := strings.CutPrefix(path, "/connections/"); item == nil && below && rest != "" && !strings.Contains(rest, "/") {
		item = described().Paths[aliasPath]
	}
	op, ok := item[strings.ToLower(method(r))]
	ok = ok && r.Method == strings.ToUpper(r.Method) // methods have a case (RFC 9110 9.1)
	if _, known := op.Responses[strconv.Itoa(status)]; ok && !known {
		t.Errorf("%s %s: the document does not know its %d", r.Method, r.URL, status)
	}
}

// mismatch reports what keeps v, decoded JSON, from being as s says.
func (s schema) mismatch(v any) string {
	if s.Ref != "" {
		return described().Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")].mismatch(v)
	}
	switch v := v.(type) {
	case map[string]any:
		return s.mismatchObject(v)
	case []any:
		for i, x := range v {
			if s.Type != "array" || s.Items == nil {
				return "an array"
			}
			if why := s.Items.mismatch(x); why != "" {
				return fmt.Sprintf("[%d]: %s", i, why)
			}
		}
	case float64:
		if s.Type != "number" && (s.Type != "integer" || v != math.Trunc(v)) {
			return fmt.Sprintf("number %v, want %s", v, s.Type)
		}
	case string, bool:
		if want := map[bool]string{true: "string", false: "boolean"}[fmt.Sprintf("%T", v) == "string"]; s.Type != want {
			return fmt.Sprintf("%v, want %s", v, s.Type)
		}
	default:
		return fmt.Sprintf("%v is not described", v)
	}
	return ""
}

func (s schema) mismatchObject(v map[string]any) string {
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			return "no " + name
		}
	}
	for name, x := range v {
		inner, ok := s.Properties[name]
		if !ok && s.AdditionalProperties != nil {
			inner, ok = *s.AdditionalProperties, true
		}
		if !ok && s.Properties != nil {
			return "unknown " + name
		}
		if why := inner.mismatch(x); ok && why != "" {
			return name + ": " + why
		}
	}
	return ""
}

// targets is a request to each call that works.
var targets = map[string]string{
	"GET /healthz":                   "/healthz",
	"GET /openapi.json":              "/openapi.json",
	"GET /metrics":                   "/metrics",
	"GET /stats":                     "/stats",
	"GET /destinations":              "/destinations",
	"POST /destinations/reset":       "/destinations/reset?destination=new",
	"GET /mappings":                  "/mappings?identifier=alice",
	"PUT /mappings":                  "/mappings?identifier=alice&destination=new&kick=true",
	"DELETE /mappings":               "/mappings?identifier=alice",
	"POST /mappings/reload":          "/mappings/reload",
	"GET /mappings/export":           "/mappings/export",
	"GET /mappings/summary":          "/mappings/summary",
	"GET /mappings/unmapped":         "/mappings/unmapped",
	"POST /mappings/bulk":            "/mappings/bulk?kick=true",
	"POST /cache/invalidate":         "/cache/invalidate?identifier=alice",
	"GET /connections":               "/connections?identifier=alice&destination=new&limit=5",
	"POST /connections/kick":         "/connections/kick?identifier=alice&destination=new&master=false",
	"POST /connections/delay":        "/connections/delay?identifier=alice&seconds=5",
	"POST /connections/hold":         "/connections/hold?identifier=alice&seconds=5",
	"POST /connections/{identifier}": "/connections/alice?destination=new&master=false",
	"POST /config/reload":            "/config/reload",
}

// arrange brings a status about. It may change the request.
var arrange = map[string]func(b *bench, r *http.Request){
	"200": func(*bench, *http.Request) {},
	"400": func(_ *bench, r *http.Request) { r.URL.RawQuery += "&no=such" },
	"401": func(_ *bench, r *http.Request) { r.Header.Del("Authorization") },
	"404": func(_ *bench, r *http.Request) { r.URL.RawQuery = "destination=gone" },
	"413": func(_ *bench, r *http.Request) { r.ContentLength = maxBulkBytes + 1 },
	"429": func(b *bench, _ *http.Request) {
		for range 3 {
			b.ask("GET", "/stats", withToken("Bearer x"))
		}
	},
	"500": func(b *bench, _ *http.Request) { b.breakAll() },
	"501": func(b *bench, _ *http.Request) { b.lackAll() },
	"503": func(b *bench, r *http.Request) { b.busyAll(r) },
}

// breakAll makes everything behind the API crash when it is touched.
func (b *bench) breakAll() {
	o := &b.o
	o.Mappings, o.Sessions, o.Bulk, o.Listing = struct{ Mappings }{}, struct{ Sessions }{}, struct{ Bulk }{}, struct{ Listing }{}
	o.Connections, o.Holds, o.Destinations = struct{ Connections }{}, struct{ Holds }{}, struct{ Destinations }{}
	o.Stats, o.Metrics, o.Unmapped = nil, nil, func() []Unmapped { panic("unmapped") }
	o.ReloadConfig = func(context.Context) ([]string, error) { panic("reload") }
	b.openapi = json.RawMessage("{")
}

// lackAll takes away what a process may lack.
func (b *bench) lackAll() {
	b.mappings.readOnly = true
	b.o.Bulk, b.o.Listing, b.o.Connections, b.o.Holds, b.o.Destinations, b.o.Unmapped, b.o.ReloadConfig = nil, nil, nil, nil, nil, nil, nil
}

// busyAll fills every bounded table, and makes the process drain.
func (b *bench) busyAll(r *http.Request) {
	for b.bulk.enter() {
	}
	for b.listing.enter() {
	}
	b.draining, b.reload, b.sessions.err = true, ErrBusy, ErrBusy
	if strings.Contains(r.URL.RawQuery, "master") { // a kick
		r.URL.RawQuery += "&rate=5"
		for i := range maxPaced {
			b.pacer.paces[Kick{Account: strconv.Itoa(i)}] = &pace{func() {}}
		}
	}
}

func TestEveryStatusOfTheDocument(t *testing.T) {
	seen := 0
	for path, item := range described().Paths {
		for verb, op := range item {
			name := strings.ToUpper(verb) + " " + path
			target, ok := targets[name]
			if !ok {
				t.Errorf("%s: no request to it", name)
				continue
			}
			seen++
			for status, response := range op.Responses {
				t.Run(name+" "+status, func(t *testing.T) {
					b := newBench(t)
					w := b.ask(strings.ToUpper(verb), target, with("alice new\nbob -\n"), func(r *http.Request) { arrange[status](b, r) })
					if strconv.Itoa(w.Code) != status {
						t.Fatalf("got %d %s, want %s", w.Code, w.Body, status)
					}
					content, ok := response.Content[w.Header().Get("Content-Type")]
					if !ok {
						t.Fatalf("media type %q is not documented", w.Header().Get("Content-Type"))
					}
					wantShape(t, w, content.Schema)
					wantHeaders(t, w)
				})
			}
		}
	}
	if seen != len(targets) {
		t.Errorf("got %d calls in the document, want %d", seen, len(targets))
	}
}

func wantShape(t *testing.T, w *httptest.ResponseRecorder, s schema) {
	t.Helper()
	if w.Header().Get("Content-Type") != jsonMedia {
		return
	}
	var v any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	if why := s.mismatch(v); why != "" {
		t.Errorf("%s: %s", w.Body, why)
	}
}

// wantHeaders: what a status promises besides its body.
func wantHeaders(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if header := map[int]string{401: "WWW-Authenticate", 429: "Retry-After"}[w.Code]; header != "" && w.Header().Get(header) == "" {
		t.Errorf("%d without %s", w.Code, header)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control: got %q, want no-store", w.Header().Get("Cache-Control"))
	}
}

func TestBusySaysWhenToComeBack(t *testing.T) {
	b := newBench(t)
	b.reload = ErrBusy
	w := b.ask("POST", "/config/reload")
	wantAnswer(t, w, 503, `{"error":"too much of this is under way, try later"}`)
	if got := w.Header().Get("Retry-After"); got != retryBusy {
		t.Errorf("Retry-After: got %q, want %s", got, retryBusy)
	}
}

func TestDocumentedMethodsAreAllThereAre(t *testing.T) {
	for path, item := range described().Paths {
		var allow []string
		for verb := range item {
			allow = append(allow, strings.ToUpper(verb))
		}
		if slices.Contains(allow, "GET") {
			allow = append(allow, "HEAD")
		}
		slices.Sort(allow)
		for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "FETCH"} {
			if slices.Contains(allow, m) {
				continue
			}
			w := newBench(t).ask(m, strings.ReplaceAll(path, "{identifier}", "alice"))
			if got, want := w.Header().Get("Allow"), strings.Join(allow, ", "); w.Code != 405 || got != want {
				t.Errorf("%s %s: got %d Allow %q, want 405 %q", m, path, w.Code, got, want)
			}
		}
	}
}

func TestDocumentedParameters(t *testing.T) {
	values := map[string]string{"string": "new", "boolean": "true", "integer": "1"}
	for path, item := range described().Paths {
		for verb, op := range item {
			verb = strings.ToUpper(verb)
			for _, p := range op.Parameters {
				if p.In == "path" {
					continue
				}
				name := verb + " " + path + " " + p.Name
				target, query, _ := strings.Cut(targets[verb+" "+path], "?")
				pairs := slices.DeleteFunc(strings.Split(query, "&"), func(s string) bool { return s == "" || strings.HasPrefix(s, p.Name+"=") })
				with := target + "?" + strings.Join(append(pairs, p.Name+"="+values[p.Schema.Type]), "&")
				if w := newBench(t).ask(verb, with); w.Code != 200 {
					t.Errorf("%s given: got %d %s, want 200", name, w.Code, w.Body)
				}
				w := newBench(t).ask(verb, target+"?"+strings.Join(pairs, "&"))
				if got := strings.Contains(w.Body.String(), "missing parameter"); got != p.Required {
					t.Errorf("%s left out: got %d %s, required %v", name, w.Code, w.Body, p.Required)
				}
			}
		}
	}
}

func TestDocumentIsSound(t *testing.T) {
	d := described()
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("openapi: got %q, want 3.1", d.OpenAPI)
	}
	ids := map[string]bool{}
	for path, item := range d.Paths {
		for verb, op := range item {
			if op.ID == "" || ids[op.ID] {
				t.Errorf("%s %s: operationId %q is empty or not unique", verb, path, op.ID)
			}
			ids[op.ID] = true
		}
	}
	for name, s := range d.Components.Schemas {
		if s.Type != "object" || len(s.Properties) == 0 {
			t.Errorf("schema %s: got %v", name, s)
		}
	}
	for _, ref := range strings.Split(string(document()), `"$ref": "#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(ref, `"`)
		if _, ok := d.Components.Schemas[name]; !ok {
			t.Errorf("schema %s is referred to and not there", name)
		}
	}
}
