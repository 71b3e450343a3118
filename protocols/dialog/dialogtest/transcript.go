package dialogtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"mailsplice/protocols/dialog"
)

// Role says which lines of a transcript are the machine's.
type Role uint8

// The roles.
const (
	// Server: the machine says the S lines; a client side.
	Server Role = iota + 1
	// Client: the machine says the C lines; a backend side.
	Client
)

// letter begins the machine's own lines.
func (r Role) letter() byte {
	if r == Client {
		return 'C'
	}
	return 'S'
}

// Option is one option line. Keys may repeat.
type Option struct{ Key, Value string }

// lineKind says what a line of a transcript is.
type lineKind uint8

const (
	comment    lineKind = iota
	option              // also stepwise
	input               // bytes from the machine's peer
	own                 // bytes the machine says
	want                // another action of the machine
	told                // an event
	unconsumed          // a look at the pending input
)

// line is one parsed line; raw is its text as it stands in the file.
type line struct {
	kind lineKind
	raw  string
	data []byte // input, own, unconsumed
	star bool   // own: Secret
	want string // want: canonical text
	tell event  // told
}

// event is a dialog.Event that owns its bytes.
type event struct {
	kind    dialog.EventKind
	verdict dialog.Verdict
	bytes   []byte
}

// transcript is one parsed file.
type transcript struct {
	path     string
	role     Role
	options  []Option
	stepwise bool
	lines    []line
}

// load reads the transcript at path.
func load(path string, r Role) (*transcript, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, string(text), r)
}

// parse reads a transcript for a machine in role r.
func parse(path, text string, r Role) (*transcript, error) {
	tr := &transcript{path: path, role: r}
	for i, raw := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		ln, err := tr.parseLine(raw)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		ln.raw = raw
		tr.lines = append(tr.lines, ln)
	}
	return tr, nil
}

// parseLine reads one line. Option lines go into tr.options.
func (tr *transcript) parseLine(raw string) (line, error) {
	switch word, rest, _ := strings.Cut(raw, " "); {
	case raw == "" || raw[0] == '#':
		return line{}, nil
	case word == "option":
		key, value, _ := strings.Cut(rest, " ")
		tr.options = append(tr.options, Option{key, value})
		return line{kind: option}, nil
	case raw == "stepwise":
		tr.stepwise = true
		return line{kind: option}, nil
	case word == "!":
		return parseBang(rest)
	case len(word) >= 2 && (word[0] == 'C' || word[0] == 'S'):
		return parseSaid(word, rest, tr.role)
	}
	return line{}, fmt.Errorf("line %q is neither said nor an event", raw)
}

// parseSaid reads a C or S line; mark is what stands before the blank.
func parseSaid(mark, text string, r Role) (line, error) {
	ln := line{kind: input}
	if mark[0] == r.letter() {
		ln.kind = own
	}
	form := mark[1:]
	if form, ln.star = strings.CutPrefix(form, "*"); ln.star && ln.kind == input {
		return ln, errors.New("a star on a line that is not the machine's")
	}
	var err error
	switch form {
	case ":":
		ln.data = []byte(text + "\r\n")
	case "~":
		ln.data, err = rawBytes(text)
	default:
		err = fmt.Errorf("mark %q, allowed C: C~ C*: C*~ and the same with S", mark)
	}
	return ln, err
}

// rawBytes reads the text of a ~ line.
func rawBytes(text string) ([]byte, error) {
	times := 1
	if rest, ok := strings.CutPrefix(text, "repeat "); ok {
		count, unit, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || n*max(len(unit), 1) > maxRepeat {
			return nil, fmt.Errorf("repeat %q, allowed 1 up to %d bytes in all", count, maxRepeat)
		}
		times, text = n, unit
	}
	one, err := strconv.Unquote(`"` + strings.NewReplacer(`"`, `\"`, `\0`, `\x00`, `\\`, `\\`).Replace(text) + `"`)
	if err != nil {
		return nil, fmt.Errorf("escapes of %q: %w", text, err)
	}
	return bytes.Repeat([]byte(one), times), nil
}

// maxRepeat bounds a repeated piece in bytes: well above every limit of SPEC 3.
const maxRepeat = 1 << 20

// parseBang reads a ! line without its mark.
func parseBang(text string) (line, error) {
	word, rest, _ := strings.Cut(text, " ")
	if word == "want" {
		return parseWant(rest)
	}
	ln := line{kind: told}
	var err error
	switch word {
	case "accepted", "refused", "unavailable":
		ln.tell.kind = dialog.Decided
		ln.tell.verdict, err = parseVerdict(text)
	case "relayed":
		ln.tell.kind = dialog.Relayed
		ln.tell.bytes, err = unquote(rest)
	default:
		var ok bool
		if ln.tell.kind, ok = plainEvents[word]; !ok || rest != "" {
			err = fmt.Errorf("event %q is unknown", text)
		}
	}
	return ln, err
}

var plainEvents = map[string]dialog.EventKind{
	"begin": dialog.Begin, "tlsup": dialog.TLSUp, "expire": dialog.Expire,
	"drain": dialog.Drain, "busy": dialog.Busy, "kicked": dialog.Kicked,
}

// parseWant reads an expectation into its canonical text.
func parseWant(text string) (line, error) {
	word, rest, _ := strings.Cut(text, " ")
	ln := line{kind: want, want: text}
	var err error
	switch word {
	case "starttls", "close":
	case "login":
		ln.want, err = canonicalLogin(rest)
	case "relay":
		var b []byte
		b, err = unquote(rest)
		ln.want = "relay " + quoteText(b)
	case "done":
		var v dialog.Verdict
		v, err = parseVerdict(rest)
		ln.want = "done " + formatVerdict(&v)
	case "unconsumed":
		ln.kind = unconsumed
		ln.data, err = unquote(rest)
	default:
		err = fmt.Errorf("want %q is unknown", word)
	}
	return ln, err
}
