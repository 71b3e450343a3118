package tlsx

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// queued is how many bytes wait in a socket.
func queued(t testing.TB, fd int) int {
	t.Helper()
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// queuedAtPeer is all that we have sent, after which our end is shut down.
func queuedAtPeer(t testing.TB, ours *testSocket, peer net.Conn) string {
	t.Helper()
	unix.Shutdown(ours.fd, unix.SHUT_WR)
	got, err := io.ReadAll(peer)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-tick.C
	}
}
