package admin

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestBulk(t *testing.T) {
	tests := []struct {
		name, body string
		want       []Change
		answer     string
	}{
		{"nothing", "", nil, `{"written":0,"removed":0}`},
		{"one", "a@b\tnew\n", []Change{{"a@b", "new"}}, `{"written":1,"removed":0}`},
		{"no end of line", "a@b new", []Change{{"a@b", "new"}}, `{"written":1,"removed":0}`},
		{"removal", "a@b\t-\nb@b old\n", []Change{{"a@b", ""}, {"b@b", "old"}}, `{"written":1,"removed":1}`},
		{"comments, blank lines and CRLF", "# a new\r\n\r\n \t\r\n  # b old\r\na@b\told\r\n", []Change{{"a@b", "old"}}, `{"written":1,"removed":0}`},
		{"byte order mark", "\ufeffa@b new\n", []Change{{"a@b", "new"}}, `{"written":1,"removed":0}`},
		{"blanks and remarks", "  a@b \t\v new   moved on Monday\n", []Change{{"a@b", "new"}}, `{"written":1,"removed":0}`},
		{"normalized", "A@B new\n", []Change{{"a@b", "new"}}, `{"written":1,"removed":0}`},
		{"the last line wins", "a@b new\nb@b old\nA@b -\n", []Change{{"a@b", ""}, {"b@b", "old"}}, `{"written":1,"removed":1}`},
		{"plus, percent and bytes beyond ASCII", "ä+b%41@c new\n", []Change{{"ä+b%41@c", "new"}}, `{"written":1,"removed":0}`},
		{"longest line", "a new " + strings.Repeat("x", maxLineBytes-6) + "\r\n", []Change{{"a", "new"}}, `{"written":1,"removed":0}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			wantAnswer(t, b.ask("POST", "/mappings/bulk", with(tt.body)), 200, tt.answer)
			if len(b.mappings.bulks) != 1 || !slices.Equal(b.mappings.bulks[0], tt.want) {
				t.Errorf("got %v, want %v", b.mappings.bulks, tt.want)
			}
			if len(b.sessions.kicks) != 0 {
				t.Errorf("got kicks %v, want none", b.sessions.kicks)
			}
		})
	}
}

func TestBulkKicks(t *testing.T) {
	b := newBench(t)
	w := b.ask("POST", "/mappings/bulk?kick=true", with("Bob new\nc@d -\nbob@example.org new\n"))
	wantAnswer(t, w, 200, `{"written":2,"removed":1,"kicked":6}`)
	if got, want := fmt.Sprint(b.sessions.kicks), fmt.Sprint([]Kick{{Account: "c@d"}, {Account: "bob@example.org"}}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBulkRefused(t *testing.T) {
	long := strings.Repeat("x", maxLineBytes+1)
	const refused = "refused as a whole, nothing changed"
	tests := []struct {
		name, body string
		want       []string
	}{
		{"one field", "a@b new\nbob\n", []string{`line 2: found only "bob", allowed is an identifier, a blank and a destination`}},
		{"unknown destination", "\na@b gone\n", []string{`line 2: no destination "gone" is configured`}},
		{"quote", "a\"b new\n", []string{`line 1: identifier "a\"b": holds a space, a quote or a control character`}},
		{"NUL", "a\x00b new\n", []string{`line 1: identifier "a\x00b": holds a space, a quote or a control character`}},
		{"not UTF-8", "a\xff new\n", []string{`line 1: identifier "a\xff": not UTF-8`}},
		{"long identifier", strings.Repeat("x", 513) + " new", []string{`line 1: identifier "` + strings.Repeat("x", 513) + `": 513 bytes, allowed 512`}},
		{"long when normalized", strings.Repeat("Ⱥ", 256) + " new", []string{`line 1: identifier "` + strings.Repeat("Ⱥ", 256) + `": 768 bytes, allowed 512`}},
		{"long line", "a new\na new " + long + long + "\nb new\n", []string{"line 2: longer than 4096 bytes"}},
		{"long last line", long, []string{"line 1: longer than 4096 bytes"}},
		{"a byte too long", "a new " + long[6:] + "\n", []string{"line 1: longer than 4096 bytes"}},
		{"exactly a buffer", long + "x", []string{"line 1: longer than 4096 bytes"}},
		{"every one", "a\nb gone\n# fine\nc new\nd\n", []string{
			`line 1: found only "a", allowed is an identifier, a blank and a destination`,
			`line 2: no destination "gone" is configured`,
			`line 5: found only "d", allowed is an identifier, a blank and a destination`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			p, err := readChanges(strings.NewReader(tt.body), b.mappings, maxBulkChanges)
			if problems, ok := err.(Problems); !ok || !slices.Equal(problems, tt.want) || p == nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			w := b.ask("POST", "/mappings/bulk?kick=true", with(tt.body))
			if w.Code != 400 || !strings.Contains(w.Body.String(), refused) || !strings.Contains(w.Body.String(), `"problems":["line `) {
				t.Errorf("got %d %s, want 400 and the lines", w.Code, w.Body)
			}
			if len(b.mappings.bulks)+len(b.sessions.kicks) != 0 {
				t.Errorf("it had an effect: %v %v", b.mappings.bulks, b.sessions.kicks)
			}
		})
	}
}

