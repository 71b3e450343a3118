package config

import (
	"fmt"
	"slices"
)

// unbuilt is one feature of SPEC 2 that this version lacks, and the keys by which a configuration asks for it. Whoever
// builds a feature deletes its row.
type unbuilt struct {
	feature string
	keys    func(*Config) []string
}

var unbuiltFeatures = []unbuilt{
	{"the io_uring engine", when("server.engine", func(c *Config) bool { return c.Server.Engine == EngineURing })},
	{"http listeners", eachListener("protocol", func(l *Listener) bool { return l.Protocol == HTTP })},
	{"the HTTP front", whenSet("http")},
}

// Unbuilt names the keys of c whose feature this version does not have (SPEC 9). check and run refuse them unless told
// to go on; before version 1.0 only.
func Unbuilt(c *Config) Problems {
	var ps Problems
	for _, u := range unbuiltFeatures {
		for _, key := range u.keys(c) {
			ps = append(ps, Problem{File: c.Path, Line: c.lines.of(key), Key: key, Found: "a feature that is not built yet: " + u.feature,
				Allowed: "it with --partial, which serves the rest"})
		}
	}
	return ps.inOrder(c.Path)
}

func whenSet(keys ...string) func(*Config) []string {
	return func(c *Config) []string {
		return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !c.IsSet(key) })
	}
}

func when(key string, asked func(*Config) bool) func(*Config) []string {
	return func(c *Config) []string {
		if asked(c) {
			return []string{key}
		}
		return nil
	}
}

func eachListener(key string, asked func(*Listener) bool) func(*Config) []string {
	return func(c *Config) (keys []string) {
		for _, l := range c.Listeners {
			if asked(l) {
				keys = append(keys, fmt.Sprintf("listener.%s.%s", l.Name, key))
			}
		}
		return keys
	}
}
