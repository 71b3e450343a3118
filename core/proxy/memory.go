package proxy

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// cgroupMemoryMax is where cgroup v2 keeps the memory limit of the process's own group in a container.
const cgroupMemoryMax = "/sys/fs/cgroup/memory.max"

// LimitMemory sets the runtime's soft limit to 90 % of the cgroup's, unless GOMEMLIMIT says otherwise (DESIGN 2). The
// tenth that is left is for the mapped session records and the kernel's part. Without a limit it does nothing.
func LimitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	text, err := os.ReadFile(cgroupMemoryMax)
	if err != nil {
		return
	}
	if limit := memoryLimit(string(text)); limit > 0 {
		debug.SetMemoryLimit(limit)
	}
}

// memoryLimit is what the text of memory.max allows the runtime; 0: no limit.
func memoryLimit(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n <= 0 {
		return 0 // "max"
	}
	return n / 10 * 9
}
