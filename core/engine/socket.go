package engine

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Keepalive of both legs: a peer that vanished is noticed after 240 s, with traffic or without (tcp(7)).
//
// The user timeout is what all four probes take, and must not be less: once it has passed since the last byte, a single
// unanswered probe ends the connection, whatever TCP_KEEPCNT says (net/ipv4/tcp_timer.c, tcp_keepalive_timer). With 120 s
// one lost packet in half an hour of silence was enough: of 3,000 idle sessions whose probes overflowed the queue of the
// loopback device in the same moment 427 were reset after 150 s.
const (
	keepIdleSeconds  = 120
	keepEverySeconds = 30
	keepProbes       = 4
	userTimeout      = (keepIdleSeconds + keepEverySeconds*keepProbes) * time.Second
)

// TuneSocket sets the options every TCP leg has: no Nagle delay, keepalive, user timeout. An option that the kernel
// refuses on this kind of socket is left as it is. A listening socket hands all of them on to what is accepted from it
// (accept(2) leaves that open; Linux copies the socket), which saves each newcomer six system calls.
func TuneSocket(fd int) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdleSeconds)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepEverySeconds)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepProbes)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
}

// addrPort converts a socket address; IPv4-mapped IPv6 becomes IPv4 (SPEC 2.3). Other families give the zero value. It is
// package syscall's: x/sys/unix asks the socket for its protocol, too.
func addrPort(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func sockaddr(a netip.AddrPort) (family int, sa unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// backlog is what the kernel may queue while a loop is busy; it cuts it to net.core.somaxconn.
const backlog = 4096

// listen makes a listening socket.
func listen(o ListenOptions) (fd int, err error) {
	family, sa := sockaddr(o.Addr)
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("creating socket for %v: %w", o.Addr, err)
	}
	defer func(made int) { // fd itself is -1 by then
		if err != nil {
			unix.Close(made)
		}
	}(fd)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if o.ReusePort {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return -1, fmt.Errorf("sharing port of %v: %w", o.Addr, err)
		}
	}
	if family == unix.AF_INET6 {
		only := 0
		if o.V6Only {
			only = 1
		}
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if err := unix.Bind(fd, sa); err != nil {
		return -1, fmt.Errorf("binding %v: %w", o.Addr, err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return -1, fmt.Errorf("listening on %v: %w", o.Addr, err)
	}
	return fd, nil
}

// inherit checks that fd, which came from another process, listens on addr; port 0 takes any.
func inherit(fd int, addr netip.AddrPort) error {
	if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || v != 1 {
		return fmt.Errorf("inheriting descriptor %d for %v: not a listening socket", fd, addr)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("inheriting descriptor %d for %v: %w", fd, addr, err)
	}
	if got := addrPort(sa); got.Addr() != addr.Addr().Unmap() || addr.Port() != 0 && got.Port() != addr.Port() {
		return fmt.Errorf("inheriting descriptor %d for %v: it listens on %v", fd, addr, got)
	}
	unix.CloseOnExec(fd)
	return unix.SetNonblock(fd, true)
}
