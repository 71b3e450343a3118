package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailsplice/core/config"
)

// unit reads a unit file: section, then key, then value. Every line must be one (systemd.syntax(7)).
func unit(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all, section := map[string]map[string]string{}, ""
	for n, line := range strings.Split(string(text), "\n") {
		key, value, ok := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			if all[section] != nil {
				t.Errorf("line %d: section %s again", n+1, section)
			}
			all[section] = map[string]string{}
		case !ok || value == "" || section == "" || strings.ContainsAny(key, " \t"):
			t.Errorf("line %d: %q is no setting", n+1, line)
		default:
			if _, twice := all[section][key]; twice {
				t.Errorf("line %d: %s again", n+1, key)
			}
			all[section][key] = value
		}
	}
	return all
}

// The unit fits the program: its command line, exit codes, notifications, grace and what it is allowed (SPEC 9).
func TestServiceUnit(t *testing.T) {
	u := unit(t, "../../configs/mailsplice.service")
	sections := []string{"Install", "Service", "Unit"}
	for name := range u {
		if !slices.Contains(sections, name) {
			t.Errorf("section %s: want one of %v", name, sections)
		}
	}
	s := u["Service"]
	for key, want := range map[string]string{
		"Type": "notify", "NotifyAccess": "main", "ExecReload": "/bin/kill -HUP $MAINPID", "Restart": "on-failure",
		"AmbientCapabilities": "CAP_NET_BIND_SERVICE", "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE", "NoNewPrivileges": "yes",
		"ProtectSystem": "strict", "LimitCORE": "0", "SystemCallFilter": "@system-service",
	} {
		if s[key] != want {
			t.Errorf("%s: got %q, want %q", key, s[key], want)
		}
	}
	for _, key := range []string{"User", "Group", "StateDirectory"} {
		if s[key] != "mailsplice" {
			t.Errorf("%s: got %q, want mailsplice", key, s[key])
		}
	}
	for _, family := range []string{"AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"} {
		if !slices.Contains(strings.Fields(s["RestrictAddressFamilies"]), family) {
			t.Errorf("RestrictAddressFamilies: got %q, want %s in it", s["RestrictAddressFamilies"], family)
		}
	}
	if n, err := strconv.Atoi(s["LimitNOFILE"]); err != nil || n < 420_000 {
		t.Errorf("LimitNOFILE: got %q, want what 200,000 sessions need", s["LimitNOFILE"])
	}
	line := strings.Fields(s["ExecStart"])
	if len(line) != 3 || filepath.Base(line[0]) != "mailsplice" {
		t.Fatalf("ExecStart: got %q", line)
	}
	if c, rest, err := newRoot().Find(line[1:]); err != nil || c.Name() != "run" || c.Args(c, rest) != nil {
		t.Errorf("ExecStart: %q is no command line of the program: %v", line, err)
	}
	for _, code := range []int{exitConfig, exitUsage} {
		if !slices.Contains(strings.Fields(s["RestartPreventExitStatus"]), strconv.Itoa(code)) {
			t.Errorf("RestartPreventExitStatus: got %q, want %d in it", s["RestartPreventExitStatus"], code)
		}
	}
	stop, err := time.ParseDuration(s["TimeoutStopSec"])
	c, _, confErr := config.Load("../../configs/minimal.toml", config.Options{})
	if err != nil || confErr != nil || stop <= c.Server.ShutdownGrace {
		t.Errorf("TimeoutStopSec: got %q (%v, %v), want more than the default shutdown_grace", s["TimeoutStopSec"], err, confErr)
	}
}
