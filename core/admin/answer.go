package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// failure is the answer to every call that did not work out.
type failure struct {
	Error    string   `json:"error"`
	Problems []string `json:"problems,omitempty"` // reload: every bad line
}

// fail answers with an error text. The text must be fit for whoever got this far: without the token that is anybody.
func fail(w http.ResponseWriter, status int, text string) { answer(w, status, failure{Error: text}) }

// answer writes body as JSON.
func answer(w http.ResponseWriter, status int, body any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // identifiers and store errors stay readable in a terminal
	if err := e.Encode(body); err != nil {
		panic("bug: an answer that is not JSON: " + err.Error())
	}
	header(w, "application/json")
	w.WriteHeader(status)
	w.Write(b.Bytes()) // a client that has gone is nobody's loss
}

// deliver answers a call that has worked out: with JSON, or with the text that the call has written itself.
func deliver(w http.ResponseWriter, body any) {
	if text, ok := body.(*bytes.Buffer); ok {
		plain(w, http.StatusOK, text.String())
		return
	}
	answer(w, http.StatusOK, body)
}

// plain writes text, for the calls that are read by load balancers and scrapers.
func plain(w http.ResponseWriter, status int, text string) {
	header(w, "text/plain; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(text))
}

func header(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}
