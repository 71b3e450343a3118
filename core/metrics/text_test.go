package metrics

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sample is one line of the text form.
type sample struct {
	name   string
	labels map[string]string
	order  []string // label names
	value  float64
}

// exposition is a text form that has been read, by family.
type exposition struct {
	types   map[string]string
	samples map[string][]sample
}

// parse reads version 0.0.4 of the text form as strictly as its specification allows, and beyond that wants what
// `promtool check metrics` does: no series twice, a family in one piece, its TYPE in front, whole histograms.
func parse(text string) (*exposition, error) {
	x := &exposition{types: map[string]string{}, samples: map[string][]sample{}}
	if text != "" && !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last line is cut")
	}
	seen, last, n := map[string]bool{}, "", 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		family, err := x.line(line, seen)
		if err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", n, line, err)
		}
		if family != last && len(x.samples[family]) > 1 {
			return nil, fmt.Errorf("line %d, %q: %s comes in pieces", n, line, family)
		}
		last = cmp.Or(family, last)
	}
	for name, kind := range x.types {
		if kind == "histogram" {
			if err := histogram(name, x.samples[name]); err != nil {
				return nil, err
			}
		}
	}
	return x, nil
}

// line reads one line and returns its family, none for a comment.
func (x *exposition) line(line string, seen map[string]bool) (string, error) {
	if strings.HasPrefix(line, "#") {
		return "", x.comment(strings.SplitN(line, " ", 4))
	}
	s, err := readSample(line)
	if err != nil {
		return "", err
	}
	series := s.name + fmt.Sprint(s.labels)
	if seen[series] {
		return "", fmt.Errorf("the series is there twice")
	}
	seen[series] = true
	family := s.name
	for _, suffix := range suffixes {
		if base, ok := strings.CutSuffix(s.name, suffix); ok && x.types[base] == "histogram" {
			family = base
		}
	}
	if kind := x.types[family]; kind == "histogram" && family == s.name || kind == "counter" && (s.value < 0 || math.IsNaN(s.value)) {
		return "", fmt.Errorf("no sample for a %s", kind)
	}
	x.samples[family] = append(x.samples[family], s)
	return family, nil
}

func (x *exposition) comment(words []string) error {
	if len(words) != 4 || words[0] != "#" || words[1] != "HELP" && words[1] != "TYPE" || !isName(words[2], ":") || words[3] == "" {
		return fmt.Errorf("neither HELP nor TYPE")
	}
	if words[1] == "HELP" {
		return nil
	}
	if _, again := x.types[words[2]]; again || len(x.samples[words[2]]) > 0 {
		return fmt.Errorf("TYPE twice, or after its samples")
	}
	if !slices.Contains([]string{"counter", "gauge", "histogram"}, words[3]) {
		return fmt.Errorf("type %q", words[3])
	}
	x.types[words[2]] = words[3]
	return nil
}

func isName(s, also string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || strings.ContainsRune(also, c)
		if !letter && !(i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != ""
}

// readSample reads `name{label="value",…} value`. Blanks are allowed where the specification allows them.
func readSample(line string) (s sample, err error) {
	s.labels = map[string]string{}
	end := strings.IndexAny(line, "{ ")
	if end < 0 {
		return s, fmt.Errorf("no value")
	}
	s.name = line[:end]
	rest := line[end:]
	if rest[0] == '{' {
		if rest, err = s.readLabels(rest[1:]); err != nil {
			return s, err
		}
	}
	value, ok := strings.CutPrefix(rest, " ")
	if !ok || !isName(s.name, ":") {
		return s, fmt.Errorf("no name, or no value")
	}
	s.value, err = strconv.ParseFloat(value, 64)
	return s, err
}

func (s *sample) readLabels(rest string) (string, error) {
	for {
		name, after, ok := strings.Cut(rest, `="`)
		name = strings.TrimLeft(name, " ")
		if _, twice := s.labels[name]; !ok || twice || !isName(name, "") {
			return "", fmt.Errorf("label %q", name)
		}
		value, tail, err := readValue(after)
		if err != nil {
			return "", err
		}
		s.labels[name], s.order = value, append(s.order, name)
		switch {
		case strings.HasPrefix(tail, "}"):
			return tail[1:], nil
		case strings.HasPrefix(tail, ","):
			rest = tail[1:]
		default:
			return "", fmt.Errorf("%q after a label", tail)
		}
	}
}

// readValue reads to the closing quote.
func readValue(p string) (value, tail string, err error) {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '"':
			return b.String(), p[i+1:], nil
		case p[i] != '\\':
			b.WriteByte(p[i])
		case i+1 == len(p) || !strings.Contains(`\"n`, p[i+1:i+2]):
			return "", "", fmt.Errorf("escape in %q", p)
		default:
			i++
			b.WriteByte(map[byte]byte{'\\': '\\', '"': '"', 'n': '\n'}[p[i]])
		}
	}
	return "", "", fmt.Errorf("%q is not closed", p)
}

