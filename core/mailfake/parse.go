package mailfake

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// literalMark stands in a command's text where a literal was; the line itself cannot hold NUL.
const literalMark = "\x00"

// command is one IMAP command as it came: its text without tag and verb, literals kept beside it.
type command struct {
	text     string
	literals []literal
}

type literal struct {
	data []byte
	plus bool
}

// token is one word of a command.
type token struct {
	kind  tokenKind
	value string
}

type tokenKind uint8

const (
	atom tokenKind = iota + 1
	quoted
	synchronising    // {n}
	nonSynchronising // {n+}
	paren            // ( or )
)

var formNames = [...]string{atom: "atom", quoted: "quoted", synchronising: "literal", nonSynchronising: "literal+"}

// next takes one token off the command; ok is false at its end and at anything unreadable.
func (c *command) next() (t token, ok bool) {
	c.text = strings.TrimLeft(c.text, " ")
	switch {
	case c.text == "":
		return token{}, false
	case strings.HasPrefix(c.text, literalMark):
		return c.literal()
	case c.text[0] == '"':
		return c.quoted()
	case c.text[0] == '(' || c.text[0] == ')':
		t = token{paren, c.text[:1]}
		c.text = c.text[1:]
		return t, true
	}
	depth, i := 0, 0
	for ; i < len(c.text); i++ {
		switch c.text[i] {
		case '[':
			depth++
		case ']':
			depth--
		case ' ', '(', ')', 0:
			if depth <= 0 {
				t = token{atom, c.text[:i]}
				c.text = c.text[i:]
				return t, true
			}
		}
	}
	t = token{atom, c.text}
	c.text = ""
	return t, true
}

func (c *command) literal() (token, bool) {
	if len(c.literals) == 0 {
		return token{}, false
	}
	l := c.literals[0]
	c.text, c.literals = c.text[1:], c.literals[1:]
	kind := synchronising
	if l.plus {
		kind = nonSynchronising
	}
	return token{kind, string(l.data)}, true
}

func (c *command) quoted() (token, bool) {
	var out strings.Builder
	for i := 1; i < len(c.text); i++ {
		switch c.text[i] {
		case '\\':
			if i++; i < len(c.text) {
				out.WriteByte(c.text[i])
			}
		case '"':
			c.text = c.text[i+1:]
			return token{quoted, out.String()}, true
		default:
			out.WriteByte(c.text[i])
		}
	}
	c.text = ""
	return token{}, false
}

// word takes one token that is a string of any form.
func (c *command) word() (token, bool) {
	t, ok := c.next()
	return t, ok && t.kind != paren
}

// literalAt finds the announcement of a literal at a line's end.
func literalAt(line string) (before string, n int64, plus, found bool) {
	i := strings.LastIndexByte(line, '{')
	if i < 0 || !strings.HasSuffix(line, "}") {
		return "", 0, false, false
	}
	number := line[i+1 : len(line)-1]
	trimmed := strings.TrimSuffix(number, "+")
	n, err := strconv.ParseInt(trimmed, 10, 63)
	if err != nil || trimmed == "" || trimmed[0] < '0' || trimmed[0] > '9' {
		return "", 0, false, false
	}
	return line[:i], n, trimmed != number, true
}

// readCommand reads a command with its literals. An APPEND stops in front of its message, whose announcement stays at
// the end of text.
func (s *Session) readCommand() (*command, error) {
	c := &command{}
	total := int64(0)
	for first := true; ; first = false {
		line, err := s.line()
		if err != nil {
			return nil, err
		}
		if strings.Contains(line, literalMark) {
			return nil, fmt.Errorf("reading command: %w", errEnd)
		}
		if first {
			line = s.split(line)
		}
		before, n, plus, found := literalAt(line)
		if !found || s.verb == "APPEND" && c.hasMailbox(before) {
			c.text += line
			return c, nil
		}
		if total += n; total > maxLiteralBytes {
			return nil, errLine
		}
		data, err := s.readLiteral(n, plus)
		if err != nil {
			return nil, err
		}
		c.text += before + literalMark
		c.literals = append(c.literals, literal{data, plus})
	}
}

// hasMailbox says whether an APPEND's mailbox name is complete before its next literal.
func (c *command) hasMailbox(before string) bool { return strings.TrimSpace(c.text+before) != "" }

// split takes tag and verb off a first line.
func (s *Session) split(line string) string {
	tag, rest, _ := strings.Cut(line, " ")
	verb, rest, _ := strings.Cut(rest, " ")
	s.tag, s.verb = tag, strings.ToUpper(verb)
	if s.verb == "UID" {
		sub, more, _ := strings.Cut(rest, " ")
		s.verb, rest = "UID "+strings.ToUpper(sub), more
	}
	return rest
}

func (s *Session) readLiteral(n int64, plus bool) ([]byte, error) {
	if !plus {
		if err := s.Write("+ go ahead\r\n"); err != nil {
			return nil, err
		}
	}
	data := make([]byte, n)
	_, err := io.ReadFull(s.r, data)
	return data, err
}
