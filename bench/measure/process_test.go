package measure

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	tests := []struct {
		name, stat string
		want       time.Duration
		ok         bool
	}{
		{"plain name", "7 (x) S 1 2 3 4 -1 4194304 119 0 0 0 150 25 0 0 20 0 1 0 460 31 412", 1750 * time.Millisecond, true},
		{"name with parentheses and blanks", "7 (a) b (c) S 1 2 3 4 -1 4194304 119 0 0 0 1 2 0 0 20 0", 30 * time.Millisecond, true},
		{"nothing", "", 0, false},
		{"cut off before stime", "7 (x) S 1 2 3 4 -1 4194304 119 0 0 0 150", 0, false},
		{"no number", "7 (x) S 1 2 3 4 -1 4194304 119 0 0 0 a 25 0", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := cpuTime(tt.stat); got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %v, %v; want %v, success %v", got, err, tt.want, tt.ok)
			}
		})
	}
}

func TestTree(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 1000 & echo; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	tree, err := Tree(cmd.Process.Pid)
	if err != nil || len(tree) != 2 || tree[0] != cmd.Process.Pid {
		t.Errorf("got %v, %v; want %d and its child", tree, err, cmd.Process.Pid)
	}
	all, err := Tree(os.Getpid())
	if err != nil || len(all) < 3 || !slices.Contains(all, tree[len(tree)-1]) {
		t.Errorf("this process: got %v, %v; want %v among them", all, err, tree)
	}
	for _, pid := range tree {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	cmd.Wait()
}

func TestParent(t *testing.T) {
	tests := []struct {
		stat string
		want int
	}{
		{"7 (x) S 12 7", 12}, {"7 (a) 9 (b) R 13 7", 13}, {"", 0}, {"7 (x) S", 0}, {"7 (x) S y 7", 0},
	}
	for _, tt := range tests {
		if got := parent(tt.stat); got != tt.want {
			t.Errorf("%q: got %d, want %d", tt.stat, got, tt.want)
		}
	}
}

func TestKilobytes(t *testing.T) {
	const status = "Name:\tx VmRSS: 9\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\nVmBad:\tmuch\n"
	tests := []struct {
		key  string
		want int64
		ok   bool
	}{
		{"VmRSS:", 1 << 20, true},
		{"VmHWM:", 2 << 20, true},
		{"VmSwap:", 0, false},
		{"Threads:", 0, false},
		{"VmBad:", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			if got, err := kilobytes(status, tt.key); got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %d, %v; want %d, success %v", got, err, tt.want, tt.ok)
			}
		})
	}
}

func TestFirstNanoseconds(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
	}{
		{"1234567 89 10\n", 1234567},
		{"", 0},
		{"x 1 2\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if got := firstNanoseconds(tt.text); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestSockstat(t *testing.T) {
	tests := []struct {
		name, text string
		sockets    int
		queued     int64
		ok         bool
	}{
		{"as the kernel writes it", "sockets: used 15\nTCP: inuse 3 orphan 0 tw 7 alloc 5 mem 21\nUDP: inuse 9 mem 8\n", 3, 21 * 4096, true},
		{"without TCP", "sockets: used 15\nUDP: inuse 0 mem 0\n", 0, 0, false},
		{"no number", "TCP: inuse x mem 1\n", 0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sockets, queued, err := parseSockstat(tt.text, 4096)
			if sockets != tt.sockets || queued != tt.queued || (err == nil) != tt.ok {
				t.Errorf("got %d, %d, %v; want %d, %d, success %v", sockets, queued, err, tt.sockets, tt.queued, tt.ok)
			}
		})
	}
}

func TestCPUInfo(t *testing.T) {
	if got, want := cpuinfo("processor\t: 0\nmodel name\t: Some CPU: 3 GHz\nmodel name\t: other\n", "model name"), "Some CPU: 3 GHz"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := cpuinfo("processor\t: 0\n", "model name"); got != "" {
		t.Errorf("without a name: got %q", got)
	}
}

// The real files of this process, and of this machine, are understood.
func TestThisProcess(t *testing.T) {
	pid := os.Getpid()
	one, err := Processes(pid)
	if err != nil {
		t.Fatal(err)
	}
	if one.RSSBytes < 1<<20 || one.PSSBytes < 1 || one.Threads < 1 || one.Files < 3 {
		t.Errorf("usage: got %+v", one)
	}
	both, err := Processes(pid, pid)
	if err != nil || both.RSSBytes < one.RSSBytes*3/2 || both.Threads < 2 {
		t.Errorf("twice the same process: got %+v, %v beside %+v", both, err, one)
	}
	before, err := CPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for range 10_000 { // each reading is work
		if after, err = CPU(pid); err != nil || after > before {
			break
		}
	}
	if err != nil || after <= before {
		t.Errorf("CPU after work: got %v, %v; want more than %v", after, err, before)
	}
	if err := ResetPeak(pid); err != nil {
		t.Error(err)
	}
	if peak, err := Peak(pid); err != nil || peak < 1<<20 {
		t.Errorf("peak: got %d, %v", peak, err)
	}
	if k, err := ReadKernel(); err != nil || k.SlabBytes < 1<<20 {
		t.Errorf("kernel: got %+v, %v", k, err)
	}
	if m := ReadMachine(); m.Kernel == "" || m.CPUs < 1 || m.MemoryMB < 1 || m.Congestion == "" || !strings.Contains(m.String(), m.Kernel) {
		t.Errorf("machine: got %+v", m)
	}
}

func TestEndedProcess(t *testing.T) {
	const none = 1 << 30 // above pid_max
	if _, err := Processes(os.Getpid(), none); err == nil {
		t.Error("usage: no error")
	}
	if _, err := CPU(none); err == nil {
		t.Error("CPU: no error")
	}
	if _, err := Peak(none); err == nil {
		t.Error("peak: no error")
	}
}
