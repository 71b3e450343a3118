package proxy

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// cgroupMemoryMax is where cgroup v2 keeps the memory limit of the process's own group in a container.
const cgroupMemoryMax = "/sys/fs/cgroup/memory.max"

// LimitMemory tells the collector how much memory there is. Its soft limit becomes 90 % of the cgroup's, unless GOMEMLIMIT
// says otherwise (DESIGN 2): the tenth that is left is for the mapped session records and the kernel's part. It also lets
// the heap reach some size before the first collection, unless GOGC says something.
func LimitMemory() {
	limit := int64(0)
	if text, err := os.ReadFile(cgroupMemoryMax); err == nil {
		limit = memoryLimit(string(text))
	}
	if limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
	if os.Getenv("GOGC") == "" {
		ballast = make([]byte, ballastBytes(limit))
	}
}

// ballast is never touched, so it is address space and no memory; but the collector, which starts when the heap has doubled,
// counts it. Sessions live outside the heap: without it some 4 MB are alive in a process with 10,000 of them, a
// login leaves 100 KB behind, nearly all of it by crypto/tls, and every fortieth login is a collection (measured: 15 % of a
// login's CPU; docs/benchmarks.md).
//
//lint:ignore U1000 it only has to be there
var ballast []byte

// maxBallast adds twice of it to the size at which a small heap is collected. With 20 MB a login takes 3 % less CPU, but what a
// storm leaves behind for its sessions (cached look-ups) lies scattered over more pages: 100 bytes a session.
const maxBallast = 10 << 20

// ballastBytes is a sixteenth of a known limit at most, since the limit counts the ballast, too.
func ballastBytes(limit int64) int64 {
	if limit <= 0 {
		return maxBallast
	}
	return min(maxBallast, limit/16)
}

// memoryLimit is what the text of memory.max allows the runtime; 0: no limit.
func memoryLimit(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n <= 0 {
		return 0 // "max"
	}
	return n / 10 * 9
}
