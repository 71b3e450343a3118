package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// rules by the name they are reported under.
var rules = map[string]func(*tree) []string{
	"imports":   checkImports,
	"packages":  checkPackages,
	"sizes":     checkSizes,
	"citations": checkCitations,
}

func TestTree(t *testing.T) {
	root, module := moduleRoot(t)
	tree, findings := read(os.DirFS(root), module)
	for _, f := range findings {
		t.Error(f)
	}
	if len(tree.files) < 10 {
		t.Fatalf("read %d files below %s, that cannot be all", len(tree.files), root)
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			found := rule(tree)
			slices.Sort(found)
			for _, f := range found {
				t.Error(f)
			}
		})
	}
}

// A row that excuses nothing is not left behind.
func TestDeviationsAreNeeded(t *testing.T) {
	root, module := moduleRoot(t)
	tree, _ := read(os.DirFS(root), module)
	used := map[[2]string]bool{}
	for _, f := range tree.files {
		for _, i := range tree.imports(f) {
			used[[2]string{f.dir, i.path}] = true
		}
	}
	for _, d := range deviations {
		if !used[[2]string{d.from, d.to}] || d.reason == "" {
			t.Errorf("deviation %s to %s: not used, or without a reason", d.from, d.to)
		}
	}
}

// moduleRoot is the folder with go.mod, and the module's name.
func moduleRoot(t *testing.T) (dir, module string) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			_, rest, _ := strings.Cut(string(text), "module ")
			module, _, _ = strings.Cut(rest, "\n")
			return dir, strings.TrimSpace(module)
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the test")
	}
}

// synthetic is a tree of one file.
func synthetic(path, text string) fstest.MapFS {
	return fstest.MapFS{path: {Data: []byte(text)}}
}

// importing is a documented package with one import.
func importing(p string) string { return "// Package x is x.\npackage x\n\nimport _ \"" + p + "\"\n" }

