package config

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Fingerprint is the SHA-256 of a certificate in DER.
type Fingerprint [32]byte

// String is 64 lower-case hex digits.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// mismatch says why a value was not taken.
type mismatch struct{ found, allowed string }

// textType is a type that is written as a string in the file.
type textType struct {
	allowed string
	parse   func(string) (any, bool)
}

var textTypes = map[reflect.Type]textType{
	reflect.TypeFor[time.Duration]():  {"a whole number above 0 and a unit of ms s m h d, such as \"45s\"", parseDuration},
	reflect.TypeFor[Bind]():           {"IP:port with port 1 to 65535, IPv6 in brackets", parseBind},
	reflect.TypeFor[netip.Addr]():     {"an IP address that a connection can have", parseAddr},
	reflect.TypeFor[netip.Prefix]():   {"a network such as 192.0.2.0/24, or an IP address", parsePrefix},
	reflect.TypeFor[slog.Level]():     {"one of debug info warn error", parseLevel},
	reflect.TypeFor[*Fingerprint]():   {"64 hex digits, colons ignored", parseFingerprint},
	reflect.TypeFor[*regexp.Regexp](): {"a regular expression (RE2)", parseRegexp},
	reflect.TypeFor[Secret]():         {"a string that is not empty", parseSecret},
}

// isTable reports whether a struct is a table of the schema and not a value.
func isTable(t reflect.Type) bool {
	_, isText := textTypes[t]
	return t.Kind() == reflect.Struct && !isText
}

// isOptionalTable reports whether t is a table that may be absent as a whole.
func isOptionalTable(t reflect.Type) bool {
	_, isText := textTypes[t]
	return t.Kind() == reflect.Pointer && isTable(t.Elem()) && !isText
}

// isTableList reports whether t is a list of tables.
func isTableList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Pointer && isTable(t.Elem().Elem())
}

// keyField is the index of the field that holds NAME of [x.NAME], for a list of such tables; -1 for other lists.
func keyField(list reflect.Type) int {
	t := list.Elem().Elem()
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("name") != "" {
			return i
		}
	}
	return -1
}

// scalar decodes a value that is no table and no list.
func (k *checker) scalar(f field, v any, dst reflect.Value) *mismatch {
	t := dst.Type()
	bad := &mismatch{describe(v), allowedFor(f, t)}
	if t == reflect.TypeFor[Secret]() {
		bad.found = "an empty string or another kind of value" // never the value itself
	}
	if dst.Kind() == reflect.Bool {
		b, ok := v.(bool)
		dst.SetBool(b)
		return unless(ok, bad)
	}
	if _, isText := textTypes[t]; !isText && enums[t] == nil && dst.Kind() != reflect.String && f.is != "size" {
		return unless(setNumber(f, v, dst), bad)
	}
	s, ok := v.(string)
	return unless(ok && k.text(f, s, dst), bad)
}

func unless(ok bool, m *mismatch) *mismatch {
	if ok {
		return nil
	}
	return m
}

// text decodes everything that is written as a string.
func (k *checker) text(f field, s string, dst reflect.Value) bool {
	t := dst.Type()
	if tt, ok := textTypes[t]; ok {
		parsed, ok := tt.parse(s)
		if ok {
			dst.Set(reflect.ValueOf(parsed))
		}
		return ok
	}
	if enums[t] != nil {
		dst.SetUint(enumValue(t, s))
		return dst.Uint() != 0
	}
	if f.is == "size" {
		n, ok := parseSize(s)
		dst.SetInt(n)
		return ok
	}
	if !stringKinds[f.is].valid(s) {
		return false
	}
	if f.is == "path" {
		s = k.o.resolvePath(s)
	}
	dst.SetString(s)
	return true
}

func setNumber(f field, v any, dst reflect.Value) bool {
	n, ok := v.(int64)
	if !ok || n < bound(f.min, math.MinInt64) || n > bound(f.max, math.MaxInt64) {
		return false
	}
	if dst.CanUint() {
		dst.SetUint(uint64(n)) // every unsigned key has min and max within its type
		return true
	}
	dst.SetInt(n)
	return true
}

// bound reads a tag that the tests have seen to be a number.
func bound(tag string, absent int64) int64 {
	if n, err := strconv.ParseInt(tag, 10, 64); err == nil {
		return n
	}
	return absent
}

// defaultValue is a default as it would come from the file.
func defaultValue(s string, kind reflect.Kind, t reflect.Type) any {
	_, isText := textTypes[t]
	switch {
	case kind == reflect.Bool:
		return s == "true"
	case isText || enums[t] != nil:
		return s
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && kind != reflect.String {
		return n
	}
	return s
}

// allowedFor words what a key takes.
func allowedFor(f field, t reflect.Type) string {
	switch tt, isText := textTypes[t]; {
	case isText:
		return tt.allowed
	case enums[t] != nil:
		return enumAllowed(t)
	case t.Kind() == reflect.Slice:
		return "a list, each " + allowedFor(f, t.Elem())
	case t.Kind() == reflect.Bool:
		return "true or false"
	case f.is == "size":
		return "a whole number above 0 and a unit of KiB MiB GiB, such as \"256MiB\""
	case t.Kind() == reflect.String:
		return stringKinds[f.is].allowed
	}
	return fmt.Sprintf("a whole number from %s to %s", f.min, f.max)
}

// describe words what was found.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case int64, bool, float64:
		return fmt.Sprint(v)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	case time.Time:
		return "a date"
	}
	return "something else"
}

// units are those of SPEC 2.
var units = []struct {
	suffix string
	unit   time.Duration
}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}}

// maxDuration keeps sums of durations far from overflow.
const maxDuration = 3650 * 24 * time.Hour

func parseDuration(s string) (any, bool) {
	for _, u := range units {
		n, ok := wholeNumber(strings.TrimSuffix(s, u.suffix))
		if ok && strings.HasSuffix(s, u.suffix) && n > 0 && n <= int64(maxDuration/u.unit) {
			return time.Duration(n) * u.unit, true
		}
	}
	return nil, false
}

func parseSize(s string) (int64, bool) {
	for shift, suffix := range map[int]string{10: "KiB", 20: "MiB", 30: "GiB"} {
		digits, ok := strings.CutSuffix(s, suffix)
		if n, isNumber := wholeNumber(digits); ok && isNumber && n > 0 && n <= math.MaxInt64>>shift {
			return n << shift, true
		}
	}
	return 0, false
}

// wholeNumber takes digits only: no sign, no blanks.
func wholeNumber(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func parseBind(s string) (any, bool) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" || ap.Addr().IsMulticast() {
		return nil, false
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
}

func parseAddr(s string) (any, bool) {
	a, err := netip.ParseAddr(s)
	a = a.Unmap()
	return a, err == nil && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
}

// parsePrefix takes a bare address as its host prefix, masks host bits and unmaps IPv4 in IPv6 (SPEC 2.3).
func parsePrefix(s string) (any, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return nil, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

func parseLevel(s string) (any, bool) {
	switch s {
	case "debug", "trace":
		return slog.LevelDebug, true
	case "info":
		return slog.LevelInfo, true
	case "warn":
		return slog.LevelWarn, true
	case "error":
		return slog.LevelError, true
	}
	return nil, false
}

func parseFingerprint(s string) (any, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != len(Fingerprint{}) {
		return nil, false
	}
	f := Fingerprint(b)
	return &f, true
}

func parseRegexp(s string) (any, bool) {
	re, err := regexp.Compile(s)
	return re, err == nil && s != ""
}

func parseSecret(s string) (any, bool) { return Secret{s}, strings.TrimSpace(s) != "" }