// histogram wants, for each set of labels, rising bounds up to +Inf with counts that do not fall, the last one _count's.
func histogram(name string, list []sample) error {
	type state struct {
		bound, count float64
		sum, total   bool
	}
	all := map[string]*state{}
	for _, s := range list {
		labels := maps.Clone(s.labels)
		delete(labels, "le")
		key := fmt.Sprint(labels)
		h := all[key]
		if h == nil {
			h = &state{bound: math.Inf(-1)}
			all[key] = h
		}
		switch strings.TrimPrefix(s.name, name) {
		case "_bucket":
			bound, err := strconv.ParseFloat(s.labels["le"], 64)
			if err != nil || bound <= h.bound || s.value < h.count {
				return fmt.Errorf("%s%s: bucket %q of %v after %+v", name, key, s.labels["le"], s.value, *h)
			}
			h.bound, h.count = bound, s.value
		case "_sum":
			h.sum = true
		case "_count":
			if h.total = true; s.value != h.count {
				return fmt.Errorf("%s%s: count %v after %+v", name, key, s.value, *h)
			}
		}
	}
	for key, h := range all {
		if !h.sum || !h.total || !math.IsInf(h.bound, 1) {
			return fmt.Errorf("%s%s is not whole: %+v", name, key, *h)
		}
	}
	return nil
}

// everything is a set that shows every family, with names that need escaping among its labels.
func everything() *Set {
	s := New()
	for _, l := range []string{"imaps", "a \"quoted\" one\n"} {
		h := s.Listener(l, value(3))
		h.Accepted.Inc()
		h.Refused(RefusedDraining)
	}
	for _, d := range []string{"legacy", `back\slash`} {
		s.Logins("imap", d).Count(Accepted)
		s.Sessions("imap", d, "record", value(2))
		s.Destination(d, Health{Down: func() bool { return d == "legacy" }, Failures: func() int { return 7 }})
	}
	s.Bytes("imap").In.Add(1 << 40)
	s.Cache(Cache{value(1), value(2), value(3), value(4)})
	s.StoreErrors("file", value(5))
	s.TakeoverFailed("cbc").Inc()
	s.Certificate("main", func() time.Duration { return -90 * time.Second })
	s.Descriptors(func() int { return 12 }, func() int { return 1024 })
	for d := time.Microsecond; d < time.Minute; d *= 3 {
		s.LoopLag(d)
		s.Phase(PhaseTLS, d)
	}
	return s
}

