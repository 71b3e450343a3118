package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailsplice/bench/report"
)

const lanePrefix = "sessions in lane "

// lanes are those that a proxy's first run has figures of.
func lanes(r *report.Result, proxy string) (list []string) {
	for _, run := range r.Runs {
		for _, f := range run.Figures {
			if run.Proxy == proxy && strings.HasPrefix(f.Name, lanePrefix) {
				list = append(list, strings.TrimPrefix(f.Name, lanePrefix))
			}
		}
	}
	return list
}

// mailsplice's sessions are in the lane that suite and legs lead to, all of them; nobody else has lanes.
func TestLanes(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"default", "ping -sessions 10 -warm-up 1ms -for 20ms", "record"},
		{"TLS 1.2 with GCM", "ping -sessions 10 -warm-up 1ms -for 20ms -suite tls12-gcm", "record"},
		{"TLS 1.2 with CBC", "ping -sessions 10 -warm-up 1ms -for 20ms -suite tls12-cbc", "conn"},
		{"CBC towards clients only", "ping -sessions 10 -warm-up 1ms -for 20ms -suite tls12-cbc -backend-leg plain", "conn"},
		{"CBC towards backends only", "ping -sessions 10 -warm-up 1ms -for 20ms -suite tls12-cbc -client-leg plain", "conn"},
		{"RSA and CBC", "ping -sessions 10 -warm-up 1ms -for 20ms -suite tls12-cbc -key rsa", "conn"},
		{"plain", "ping -sessions 10 -warm-up 1ms -for 20ms -client-leg plain -backend-leg plain", "plain"},
		{"idle", "idle -sessions 5,10 -settle 1ms -suite tls12-cbc -processes 2", "conn"},
		{"bulk", "bulk -mib 8 -streams 2 -suite tls12-cbc", "conn"},
		{"plain bulk", "bulk -mib 64 -streams 2 -client-leg plain -backend-leg plain", "splice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Fields(tt.args)
			proxies := "mailsplice,naive"
			if slices.Contains(args, "-processes") {
				proxies = "mailsplice"
			}
			r, table := bench(t, append(args, "-proxies", proxies)...)
			if got := lanes(r, "mailsplice"); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("got lanes %v, want %s:\n%s", got, tt.want, table)
			}
			if got := figure(t, r, "mailsplice", lanePrefix+tt.want); got != 100 {
				t.Errorf("%v %% of the sessions are in lane %s, want all", got, tt.want)
			}
			if got := lanes(r, "naive"); len(got) > 0 {
				t.Errorf("naive: got lanes %v", got)
			}
		})
	}
}

// The rows of handshakes follow the suite. Of TLS 1.2 mailsplice resumes nothing, and no row says that it did.
func TestLoginSuites(t *testing.T) {
	tests := []struct{ suite, mode, text string }{
		{"tls13-gcm", "resumed", "TLS 1.3, AES-128-GCM, X25519"},
		{"tls12-gcm", "returning", "TLS 1.2, AES-128-GCM, X25519"},
		{"tls12-cbc", "returning", "TLS 1.2, AES-128-CBC, X25519"},
	}
	for _, tt := range tests {
		t.Run(tt.suite, func(t *testing.T) {
			r, table := bench(t, "login", "-logins", "40", "-warm-up", "8", "-at-once", "4", "-suite", tt.suite)
			for _, proxy := range []string{"mailsplice", "naive"} {
				for _, name := range []string{"ecdsa full: ", "ecdsa " + tt.mode + ": ", "rsa full: ", "rsa " + tt.mode + ": "} {
					for _, who := range []string{"clients with ", "backend handshakes with "} {
						if got := figure(t, r, proxy, name+who+tt.text); got != 100 && tt.suite != "tls13-gcm" {
							t.Errorf("%s, %s%s%s: got %v %%, want all", proxy, name, who, tt.text, got)
						}
					}
					want := 0.0
					if strings.HasSuffix(name, tt.mode+": ") && (proxy == "naive" || tt.mode == "resumed") {
						want = 90 // all but the first of each of 4 workers
					}
					if got := figure(t, r, proxy, name+"clients that resumed"); got != want {
						t.Errorf("%s, %s: %v %% of the clients resumed, want %v", proxy, name, got, want)
					}
				}
				if got := figure(t, r, proxy, "ecdsa full: backend handshakes that resumed"); proxy == "mailsplice" && tt.mode == "returning" && got != 0 {
					t.Errorf("%s resumed %v %% of its handshakes with backends, want none", proxy, got)
				}
			}
			if tt.mode == "returning" && strings.Contains(table, " resumed: ") {
				t.Errorf("a row claims resumption:\n%s", table)
			}
		})
	}
}

// A proxy that does not speak the suite is left out, loudly, and the others are measured.
func TestCannot(t *testing.T) {
	modern := filepath.Join(t.TempDir(), "modern.toml")
	if err := os.WriteFile(modern, []byte("[tls.protocols]\nmin_version = \"1.3\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ping := []string{"ping", "-sessions", "5", "-warm-up", "1ms", "-for", "20ms"}
	tests := []struct {
		name, args, without, why string
	}{
		{"no TLS 1.2 towards clients", "-suite tls12-cbc -config " + modern, "mailsplice", "no login with TLS 1.2, AES-128-CBC: handshake: "},
		{"no key for it", "-suite tls12-gcm -key rsa -proxies naive,direct", "direct", "no login with TLS 1.2, AES-128-GCM: handshake: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, table := bench(t, append(slices.Clone(ping), strings.Fields(tt.args)...)...)
			if len(r.Runs) != 1 || r.Runs[0].Proxy != "naive" || !strings.Contains(r.Skipped[tt.without], tt.why) {
				t.Errorf("got %+v, skipped %v; want naive only, and %q", r.Runs, r.Skipped, tt.why)
			}
			if !strings.Contains(table, "**"+tt.without+" was not measured**") {
				t.Errorf("the table does not say so:\n%s", table)
			}
		})
	}
}

// Every other scenario takes every suite, with something done.
func TestScenarioSuites(t *testing.T) {
	tests := []struct{ args, figure string }{
		{"flood -sessions 10 -every 20ms -for 100ms -at-once 4", "rsa: handshakes"},
		{"preauth -connections 5,10 -settle 10ms", "greeted: descriptors at 10"},
		{"wave -sessions 20 -settle 10ms", "delivery to the last"},
		{"churn -sessions 5 -at-once 4 -for 100ms -settle 10ms", "logins"},
		{"cutover -accounts 5", "accounts"},
	}
	for _, tt := range tests {
		for _, suite := range []string{"tls12-gcm", "tls12-cbc"} {
			args := append(strings.Fields(tt.args), "-suite", suite, "-proxies", "mailsplice")
			t.Run(args[0]+" "+suite, func(t *testing.T) {
				if r, _ := bench(t, args...); figure(t, r, "mailsplice", tt.figure) <= 0 {
					t.Errorf("%s: nothing", tt.figure)
				}
			})
		}
	}
}
