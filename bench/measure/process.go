package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is USER_HZ, which is 100 on every architecture that Go runs on (times(2)). The kernel scales utime and
// stime so that their sum is the time that the scheduler accounted, so a sum is exact to one tick.
const ticksPerSecond = 100

// Usage is what a process, or several together, has in use.
type Usage struct {
	RSSBytes int64 // resident, shared pages included
	PSSBytes int64 // resident, shared pages divided among their users
	Files    int   // open descriptors but for epolls, some of which mailsplice keeps for the next logins
	Threads  int
}

// Processes is the sum over the processes; one that has ended is an error.
func Processes(pids ...int) (sum Usage, err error) {
	for _, pid := range pids {
		u, err := process(pid)
		if err != nil {
			return Usage{}, fmt.Errorf("reading usage of process %d: %w", pid, err)
		}
		sum.RSSBytes += u.RSSBytes
		sum.PSSBytes += u.PSSBytes
		sum.Files += u.Files
		sum.Threads += u.Threads
	}
	return sum, nil
}

func process(pid int) (u Usage, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	read := func(name string) string {
		text, e := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = e
		}
		return string(text)
	}
	status, rollup := read("status"), read("smaps_rollup")
	files, e := os.ReadDir(filepath.Join(dir, "fd"))
	if err == nil {
		err = e
	}
	if err != nil {
		return Usage{}, err
	}
	for _, f := range files {
		if what, _ := os.Readlink(filepath.Join(dir, "fd", f.Name())); what != "anon_inode:[eventpoll]" {
			u.Files++
		}
	}
	if u.RSSBytes, err = kilobytes(status, "VmRSS:"); err != nil {
		return u, err
	}
	if u.PSSBytes, err = kilobytes(rollup, "Pss:"); err != nil {
		return u, err
	}
	threads, err := number(status, "Threads:")
	u.Threads = int(threads)
	return u, err
}

// Tree is a process and all that descend from it.
func Tree(root int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		children[parent(string(text))] = append(children[parent(string(text))], pid)
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// parent is the parent's id in /proc/PID/stat, 0 when there is none.
func parent(stat string) int {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	pid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return pid
}

// CPU is what the processes have used of it.
func CPU(pids ...int) (sum time.Duration, err error) {
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		text, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			return 0, fmt.Errorf("reading CPU time: %w", err)
		}
		t, err := cpuTime(string(text))
		if err != nil {
			return 0, err
		}
		sum += max(t, threadTime(dir))
	}
	return sum, nil
}

// threadTime is the scheduler's own count in nanoseconds, of the threads that there are: finer than ticks, but without
// threads that have ended. A kernel that does not count yields 0.
func threadTime(dir string) (sum time.Duration) {
	files, err := filepath.Glob(filepath.Join(dir, "task", "*", "schedstat"))
	if err != nil {
		return 0
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has just ended
		}
		sum += firstNanoseconds(string(text))
	}
	return sum
}

func firstNanoseconds(schedstat string) time.Duration {
	word, _, _ := strings.Cut(schedstat, " ")
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n)
}

// ResetPeak makes Peak begin anew (proc(5), clear_refs).
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// Peak is the largest resident size since the process began or ResetPeak.
func Peak(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return kilobytes(string(text), "VmHWM:")
}

// cpuTime is utime plus stime of /proc/PID/stat. The command's name, in parentheses, may hold anything.
func cpuTime(stat string) (time.Duration, error) {
	const utime, stime = 11, 12 // counted behind the name
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	if end < 0 || len(fields) <= stime {
		return 0, fmt.Errorf("parsing stat: found %d fields behind the name, want more than %d", len(fields), stime)
	}
	var ticks int64
	for _, f := range []string{fields[utime], fields[stime]} {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parsing stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil
}

// number is the first number behind a key that begins a line.
func number(text, key string) (int64, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key)
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			break
		}
		return strconv.ParseInt(fields[0], 10, 64)
	}
	return 0, fmt.Errorf("no number behind %q", key)
}

func kilobytes(text, key string) (int64, error) {
	n, err := number(text, key)
	return n << 10, err
}
