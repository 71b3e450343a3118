package measure

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Kernel is the kernel's memory of the whole machine.
type Kernel struct {
	SlabBytes   int64 // slabs that cannot be reclaimed: socket structures, files, epoll items
	SocketBytes int64 // bytes queued in TCP sockets
	Sockets     int   // TCP sockets in use
}

// ReadKernel reads /proc/meminfo and /proc/net/sockstat.
func ReadKernel() (k Kernel, err error) {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return k, err
	}
	sockstat, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return k, err
	}
	if k.SlabBytes, err = kilobytes(string(meminfo), "SUnreclaim:"); err != nil {
		return k, err
	}
	k.Sockets, k.SocketBytes, err = parseSockstat(string(sockstat), int64(os.Getpagesize()))
	return k, err
}

// parseSockstat finds the line "TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 21"; mem counts pages.
func parseSockstat(text string, pageBytes int64) (sockets int, queued int64, err error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "TCP:")
		if !ok {
			continue
		}
		values := map[string]int64{}
		fields := strings.Fields(rest)
		for i := 0; i+1 < len(fields); i += 2 {
			if values[fields[i]], err = strconv.ParseInt(fields[i+1], 10, 64); err != nil {
				return 0, 0, fmt.Errorf("parsing sockstat: %w", err)
			}
		}
		return int(values["inuse"]), values["mem"] * pageBytes, nil
	}
	return 0, 0, fmt.Errorf("parsing sockstat: no TCP line")
}

// Machine says where figures were taken.
type Machine struct {
	Kernel   string `json:"kernel"`
	CPU      string `json:"cpu"`
	CPUs     int    `json:"cpus"`
	MemoryMB int64  `json:"memory_mb"`
	Go       string `json:"go"`
	Arch     string `json:"arch"`
	// Congestion is TCP's congestion control, Linux's default being cubic. bbr paces what it sends by timers, also on the
	// loopback device, and all of a run's processes pay for that.
	Congestion string `json:"congestion_control,omitempty"`
	// Instructions are those of the processor that ciphers are made of, among cipherFlags.
	Instructions []string `json:"instructions,omitempty"`
}

// cipherFlags are names of /proc/cpuinfo.
var cipherFlags = []string{"aes", "avx2", "avx512f", "vaes", "vpclmulqdq", "sha_ni"}

// String is one line.
func (m Machine) String() string {
	cpu := fmt.Sprintf("%d x %s", m.CPUs, m.CPU)
	if len(m.Instructions) > 0 { // results of before have none
		cpu += " (" + strings.Join(m.Instructions, " ") + ")"
	}
	parts := []string{cpu, "Linux " + m.Kernel, m.Go}
	if m.Congestion != "" {
		parts = append(parts, "TCP "+m.Congestion)
	}
	return strings.Join(parts, ", ")
}

// ReadMachine describes this machine; what it does not tell stays empty.
func ReadMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), Arch: runtime.GOARCH}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cpuinfo(string(text), "model name")
		flags := strings.Fields(cpuinfo(string(text), "flags"))
		m.Instructions = slices.DeleteFunc(slices.Clone(cipherFlags), func(f string) bool { return !slices.Contains(flags, f) })
	}
	if text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control"); err == nil {
		m.Congestion = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		total, _ := kilobytes(string(text), "MemTotal:")
		m.MemoryMB = total >> 20
	}
	return m
}

// cpuinfo is the first value of a key in /proc/cpuinfo.
func cpuinfo(text, want string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == want {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