func TestBulkListsBadLinesUpToABound(t *testing.T) {
	_, err := readChanges(strings.NewReader(strings.Repeat("bad\n", maxProblems+500)), newBench(t).mappings, maxBulkChanges)
	problems, _ := err.(Problems)
	if len(problems) != maxProblems+1 || problems[maxProblems] != "and 500 more" {
		t.Errorf("got %d problems, the last of them %q", len(problems), problems[max(0, len(problems)-1)])
	}
}

func TestLongListsOfProblemsAreCut(t *testing.T) {
	b := newBench(t)
	b.reload = Problems(slices.Repeat([]string{"bad"}, maxProblems+2))
	w := b.ask("POST", "/config/reload")
	if got := strings.Count(w.Body.String(), `"bad"`); w.Code != 400 || got != maxProblems || !strings.Contains(w.Body.String(), `"and 2 more"`) {
		t.Errorf("got %d with %d problems, want 400 with %d", w.Code, got, maxProblems)
	}
}

func TestBulkIdentifiersAreBounded(t *testing.T) {
	m := newBench(t).mappings
	if _, err := readChanges(strings.NewReader("a new\nb new\na old\n"), m, 2); err != nil {
		t.Errorf("two identifiers: got %v", err)
	}
	_, err := readChanges(strings.NewReader("a new\nb new\nc new\n"), m, 2)
	if got, ok := err.(statusError); !ok || got.status != 413 || got.Error() != "a body of more than 2 identifiers" {
		t.Errorf("three identifiers: got %v, want a 413", err)
	}
}

func TestBulkStoreErrors(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
	}{
		{"down", fmt.Errorf("writing: gone"), 500},
		{"read-only after all", ErrReadOnly, 501},
		{"an identifier that the source cannot hold", fmt.Errorf("%w: #", ErrInvalid), 400},
		{"busy", ErrBusy, 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.mappings.err = tt.err
			w := b.ask("POST", "/mappings/bulk?kick=true", with("a new\n"))
			if w.Code != tt.status || len(b.sessions.kicks) != 0 {
				t.Errorf("got %d, kicks %v, want %d and none", w.Code, b.sessions.kicks, tt.status)
			}
			b.mappings.err = nil
			if got := b.ask("POST", "/mappings/bulk", with("a new\n")).Code; got != 200 {
				t.Errorf("the next one: got %d, want 200", got)
			}
		})
	}
}

func TestExport(t *testing.T) {
	tests := []struct {
		name    string
		entries map[string]string
		want    string
	}{
		{"none", nil, ""},
		{"some", map[string]string{"b@c": "old", "a+%@c": "gone"}, "a+%@c\tgone\nb@c\told\n"},
		{"what no line can hold", map[string]string{"#a": "old", "": "old", "a b": "old", "a\nb": "old", "c": "", "d": "-", "e": "x y", "f": "x\ny",
			"\ufeffg": "old", "h": strings.Repeat("x", 1025), "z": "old"}, "z\told\n# left out, since no line can hold them: 10\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.mappings.entries = tt.entries
			w := b.ask("GET", "/mappings/export")
			if w.Code != 200 || w.Body.String() != tt.want || w.Header().Get("Content-Type") != tsvMedia {
				t.Errorf("got %d %s %q, want 200 %q", w.Code, w.Header().Get("Content-Type"), w.Body, tt.want)
			}
		})
	}
}

func TestHeadOfExportAsksNothing(t *testing.T) {
	b := newBench(t)
	b.mappings.err = fmt.Errorf("asked")
	if w := b.ask("HEAD", "/mappings/export"); w.Code != 200 || w.Header().Get("Content-Type") != tsvMedia {
		t.Errorf("got %d %s, want 200 and a type", w.Code, w.Header().Get("Content-Type"))
	}
}

