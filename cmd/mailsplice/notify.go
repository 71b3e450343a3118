package main

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// notify tells the service manager what the process is up to (sd_notify(3)); without one it does nothing. A manager that
// does not listen is no reason to stop serving mail.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' { // abstract namespace (unix(7))
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}

// The states of a service of Type=notify-reload or Type=notify.
const (
	ready    = "READY=1"
	stopping = "STOPPING=1"
)

// reloading is the state during a reload; systemd wants to know when it began.
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return ready
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}
