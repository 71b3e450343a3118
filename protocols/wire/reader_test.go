package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const testLimit = 16

// read runs the stream through a reader, cut behind the bytes that cut names, and tells what came of it: lines, bad lines,
// commands of several lines, the end.
func read(stream []byte, limit int, cut func(int) bool) []string {
	var r Reader
	var seen []string
	for from := 0; from < len(stream); {
		to := from + 1
		for to < len(stream) && !cut(to) {
			to++
		}
		for p := bytes.Clone(stream[from:to]); len(p) > 0; {
			n, said, over := readOne(&r, p, limit)
			if said != "" {
				seen = append(seen, said)
			}
			if over {
				return append(seen, fmt.Sprint("held ", r.Pending() > limit))
			}
			clear(p[:n])
			p = p[n:]
		}
		from = to
	}
	return append(seen, fmt.Sprintf("rest %q want %d", r.Prefix(), r.Want()))
}

// readOne takes one piece.
func readOne(r *Reader, p []byte, limit int) (n int, said string, over bool) {
	if r.Want() > 0 {
		return r.Take(p), "", false
	}
	line, n, err := r.Line(p, limit)
	switch lit, found, litErr := ParseLiteral(line); {
	case errors.Is(err, ErrLong):
		return 0, "long", true
	case line == nil:
		return n, "", false
	case litErr != nil:
		return n, "literal", true
	case err == nil && found && lit.Size <= limit:
		r.Literal(line, lit.Size)
		return n, "", false
	default:
		said = fmt.Sprintf("%q %v", r.Whole(line), err != nil)
		r.Reset()
		return n, said, false
	}
}

func whole(int) bool  { return false }
func single(int) bool { return true }

func TestReader(t *testing.T) {
	const empty = `rest "" want 0`
	for _, c := range []struct {
		stream string
		want   []string
	}{
		{"", []string{empty}},
		{"a\r\nbc\r\n", []string{`"a" false`, `"bc" false`, empty}},
		{"\r\n\r\n", []string{`"" false`, `"" false`, empty}},
		{"a\r\nb", []string{`"a" false`, `rest "b" want 0`}},
		{"a\nb\r\n", []string{`"a" true`, `"b" false`, empty}},
		{"\n", []string{`"" true`, empty}},
		{"a\rb\r\n", []string{`"a\rb" true`, empty}},
		{"a\r\r\n", []string{`"a\r" true`, empty}},
		{"a\x00b\r\nc\r\n", []string{`"a\x00b" true`, `"c" false`, empty}},
		{"12345678901234\r\n", []string{`"12345678901234" false`, empty}},
		{"123456789012345\r\n", []string{"long", "held false"}},
		{"1234567890123456", []string{"long", "held false"}},
		{"123456789012345", []string{`rest "123456789012345" want 0`}},
		{"123456789012345\n", []string{`"123456789012345" true`, empty}},
		{"x {3}\r\na\r\n y\r\nz\r\n", []string{`"x {3}\r\na\r\n y" false`, `"z" false`, empty}},
		{"{0}\r\n{2+}\r\n\n\x00 {1}\r\nq\r\n", []string{`"{0}\r\n{2+}\r\n\n\x00 {1}\r\nq" false`, empty}},
		{"x {3}\r\na", []string{`rest "x {3}\r\na" want 2`}},
		{"x {16}\r\n1234567890123456123456789012345\r\n", []string{"long", "held false"}},
		{"x {-1}\r\n", []string{"literal", "held false"}},
	} {
		for _, cut := range []func(int) bool{whole, single, func(n int) bool { return n%3 == 0 }} {
			if got := read([]byte(c.stream), testLimit, cut); !slices.Equal(got, c.want) {
				t.Errorf("%q: got %q, want %q", c.stream, got, c.want)
			}
		}
	}
}

func TestReaderTakesNoBufferForWholeLines(t *testing.T) {
	var r Reader
	p := []byte("a1 NOOP\r\na2 NOOP\r\n")
	line, n, err := r.Line(p, 64)
	if err != nil || n != 9 || &line[0] != &p[0] || r.buf != nil {
		t.Errorf("line %q n %d error %v buffer %v, want the slice itself and no buffer", line, n, err, r.buf)
	}
	if allocs := testing.AllocsPerRun(100, func() { r.Line(p, 64); r.Reset() }); allocs != 0 {
		t.Errorf("got %v allocations, want 0", allocs)
	}
}

func TestReaderZeroesBuffers(t *testing.T) {
	var r Reader
	r.Line([]byte("LOGIN alice ses"), 4096)
	first := r.buf.B
	r.Line(bytes.Repeat([]byte("s"), 1000), 4096)
	if &first[0] == &r.buf.B[0] {
		t.Fatal("the buffer did not grow")
	}
	second := r.buf.B
	r.Reset()
	for name, b := range map[string][]byte{"outgrown": first, "given back": second} {
		if strings.Trim(string(b), "\x00") != "" {
			t.Errorf("%s buffer holds %q, want zeroes", name, b)
		}
	}
	if r != (Reader{}) {
		t.Errorf("got %+v after Reset, want the zero value", r)
	}
}

// FuzzReader wants the same whatever way the stream is cut, and no more memory than the limits allow.
func FuzzReader(f *testing.F) {
	for _, s := range []string{"a LOGIN b c\r\n", "a {3+}\r\nxyz {1}\r\n\n\r\n", "\x00\r\n", "{4294967296}\r\n", "{-1}\r\n{+10}\r\n"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		want := read(stream, 64, whole)
		for _, cut := range []func(int) bool{single, func(n int) bool { return n%(int(step)+1) == 0 }} {
			if got := read(stream, 64, cut); !slices.Equal(got, want) {
				t.Errorf("%q: got %q, want %q", stream, got, want)
			}
		}
	})
}

// BenchmarkLine measures a line that came whole and one that came in two pieces.
func BenchmarkLine(b *testing.B) {
	p := []byte("a1 LOGIN alice@example.org sesame\r\n")
	for name, at := range map[string]int{"whole": len(p), "split": 10} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var r Reader
			for b.Loop() {
				r.Line(p[:at], 8192)
				if at < len(p) {
					r.Line(p[at:], 8192)
				}
				r.Reset()
			}
		})
	}
}
