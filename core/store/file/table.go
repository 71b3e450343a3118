package file

import (
	"bytes"
	"iter"
	"slices"
	"sort"
	"strings"
)

// pieceBytes is the size that pieces of a table have about. A change copies one of them; a look-up searches one, after it
// was found among all.
const pieceBytes = 4 << 10

// table holds mappings in the form of the file: lines of identifier, tab, destination, in the order of identifiers, cut into
// pieces. A rewrite of the file need not sort or format anything, and a million mappings are 10,000 objects without
// pointers to the collector. A table is immutable; with makes another one that shares what has not changed.
type table struct {
	pieces [][]byte          // whole lines each, none empty
	n      int               // mappings
	names  map[string]string // destinations, so that a look-up need not make one
}

// line is one mapping; its parts lie in a piece.
type line []byte

func (l line) identifier() []byte  { return l[:bytes.IndexByte(l, '\t')] }
func (l line) destination() []byte { return l[bytes.IndexByte(l, '\t')+1 : len(l)-1] }

// change is what becomes of one identifier; an empty destination removes it.
type change struct{ identifier, destination string }

// newTable copies what it keeps. No identifier may be there twice.
func newTable(entries []Entry) *table {
	sorted := func(a, b Entry) int { return strings.Compare(a.Identifier, b.Identifier) }
	if !slices.IsSortedFunc(entries, sorted) {
		entries = slices.Clone(entries)
		slices.SortFunc(entries, sorted)
	}
	t := &table{n: len(entries), names: map[string]string{}}
	var piece []byte
	for _, e := range entries {
		t.name(e.Destination)
		if len(piece) > 0 && len(piece)+len(e.Identifier)+len(e.Destination) > pieceBytes {
			t.pieces = append(t.pieces, bytes.Clone(piece))
			piece = piece[:0]
		}
		piece = appendLine(piece, e.Identifier, e.Destination)
	}
	if len(piece) > 0 {
		t.pieces = append(t.pieces, bytes.Clone(piece))
	}
	return t
}

func appendLine(to []byte, identifier, destination string) []byte {
	to = append(append(to, identifier...), '\t')
	return append(append(to, destination...), '\n')
}

// name keeps a destination's name.
func (t *table) name(destination string) {
	if _, known := t.names[destination]; !known {
		d := strings.Clone(destination)
		t.names[d] = d
	}
}

// find looks an identifier up.
func (t *table) find(identifier string) (destination string, found bool) {
	if len(t.pieces) == 0 {
		return "", false
	}
	p := t.pieces[t.piece(identifier)]
	for len(p) > 0 {
		start := bytes.LastIndexByte(p[:len(p)/2], '\n') + 1
		end := start + bytes.IndexByte(p[start:], '\n') + 1
		l := line(p[start:end])
		switch id := l.identifier(); {
		case string(id) == identifier:
			return t.names[string(l.destination())], true
		case string(id) < identifier:
			p = p[end:]
		default:
			p = p[:start]
		}
	}
	return "", false
}

// piece is the number of the one that holds an identifier if any does.
func (t *table) piece(identifier string) int {
	after := sort.Search(len(t.pieces), func(i int) bool { return string(line(t.pieces[i]).identifier()) > identifier })
	return max(after-1, 0)
}

// lines yields all of them in order.
func (t *table) lines() iter.Seq[line] {
	return func(yield func(line) bool) {
		for _, p := range t.pieces {
			for len(p) > 0 {
				end := bytes.IndexByte(p, '\n') + 1
				if !yield(line(p[:end])) {
					return
				}
				p = p[end:]
			}
		}
	}
}

// with is the table after changes, which are in the order of identifiers, each there once.
func (t *table) with(changes []change) *table {
	next := &table{n: t.n, names: t.names, pieces: make([][]byte, 0, len(t.pieces)+2)}
	for _, c := range changes {
		if _, known := next.names[c.destination]; !known && c.destination != "" {
			next.names = clone(next.names) // others look into the old one
			next.name(c.destination)
		}
	}
	done := 0
	for len(changes) > 0 {
		i, mine := t.piece(changes[0].identifier), len(changes)
		if i+1 < len(t.pieces) {
			beyond := string(line(t.pieces[i+1]).identifier())
			mine = sort.Search(len(changes), func(k int) bool { return changes[k].identifier >= beyond })
		}
		var old []byte
		if i < len(t.pieces) {
			old = t.pieces[i]
		}
		next.pieces = append(next.pieces, t.pieces[done:i]...)
		next.cut(next.merge(old, changes[:mine]))
		done, changes = min(i+1, len(t.pieces)), changes[mine:]
	}
	next.pieces = append(next.pieces, t.pieces[done:]...)
	return next
}

func clone(names map[string]string) map[string]string {
	next := make(map[string]string, len(names)+1)
	for name := range names {
		next[name] = name
	}
	return next
}

// merge is a piece after its changes.
func (t *table) merge(piece []byte, changes []change) []byte {
	out := make([]byte, 0, len(piece)+len(changes)*64)
	put := func(c change) {
		if c.destination != "" {
			out = appendLine(out, c.identifier, c.destination)
			t.n++
		}
	}
	for len(piece) > 0 {
		end := bytes.IndexByte(piece, '\n') + 1
		l := line(piece[:end])
		for len(changes) > 0 && changes[0].identifier < string(l.identifier()) {
			put(changes[0])
			changes = changes[1:]
		}
		if len(changes) > 0 && changes[0].identifier == string(l.identifier()) {
			t.n--
			put(changes[0])
			changes = changes[1:]
		} else {
			out = append(out, l...)
		}
		piece = piece[end:]
	}
	for _, c := range changes {
		put(c)
	}
	return out
}

// cut adds lines as pieces: with the one before if both are small, in several if there are many.
func (t *table) cut(lines []byte) {
	if last := len(t.pieces) - 1; last >= 0 && len(t.pieces[last])+len(lines) <= pieceBytes {
		lines = append(bytes.Clone(t.pieces[last]), lines...)
		t.pieces = t.pieces[:last]
	}
	for parts := (len(lines) + pieceBytes - 1) / pieceBytes; len(lines) > 0; parts-- {
		end := len(lines)
		if parts > 1 {
			at := len(lines) / parts
			end = at + bytes.IndexByte(lines[at:], '\n') + 1
		}
		t.pieces = append(t.pieces, bytes.Clone(lines[:end]))
		lines = lines[end:]
	}
}

// diff is how after differs from before, in the order of identifiers.
func diff(before, after *table) (added, changed, removed []string) {
	next, stop := iter.Pull(before.lines())
	defer stop()
	old, more := next()
	gone := func() {
		removed = append(removed, string(old.identifier()))
		old, more = next()
	}
	for l := range after.lines() {
		for more && bytes.Compare(old.identifier(), l.identifier()) < 0 {
			gone()
		}
		switch {
		case !more || !bytes.Equal(old.identifier(), l.identifier()):
			added = append(added, string(l.identifier()))
		case !bytes.Equal(old, l):
			changed = append(changed, string(l.identifier()))
			fallthrough
		default:
			old, more = next()
		}
	}
	for more {
		gone()
	}
	return added, changed, removed
}
