package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated parts of docs/configuration.md")

const docsPath = "../../docs/configuration.md"

// TestDocs holds docs/configuration.md against the schema: every key, its type, default and comment, and the example.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	minimal, err := os.ReadFile("../../configs/minimal.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := replaceBetween(t, string(b), "reference", reference(t))
	want = replaceBetween(t, want, "minimal", "```toml\n"+string(minimal)+"```\n")
	if *update {
		if err := os.WriteFile(docsPath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Errorf("docs/configuration.md is not what the schema says; go test ./core/config -run Docs -update rewrites it")
	}
}

func replaceBetween(t *testing.T, doc, mark, text string) string {
	t.Helper()
	begin, end := "<!-- "+mark+": begin -->\n", "<!-- "+mark+": end -->"
	head, rest, ok := strings.Cut(doc, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("no %s and %s in docs/configuration.md", begin, end)
	}
	return head + begin + text + end + tail
}

// reference is one Markdown table for each TOML table.
func reference(t *testing.T) string {
	comments := fieldComments(t)
	var b strings.Builder
	walkSchema(reflect.TypeFor[Config](), "", func(path string, table reflect.Type) {
		rows := ""
		for _, f := range fieldsOf(table) {
			sf := table.Field(f.index)
			if isTable(sf.Type) || isOptionalTable(sf.Type) || isTableList(sf.Type) {
				continue
			}
			comment := comments[table.Name()+"."+sf.Name]
			if comment == "" {
				t.Errorf("%s.%s has no comment", table.Name(), sf.Name)
			}
			comment, _, _ = strings.Cut(comment, " After Load") // that is for who writes Go
			comment = strings.ReplaceAll(comment, "*", `\*`)
			rows += fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.key, typeWords(f, sf.Type), defaultWords(f, sf.Type), comment)
		}
		if rows != "" {
			fmt.Fprintf(&b, "### `%s`\n\n| key | type | default | meaning |\n|---|---|---|---|\n%s\n", path, rows)
		}
	})
	return strings.TrimSuffix(b.String(), "\n")
}

// walkSchema visits every table type with its header as it is written in a file.
func walkSchema(table reflect.Type, path string, visit func(path string, table reflect.Type)) {
	if path != "" {
		header := "[" + path + "]"
		if table == reflect.TypeFor[Route]() {
			header = "[[" + path + "]]"
		}
		visit(header, table)
	}
	for _, f := range fieldsOf(table) {
		ft, key := table.Field(f.index).Type, join(path, f.key)
		switch {
		case isTable(ft):
			walkSchema(ft, key, visit)
		case isOptionalTable(ft):
			walkSchema(ft.Elem(), key, visit)
		case isTableList(ft):
			if i := keyField(ft); i >= 0 {
				key = join(key, ft.Elem().Elem().Field(i).Tag.Get("name"))
			}
			walkSchema(ft.Elem().Elem(), key, visit)
		}
	}
}

// fieldComments reads the comment of every struct field of the package, by "Type.Field".
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("config*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding the schema: %v %v", files, err)
	}
	comments := map[string]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if st, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					for _, id := range f.Names {
						comments[spec.Name.Name+"."+id.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
					}
				}
			}
			return false
		})
	}
	return comments
}

// typeNames are the short words for types whose allowed values need a sentence.
var typeNames = map[string]string{
	"time.Duration": "duration", "netip.AddrPort": "`IP:port`", "netip.Addr": "IP address", "netip.Prefix": "network",
	"slog.Level": "`debug` `info` `warn` `error`", "*config.Fingerprint": "SHA-256", "*regexp.Regexp": "regular expression",
	"config.Secret": "string", "bool": "bool", "int": "integer", "uint16": "integer",
}

func typeWords(f field, t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Slice:
		return "list of " + typeWords(f, t.Elem())
	case enums[t] != nil:
		return "`" + strings.Join(enums[t], "` `") + "`"
	case f.is == "size":
		return "size"
	case f.is == "path" || f.is == "host":
		return f.is
	case t.Kind() == reflect.String:
		return "string"
	}
	return typeNames[t.String()]
}

func defaultWords(f field, t reflect.Type) string {
	switch {
	case f.required:
		return "required"
	case !f.hasDef:
		return "unset"
	case t.Kind() != reflect.Slice:
		return "`" + f.defaults + "`"
	case f.defaults == "":
		return "`[]`"
	}
	return "`" + strings.Join(strings.Fields(f.defaults), "` `") + "`"
}

// TestSchemaTags: what the decoder takes for granted about the tags.
func TestSchemaTags(t *testing.T) {
	k := newChecker(Options{})
	k.c.set = map[string]bool{}
	walkSchema(reflect.TypeFor[Config](), "", func(path string, table reflect.Type) {
		out := reflect.New(table).Elem()
		for _, f := range fieldsOf(table) {
			ft := table.Field(f.index).Type
			if _, known := stringKinds[f.is]; !known && f.is != "size" {
				t.Errorf("%s %s: unknown kind %q", path, f.key, f.is)
			}
			if _, isText := textTypes[ft]; !isText && (ft.Kind() == reflect.Int || ft.Kind() == reflect.Uint16) {
				if bound(f.min, -7) == -7 || bound(f.max, -7) == -7 {
					t.Errorf("%s %s: a number without min and max", path, f.key)
				}
			}
			k.absent(path+f.key, f, out.Field(f.index))
		}
	})
	for _, p := range k.errors {
		if p.Found != "nothing" {
			t.Errorf("a default does not decode: %s", p)
		}
	}
}
