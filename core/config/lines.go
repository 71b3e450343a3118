package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of nesting, far above what the schema needs: the decoder behind recurses, and must not be made to recurse deep.
const (
	maxDepth    = 16 // brackets within brackets in one value
	maxKeyParts = 16 // parts of one dotted key
)

// keyLines knows the line of every key and table header by its path; elements of arrays of tables as "http.route[0]".
type keyLines map[string]int

// of is the line of path or, for a key that the file does not hold, of the closest table around it; else 0.
func (l keyLines) of(path string) int {
	for path != "" {
		if n, ok := l[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

// scanKeys finds the lines of keys. The decoder's own positions cannot be had for keys that decode well, and rules need
// them. It is no parser: on what is not TOML it skips to the next line, since the decoder will complain. deepLine is the
// line where nesting exceeds the bounds, 0 if it never does.
func scanKeys(src string) (lines keyLines, deepLine int) {
	s := keyScanner{src: strings.TrimPrefix(src, "\ufeff"), line: 1, lines: keyLines{}, elements: map[string]int{}}
	for s.skipBlank(); s.at < len(s.src) && s.deep == 0; s.skipBlank() {
		if s.peek() == '[' {
			s.header()
		} else {
			s.pair()
		}
	}
	return s.lines, s.deep
}

type keyScanner struct {
	src      string
	at       int // never past len(src)
	line     int
	deep     int
	table    string // path of the table that pairs belong to
	lines    keyLines
	elements map[string]int // elements seen of each array of tables
}

// peek is the next byte, 0 at the end.
func (s *keyScanner) peek() byte {
	if s.at < len(s.src) {
		return s.src[s.at]
	}
	return 0
}

// skipBlank skips white space, line ends and comments.
func (s *keyScanner) skipBlank() {
	for s.at < len(s.src) {
		switch s.src[s.at] {
		case '\n':
			s.line++
		case ' ', '\t', '\r':
		case '#':
			s.skipLine()
			continue
		default:
			return
		}
		s.at++
	}
}

// skipLine goes to the line end, which it leaves.
func (s *keyScanner) skipLine() {
	if n := strings.IndexByte(s.src[s.at:], '\n'); n >= 0 {
		s.at += n
	} else {
		s.at = len(s.src)
	}
}

// header reads [a.b] or [[a.b]].
func (s *keyScanner) header() {
	s.at++
	array := s.peek() == '['
	if array {
		s.at++
	}
	path := ""
	parts := s.key()
	for i, part := range parts {
		path = join(path, part)
		last := i == len(parts)-1
		if n := s.elements[path]; n > 0 && !(last && array) {
			path = element(path, n-1) // a table within the latest element
		}
	}
	if array && len(parts) > 0 {
		s.elements[path]++
		path = element(path, s.elements[path]-1)
	}
	s.table = path
	s.note(path)
	s.skipLine()
}

// pair reads key = value.
func (s *keyScanner) pair() {
	path := s.table
	for _, part := range s.key() {
		path = join(path, part)
		s.note(path)
	}
	if s.peek() != '=' {
		s.skipLine()
		return
	}
	s.skipValue()
}

func (s *keyScanner) note(path string) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = s.line
	}
}

// key reads a dotted key and the blanks around its parts. It stops at the first byte that cannot belong to one.
func (s *keyScanner) key() (parts []string) {
	for {
		s.skipSpaces()
		part, ok := s.keyPart()
		if !ok {
			return parts
		}
		parts = append(parts, part)
		if len(parts) > maxKeyParts {
			s.deep = s.line
			return parts
		}
		s.skipSpaces()
		if s.peek() != '.' {
			return parts
		}
		s.at++
	}
}

func (s *keyScanner) skipSpaces() {
	for s.peek() == ' ' || s.peek() == '\t' {
		s.at++
	}
}

func (s *keyScanner) keyPart() (string, bool) {
	start := s.at
	switch c := s.peek(); c {
	case '"', '\'':
		s.skipString(c)
		text := s.src[start:s.at]
		if c == '\'' || !strings.Contains(text, `\`) {
			return strings.Trim(text, string(c)), true
		}
		plain, err := strconv.Unquote(text)
		return plain, err == nil
	}
	for bareKeyByte(s.peek()) {
		s.at++
	}
	return s.src[start:s.at], s.at > start
}

func bareKeyByte(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// skipValue goes to the line end behind a value, which may span lines inside brackets and multi-line strings.
func (s *keyScanner) skipValue() {
	depth := 0
	for s.at < len(s.src) {
		switch c := s.src[s.at]; c {
		case '"', '\'':
			s.skipString(c)
			continue
		case '#':
			s.skipLine()
			continue
		case '[', '{':
			if depth++; depth > maxDepth {
				s.deep = s.line
				return
			}
		case ']', '}':
			depth--
		case '\n':
			if depth <= 0 {
				return
			}
			s.line++
		}
		s.at++
	}
}

// skipString goes behind a string of any of the four kinds. A one-line string that does not end ends with its line.
func (s *keyScanner) skipString(quote byte) {
	triple := strings.Repeat(string(quote), 3)
	multi := strings.HasPrefix(s.src[s.at:], triple)
	if multi {
		s.at += 3
	} else {
		s.at++
	}
	for s.at < len(s.src) {
		switch c := s.src[s.at]; {
		case c == '\\' && quote == '"' && s.at+1 < len(s.src) && s.src[s.at+1] != '\n':
			s.at += 2
			continue
		case c == '\n' && !multi:
			return
		case c == '\n':
			s.line++
		case c == quote && !multi:
			s.at++
			return
		case c == quote && strings.HasPrefix(s.src[s.at:], triple):
			for s.at += 3; s.peek() == quote; s.at++ { // up to two quotes may stand before the closing three
			}
			return
		}
		s.at++
	}
}

// join makes a path. A key that cannot be a name is quoted, so that a problem with it stays on one line.
func join(path, key string) string {
	if !plainKey(key) {
		key = quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// plainKey reports whether key consists of what names consist of.
func plainKey(key string) bool {
	return key != "" && len(key) <= maxName && strings.IndexFunc(key, func(r rune) bool {
		return r >= utf8.RuneSelf || !bareKeyByte(byte(r)) && r != '.'
	}) < 0
}

func element(path string, i int) string {
	return path + "[" + strconv.Itoa(i) + "]"
}
