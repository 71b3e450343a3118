package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"mailsplice/bench/child"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

// binary is mailsplice, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	if role := child.Role(); role != "" {
		os.Exit(play(role))
	}
	// Under the race detector every child would sleep for a second before it ends.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(withBinary(m))
}

func withBinary(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mailsplice-bench-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		binary, err = stage.BuildMailsplice(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

var plain = []string{"-client-leg", "plain", "-backend-leg", "plain"}

// bench runs the command and wants it to succeed and to leave nothing behind.
func bench(t *testing.T, args ...string) (*report.Result, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "result.json")
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var out, notes strings.Builder
	if code := run(t.Context(), append(args, "-binary", binary, "-json", path), &out, &notes); code != 0 {
		t.Fatalf("exit code %d: %s", code, notes.String())
	}
	noTraces(t, temp)
	r, err := report.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return r, out.String()
}

// noTraces: no child is left, and no file.
func noTraces(t *testing.T, temp string) {
	t.Helper()
	if pids := children(t); len(pids) > 0 {
		t.Errorf("processes %v are left", pids)
	}
	if files, err := os.ReadDir(temp); err != nil || len(files) > 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
}

// children are the processes that this one has.
func children(t *testing.T) (pids []int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no processes: %v", err)
	}
	for _, file := range dirs {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// figure is a value of a proxy's first run.
func figure(t *testing.T, r *report.Result, proxy, name string) float64 {
	t.Helper()
	for _, run := range r.Runs {
		for _, f := range run.Figures {
			if run.Proxy == proxy && f.Name == name {
				return f.Value
			}
		}
	}
	t.Errorf("%s: no figure %q", proxy, name)
	return 0
}

func TestIdle(t *testing.T) {
	args := append([]string{"idle", "-sessions", "10,20", "-settle", "20ms", "-clients", "2", "-backends", "2"}, plain...)
	r, table := bench(t, args...)
	for _, proxy := range []string{"mailsplice", "naive"} {
		if got := figure(t, r, proxy, "descriptors at 20") - figure(t, r, proxy, "descriptors at 10"); got != 20 {
			t.Errorf("%s: 10 more sessions have %v descriptors, want 20", proxy, got)
		}
		if got := figure(t, r, proxy, "RSS at 20"); got < 1 {
			t.Errorf("%s: RSS of %v MB", proxy, got)
		}
		if !strings.Contains(r.Versions[proxy], "s") {
			t.Errorf("%s: no version: %q", proxy, r.Versions)
		}
	}
	if got := figure(t, r, "naive", "goroutines at 20") - figure(t, r, "naive", "goroutines at 10"); got != 20 {
		t.Errorf("naive: 10 more sessions have %v goroutines, want 20", got)
	}
	if r.Settings["sessions"] != "10,20" || r.Machine.Kernel == "" || !slices.Equal(r.Command[1:len(args)+1], args) {
		t.Errorf("result: got settings %v, machine %+v, command %v", r.Settings, r.Machine, r.Command)
	}
	if !strings.Contains(table, "mailsplice / naive") || !strings.Contains(table, "RSS per session, B") {
		t.Errorf("table: got\n%s", table)
	}
}

func TestPing(t *testing.T) {
	r, _ := bench(t, append([]string{"ping", "-sessions", "20", "-at-once", "4", "-warm-up", "20ms", "-for", "200ms", "-repeat", "2",
		"-proxies", "mailsplice,naive,direct"}, plain...)...)
	if len(r.Runs) != 6 {
		t.Errorf("got %d runs, want 6", len(r.Runs))
	}
	for _, proxy := range []string{"mailsplice", "naive", "direct"} {
		if rate, p99 := figure(t, r, proxy, "round trips"), figure(t, r, proxy, "p99"); rate <= 0 || p99 < figure(t, r, proxy, "p50") {
			t.Errorf("%s: %v round trips a second, p99 %v", proxy, rate, p99)
		}
	}
	for _, proxy := range []string{"mailsplice", "naive"} {
		if cpu := figure(t, r, proxy, "CPU per round trip"); cpu <= 0 {
			t.Errorf("%s: CPU per round trip: got %v", proxy, cpu)
		}
	}
}

// Every other scenario, small, with a figure that shows that it has done something.
func TestScenarios(t *testing.T) {
	tests := []struct {
		args    string
		figures []string
	}{
		{"login -logins 40 -warm-up 8 -at-once 4", []string{"ecdsa full: CPU per login", "rsa resumed: logins"}},
		{"bulk -mib 4 -streams 1,3", []string{"down, 1 streams: rate", "up, 3 streams: CPU per GB"}},
		{"flood -sessions 10 -every 20ms -for 100ms -at-once 4 -keys ecdsa", []string{"ecdsa: flood p99", "ecdsa: handshakes"}},
		{"preauth -connections 5,10 -settle 10ms", []string{"silent: RSS at 10", "greeted: descriptors at 10"}},
		{"wave -sessions 20 -settle 10ms", []string{"CPU per line", "delivery to the last"}},
		{"churn -sessions 5 -at-once 4 -for 100ms -settle 10ms", []string{"logins", "RSS after"}},
	}
	for _, tt := range tests {
		args := strings.Fields(tt.args)
		t.Run(args[0]+" over TLS", func(t *testing.T) {
			r, _ := bench(t, append(args, "-proxies", "naive")...)
			for _, name := range tt.figures {
				if figure(t, r, "naive", name) <= 0 {
					t.Errorf("%s: nothing", name)
				}
			}
		})
		t.Run(args[0]+" plain", func(t *testing.T) {
			r, _ := bench(t, append(append(args, "-proxies", "mailsplice"), plain...)...)
			if args[0] == "flood" {
				if len(r.Runs) > 0 || !strings.Contains(r.Skipped["mailsplice"], "no handshakes") {
					t.Errorf("got %d runs, skipped %v", len(r.Runs), r.Skipped)
				}
				return
			}
			if len(r.Runs) != 1 || len(r.Runs[0].Figures) < 4 {
				t.Errorf("got %+v", r.Runs)
			}
		})
	}
}

func TestCutover(t *testing.T) {
	r, out := bench(t, append([]string{"cutover", "-accounts", "10"}, plain...)...)
	if figure(t, r, "mailsplice", "accounts") <= 0 {
		t.Error("no accounts moved")
	}
	if !strings.Contains(out, "naive: this proxy cannot do it") {
		t.Errorf("naive was not skipped: got\n%s", out)
	}
}

// interrupter cancels when a certain note is written.
type interrupter struct {
	mu     sync.Mutex
	text   strings.Builder
	at     string
	cancel context.CancelFunc
}

func (i *interrupter) Write(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if strings.Contains(string(p), i.at) {
		i.cancel()
	}
	return i.text.Write(p)
}

// Whenever somebody interrupts a run, nothing is left.
func TestInterruption(t *testing.T) {
	tests := []struct{ name, args, at string }{
		{"at the beginning", "idle -sessions 5,10 -settle 1h", "run 1 of 1"},
		{"during logins", "idle -sessions 5,10 -settle 1h", "logging in up to 5"},
		{"while settling", "idle -sessions 5,10 -settle 1h", "settling"},
		{"during a load", "ping -sessions 5 -for 1h", "round trips at once"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			notes := &interrupter{at: tt.at, cancel: cancel}
			args := append(strings.Fields(tt.args), "-binary", binary)
			if code := run(ctx, append(args, plain...), new(strings.Builder), notes); code != exitFailed {
				t.Errorf("got exit code %d, want %d: %s", code, exitFailed, notes.text.String())
			}
			noTraces(t, temp)
		})
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		args, want string
		code       int
	}{
		{"", "usage: bench SCENARIO", exitUsage},
		{"help", "cutover", exitUsage},
		{"idle -h", "-settle", 0},
		{"dance", `unknown scenario "dance"`, exitUsage},
		{"idle -proxies squid", "allowed mailsplice, naive, direct", exitUsage},
		{"idle -client-leg half", "allowed tls, plain", exitUsage},
		{"idle -sessions 5,x", "allowed numbers above 0", exitUsage},
		{"idle extra", `unexpected argument "extra"`, exitUsage},
		{"ping -repeat 0", "must be at least 1", exitUsage},
		{"login -keys dsa", "allowed ecdsa, rsa", exitUsage},
		{"idle -sessions 20,10 -proxies naive", "allowed rising numbers", exitFailed},
		{"idle -sessions 10,10000000 -proxies naive", "allowed at most", exitFailed},
		{"ping -proxies direct -client-leg plain", "legs differ", exitFailed},
		{"ping -proxies direct -backends 2", "more than one backend", exitFailed},
		{"ping -binary /bin/false -proxies mailsplice", "it has ended", exitFailed},
		{"ping -config /nonexistent", "no such file", exitFailed},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			var notes strings.Builder
			code := run(t.Context(), strings.Fields(tt.args), new(strings.Builder), &notes)
			if code != tt.code || !strings.Contains(notes.String(), tt.want) {
				t.Errorf("got exit code %d, %s; want %d and %q", code, notes.String(), tt.code, tt.want)
			}
			if pids := children(t); len(pids) > 0 {
				t.Errorf("processes %v are left", pids)
			}
		})
	}
}
