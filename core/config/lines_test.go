package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/BurntSushi/toml"
)

func TestScanKeys(t *testing.T) {
	for _, tt := range []struct{ src, path, want string }{
		{"a = 1\nb = 2\n", "b", "2"},
		{"\ufeffa = 1", "a", "1"},
		{"[x]\r\n\r\na = 1\r\n", "x.a", "3"},
		{"[x]\na.b = 1", "x.a.b", "2"},
		{"[ x . 'y z' ]\na = 1", "x.\"y z\".a", "2"},
		{"[x.\"y\\u0041\"]\na = 1", "x.yA.a", "2"},
		{"a = [\n1, # ]\n2]\nb = 1", "b", "4"},
		{"a = \"\"\"\nb = 1\n\\\"\"\"\" # end\nc = 1", "c", "4"},
		{"a = '''\nb = 1''''\nc = 1", "c", "3"},
		{"a = [\"\"\"x\"\"\"\"]\nb = 1", "b", "2"},
		{"a = \"x\\\"\" # b = 1\nc = 1", "c", "2"},
		{"a = '\\'\nc = 1", "c", "2"},
		{"a = \"\nc = 1", "c", "2"},
		{"[[r]]\na = 1\n[[r]]\na = 1\n[r.s]\nb = 1", "r[1].s.b", "6"},
		{"[[r]]\na = 1\n[[r]]\na = 1\n", "r[0].a", "2"},
		{"[[r]]\n[[r.s]]\n[[r]]\n[[r.s]]\na=1", "r[1].s[0].a", "5"},
		{"a = { b = 1 }", "a.b", "1"},
		{"[x]\na = 1", "x.missing", "1"},
		{"a = 1", "missing", "0"},
		{"=\n]\n[\na = 1", "a", "4"},
		{"a = ]]]]\nb = 1", "b", "2"},
	} {
		lines, deep := scanKeys(tt.src)
		if got := fmt.Sprint(lines.of(tt.path)); got != tt.want || deep != 0 {
			t.Errorf("%q: got line %s of %s (deep %d), want %s", tt.src, got, tt.path, deep, tt.want)
		}
	}
}

// TestScanKeysAgrees: on the examples the scan finds exactly the keys that the decoder finds.
func TestScanKeysAgrees(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v %v, want examples", files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var tree map[string]any
		md, err := toml.Decode(string(b), &tree)
		if err != nil {
			t.Fatal(err)
		}
		lines, _ := scanKeys(string(b))
		text := strings.Split(string(b), "\n")
		routes := -1
		for _, key := range md.Keys() {
			path := key.String()
			if path == "http.route" {
				routes++
			}
			if rest, ok := strings.CutPrefix(path, "http.route"); ok {
				path = element("http.route", routes) + rest
			}
			n := lines.of(path) // the line of the whole value for keys within inline tables
			if n == 0 || !strings.Contains(text[n-1], key[len(key)-1]) {
				t.Errorf("%s: got line %d for %s", file, n, path)
			}
		}
	}
}

// FuzzParse: no input makes it panic; it returns a configuration or problems, never both and never neither.
func FuzzParse(f *testing.F) {
	f.Add(base)
	for _, name := range []string{"minimal.toml", "migration.toml", "full.toml"} {
		b, err := os.ReadFile("../../configs/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("[[http.route]]\nmatch = '/a'\n[http.route.extract]\nfrom = \"body\"\nregex = '''(a)'''\n")
	dir := f.TempDir()
	o := testOptions(dir)
	o.Mappings = func(string) MappingFileLines { return MappingFileLines{Lines: []MappingLine{{1, "a", "b"}}} }
	if err := os.WriteFile(filepath.Join(dir, "mappings.tsv"), nil, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src string) {
		c, warnings, err := Parse([]byte(src), o)
		ps, ok := err.(Problems)
		if (c == nil) == (err == nil) || err != nil && (!ok || len(ps) == 0) {
			t.Fatalf("got %v and %v", c, err)
		}
		for _, p := range append(ps, warnings...) {
			if p.Key == "" || p.Found == "" || p.Allowed == "" || p.Line < 0 || p.Line > strings.Count(src, "\n")+2 {
				t.Errorf("got half a problem: %+v", p)
			}
			if strings.ContainsFunc(p.String(), unicode.IsControl) {
				t.Errorf("got %q, want one printable line", p.String())
			}
		}
		if c != nil {
			_ = Unbuilt(c).Error() // must not panic either
		}
	})
}
