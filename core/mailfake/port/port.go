// Package port finds addresses for servers that must know theirs before they start: the proxy under test, the servers
// beside it, the demo's own.
package port

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
)

// The ports that are handed out lie below those from which Linux serves bind to port 0 and connect (ip(7),
// ip_local_port_range), so that no connection of anybody's takes one before its server does.
const (
	first = 12000
	count = 10000 // a node of a Redis cluster takes a second one as far above, where none is handed out
	tries = 100
)

// next differs from process to process, so that several that look at once look in different places.
var next atomic.Uint32

func init() { next.Store(rand.Uint32()) }

// Free is an address of ip whose TCP port was free a moment ago. It never yields one twice in 10,000 calls.
func Free(ip netip.Addr) (netip.AddrPort, error) {
	var last error
	for range tries {
		addr := netip.AddrPortFrom(ip, uint16(first+next.Add(1)%count))
		l, err := net.Listen("tcp", addr.String())
		if err == nil {
			return addr, l.Close()
		}
		last = err
	}
	return netip.AddrPort{}, fmt.Errorf("finding a free port of %s: %w", ip, last)
}
