package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// nobody is the user and group of the tests below.
const nobody = 65534

// service is files that nobody could serve from.
func service(t *testing.T, port uint16, user string) *files {
	t.Helper()
	_, certPEM, keyPEM := certificate(t, "mail.example.org")
	f := newFiles(t, port, "[admin]\nbind = \""+closedAddr(t)+"\"\nbearer_token_file = \"token\"\n[tls.certificate.main]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n")
	f.write("cert.pem", string(certPEM))
	f.write("key.pem", string(keyPEM))
	f.write("token", adminToken)
	text, err := os.ReadFile(filepath.Join(f.dir, "conf"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("conf", strings.Replace(string(text), "[server]\n", "[server]\n"+user+"\n", 1))
	if err := os.Chmod(filepath.Dir(f.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return f
}

// give makes files somebody's.
func (f *files) give(uid int, names ...string) {
	f.t.Helper()
	for _, name := range names {
		if err := os.Chown(filepath.Join(f.dir, name), uid, uid); err != nil {
			f.t.Fatal(err)
		}
	}
}

// lowPort moves the listener to a port that only root may bind (unless the machine lets everybody).
func (f *files) lowPort() {
	f.t.Helper()
	for port := 1023; port > 512; port-- {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		ln.Close()
		text, err := os.ReadFile(filepath.Join(f.dir, "conf"))
		if err != nil {
			f.t.Fatal(err)
		}
		f.write("conf", strings.Replace(string(text), f.addr, addr, 1))
		f.addr = addr
		return
	}
	f.t.Fatal("no low port is free")
}

// Every thread is somebody else's once the addresses are bound; logins, changes of mappings and reloads go on (SPEC 2.1).
func TestChangeOfUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can change to nobody: TestChangeOfUserRefused is what is left to say")
		return
	}
	for _, name := range []string{"MAILSPLICE_CONFIG", "PROXY_CONFIG", "MAILSPLICE_ADMIN_TOKEN", "PROXY_ADMIN_TOKEN"} {
		t.Setenv(name, "")
	}
	backend, err := mailfake.NewIMAP(mailfake.Options{Name: "legacy"})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	for _, c := range []struct{ name, user string }{
		{"by name", `user = "nobody"`},
		{"by number", `user = "65534"` + "\n" + `group = "65534"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := service(t, backend.Addr().Port(), c.user)
			f.give(nobody, ".", "conf", "mappings", "cert.pem", "key.pem", "token")
			f.lowPort()
			s := f.serve("run", "conf")
			clients := []*mailfake.Client{f.login()}
			for _, line := range threads(t, s.cmd.Process.Pid) {
				if line != "65534 65534 65534 65534/65534 65534 65534 65534/0000000000000000" {
					t.Errorf("a thread is user/group/capabilities %s", line)
				}
			}
			f.here(0, "ctl -c @conf map alice legacy")
			if st, err := os.Stat(filepath.Join(f.dir, "mappings")); err != nil || st.Sys().(*syscall.Stat_t).Uid != nobody {
				t.Errorf("the mapping file after a change: got %+v, %v, want nobody's", st, err)
			}
			f.here(0, "ctl -c @conf reload")
			f.here(0, "ctl -c @conf top --once --interval 1s") // it reads /metrics
			s.stop(t, append(clients, f.login()))
			if !strings.Contains(s.out.String(), `msg="changed user" uid=65534 gid=65534`) {
				t.Errorf("the change is not in the log:\n%s", s.out)
			}
			for line := range strings.Lines(s.out.String()) {
				if !strings.HasPrefix(line, "time=") {
					t.Errorf("not a line of the log: %s", line)
				}
			}
		})
	}
}

// copyProgram puts the program where everybody can run it.
func (f *files) copyProgram() string {
	f.t.Helper()
	text, err := os.ReadFile(os.Args[0])
	if err != nil {
		f.t.Fatal(err)
	}
	path := filepath.Join(f.dir, "program")
	if err := os.WriteFile(path, text, 0o755); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// stop ends the program once its clients have left.
func (s *serving) stop(t *testing.T, clients []*mailfake.Client) {
	t.Helper()
	for _, c := range clients {
		c.Close()
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.wait(t, 0)
}

// threads tells user, group and effective capabilities of every thread of a process.
func threads(t *testing.T, pid int) (list []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
	if err != nil || len(paths) < 3 {
		t.Fatalf("threads of the process: got %q, %v", paths, err)
	}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			continue // the thread has ended
		}
		var parts []string
		for in := bufio.NewScanner(file); in.Scan(); {
			for _, key := range []string{"Uid:", "Gid:", "CapEff:"} {
				if rest, ok := strings.CutPrefix(in.Text(), key); ok {
					parts = append(parts, strings.Join(strings.Fields(rest), " "))
				}
			}
		}
		file.Close()
		list = append(list, strings.Join(parts, "/"))
	}
	return list
}

// A change that would not work is refused before anything is served; a user who is already there needs no right to change.
func TestChangeOfUserRefused(t *testing.T) {
	backend, err := mailfake.NewIMAP(mailfake.Options{Name: "legacy"})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	root := os.Geteuid() == 0
	own := fmt.Sprintf("user = \"%d\"\ngroup = \"%d\"", os.Geteuid(), os.Getegid())
	t.Run("the user one is", func(t *testing.T) {
		f := service(t, backend.Addr().Port(), own)
		s := f.serve("run", "conf")
		s.stop(t, []*mailfake.Client{f.login()})
	})
	t.Run("a key that the user cannot read", func(t *testing.T) {
		f := service(t, backend.Addr().Port(), `user = "nobody"`)
		for _, command := range []string{"check", "run"} {
			cmd, out := f.program(nil, command, "conf")
			cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != 1 || !strings.Contains(out.String(), `key.pem", which user 65534 cannot read: permission denied`) {
				t.Errorf("%s: exit code %d, want 1, and that nobody cannot read the key in\n%s", command, got, out)
			}
		}
	})
	t.Run("without the right to change", func(t *testing.T) {
		f := service(t, backend.Addr().Port(), `user = "nobody"`)
		for _, name := range []string{"conf", "mappings", "cert.pem", "key.pem", "token", "."} {
			if err := os.Chmod(filepath.Join(f.dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd, out := f.program(nil, "run", "conf")
		if root {
			cmd.Path = f.copyProgram()
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 1, Gid: 1}
		}
		done := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer done.Stop()
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != 1 || !strings.Contains(out.String(), "operation not permitted") {
			t.Errorf("exit code %d, want 1, and why in\n%s", got, out)
		}
	})
}
