package file

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func mappingsOf(t *table) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for l := range t.lines() {
			if !yield(string(l.identifier()), string(l.destination())) {
				return
			}
		}
	}
}

func tableOf(m map[string]string) *table {
	var entries []Entry
	for identifier, destination := range m {
		entries = append(entries, Entry{Identifier: identifier, Destination: destination})
	}
	return newTable(entries)
}

// sound wants a table to be in order, in pieces of good size, and to hold exactly what it should.
func sound(t *testing.T, tb *table, want map[string]string) {
	t.Helper()
	if got := maps.Collect(mappingsOf(tb)); !maps.Equal(got, want) || tb.n != len(want) {
		t.Fatalf("table holds %d mappings and says %d, want %d", len(got), tb.n, len(want))
	}
	var last []byte
	for l := range tb.lines() {
		if bytes.Compare(last, l.identifier()) >= 0 {
			t.Fatalf("%q comes before %q", last, l.identifier())
		}
		last = l.identifier()
	}
	total := 0
	for i, p := range tb.pieces {
		if len(p) == 0 || len(p) > pieceBytes+2*maxLineBytes {
			t.Fatalf("piece %d has %d bytes", i, len(p))
		}
		total += len(p)
	}
	if most := 4*total/pieceBytes + 2; len(tb.pieces) > most {
		t.Fatalf("%d bytes are in %d pieces, want at most %d", total, len(tb.pieces), most)
	}
	for identifier, destination := range want {
		if got, found := tb.find(identifier); !found || got != destination {
			t.Fatalf("find(%q) = %q, %v; want %q", identifier, got, found, destination)
		}
	}
	for _, identifier := range []string{"", "a", "user00000x", "zz", "\xff"} {
		if _, there := want[identifier]; !there {
			if got, found := tb.find(identifier); found {
				t.Fatalf("find(%q) = %q, want nothing", identifier, got)
			}
		}
	}
}

// A table and a map go through the same changes, few and many at once, and stay alike; the table before does not change.
func TestTableAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	model := map[string]string{}
	tb := tableOf(model)
	for round := range 300 {
		n := 1 + r.IntN(3)
		if round%10 == 0 {
			n = 1 + r.IntN(500)
		}
		edit := map[string]string{}
		for range n {
			identifier := fmt.Sprintf("user%05d%s", r.IntN(4000), strings.Repeat("x", r.IntN(3)*r.IntN(200)))
			destination := fmt.Sprintf("d%d", r.IntN(4))
			if r.IntN(2) == 0 || round > 200 {
				destination = ""
			}
			edit[identifier] = destination
		}
		var changes []change
		for _, identifier := range slices.Sorted(maps.Keys(edit)) {
			changes = append(changes, change{identifier, edit[identifier]})
		}
		before := maps.Clone(model)
		for identifier, destination := range edit {
			model[identifier] = destination
			if destination == "" {
				delete(model, identifier)
			}
		}
		next := tb.with(changes)
		if round%10 == 0 {
			sound(t, tb, before)
		}
		sound(t, next, model)
		added, changed, removed := diff(tb, next)
		checkDiff(t, before, model, added, changed, removed)
		tb = next
	}
	sound(t, tableOf(model), model)
}

func checkDiff(t *testing.T, before, after map[string]string, added, changed, removed []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, identifier := range slices.Concat(added, changed, removed) {
		if seen[identifier] || before[identifier] == after[identifier] {
			t.Fatalf("%q did not change, or is told twice", identifier)
		}
		seen[identifier] = true
	}
	for _, m := range []map[string]string{before, after} {
		for identifier := range m {
			if before[identifier] != after[identifier] && !seen[identifier] {
				t.Fatalf("the change of %q is not told", identifier)
			}
		}
	}
	for _, identifier := range added {
		if before[identifier] != "" {
			t.Fatalf("%q is told as added", identifier)
		}
	}
	for _, identifier := range removed {
		if after[identifier] != "" {
			t.Fatalf("%q is told as removed", identifier)
		}
	}
}

// A look-up makes nothing: it is on the way of every login.
func TestFindAllocatesNothing(t *testing.T) {
	m := map[string]string{}
	for i := range 10_000 {
		m[fmt.Sprintf("user%09d@mail.example.org", i)] = "new"
	}
	tb := tableOf(m)
	if n := testing.AllocsPerRun(100, func() { tb.find("user000004711@mail.example.org"); tb.find("nobody") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// holds is right about every way to be different, wherever pieces and reads end.
func TestHolds(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	var pieces [][]byte
	for at, n := 0, 1; at < len(text); n = n*7%4099 + 1 {
		end := min(at+n, len(text))
		pieces = append(pieces, text[at:end])
		at = end
	}
	other := bytes.Clone(text)
	other[len(other)-1] ^= 1
	for _, c := range []struct {
		name string
		text []byte
		want bool
	}{
		{"the same", text, true}, {"shorter", text[:len(text)-1], false}, {"longer", append(bytes.Clone(text), 'x'), false},
		{"another byte", other, false}, {"nothing", nil, false},
	} {
		if got := holds(bytes.NewReader(c.text), pieces); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if !holds(bytes.NewReader(nil), nil) {
		t.Error("nothing is not nothing")
	}
}

func TestBehind(t *testing.T) {
	pieces := [][]byte{[]byte("ab"), []byte("c"), []byte("def")}
	for n, want := range []string{"abcdef", "bcdef", "cdef", "def", "ef", "f", ""} {
		if got := string(bytes.Join(behind(pieces, n), nil)); got != want {
			t.Errorf("behind %d bytes: got %q, want %q", n, got, want)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	m := map[string]string{}
	for i := range 1_000_000 {
		m[fmt.Sprintf("user%09d@mail.example.org", i)] = "new"
	}
	tb := tableOf(m)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		tb.find("user000654321@mail.example.org")
		i++
	}
}
