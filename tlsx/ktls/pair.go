package ktls

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// trialSeconds bounds each wait of a probe.
const trialSeconds = 2

// pair is two connected TCP sockets over loopback, in blocking mode: keys cannot be installed on anything but TCP.
func pair() (near, far int, err error) {
	if near, far, err = pairOver(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		near, far, err = pairOver(unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}})
	}
	if err != nil {
		return -1, -1, fmt.Errorf("connecting over loopback: %w", err)
	}
	return near, far, nil
}

func pairOver(family int, loopback unix.Sockaddr) (near, far int, err error) {
	ln, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, err
	}
	defer unix.Close(ln)
	if err := unix.Bind(ln, loopback); err != nil {
		return -1, -1, err
	}
	if err := unix.Listen(ln, 1); err != nil {
		return -1, -1, err
	}
	addr, err := unix.Getsockname(ln)
	if err != nil {
		return -1, -1, err
	}
	if near, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, -1, err
	}
	if err = unix.Connect(near, addr); err == nil {
		far, err = acceptFrom(ln, near)
	}
	if err != nil {
		unix.Close(near)
		return -1, -1, err
	}
	return near, far, nil
}

// acceptFrom accepts the connection of near: anybody on the machine might have been faster.
func acceptFrom(ln, near int) (int, error) {
	local, err := unix.Getsockname(near)
	if err != nil {
		return -1, err
	}
	for range 8 {
		fd, peer, err := unix.Accept4(ln, unix.SOCK_CLOEXEC)
		if err != nil {
			return -1, err
		}
		if samePort(peer, local) {
			return fd, patient(near, fd)
		}
		unix.Close(fd)
	}
	return -1, unix.ECONNABORTED
}

func samePort(a, b unix.Sockaddr) bool { return port(a) == port(b) }

func port(a unix.Sockaddr) int {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	return -1
}

// patient bounds the waits on both sockets. Failing that they are closed.
func patient(near, far int) error {
	wait := unix.Timeval{Sec: trialSeconds}
	for _, fd := range []int{near, far} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			unix.Close(far)
			return err
		}
	}
	return nil
}
