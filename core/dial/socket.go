package dial

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket options of a backend leg (DESIGN 2).
const (
	keepIdleSeconds     = 120
	keepIntervalSeconds = 30
	keepProbes          = 4
	// As long as all probes take, or one lost probe would end an idle connection (core/engine says why).
	userTimeout = (keepIdleSeconds + keepIntervalSeconds*keepProbes) * time.Second
)

// Sources are a destination's source addresses (SPEC 2.4, source_ips), used in turn. It is safe for concurrent use.
type Sources struct {
	v4, v6 []netip.Addr // immutable
	turn   atomic.Uint32
}

// NewSources sorts the addresses by family.
func NewSources(addrs []netip.Addr) *Sources {
	s := &Sources{}
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			s.v4 = append(s.v4, a)
		} else {
			s.v6 = append(s.v6, a)
		}
	}
	return s
}

// next gives the source addresses for a peer, beginning with the one whose turn it is, and their number. Without any of
// the peer's family the kernel chooses: from gives the zero address.
func (s *Sources) next(to netip.Addr) (from func(i int) netip.Addr, n int) {
	var list []netip.Addr
	switch {
	case s == nil:
	case to.Is4():
		list = s.v4
	default:
		list = s.v6
	}
	if len(list) == 0 {
		return func(int) netip.Addr { return netip.Addr{} }, 0
	}
	first := int(s.turn.Add(1)-1) % len(list)
	return func(i int) netip.Addr { return list[(first+i)%len(list)] }, len(list)
}

// begin makes a socket and starts to connect it. An error leaves nothing open.
func begin(from netip.Addr, to netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET6
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, &localError{os.NewSyscallError("socket", err)}
	}
	if err := start(fd, from, to); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func start(fd int, from netip.Addr, to netip.AddrPort) error {
	if err := prepare(fd); err != nil {
		return &localError{err}
	}
	if from.IsValid() {
		if err := bind(fd, from); err != nil {
			return err
		}
	}
	zone, err := zoneID(to.Addr().Zone())
	if err != nil {
		return &localError{err}
	}
	switch err := connectTo(fd, to, zone); err {
	case nil, unix.EINPROGRESS, unix.EINTR: // EINTR: it goes on by itself, connect(2)
		return nil
	default:
		return os.NewSyscallError("connect", err)
	}
}

func prepare(fd int) error {
	for _, o := range []struct {
		name              string
		level, opt, value int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdleSeconds},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepIntervalSeconds},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepProbes},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds())},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			return fmt.Errorf("setting %s: %w", o.name, err)
		}
	}
	return nil
}

// connectTo is connect(2) on a non-blocking socket, of which the scheduler is not told: it does not wait, but on the loopback
// device it does the peer's work as well, long enough for the runtime's monitor to give the processor away (core/engine,
// calls.go).
func connectTo(fd int, to netip.AddrPort, zone uint32) error {
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], to.Port())
	inOrder := binary.NativeEndian.Uint16(port[:])
	var errno unix.Errno
	if ip := to.Addr(); ip.Is4() {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: inOrder, Addr: ip.As4()}
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4)
	} else {
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: inOrder, Addr: ip.As16(), Scope_id: zone}
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet6)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// bind fixes the source address but not its port: IP_BIND_ADDRESS_NO_PORT leaves the choice to connect(2), which can use
// one port for many peers; otherwise 28,000 connections would be the end of an address.
func bind(fd int, from netip.Addr) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return &localError{os.NewSyscallError("setsockopt", err)}
	}
	sa, err := sockaddr(netip.AddrPortFrom(from, 0))
	if err != nil {
		return &localError{err}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return &localError{fmt.Errorf("binding to %s: %w", from, err)}
	}
	return nil
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, error) {
	ip := a.Addr()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, nil
	}
	zone, err := zoneID(ip.Zone())
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16(), ZoneId: zone}, nil
}

// zoneID reads the scope of a link-local address: an interface's name or number.
func zoneID(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("finding interface %q: %w", zone, err)
	}
	return uint32(ifi.Index), nil
}

// checkSelf notices a socket that is connected to itself: to a port of the ephemeral range on this host where nobody
// listens, TCP's simultaneous open may succeed. That is nobody listening.
func checkSelf(fd int, peer syscall.Sockaddr) error {
	local, err := syscall.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	if endpoint(local) == endpoint(peer) {
		return os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	return nil
}

func endpoint(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
