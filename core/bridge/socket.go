package bridge

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// receive is recv(2) without blocking. The scheduler is not told, as it is by unix.Read: a socket's copy of up to 64 KiB takes less
// than that.
func receive(fd int, p []byte) (int, error) {
	return socketCall(unix.SYS_RECVFROM, fd, p, unix.MSG_DONTWAIT)
}

// write is send(2) without blocking and without SIGPIPE.
func write(fd int, p []byte) (int, error) {
	return socketCall(unix.SYS_SENDTO, fd, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

func socketCall(call uintptr, fd int, p []byte, flags int) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
