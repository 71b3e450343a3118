package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// failure is the answer to every call that did not work out.
type failure struct {
	Error    string   `json:"error"`
	Problems []string `json:"problems,omitempty"` // of a file or body: everything wrong with it, up to maxProblems
}

// fail answers with an error text. The text must be fit for whoever got this far: without the token that is anybody.
func fail(w http.ResponseWriter, status int, text string) { answer(w, status, failure{Error: text}) }

// text is an answer that is not JSON.
type text struct {
	media string
	bytes []byte
}

// answer writes body as JSON, unless it is a text.
func answer(w http.ResponseWriter, status int, body any) {
	if t, ok := body.(text); ok {
		put(w, status, t)
		return
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // identifiers and store errors stay readable in a terminal
	if err := e.Encode(body); err != nil {
		panic("bug: an answer that is not JSON: " + err.Error())
	}
	put(w, status, text{jsonMedia, b.Bytes()})
}

func put(w http.ResponseWriter, status int, t text) {
	header(w, t.media)
	w.WriteHeader(status)
	w.Write(t.bytes) // a client that has gone is nobody's loss
}

func header(w http.ResponseWriter, media string) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}
