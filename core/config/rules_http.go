package config

import (
	"fmt"
	"strings"
)

// httpRules is SPEC 11 as far as it can be judged before a request comes. Whether destinations declare http matters once
// a listener can bring requests.
func (k *checker) httpRules() {
	serving := len(k.c.listenersOf(func(p Protocol) bool { return p == HTTP })) > 0
	if serving && len(k.c.HTTP.Routes) == 0 && !k.failed("http.route") {
		k.warn("http.route", "no rule", "at least one: without it every request is answered 404")
	}
	for i, r := range k.c.HTTP.Routes {
		key := element("http.route", i)
		k.matchRule(key, r)
		k.routeTargetRules(key, r, serving)
		if r.Extract != nil {
			k.extractRules(key+".extract", r.Extract)
		}
	}
}

// matchRule: the pattern can match a path. Brackets and backslashes mean something in other globs and nothing in ours,
// and never occur in a path as it is sent.
func (k *checker) matchRule(key string, r *Route) {
	if r.Match == "" {
		return // reported when it was decoded
	}
	if strings.ContainsAny(r.Match, `[]{}\# `) || !strings.HasPrefix(r.Match, "/") && !strings.HasPrefix(r.Match, "*") {
		k.fail(key+".match", quote(r.Match), "a pattern that begins with / or *, where only * and ? are special")
	}
}

func (k *checker) routeTargetRules(key string, r *Route, serving bool) {
	if r.Destination == "" && r.Extract == nil && !k.failed(key+".destination") && !k.failed(key+".extract") {
		k.fail(key, "neither destination nor extract", "one of them")
	}
	if r.Destination != "" {
		k.httpDestination(key+".destination", r.Destination, serving)
		if r.Extract != nil {
			k.warn(key+".extract", "it beside destination", "one of them: destination wins")
		}
	}
	if r.Fallback != "" && r.Fallback != "default" {
		k.httpDestination(key+".fallback", r.Fallback, serving)
	}
	if r.Destination != "" && r.Extract == nil && k.c.IsSet(key+".fallback") {
		k.warn(key+".fallback", "it beside destination", "it beside extract: nothing can fall back here")
	}
	// Whatever fallback says, an account without a mapping goes to the default destination (SPEC 4.2).
	d := k.c.Destination(k.c.Routing.DefaultDestination)
	if serving && r.Destination == "" && r.Extract != nil && d != nil && d.Endpoint(HTTP) == nil {
		k.fail("routing.default_destination", fmt.Sprintf("%s, which does not declare http", quote(d.Name)),
			"a destination with http, since "+key+" can fall to it")
	}
}

func (k *checker) httpDestination(key, name string, serving bool) {
	if d := k.destination(key, name); d != nil && serving && d.Endpoint(HTTP) == nil {
		k.fail(key, fmt.Sprintf("%s, which does not declare http", quote(name)), "a destination with http")
	}
}

// extractRules: each source has its key, a regular expression has a group (SPEC 11), and no key is without effect.
func (k *checker) extractRules(key string, e *Extract) {
	parts := []struct {
		from ExtractFrom
		key  string
		set  bool
	}{{FromQuery, "param", e.Param != ""}, {FromHeader, "header", e.Header != ""}, {FromBody, "regex", e.Regex != nil}}
	for _, p := range parts {
		switch path := join(key, p.key); {
		case k.failed(path) || e.From == 0:
		case e.From == p.from && !p.set:
			k.fail(path, "nothing", fmt.Sprintf("it, since from is %s", e.From))
		case e.From != p.from && p.set:
			k.warn(path, fmt.Sprintf("it beside from = %q", e.From), fmt.Sprintf("it with from = %q", p.from))
		}
	}
	if e.Regex != nil && e.Regex.NumSubexp() == 0 {
		k.fail(key+".regex", quote(e.Regex.String()), "an expression with a group: the identifier is its first")
	}
	if e.Header != "" && !headerName(e.Header) {
		k.fail(key+".header", quote(e.Header), "a field name")
	}
}

// headerName reports whether s is a token of RFC 9110 5.6.2.
func headerName(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return r > '~' || !bareKeyByte(byte(r)) && !strings.ContainsRune("!#$%&'*+.^`|~", r)
	}) < 0
}