func TestListingErrors(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
		want   string
	}{
		{"cannot", ErrNoList, 501, `{"error":"listing the mappings: the mapping source cannot list its mappings"}`},
		{"down", fmt.Errorf("reading rows: gone"), 500, `{"error":"listing the mappings: reading rows: gone"}`},
	}
	for _, tt := range tests {
		for _, target := range []string{"/mappings/export", "/mappings/summary"} {
			t.Run(tt.name+" "+target, func(t *testing.T) {
				b := newBench(t)
				b.mappings.err = tt.err
				wantAnswer(t, b.ask("GET", target), tt.status, tt.want)
				b.mappings.err, b.mappings.midway = nil, func() error { return tt.err } // nothing has been sent yet
				wantAnswer(t, b.ask("GET", target), tt.status, tt.want)
			})
		}
	}
}

func TestSummary(t *testing.T) {
	b := newBench(t)
	b.mappings.entries = map[string]string{"a": "old", "b": "new", "c": "old", "d": "gone", "e": ""}
	wantAnswer(t, b.ask("GET", "/mappings/summary"), 200, `{"destinations":{"new":1,"old":2},"undeclared":2,"total":5}`)
}

// deadlines is a connection that notes what it is told.
type deadlines struct {
	*httptest.ResponseRecorder
	start       time.Time
	read, write []time.Duration
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t.Sub(d.start))
	return nil
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.write = append(d.write, t.Sub(d.start))
	return nil
}

// trickle is a body that takes a minute for each piece.
type trickle struct{ pieces int }

func (b *trickle) Read(p []byte) (int, error) {
	if b.pieces--; b.pieces < 0 {
		return 0, http.ErrBodyReadAfterClose
	}
	<-time.After(time.Minute)
	return copy(p, "# more\n"), nil
}

func (*trickle) Close() error { return nil }

func TestTransferMovesDeadlinesUpToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := &deadlines{ResponseRecorder: httptest.NewRecorder(), start: time.Now()}
		r := httptest.NewRequest("POST", "/mappings/bulk", &trickle{11})
		r.Header.Set("Authorization", "Bearer "+testToken)
		b.ServeHTTP(w, r)
		if w.Code != 400 || !strings.Contains(w.Body.String(), "reading the body") {
			t.Errorf("got %d %s, want 400", w.Code, w.Body)
		}
		read := []time.Duration{transferTimeout}
		for i := range 12 {
			read = append(read, min(time.Duration(i)*time.Minute+stallTimeout, transferTimeout))
		}
		if !slices.Equal(w.read, read) {
			t.Errorf("read deadlines: got %v, want %v", w.read, read)
		}
		if want := []time.Duration{transferTimeout + requestTimeout, 11*time.Minute + requestTimeout}; !slices.Equal(w.write, want) {
			t.Errorf("write deadlines: got %v, want %v", w.write, want)
		}
	})
}

func TestExportMovesDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.mappings.midway = func() error { <-time.After(time.Minute); return nil }
		w := &deadlines{ResponseRecorder: httptest.NewRecorder(), start: time.Now()}
		r := httptest.NewRequest("GET", "/mappings/export", nil)
		r.Header.Set("Authorization", "Bearer "+testToken)
		b.ServeHTTP(w, r)
		if want := []time.Duration{transferTimeout + requestTimeout, time.Minute + stallTimeout}; !slices.Equal(w.write, want) {
			t.Errorf("write deadlines: got %v, want %v", w.write, want)
		}
	})
}

// many is so many mappings, the same ones every time.
func many(n int) map[string]string {
	rnd := rand.New(rand.NewPCG(1, 2))
	entries := make(map[string]string, n)
	for len(entries) < n {
		entries[fmt.Sprintf("%c%d+x@example.org", 'a'+rnd.IntN(26), rnd.Uint32())] = []string{"old", "new"}[rnd.IntN(2)]
	}
	return entries
}

func TestExportIsWhatBulkTakes(t *testing.T) {
	b := newBench(t)
	b.mappings.entries = many(20_000)
	text := b.ask("GET", "/mappings/export").Body.String()
	if w := b.ask("POST", "/mappings/bulk", with(text)); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	got := make(map[string]string)
	for _, c := range b.mappings.bulks[0] {
		got[c.Identifier] = c.Destination
	}
	if !maps.Equal(got, b.mappings.entries) {
		t.Errorf("got %d mappings back, want the same %d", len(got), len(b.mappings.entries))
	}
}
