package file

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// show writes contents on one line: entries, head, problems.
func show(c *Contents) string {
	var b strings.Builder
	for _, e := range c.Entries {
		fmt.Fprintf(&b, "%d:%s=%s ", e.Line, e.Identifier, e.Destination)
	}
	if c.Head != "" {
		fmt.Fprintf(&b, "head:%q ", c.Head)
	}
	for _, p := range c.Problems {
		fmt.Fprintf(&b, "!%d %s ", p.Line, p.Reason)
	}
	return strings.TrimSpace(b.String())
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"one", "alice new\n", "1:alice=new"},
		{"no line end", "alice new", "1:alice=new"},
		{"tab, and many blanks", "\t alice \t\t new \t\n", "1:alice=new"},
		{"CRLF", "alice new\r\nbob old\r\n", "1:alice=new 2:bob=old"},
		{"byte order mark", bom + "alice new\n", "1:alice=new"},
		{"byte order mark in the middle", "alice new\n" + bom + "bob old\n", "1:alice=new 2:bob=old"},
		{"byte order mark before a comment", bom + "# c\nalice new\n", `2:alice=new head:"\ufeff# c\n"`},
		{"third field and remark", "alice new since Tuesday # yes\n", "1:alice=new"},
		{"blank lines and comments", "\n# a\n\n  # b\n\nalice new\n# c\n\nbob old\n", `6:alice=new 9:bob=old head:"\n# a\n\n  # b\n"`},
		{"no comment, no head", "\n\nalice new\n", "3:alice=new"},
		{"comments only", "# a\n# b", `head:"# a\n# b"`},
		{"remark sign inside", "al#ice n#w\n", "1:al#ice=n#w"},
		{"a dash is a name here", "alice -\n", "1:alice=-"},
		{"other scripts", "ärger@例え.jp new\n", "1:ärger@例え.jp=new"},
		{"no-break space is no blank", "a\u00a0b new\n", "1:a\u00a0b=new"},
		{"last one wins", "alice old\nbob old\nalice new\n", "3:alice=new 2:bob=old !3 repeated identifier"},
		{"master separator", "a%b new\na*b new\na::b new\n",
			"1:a%b=new 2:a*b=new 3:a::b=new !1 identifier with a master-user separator !3 identifier with a master-user separator"},
		{"control character", "a\x01b new\n", "1:a\x01b=new !1 identifier that no login carries"},
		{"quote", "a\"b new\n", "1:a\"b=new !1 identifier that no login carries"},
		{"not UTF-8", "a\xffb new\n", "1:a\xffb=new !1 identifier that no login carries"},
		{"long identifier", strings.Repeat("a", 513) + " new\n", "1:" + strings.Repeat("a", 513) + "=new !1 identifier that no login carries"},
		{"longest identifier", strings.Repeat("a", 512) + " new\n", "1:" + strings.Repeat("a", 512) + "=new"},
		{"longest line", "alice new " + strings.Repeat("x", 4086) + "\r\n", "1:alice=new"},

		{"line too long", "alice new " + strings.Repeat("x", 4087) + "\nbob old\n", "2:bob=old !1 line too long"},
		{"one field", "alice\nbob old\n \tcarol \t\n", "2:bob=old !1 only one field !3 only one field"},
		{"bad destination each time", "alice bad\nbob bad\ncarol new\n", "3:carol=new !1 bad destination !2 bad destination"},
	} {
		got, err := Parse(strings.NewReader(c.text), Rules{
			Separators: []string{"%", "", "::"},
			CheckDestination: func(d string) error {
				if d == "bad" {
					return errors.New("not declared")
				}
				return nil
			},
		})
		if err != nil || show(got) != c.want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", c.name, show(got), err, c.want)
		}
	}
}

func TestParseNormalizes(t *testing.T) {
	c, err := Parse(strings.NewReader("Alice New\naLICE Old\n"), Rules{Normalize: strings.ToLower})
	if got, want := show(c), "2:alice=Old !2 repeated identifier"; got != want || err != nil {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// Normalising can lengthen: here one byte that is not UTF-8 becomes the three of U+FFFD. A rewrite must stay readable.
func TestLineGrowsByNormalizing(t *testing.T) {
	c := parse(strings.Repeat("\xff", 1365)+" n\n"+strings.Repeat("\xfe", 1364)+" n\n", Rules{Normalize: strings.ToLower})
	want := "2:" + strings.Repeat("\ufffd", 1364) + "=n !1 line too long !2 identifier that no login carries"
	if got := show(c); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProblemTexts(t *testing.T) {
	c := parse("alice\n"+strings.Repeat("x", 5000)+"\nbob a\nbob b\n", Rules{})
	var got []string
	for _, p := range c.Problems {
		got = append(got, p.Error())
	}
	want := []string{
		`line 1: found only "alice", allowed is an identifier, a blank and a destination`,
		`line 2: line is 5000 bytes long, at most 4096 are allowed`,
		`line 4: identifier "bob" was mapped in line 3 already, this line wins`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := c.Err().Error(), want[0]+"\n"+want[1]; got != want {
		t.Errorf("Err: got %q, want %q", got, want)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	c := parse(strings.Repeat("alice\n", maxProblems+5), Rules{})
	if got, want := len(c.Problems), maxProblems+1; got != want {
		t.Fatalf("got %d problems, want %d", got, want)
	}
	if got, want := c.Problems[maxProblems].Error(), "and 5 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSlurpIsBounded(t *testing.T) {
	if got, err := slurp(strings.NewReader("12345"), 5); got != "12345" || err != nil {
		t.Errorf("at the limit: got %q, %v", got, err)
	}
	if _, err := slurp(strings.NewReader("123456"), 5); err == nil {
		t.Error("over the limit: no error")
	}
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Read([]byte) (int, error) { return 0, errBroken }

func TestParseReaderFails(t *testing.T) {
	if _, err := Parse(broken{}, Rules{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
}

// FuzzParse: no panic, no identifier twice, lines in range, and what is written from a reading reads the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "a b\n", bom + "# x\r\n\r\na b c\r\n", "a\n", "a b\nA c\n", "\xff\x00 \x01\n", "#\n\n#\na b", "\v\f x y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules := Rules{Normalize: strings.ToLower, Separators: []string{"%"}}
		c := parse(text, rules)
		s := storeOf(c)
		if n := len(maps.Collect(mappingsOf(s.mappings.Load()))); n != len(c.Entries) {
			t.Fatalf("%d entries, %d identifiers", len(c.Entries), n)
		}
		lines := strings.Count(text, "\n") + 1
		for _, e := range c.Entries {
			if e.Line < 1 || e.Line > lines || e.Identifier == "" || e.Destination == "" {
				t.Fatalf("impossible entry %+v of %d lines", e, lines)
			}
		}
		if c.Err() != nil {
			return // such a file is never rewritten
		}
		again := parse(written(s), rules)
		if added, changed, removed := diff(s.mappings.Load(), newTable(again.Entries)); len(added)+len(changed)+len(removed) > 0 {
			t.Fatalf("rewritten file differs: added %q, changed %q, removed %q", added, changed, removed)
		}
		third := parse(written(storeOf(again)), rules)
		if third.Head != again.Head {
			t.Fatalf("head %q becomes %q", again.Head, third.Head)
		}
	})
}

// storeOf is a store of what was read, without a file.
func storeOf(c *Contents) *Store {
	s := &Store{head: c.Head}
	s.mappings.Store(newTable(c.Entries))
	return s
}
