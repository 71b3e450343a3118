package admin

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxIdentifierBytes as for logins (SPEC 4 point 2).
const maxIdentifierBytes = 512

// query is the parameters of a request.
type query map[string]string

// parseQuery splits and decodes raw. Values are percent-decoded only: `+` is a plus, as in alice+lists@example.org (SPEC
// 8). Parameters outside known, and repeated ones, are errors.
func parseQuery(raw string, known []string) (query, error) {
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
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("unknown parameter %q", key)
		}
		if _, twice := q[key]; twice {
			return nil, fmt.Errorf("parameter %q is given twice", key)
		}
		q[key] = value
	}
	return q, nil
}

// required is the value of key, which must be there and not be empty.
func (q query) required(key string) (string, error) {
	if q[key] == "" {
		return "", fmt.Errorf("missing parameter %q", key)
	}
	return q[key], nil
}

// identifier is a well-formed identifier under the key of that name.
func (q query) identifier() (string, error) {
	id, err := q.required("identifier")
	if err != nil {
		return "", err
	}
	return id, checkIdentifier(id)
}

// flag is a true or false under key, or what it is when absent.
func (q query) flag(key string, absent bool) (bool, error) {
	text, ok := q[key]
	if !ok {
		return absent, nil
	}
	if text != "true" && text != "false" {
		return false, fmt.Errorf("parameter %q: found %q, allowed true, false", key, text)
	}
	return strconv.ParseBool(text)
}

// checkIdentifier applies the rule that logins are held to (SPEC 4 point 2): what can never log in is never mapped, and a
// mapping file cannot be given another line through an identifier.
func checkIdentifier(id string) error {
	switch {
	case len(id) > maxIdentifierBytes:
		return fmt.Errorf("parameter \"identifier\": %d bytes, allowed %d", len(id), maxIdentifierBytes)
	case !utf8.ValidString(id):
		return errors.New("parameter \"identifier\": not UTF-8")
	case strings.ContainsFunc(id, barred):
		return errors.New("parameter \"identifier\": holds a space, a quote or a control character")
	}
	return nil
}

func barred(r rune) bool { return r == ' ' || r == '"' || unicode.IsControl(r) }
