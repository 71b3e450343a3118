package engine

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The scheduler is not told of the system calls below, as it is of those in x/sys/unix. None of them waits: the sockets are
// non-blocking. But they do the loopback device's work or wake a peer, and where that takes longer than 20 us the runtime's
// monitor gives the thread's processor to another one, which must be woken for it, and given another one afterwards: 5 % of
// a login's CPU (docs/benchmarks.md).

// Receive is recv(2) without waiting: at most len(p) bytes, 0 at the end of input. err may be EAGAIN.
func Receive(fd int, p []byte) (int, error) {
	return transfer(unix.SYS_RECVFROM, fd, p, unix.MSG_DONTWAIT)
}

// Transmit is send(2) without waiting and without SIGPIPE. err may be EAGAIN.
func Transmit(fd int, p []byte) (int, error) {
	return transfer(unix.SYS_SENDTO, fd, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// TransmitLast is Transmit of what SHUT_WR follows at once: both leave as one segment (send(2), MSG_MORE).
func TransmitLast(fd int, p []byte) (int, error) {
	return transfer(unix.SYS_SENDTO, fd, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL|unix.MSG_MORE)
}

func transfer(call uintptr, fd int, p []byte, flags int) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// pollOnce is poll(2) for one socket without waiting. EAGAIN: nothing of events is there, and the socket has neither failed nor
// ended in both directions.
func pollOnce(fd int, events int16) (int, error) {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&unix.Timespec{})), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if n == 0 {
		return 0, unix.EAGAIN
	}
	return int(n), nil
}

// Shut is shutdown(2).
func Shut(fd, how int) error {
	return failure(unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0))
}

// closeFD is close(2).
func closeFD(fd int) {
	unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// epollCtl is epoll_ctl(2).
func epollCtl(epfd, op, fd int, ev *unix.EpollEvent) error {
	return failure(unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(ev)), 0, 0))
}

func failure(_, _ uintptr, errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
