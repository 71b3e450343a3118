package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"

	"mailsplice/bench/peers"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

// proxyNames are the proxies there are, in the order of a run; "direct" is none at all.
func proxyNames() []string {
	names := []string{subject, "naive"}
	for _, p := range peers.All() {
		names = append(names, p.Name())
	}
	return append(names, "direct")
}

// errNothing: not one of the proxies that were asked for is there.
var errNothing = errors.New("nothing to measure")

// starters are the proxies that were asked for, but for peers that are not installed, which the result tells. cleanup
// removes what was built.
func (c *command) starters(ctx context.Context, r *report.Result) (starters []stage.Starter, cleanup func(), err error) {
	cleanup = func() {}
	for _, name := range c.proxies.words {
		var s stage.Starter
		var version string
		switch name {
		case subject:
			m, undo, err := c.mailsplice(ctx)
			if err != nil {
				return nil, cleanup, err
			}
			cleanup, version, s = undo, versionOf(ctx, m.Binary), m
		case "naive":
			version, s = "this source", stage.Naive{}
		case "direct":
			version, s = "none", stage.Direct{}
		default:
			p := peerNamed(name)
			if version, err = p.Version(ctx); err != nil {
				c.skip(r, name, err)
				continue
			}
			s = p
		}
		r.Versions[name] = version
		if d, ok := s.(stage.Different); ok {
			r.Remarks[name] = d.Difference()
		}
		starters = append(starters, s)
	}
	if len(starters) == 0 {
		cleanup()
		return nil, nil, fmt.Errorf("%w: %v", errNothing, r.Skipped)
	}
	return starters, cleanup, nil
}

// peerNamed is one of those that proxyNames has.
func peerNamed(name string) peers.Peer {
	for _, p := range peers.All() {
		if p.Name() == name {
			return p
		}
	}
	panic("bug: no peer " + name)
}

// skip leaves a proxy out, and says so at once and in the result.
func (c *command) skip(r *report.Result, name string, why error) {
	c.note("NOT MEASURED: %s: %v", name, why)
	r.Skipped[name] = why.Error()
	delete(r.Remarks, name)
}

// mailsplice builds it, unless there is a binary.
func (c *command) mailsplice(ctx context.Context) (m stage.Mailsplice, cleanup func(), err error) {
	m, cleanup = stage.Mailsplice{Binary: c.binary}, func() {}
	if c.configSuffix != "" {
		text, err := os.ReadFile(c.configSuffix)
		if err != nil {
			return m, cleanup, err
		}
		m.Extra = "\n" + string(text)
	}
	if m.Binary != "" {
		return m, cleanup, nil
	}
	dir, err := os.MkdirTemp("", "mailsplice-bench-build-")
	if err != nil {
		return m, cleanup, err
	}
	c.note("building mailsplice")
	if m.Binary, err = stage.BuildMailsplice(ctx, dir); err != nil {
		os.RemoveAll(dir)
		return m, cleanup, err
	}
	return m, func() { os.RemoveAll(dir) }, nil
}

// versionOf is what the binary says of itself, and the commit of the source around, if git knows.
func versionOf(ctx context.Context, binary string) string {
	said, _ := exec.CommandContext(ctx, binary, "version").Output()
	words := []string{strings.TrimSpace(string(said))}
	if commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		words = append(words, "source "+strings.TrimSpace(string(commit)))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		words = append(words, info.GoVersion)
	}
	return strings.Join(words, ", ")
}
