package arch

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// Sizes of STYLE 4.
const (
	maxFileLines = 400
	maxFuncLines = 60 // above it only with a reason
)

// vague names say nothing about what a package is for.
var vague = []string{"util", "common", "helper", "types", "base"}

// checkPackages wants a doc comment and a telling name of every package.
func checkPackages(t *tree) (findings []string) {
	for dir, files := range t.packages() {
		if !slices.ContainsFunc(files, documented) {
			findings = append(findings, dir+": no doc comment")
		}
		names := []string{path.Base(dir)}
		for _, f := range files {
			names = append(names, strings.TrimSuffix(f.ast.Name.Name, "_test"))
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if slices.Contains(vague, strings.TrimSuffix(name, "s")) || slices.Contains(vague, name) {
				findings = append(findings, fmt.Sprintf("%s: a package must not be called %s", dir, name))
			}
		}
	}
	return findings
}

// documented: the doc comment must be where `go doc` finds it.
func documented(f *source) bool {
	return !strings.HasSuffix(f.path, "_test.go") && strings.TrimSpace(f.ast.Doc.Text()) != ""
}

// checkSizes measures files and functions that are part of the program.
func checkSizes(t *tree) (findings []string) {
	for _, f := range t.files {
		if f.test || ast.IsGenerated(f.ast) {
			continue
		}
		if n := strings.Count(f.text, "\n"); n > maxFileLines {
			findings = append(findings, fmt.Sprintf("%s: %d lines, allowed %d", f.path, n, maxFileLines))
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			first, last := f.pos.Position(fn.Pos()).Line, f.pos.Position(fn.End()).Line
			if n := last - first + 1; n > maxFuncLines && !justified(f.ast, fn) {
				findings = append(findings, fmt.Sprintf("%s:%d: %s has %d lines, allowed %d without a `long:` comment", f.path, first, fn.Name.Name, n, maxFuncLines))
			}
		}
	}
	return findings
}

// justified looks for the reason in front of the function and inside.
func justified(file *ast.File, fn *ast.FuncDecl) bool {
	start := fn.Pos()
	if fn.Doc != nil {
		start = fn.Doc.Pos()
	}
	for _, c := range file.Comments {
		if c.Pos() < start || c.Pos() > fn.End() {
			continue
		}
		if _, reason, ok := strings.Cut(c.Text(), "long:"); ok && strings.TrimSpace(reason) != "" {
			return true
		}
	}
	return false
}
