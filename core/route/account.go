package route

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxIdentifierBytes is the longest identifier that a login may carry (SPEC 4 point 2).
const maxIdentifierBytes = 512

// Account reads the account out of a login's identifier: cut at the first occurrence of any master separator, then
// normalised (SPEC 4 points 3, 4). An empty account is ErrIdentifier.
func (r *Router) Account(identifier string) (Account, error) {
	s := r.settings.Load()
	name, master := s.cut(identifier)
	if name == "" {
		return Account{}, fmt.Errorf("reading account: %w", ErrIdentifier)
	}
	a := s.account(name)
	a.Master = master
	return a, nil
}

// Normalize reads an identifier as the admin API does: normalised, but not cut at master separators (SPEC 8).
func (r *Router) Normalize(identifier string) Account { return r.settings.Load().account(identifier) }

// Forms lists the identifiers that a session filed under Account.Registry may have been looked up by: with a default
// domain also the one without it.
func (r *Router) Forms(registry string) []string { return r.settings.Load().forms(registry) }

func (s *settings) account(name string) Account {
	a := Account{Lookup: s.normalize.Apply(name)}
	a.Registry = a.Lookup
	if second, ok := s.second(a.Lookup); ok {
		a.Registry = second
	}
	return a
}

// cut removes the master user. What stands before the first separator is the account; the login string that is
// replayed stays whole.
func (s *settings) cut(identifier string) (name string, master bool) {
	at := -1
	for _, sep := range s.separators {
		if i := strings.Index(identifier, sep); i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at < 0 {
		return identifier, false
	}
	return identifier[:at], true
}

// second is the other form of an account without domain, looked up if the account itself is absent (SPEC 2.6).
func (s *settings) second(lookup string) (string, bool) {
	if s.domain == "" || strings.Contains(lookup, "@") {
		return "", false
	}
	return lookup + s.domain, true
}

// forms lists the cache keys whose answer may come from the mapping of lookup: itself and, with a default domain, the
// form without it.
func (s *settings) forms(lookup string) []string {
	if second, ok := s.second(lookup); ok {
		return []string{lookup, second}
	}
	if local, ok := strings.CutSuffix(lookup, s.domain); ok && s.domain != "" && local != "" && !strings.Contains(local, "@") {
		return []string{lookup, local}
	}
	return []string{lookup}
}

// checkIdentifier refuses a mapping that no login could ever ask for (SPEC 4 point 2).
func checkIdentifier(identifier string) error {
	forbidden := func(c rune) bool { return c == ' ' || c == '"' || unicode.IsControl(c) }
	switch {
	case identifier == "", len(identifier) > maxIdentifierBytes, !utf8.ValidString(identifier),
		strings.ContainsFunc(identifier, forbidden):
		return ErrIdentifier
	}
	return nil
}