func TestViolationsAreFound(t *testing.T) {
	tests := []struct{ name, rule, path, text, want string }{
		{"socket in a protocol", "imports", "protocols/imap/a.go", importing("net"), "protocols/imap/a.go:4: imports net: a protocol does no I/O and reads no clock"},
		{"HTTP in a protocol", "imports", "protocols/http/a.go", importing("net/http"), "imports net/http: a protocol does no I/O"},
		{"file in a protocol", "imports", "protocols/imap/a.go", importing("os"), "imports os: a protocol does no I/O"},
		{"clock in a protocol", "imports", "protocols/imap/a.go", importing("time"), "imports time: a protocol does no I/O"},
		{"system call in a protocol", "imports", "protocols/wire/a.go", importing("golang.org/x/sys/unix"), "imports golang.org/x/sys/unix: a protocol does no I/O"},
		{"log in a protocol", "imports", "protocols/imap/a.go", importing("log/slog"), "imports log/slog: a protocol does no I/O"},
		{"core in a protocol", "imports", "protocols/imap/a.go", importing("m/core/logx"), "imports core/logx: a protocol knows nothing of core"},
		{"core in a protocol's test", "imports", "protocols/imap/a_test.go", importing("m/core/session"), "imports core/session: a protocol knows nothing of core"},
		{"tlsx in a protocol", "imports", "protocols/imap/a.go", importing("m/tlsx/record"), "imports tlsx/record: a protocol knows nothing of core"},
		{"mail in the engine", "imports", "core/engine/a.go", importing("m/protocols/dialog"), "imports protocols/dialog: engine and bridge know nothing of mail"},
		{"mail in the bridge", "imports", "core/bridge/a.go", importing("m/protocols/imap"), "imports protocols/imap: engine and bridge know nothing of mail"},
		{"configuration in a session", "imports", "core/session/a.go", importing("m/core/config"), "imports core/config: only core/proxy and cmd"},
		{"configuration in tlsx", "imports", "tlsx/a.go", importing("m/core/config"), "imports core/config: only core/proxy and cmd"},
		{"route in admin", "imports", "core/admin/a.go", importing("m/core/route"), "imports core/route: not in the table"},
		{"anything in a leaf", "imports", "core/dial/a.go", importing("m/core/logx"), "imports core/logx: not in the table"},
		{"anything in an unknown package", "imports", "core/fresh/a.go", importing("m/core/logx"), "imports core/logx: not in the table"},
		{"a sibling machine", "imports", "protocols/pop3/a.go", importing("m/protocols/imap"), "imports protocols/imap: not in the table"},
		{"a shared parser in the fakes", "imports", "core/mailfake/a.go", importing("m/protocols/wire"), "imports protocols/wire: not in the table"},
		{"netpoll in the engine", "imports", "core/engine/a.go", importing("github.com/cloudwego/netpoll"), "imports github.com/cloudwego/netpoll: only the mock backends"},
		{"netpoll elsewhere in bench", "imports", "bench/load/a.go", importing("github.com/cloudwego/netpoll"), "only the mock backends"},
		{"the proxy's parts in bench", "imports", "bench/stage/a.go", importing("m/core/proxy"), "imports core/proxy: not in the table"},
		{"bench in the proxy", "imports", "core/proxy/a.go", importing("m/bench/measure"), "imports bench/measure: not in the table"},
		{"no doc comment", "packages", "core/x/a.go", "package x\n", "core/x: no doc comment"},
		{"doc comment in a test only", "packages", "core/x/a_test.go", "// Package x is x.\npackage x\n", "core/x: no doc comment"},
		{"detached doc comment", "packages", "core/x/a.go", "// Package x is x.\n\npackage x\n", "core/x: no doc comment"},
		{"vague folder", "packages", "core/util/a.go", "// Package x is x.\npackage x\n", "core/util: a package must not be called util"},
		{"vague package", "packages", "core/x/a.go", "// Package helper is x.\npackage helper\n", "core/x: a package must not be called helper"},
		{"vague plural", "packages", "core/helpers/a.go", "// Package helpers is x.\npackage helpers\n", "core/helpers: a package must not be called helpers"},
		{"long file", "sizes", "core/x/a.go", "package x\n" + strings.Repeat("\n", 400), "core/x/a.go: 401 lines, allowed 400"},
		{"long function", "sizes", "core/x/a.go", function("", 61), "core/x/a.go:2: f has 61 lines, allowed 60"},
		{"long function, no reason", "sizes", "core/x/a.go", function("// long:\n", 61), "f has 61 lines, allowed 60"},
		{"reason of another function", "sizes", "core/x/a.go", "package x\n\n// long: g is.\nfunc g() {}\n" + strings.TrimPrefix(function("", 61), "package x\n"), "f has 61 lines, allowed 60"},
		{"section", "citations", "core/x/a.go", "package x // SPEC " + "4.3\n", "core/x/a.go:1: SPEC " + "4.3 does not exist"},
		{"section in a test", "citations", "core/x/a_test.go", "package x\n\n// SPEC " + "14\n", "core/x/a_test.go:3: SPEC " + "14 does not exist"},
		{"half-written file", "parse", "core/x/a.go", "package x\nfunc {", "core/x/a.go: does not parse"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, found := read(synthetic(tt.path, tt.text), "m")
			if rule := rules[tt.rule]; rule != nil {
				found = append(found, rule(tree)...)
			}
			if len(found) != 1 || !strings.Contains(found[0], tt.want) {
				t.Errorf("got %q, want %q alone", found, tt.want)
			}
		})
	}
}

// function is a file with a function of so many lines.
func function(comment string, lines int) string {
	return fmt.Sprintf("package x\n%sfunc f() {\n%s}\n", comment, strings.Repeat("\n", lines-2))
}