func TestTextIsWellFormed(t *testing.T) {
	for name, s := range map[string]*Set{"nothing counted yet": New(), "everything": everything()} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(text(s)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Every family of the table is shown, with its type and its labels, and no other of our own.
func TestFamiliesAreComplete(t *testing.T) {
	x, err := parse(text(everything()))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range families {
		got := x.samples[prefix+name]
		if len(got) == 0 {
			t.Errorf("%s: got no sample", name)
			continue
		}
		if kind := x.types[prefix+name]; kind != f.kind {
			t.Errorf("%s: got type %q, want %q", name, kind, f.kind)
		}
		for _, s := range got {
			labels := slices.DeleteFunc(s.order, func(l string) bool { return l == "le" && f.kind == "histogram" })
			if g := strings.Join(labels, " "); g != f.labels {
				t.Errorf("%s: got labels %q, want %q", name, g, f.labels)
			}
		}
	}
	for name := range x.samples {
		if short, ours := strings.CutPrefix(name, prefix); ours && families[short].kind == "" {
			t.Errorf("got %s, which the table lacks", name)
		}
	}
}

// Names come back as they went in.
func TestEscaping(t *testing.T) {
	x, err := parse(text(everything()))
	if err != nil {
		t.Fatal(err)
	}
	for family, want := range map[string]string{"preauth_connections": "a \"quoted\" one\n", "destination_down": `back\slash`} {
		if !slices.ContainsFunc(x.samples[prefix+family], func(s sample) bool { return s.labels[s.order[0]] == want }) {
			t.Errorf("%s: got %v, want %q among the labels", family, x.samples[prefix+family], want)
		}
	}
}

func TestParserRefuses(t *testing.T) {
	const bucket = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n"
	tests := []struct{ name, text string }{
		{"cut line", "a 1"},
		{"no value", "a\n"},
		{"no name", " 1\n"},
		{"no number", "a one\n"},
		{"two blanks", "a  1\n"},
		{"name", "1a 1\n"},
		{"label name", "a{1=\"x\"} 1\n"},
		{"label without quotes", "a{b=c} 1\n"},
		{"label not closed", "a{b=\"c} 1\n"},
		{"labels not closed", "a{b=\"c\" 1\n"},
		{"label twice", "a{b=\"c\",b=\"d\"} 1\n"},
		{"escape", "a{b=\"\\x\"} 1\n"},
		{"series twice", "a{b=\"c\"} 1\na{b=\"c\"} 2\n"},
		{"in pieces", "a{b=\"c\"} 1\nd 1\na{b=\"d\"} 2\n"},
		{"comment", "# something else here\n"},
		{"type", "# TYPE a number\n"},
		{"type twice", "# TYPE a gauge\n# TYPE a gauge\n"},
		{"type after", "a 1\n# TYPE a gauge\n"},
		{"negative counter", "# TYPE a counter\na -1\n"},
		{"histogram as a number", "# TYPE h histogram\nh 1\n"},
		{"histogram without infinity", bucket + "h_sum 1\nh_count 1\n"},
		{"histogram without count", bucket + "h_bucket{le=\"+Inf\"} 1\nh_sum 1\n"},
		{"histogram without sum", bucket + "h_bucket{le=\"+Inf\"} 1\nh_count 1\n"},
		{"histogram that falls", bucket + "h_bucket{le=\"+Inf\"} 0\nh_sum 1\nh_count 0\n"},
		{"histogram out of order", bucket + "h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n"},
		{"histogram of another count", bucket + "h_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parse(tt.text); err == nil {
				t.Errorf("%q: got no error", tt.text)
			}
		})
	}
}

func TestBugsOfFamilies(t *testing.T) {
	s := New()
	tests := []struct {
		name string
		make func()
	}{
		{"unknown family", func() { s.counter("surprises_total") }},
		{"no labels", func() { s.counter("logins_total") }},
		{"a label too many", func() { s.counter("cache_hits", "identifier", "alice") }},
		{"another label", func() { s.counter("store_errors_total", "account", "alice") }},
		{"labels out of order", func() { s.counter("bytes_total", "direction", "in", "protocol", "imap") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "bug: ") {
					t.Errorf("got %q, want a bug", got)
				}
			}()
			tt.make()
		})
	}
}

// What is registered again is read from its new keeper.
func TestLastReaderCounts(t *testing.T) {
	s := New()
	s.Cache(Cache{value(1), value(1), value(1), value(1)})
	s.Cache(Cache{value(2), value(2), value(2), value(2)})
	if got, want := text(s), "\nmailsplice_cache_hits 2\n"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}
