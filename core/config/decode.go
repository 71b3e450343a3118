package config

import (
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// checker carries one configuration through all steps and collects what is wrong with it. After a problem every step
// goes on with what is left, so rules must bear zero values.
type checker struct {
	c        *Config
	o        Options
	lines    keyLines
	errors   Problems
	warnings Problems
}

func newChecker(o Options) *checker {
	return &checker{o: o, c: &Config{Path: o.Path, set: map[string]bool{}}}
}

func (k *checker) problem(key, found, allowed string) Problem {
	return Problem{File: k.o.Path, Line: k.lines.of(key), Key: key, Found: found, Allowed: allowed}
}

func (k *checker) fail(key, found, allowed string) {
	k.errors = append(k.errors, k.problem(key, found, allowed))
}

func (k *checker) warn(key, found, allowed string) {
	k.warnings = append(k.warnings, k.problem(key, found, allowed))
}

// parse reads TOML into nested tables. It is false when the source is no TOML, which is the only problem reported then.
func (k *checker) parse(src []byte) (map[string]any, bool) {
	text := string(src)
	var deep int
	k.lines, deep = scanKeys(text)
	k.c.lines = k.lines
	if deep > 0 {
		p := k.problem("(syntax)", "nesting without end", fmt.Sprintf("at most %d levels", maxDepth))
		p.Line = deep
		k.errors = append(k.errors, p)
		return nil, false
	}
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		k.errors = append(k.errors, k.syntaxProblem(text, err))
		return nil, false
	}
	return tree, true
}

func (k *checker) syntaxProblem(text string, err error) Problem {
	p := Problem{File: k.o.Path, Key: "(syntax)", Found: err.Error(), Allowed: "TOML 1.0"}
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return p
	}
	p.Line, p.Found = pe.Position.Line, oneLine(pe.Message)
	if pe.LastKey != "" {
		p.Key = oneLine(pe.LastKey)
	}
	if secretNear(text, pe) {
		p.Found = "a value that is not TOML" // the message may quote part of it
	}
	return p
}

// oneLine makes a text of the decoder, which may hold foreign text as it is, fit for one line.
func oneLine(s string) string {
	if len(s) > 2*maxFound {
		s = strings.ToValidUTF8(s[:2*maxFound], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}

// secretNear reports whether a syntax error lies where the text could be part of a secret.
func secretNear(text string, pe toml.ParseError) bool {
	near := pe.LastKey
	lines := strings.Split(text, "\n")
	for n := pe.Position.Line - 2; n <= pe.Position.Line; n++ {
		if n >= 0 && n < len(lines) {
			near += "\n" + lines[n]
		}
	}
	return strings.Contains(near, "token") || strings.Contains(near, "url")
}

// field is one key of a table as the tags describe it.
type field struct {
	index    int
	key      string
	is       string // what a string means: path host domain text name any ...
	defaults string
	hasDef   bool
	required bool
	min, max string // bounds of a number
}

// fieldsOf lists the keys of a table type.
func fieldsOf(t reflect.Type) []field {
	var fs []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		f := field{index: i, key: tag.Get("toml"), is: tag.Get("is"), required: tag.Get("rule") == "required",
			min: tag.Get("min"), max: tag.Get("max")}
		f.defaults, f.hasDef = tag.Lookup("default")
		if f.key != "" {
			fs = append(fs, f)
		}
	}
	return fs
}

func (k *checker) decode(tree map[string]any) {
	k.table("", tree, reflect.ValueOf(k.c).Elem())
}

// table fills the struct out from a table: unknown keys are problems, absent ones take their default.
func (k *checker) table(path string, in map[string]any, out reflect.Value) {
	fields := fieldsOf(out.Type())
	k.unknown(path, in, fields)
	for _, f := range fields {
		key, dst := join(path, f.key), out.Field(f.index)
		v, ok := in[f.key]
		if ok {
			k.c.set[key] = true
			k.value(key, f, v, dst)
			continue
		}
		if f.required {
			k.fail(key, "nothing", allowedFor(f, dst.Type()))
		}
		k.absent(key, f, dst)
	}
}

func (k *checker) unknown(path string, in map[string]any, fields []field) {
	var names []string
	known := map[string]bool{}
	for _, f := range fields {
		names = append(names, f.key)
		known[f.key] = true
	}
	for _, key := range sortedKeys(in) {
		if !known[key] {
			k.fail(join(path, key), "an unknown key", "one of "+strings.Join(names, " "))
		}
	}
}

// absent gives a key its default; absent tables that are no pointers are filled with the defaults of their keys.
func (k *checker) absent(key string, f field, dst reflect.Value) {
	switch {
	case isTable(dst.Type()):
		k.table(key, nil, dst)
	case f.hasDef && dst.Kind() == reflect.Slice:
		items := []any{}
		for _, s := range strings.Fields(f.defaults) {
			items = append(items, s)
		}
		k.value(key, f, items, dst)
	case f.hasDef:
		k.value(key, f, defaultValue(f.defaults, dst.Kind(), dst.Type()), dst)
	}
}

// value decodes one value of whatever shape the schema asks for.
func (k *checker) value(key string, f field, v any, dst reflect.Value) {
	t := dst.Type()
	switch {
	case isTable(t):
		if m, ok := k.asTable(key, v); ok {
			k.table(key, m, dst)
		}
	case isOptionalTable(t):
		if m, ok := k.asTable(key, v); ok {
			dst.Set(reflect.New(t.Elem()))
			k.table(key, m, dst.Elem())
		}
	case isTableList(t) && keyField(t) >= 0:
		k.namedTables(key, v, dst)
	case isTableList(t):
		k.tableArray(key, v, dst)
	case t.Kind() == reflect.Slice:
		k.list(key, f, v, dst)
	default:
		if p := k.scalar(f, v, dst); p != nil {
			k.fail(key, p.found, p.allowed)
		}
	}
}

func (k *checker) asTable(key string, v any) (map[string]any, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		k.fail(key, describe(v), "a table")
	}
	return m, ok
}

