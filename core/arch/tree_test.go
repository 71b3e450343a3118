package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// source is one Go file.
type source struct {
	path string // slash-separated, from the module's root
	dir  string
	test bool // not part of the program: a _test.go file, or in a package made for tests
	text string
	ast  *ast.File
	pos  *token.FileSet
}

// tree is the module's Go files.
type tree struct {
	module string
	files  []*source
}

// read parses every Go file below fsys. A file that does not parse is a finding, and is left out.
func read(fsys fs.FS, module string) (t *tree, findings []string) {
	t = &tree{module: module}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skipped(p)
		case path.Ext(p) != ".go":
			return nil
		}
		text, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		pos := token.NewFileSet()
		f, err := parser.ParseFile(pos, p, text, parser.ParseComments)
		if err != nil {
			findings = append(findings, fmt.Sprintf("%s: does not parse: %v", p, err))
			return nil
		}
		test := strings.HasSuffix(p, "_test.go") || slices.ContainsFunc(strings.Split(path.Dir(p), "/"), func(dir string) bool { return dir == "dialogtest" || dir == "tlstest" })
		t.files = append(t.files, &source{path: p, dir: path.Dir(p), test: test, text: string(text), ast: f, pos: pos})
		return nil
	})
	if err != nil {
		findings = append(findings, err.Error())
	}
	return t, findings
}

// skipped leaves out what the go command leaves out as well.
func skipped(dir string) error {
	base := path.Base(dir)
	if dir != "." && (base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
		return fs.SkipDir
	}
	return nil
}

// packages is the files by directory.
func (t *tree) packages() map[string][]*source {
	m := make(map[string][]*source)
	for _, f := range t.files {
		m[f.dir] = append(m[f.dir], f)
	}
	return m
}

// imports is the paths f imports, those of this module without the module's name and with own set.
func (t *tree) imports(f *source) (list []imported) {
	for _, spec := range f.ast.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused it
		}
		rest, own := strings.CutPrefix(p, t.module+"/")
		list = append(list, imported{rest, own, f.pos.Position(spec.Pos()).Line})
	}
	return list
}

type imported struct {
	path string
	own  bool
	line int
}