func TestRegularCodeIsNotReported(t *testing.T) {
	tests := []struct{ name, path, text string }{
		{"addresses in a protocol", "protocols/imap/a.go", importing("net/netip")},
		{"a package that begins like a forbidden one", "protocols/imap/a.go", importing("timex")},
		{"file in a protocol's test", "protocols/imap/a_test.go", "package x\n\nimport _ \"os\"\n"},
		{"file in the transcript runner", "protocols/dialog/dialogtest/a.go", importing("os")},
		{"the table", "core/session/a.go", importing("m/protocols/imap")},
		{"a deviation", "core/session/a.go", importing("m/core/engine")},
		{"the root sees all", "core/proxy/a.go", importing("m/core/store/file")},
		{"the root sees the configuration", "core/proxy/a.go", importing("m/core/config")},
		{"netpoll in the mock backends", "bench/mock/a.go", importing("github.com/cloudwego/netpoll")},
		{"tests import what they need", "core/dial/a_test.go", "package x\n\nimport _ \"m/core/mailfake\"\n"},
		{"function at the limit", "core/x/a.go", "// Package x is x.\n" + function("", 60)},
		{"reason in front", "core/x/a.go", "// Package x is x.\n" + function("// long: it is a table.\n", 61)},
		{"reason inside", "core/x/a.go", "// Package x is x.\n" + strings.Replace(function("", 61), "{\n\n", "{\n// long: it is a table.\n", 1)},
		{"long test", "core/x/a_test.go", function("", 500)},
		{"long generated file", "core/x/a.go", "// Code generated by x. DO NOT EDIT.\n\n// Package x is x.\npackage x\n" + strings.Repeat("\n", 400)},
		{"test data", "core/x/testdata/a.go", "nothing"},
		{"hidden folder", ".x/a.go", "nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := synthetic(tt.path, tt.text)
			if strings.HasSuffix(tt.path, "_test.go") {
				fsys[filepath.Dir(tt.path)+"/doc.go"] = &fstest.MapFile{Data: []byte("// Package x is x.\npackage x\n")}
			}
			tree, found := read(fsys, "m")
			for _, rule := range rules {
				found = append(found, rule(tree)...)
			}
			if len(found) != 0 {
				t.Errorf("got %q, want nothing", found)
			}
		})
	}
}

func TestCitations(t *testing.T) {
	// The documents' names stand apart here, so that the test does not find its own cases.
	const spec, design, security, style, rfc = "SPEC", "DESIGN", "SECURITY", "STYLE", "RFC"
	tests := []struct {
		line string
		want []string
	}{
		{spec + " 4.2.", nil},
		{spec + " 2.11, " + spec + " 13", nil},
		{spec + " 3, 3.1 and 6.1", nil},
		{spec + " 12, 64 lines", nil},
		{spec + " 4 point 2", nil},
		{"(" + spec + " 6, 2.1)", nil},
		{spec + " 0", []string{spec + " 0"}},
		{spec + " 2.12", []string{spec + " 2.12"}},
		{spec + " 4.2.1", []string{spec + " 4.2.1"}},
		{spec + " 6.2 and " + spec + " 7.1", []string{spec + " 6.2", spec + " 7.1"}},
		{spec + " 3, 3.6 and 14", []string{spec + " 3.6", spec + " 14"}},
		{design + " 3.11 and 7", nil},
		{design + " 8", []string{design + " 8"}},
		{design + " 3.12", []string{design + " 3.12"}},
		{security + " 1 to 7", nil},
		{security + " 17-33", nil},
		{security + " 1 to 34", []string{security + " 34"}},
		{style + " 8", nil},
		{style + " 9", []string{style + " 9"}},
		{rfc + " 9051 6.2.3, " + rfc + " 822", nil},
		{rfc + " 9051 section 6", nil},
		{rfc + " 90510", []string{rfc + " 90510"}},
		{rfc + " 42", []string{rfc + " 42"}},
		{rfc + " 5321 4.5.3.1.998", []string{rfc + " 5321 4.5.3.1.998"}},
		{"MYSPEC 99", nil},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			if got := unresolved(tt.line); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
