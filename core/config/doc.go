// Package config turns the configuration file of SPEC 2 into typed values.
//
// The schema is the struct Config: tags carry key, default and bounds, field comments carry the meaning, and from both
// the reference in docs/configuration.md is written. Load reads a file in four steps, each of which goes on after an
// error so that one run reports everything that is wrong:
//
//	lines   a scan of the source that knows the line of every key (lines.go)
//	decode  a strict walk of the decoded tables along the schema (decode.go, values.go)
//	derive  defaults that depend on other keys, environment, admin token (derive.go)
//	rules   what keys must be to one another and to the machine (SPEC 2.11; rules_*.go)
//
// Nothing here serves anything. A Config is immutable after Load and may be shared. Secrets print as "[redacted]" and
// never appear in a Problem.
package config
