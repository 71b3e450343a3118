package wire

import (
	"bytes"
	"testing"
)

func TestParseLiteral(t *testing.T) {
	for _, c := range []struct {
		line string
		want Literal
	}{
		{"{5}", Literal{5, false}},
		{"a LOGIN {0}", Literal{0, false}},
		{"a LOGIN {29+}", Literal{29, true}},
		{"a ID ({4+}", Literal{4, true}},
		{"a APPEND x ~{10}", Literal{10, false}},
		{"a {007}", Literal{7, false}},
		{"a {2147483647}", Literal{MaxLiteral, false}},
		{`a "x" {3}`, Literal{3, false}},
		{`a "x\"" {3}`, Literal{3, false}},
		{`"{9}" {3}`, Literal{3, false}},
	} {
		if lit, found, err := ParseLiteral([]byte(c.line)); lit != c.want || !found || err != nil {
			t.Errorf("%q: got %v %v %v, want %v", c.line, lit, found, err, c.want)
		}
	}
}

func TestParseLiteralNone(t *testing.T) {
	for _, line := range []string{"", "}", "a NOOP", "a x{3}", `a "x {3}`, `a "x\" {3}`, `a "{3}"`, "a {x}", "a {3} ", "a {3", "a {3 }"} {
		if _, found, err := ParseLiteral([]byte(line)); found || err != nil {
			t.Errorf("%q: got found %v error %v, want neither", line, found, err)
		}
	}
}

// SECURITY 14.
func TestParseLiteralBad(t *testing.T) {
	for _, line := range []string{"{4294967296}", "{-1}", "{+10}", "{99999999999999999999}", "{99999999999999999999+}", "{2147483648}",
		"{}", "{+}", "{5++}", "{1-}", "{-}"} {
		if _, found, err := ParseLiteral([]byte("a LOGIN " + line)); !found || err == nil {
			t.Errorf("%q: got found %v error %v, want both", line, found, err)
		}
	}
}

func TestAppendLiteral(t *testing.T) {
	for _, c := range []struct {
		lit  Literal
		want string
	}{
		{Literal{0, false}, "{0}"},
		{Literal{12, true}, "{12+}"},
	} {
		if got := AppendLiteral(nil, c.lit); string(got) != c.want {
			t.Errorf("%v: got %q, want %q", c.lit, got, c.want)
		}
	}
}

func TestCutAstring(t *testing.T) {
	for _, c := range []struct{ in, value, rest string }{
		{"alice x", "alice", " x"},
		{"a%b*c\\d]", "a%b*c\\d]", ""},
		{`"alice" x`, "alice", " x"},
		{`""`, "", ""},
		{`"a\"b\\c"x`, `a"b\c`, "x"},
		{"\"\xc3\xa4\"", "ä", ""},
		{"{3}\r\nabc x", "abc", " x"},
		{"{0+}\r\n)", "", ")"},
		{"{2}\r\n\r\n", "\r\n", ""},
	} {
		value, rest, err := CutAstring([]byte(c.in))
		if string(value) != c.value || string(rest) != c.rest || err != nil {
			t.Errorf("%q: got %q %q %v, want %q %q", c.in, value, rest, err, c.value, c.rest)
		}
	}
}