// namedTables decodes [x.NAME] tables into a list sorted by what NAME means: a name or an enumeration.
func (k *checker) namedTables(key string, v any, dst reflect.Value) {
	m, ok := k.asTable(key, v)
	if !ok {
		return
	}
	elem := dst.Type().Elem().Elem()
	for _, name := range sortedKeys(m) {
		path := join(key, name)
		k.c.set[path] = true
		p := reflect.New(elem)
		named := p.Elem().Field(keyField(dst.Type()))
		if bad := nameInto(named, name); bad != "" {
			k.fail(path, quote(name), bad)
		}
		if inner, ok := k.asTable(path, m[name]); ok {
			k.table(path, inner, p.Elem())
			dst.Set(reflect.Append(dst, p))
		}
	}
	sort.SliceStable(dst.Interface(), func(i, j int) bool {
		a, b := dst.Index(i).Elem().Field(keyField(dst.Type())), dst.Index(j).Elem().Field(keyField(dst.Type()))
		if a.CanUint() {
			return a.Uint() < b.Uint()
		}
		return a.String() < b.String()
	})
}

// nameInto sets the key field of a named table. It returns what is allowed when name is not.
func nameInto(dst reflect.Value, name string) string {
	if dst.Kind() != reflect.String {
		dst.SetUint(enumValue(dst.Type(), name))
		if dst.Uint() == 0 {
			return enumAllowed(dst.Type())
		}
		return ""
	}
	dst.SetString(name)
	if !validName(name) {
		return allowedName
	}
	return ""
}

// tableArray decodes [[x]].
func (k *checker) tableArray(key string, v any, dst reflect.Value) {
	items, ok := v.([]map[string]any)
	if list, isList := v.([]any); isList { // an inline array
		ok = true
		for _, item := range list {
			m, isMap := item.(map[string]any)
			items, ok = append(items, m), ok && isMap
		}
	}
	if !ok {
		k.fail(key, describe(v), "a list of tables")
		return
	}
	for i, m := range items {
		p := reflect.New(dst.Type().Elem().Elem())
		k.table(element(key, i), m, p.Elem())
		dst.Set(reflect.Append(dst, p))
	}
}

// list decodes a list of scalars and names every element that is wrong.
func (k *checker) list(key string, f field, v any, dst reflect.Value) {
	items, ok := v.([]any)
	if !ok {
		k.fail(key, describe(v), "a list")
		return
	}
	if f.required && len(items) == 0 {
		k.fail(key, "an empty list", allowedFor(f, dst.Type()))
	}
	dst.Set(reflect.MakeSlice(dst.Type(), 0, len(items)))
	for _, item := range items {
		one := reflect.New(dst.Type().Elem()).Elem()
		if p := k.scalar(f, item, one); p != nil {
			k.fail(key, p.found, "a list, each "+p.allowed)
			continue
		}
		dst.Set(reflect.Append(dst, one))
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
