package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// SIGHUP reads the configuration again, and a service manager hears of every state. A broken file leaves the old one.
func TestHangUp(t *testing.T) {
	backend, err := mailfake.NewIMAP(mailfake.Options{Name: "legacy", Check: func(c mailfake.Credentials) mailfake.Verdict { return mailfake.Accept() }})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	f := newFiles(t, backend.Addr().Port(), "")
	path := filepath.Join(f.dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	f.env = []string{"NOTIFY_SOCKET=" + path}
	hear := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		manager.SetReadDeadline(time.Now().Add(patience))
		if n, err := manager.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Fatalf("the service manager heard %q, %v, want %s", buf[:n], err, want)
		}
	}
	greeting := func() string {
		c, err := mailfake.DialWith(f.addr, mailfake.ClientOptions{Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Greeting
	}
	s := f.serve("run", "conf")
	hear("READY=1")
	text, err := os.ReadFile(filepath.Join(f.dir, "conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"[capabilities.imap]", "[capabilities.imap]\nbanner = \"second\"", "second"},
		{"[capabilities.imap]", "[capabilities.imap]\nbaner = \"third\"", "second"},
	} {
		if err := os.WriteFile(filepath.Join(f.dir, "conf"), []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		s.cmd.Process.Signal(syscall.SIGHUP)
		hear("RELOADING=1\nMONOTONIC_USEC=")
		hear("READY=1")
		if got := greeting(); !strings.Contains(got, c.want) {
			t.Errorf("greeting: got %q, want %q", got, c.want)
		}
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	hear("STOPPING=1")
	s.wait(t, 0)
	if !strings.Contains(s.out.String(), "baner") {
		t.Errorf("the log does not say what was wrong:\n%s", s.out)
	}
}