func TestCutAstringRefuses(t *testing.T) {
	for _, in := range []string{"", " a", "(a)", ")", `"a`, `"a\"`, `"a\`, `"a\b"`, "{3}\r\nab", "{3}abc", "{3", "{x}\r\nabc", "{-1}\r\n",
		"\x80", "\x00", "\r\n", "{1 {3}\r\nabc"} {
		if value, _, err := CutAstring([]byte(in)); err == nil {
			t.Errorf("%q: got %q, want an error", in, value)
		}
	}
	if value, _, err := CutString([]byte("atom")); err == nil {
		t.Errorf("atom as string: got %q, want an error", value)
	}
}

// CutAstring must not hand out the input, which its owner zeroes.
func TestCutAstringCopies(t *testing.T) {
	for _, in := range []string{"alice", `"alice"`, "{5}\r\nalice"} {
		p := []byte(in)
		value, _, _ := CutAstring(p)
		clear(p)
		if string(value) != "alice" {
			t.Errorf("%q: got %q after the input was zeroed, want alice", in, value)
		}
	}
}

func TestAppendQuoted(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", `""`},
		{"alice", `"alice"`},
		{`a"b\c`, `"a\"b\\c"`},
	} {
		if got := AppendQuoted(nil, c.in); string(got) != c.want {
			t.Errorf("%q: got %s, want %s", c.in, got, c.want)
		}
	}
}

func TestStringClasses(t *testing.T) {
	for _, c := range []struct {
		in             string
		atom, quotable bool
	}{
		{"alice@example.org", true, true},
		{"", false, true},
		{"nil", false, true},
		{"a b", false, true},
		{"a%b", false, true},
		{"a*b", false, true},
		{`a\b`, false, true},
		{"a]b", false, true},
		{`a"b`, false, true},
		{"a\tb", false, true},
		{"ä", false, false},
		{"a\rb", false, false},
		{"a\nb", false, false},
		{"a\x00b", false, false},
	} {
		if got := StrictAtom([]byte(c.in)); got != c.atom {
			t.Errorf("StrictAtom(%q): got %v, want %v", c.in, got, c.atom)
		}
		if got := Quotable([]byte(c.in)); got != c.quotable {
			t.Errorf("Quotable(%q): got %v, want %v", c.in, got, c.quotable)
		}
	}
}

func TestDecodeBase64(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"YWxpY2U=", "alice"},
		{"AQ==", "\x01"},
	} {
		if got, err := DecodeBase64([]byte(c.in)); string(got) != c.want || err != nil {
			t.Errorf("%q: got %q %v, want %q", c.in, got, err, c.want)
		}
	}
}

func TestDecodeBase64Refuses(t *testing.T) {
	for _, in := range []string{"=", "*", "YWxpY2U", "YWxp Y2U=", "YWxp\nY2U=", "YWxpY2U=\r\n", "YWxpY2U==", "YWxpY2U=x", "_-_-"} {
		if got, err := DecodeBase64([]byte(in)); err == nil {
			t.Errorf("%q: got %q, want an error", in, got)
		}
	}
}

// FuzzStrings wants that what we quote or send as a literal is read back the same, and that no input does harm.
func FuzzStrings(f *testing.F) {
	for _, s := range []string{"alice", `a"b\`, "\xff\x00\r\n", `"a\"b" x`, "{3}\r\nabc", "{99999999999999999999}\r\n", "AGE="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		literal := append(AppendLiteral(nil, Literal{Size: len(s)}), "\r\n"...)
		forms := [][]byte{append(literal, s...)}
		if Quotable(s) {
			forms = append(forms, AppendQuoted(nil, s))
		}
		if StrictAtom(s) {
			forms = append(forms, s)
		}
		for _, form := range forms {
			if value, rest, err := CutAstring(form); err != nil || len(rest) != 0 || !bytes.Equal(value, s) {
				t.Errorf("%q: got %q %q %v, want %q", form, value, rest, err, s)
			}
		}
		if raw, err := DecodeBase64(AppendBase64(nil, s)); err != nil || !bytes.Equal(raw, s) {
			t.Errorf("base64 of %q: got %q %v", s, raw, err)
		}
		if value, rest, err := CutAstring(s); err == nil && len(value)+len(rest) > len(s) {
			t.Errorf("%q: got %q and %q, more than was there", s, value, rest)
		}
		if raw, err := DecodeBase64(s); err == nil && len(AppendBase64(nil, raw)) != len(s) {
			t.Errorf("%q decodes to %q, whose form has another length", s, raw)
		}
	})
}
