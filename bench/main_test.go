package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"mailsplice/bench/child"
	"mailsplice/bench/peers"
	"mailsplice/bench/report"
	"mailsplice/bench/scenario"
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
	if !strings.Contains(out, "**naive was not measured**: this proxy cannot do it") {
		t.Errorf("naive was not skipped: got\n%s", out)
	}
}

// Several processes of mailsplice share a port, and together hold every session.
func TestProcesses(t *testing.T) {
	r, _ := bench(t, append([]string{"idle", "-sessions", "20,60", "-settle", "20ms", "-processes", "3", "-clients", "2", "-backends", "2", "-proxies", "mailsplice,naive"}, plain...)...)
	if got := figure(t, r, "mailsplice", "descriptors at 60") - figure(t, r, "mailsplice", "descriptors at 20"); got != 80 {
		t.Errorf("40 more sessions have %v descriptors, want 80", got)
	}
	if got := figure(t, r, "mailsplice", "sessions that answered a NOOP at the end"); got != 60 {
		t.Errorf("%v sessions answered, want 60", got)
	}
	if !strings.Contains(r.Skipped["naive"], "-processes is for mailsplice only") {
		t.Errorf("naive: got %q", r.Skipped)
	}
}

// A cut-over reaches the sessions of every process.
func TestCutoverOfProcesses(t *testing.T) {
	r, _ := bench(t, append([]string{"cutover", "-accounts", "10", "-processes", "2", "-proxies", "mailsplice"}, plain...)...)
	if figure(t, r, "mailsplice", "accounts") <= 0 {
		t.Error("no accounts moved")
	}
}

// Each peer is measured if it is installed, and said to be missing if not; its processes end.
func TestPeers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result.json")
	for _, legs := range [][]string{nil, plain, {"-suite", "tls12-gcm"}, {"-suite", "tls12-cbc", "-key", "rsa"}} {
		// Some have other users, who must find their files.
		temp, err := os.MkdirTemp("/tmp", "mb")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(temp)
		if err := os.Chmod(temp, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("TMPDIR", temp)
		var out, notes strings.Builder
		args := append([]string{"idle", "-sessions", "6,12", "-settle", "20ms", "-proxies", "naive,haproxy,dovecot,nginx", "-json", path}, legs...)
		if code := run(t.Context(), args, &out, &notes); code != 0 {
			t.Fatalf("exit code %d: %s", code, notes.String())
		}
		noTraces(t, temp)
		r, err := report.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range peers.All() {
			_, missing := p.Version(t.Context())
			why, skipped := r.Skipped[p.Name()]
			switch {
			case missing == nil && !skipped:
				if got := figure(t, r, p.Name(), "descriptors at 12") - figure(t, r, p.Name(), "descriptors at 6"); got < 12 {
					t.Errorf("%s: 6 more sessions have %v descriptors, want 12", p.Name(), got)
				}
				if r.Versions[p.Name()] == "" || !strings.Contains(out.String(), "* "+p.Name()+": "+p.Difference()) {
					t.Errorf("%s: version %q, or no remark in:\n%s", p.Name(), r.Versions[p.Name()], out.String())
				}
			case missing == nil && (p.Name() != "dovecot" || os.Geteuid() == 0):
				t.Errorf("%s is installed but was not measured: %s", p.Name(), why)
			case !strings.Contains(notes.String(), "NOT MEASURED: "+p.Name()) || !strings.Contains(out.String(), "**"+p.Name()+" was not measured**"):
				t.Errorf("%s was left out in silence:\n%s", p.Name(), out.String())
			}
		}
	}
}

// Nobody there: that is a failure, and says what to do.
func TestNoPeer(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out, notes strings.Builder
	code := run(t.Context(), []string{"ping", "-proxies", "haproxy,nginx"}, &out, &notes)
	if code != exitFailed || !strings.Contains(notes.String(), "NOT MEASURED: haproxy: haproxy is not installed (bench/install.sh)") {
		t.Errorf("got exit code %d, %s", code, notes.String())
	}
}

