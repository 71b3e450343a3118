package admin

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxIdentifierBytes as for logins (SPEC 4 point 2).
const maxIdentifierBytes = 512

// kind is what a parameter holds.
type kind uint8

const (
	anIdentifier kind = iota + 1 // SPEC 4 point 2
	aName                        // of a destination; any text that is not empty
	aFlag                        // true or false
	aNumber                      // a whole number from lowest to highest
)

// param is one parameter that a call takes.
type param struct {
	name            string
	kind            kind
	required        bool
	lowest, highest uint64 // of a number; highest 0: no bound, what does not fit counts as the largest there is
	about           string // for the document
}

// query is the parameters of a request. Once a call sees it, every value has passed its param's check.
type query map[string]string

// parseQuery splits and decodes raw. Values are percent-decoded only: `+` is a plus, as in alice+lists@example.org (SPEC
// 8). Parameters outside known, and repeated ones, are errors.
func parseQuery(raw string, known []param) (query, error) {
	q := make(query)
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err := url.PathUnescape(rawKey)
		if err != nil {
			return nil, fmt.Errorf("parameter name: %w", err)
		}
		value, err := url.PathUnescape(rawValue)
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", key, err)
		}
		if !slices.ContainsFunc(known, func(p param) bool { return p.name == key }) {
			return nil, fmt.Errorf("unknown parameter %q", key)
		}
		if _, twice := q[key]; twice {
			return nil, fmt.Errorf("parameter %q is given twice", key)
		}
		q[key] = value
	}
	return q, nil
}

// check holds the parameters against what the call takes, in the order of its row.
func (q query) check(params []param) error {
	for _, p := range params {
		value, given := q[p.name]
		switch {
		case p.required && value == "", given && value == "" && p.kind == anIdentifier:
			return fmt.Errorf("missing parameter %q", p.name)
		case given:
			if err := p.check(value); err != nil {
				return fmt.Errorf("parameter %q%w", p.name, err)
			}
		}
	}
	return nil
}

// check returns an error whose text continues that of query.check.
func (p param) check(value string) error {
	switch p.kind {
	case anIdentifier:
		if err := checkIdentifier(value); err != nil {
			return fmt.Errorf(": %w", err)
		}
	case aName:
		if value == "" {
			return errors.New(" is empty") // it would not narrow anything down
		}
	case aFlag:
		if value != "true" && value != "false" {
			return fmt.Errorf(": found %q, allowed true, false", value)
		}
	case aNumber:
		n, ok := number(value)
		if !ok || n < p.lowest || p.highest > 0 && n > p.highest {
			return fmt.Errorf(": found %q, allowed %s", value, p.span())
		}
	}
	return nil
}

// span words the bounds of a number.
func (p param) span() string {
	if p.highest == 0 {
		return fmt.Sprintf("a whole number from %d", p.lowest)
	}
	return fmt.Sprintf("a whole number from %d to %d", p.lowest, p.highest)
}

// number reads decimal digits; what does not fit is the largest number.
func number(text string) (uint64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return math.MaxUint64, true
	}
	return n, true
}

// number is the value under key, at most highest, or absent when it is not given.
func (q query) number(key string, absent, highest uint64) uint64 {
	if n, ok := number(q[key]); ok {
		return min(n, highest)
	}
	return absent
}

// checkIdentifier applies the rule that logins are held to (SPEC 4 point 2): what can never log in is never mapped, and a
// mapping file cannot be given another line through an identifier.
func checkIdentifier(id string) error {
	switch {
	case len(id) > maxIdentifierBytes:
		return fmt.Errorf("%d bytes, allowed %d", len(id), maxIdentifierBytes)
	case !utf8.ValidString(id):
		return errors.New("not UTF-8")
	case strings.ContainsFunc(id, barred):
		return errors.New("holds a space, a quote or a control character")
	}
	return nil
}

func barred(r rune) bool { return r == ' ' || r == '"' || unicode.IsControl(r) }