// What is stored can be shown again, with the same table and picture.
func TestShow(t *testing.T) {
	dir := t.TempDir()
	o := compareOptions{repeat: 2, dir: dir, binary: binary, proxies: list{words: []string{"mailsplice", "naive"}}}
	var out, notes, again strings.Builder
	c := comparison{"small", "ping -sessions 10 -at-once 2 -warm-up 10ms -for 100ms -client-leg plain -backend-leg plain"}
	if err := o.one(t.Context(), c, &out, &notes); err != nil {
		t.Fatal(err)
	}
	picture, err := os.ReadFile(filepath.Join(dir, "small.svg"))
	if err != nil || !strings.Contains(string(picture), "CPU per round trip, us") {
		t.Errorf("picture: got %q, %v", picture, err)
	}
	if err := os.Remove(filepath.Join(dir, "small.svg")); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"show", "-all", filepath.Join(dir, "small.json")}, &again, &notes); code != 0 {
		t.Fatalf("exit code %d: %s", code, notes.String())
	}
	const command = "go run ./bench " + "ping -sessions 10 -at-once 2 -warm-up 10ms -for 100ms -client-leg plain -backend-leg plain -repeat 2 -proxies mailsplice,naive\n"
	for _, text := range []string{out.String(), again.String()} {
		if !strings.Contains(text, command) {
			t.Errorf("no %q in:\n%s", command, text)
		}
	}
	var short strings.Builder
	if code := run(t.Context(), []string{"show", filepath.Join(dir, "small.json")}, &short, &notes); code != 0 ||
		!strings.Contains(short.String(), "CPU per round trip") || strings.Contains(short.String(), "p99") {
		t.Errorf("without -all: exit code %d, got\n%s", code, short.String())
	}
	if _, table, _ := strings.Cut(out.String(), command); !strings.HasSuffix(again.String(), table) {
		t.Errorf("shown: got\n%s\nwant at its end\n%s", again.String(), table)
	}
	if second, err := os.ReadFile(filepath.Join(dir, "small.svg")); err != nil || string(second) != string(picture) {
		t.Errorf("picture, drawn again: got %q, %v", second, err)
	}
}

// Every comparison is a command that bench takes, and every scenario is in one of them.
func TestComparisons(t *testing.T) {
	seen, scenarios := map[string]bool{}, map[string]bool{}
	for _, c := range comparisons {
		args := strings.Fields(c.args)
		if _, err := parse(scenarioNamed(args[0]), args, io.Discard); err != nil || seen[c.name] {
			t.Errorf("%s: %v, or there twice", c.name, err)
		}
		seen[c.name], scenarios[args[0]] = true, true
	}
	for _, s := range scenario.All() {
		if !scenarios[s.Name] {
			t.Errorf("no comparison has scenario %s", s.Name)
		}
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
		{"idle -proxies squid", "allowed mailsplice, naive, haproxy, dovecot, nginx, direct", exitUsage},
		{"idle -client-leg half", "allowed tls, plain", exitUsage},
		{"idle -suite tls11-rc4", "allowed tls13-gcm, tls12-gcm, tls12-cbc", exitUsage},
		{"idle -suite tls12-cbc -client-leg plain -backend-leg plain", "needs a leg with TLS", exitUsage},
		{"idle -suite tls12-cbc -curve mlkem", "-curve mlkem needs TLS 1.3", exitUsage},
		{"idle -sessions 5,x", "allowed numbers above 0", exitUsage},
		{"idle extra", `unexpected argument "extra"`, exitUsage},
		{"ping -repeat 0", "must be at least 1", exitUsage},
		{"login -keys dsa", "allowed ecdsa, rsa", exitUsage},
		{"idle -sessions 20,10 -proxies naive", "allowed rising numbers", exitFailed},
		{"idle -sessions 10,10000000 -proxies naive", "allowed at most", exitFailed},
		{"ping -proxies direct -client-leg plain", "legs differ", exitFailed},
		{"ping -proxies direct -backends 2", "more than one backend", exitFailed},
		{"ping -binary /bin/false -proxies mailsplice", "it has ended", exitFailed},
		{"ping -proxies direct -processes 2", "is for mailsplice only", 0},
		{"idle -sessions 5 -processes 0", "must be at least 1", exitUsage},
		{"compare -only waltz", "allowed login-tls", exitUsage},
		{"compare extra", "unexpected argument", exitUsage},
		{"compare -h", "-repeat", 0},
		{"show", "which files", exitUsage},
		{"show /nonexistent.json", "no such file", exitFailed},
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
