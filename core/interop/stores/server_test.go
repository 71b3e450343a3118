package stores

import (
	"bytes"
	"errors"
	"fmt"
	"mailsplice/core/mailfake/port"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Bounds of waiting for real programs; a busy machine with two cores needs a fraction of them.
const (
	patience  = 60 * time.Second
	pollEvery = 20 * time.Millisecond
)

// password of every server, so that none is reached without one.
const password = "s3cret/pass word"

// process is one server in the foreground.
type process struct {
	t    *testing.T
	name string
	addr string // HOST:PORT
	dir  string
	args []string
	as   *syscall.Credential // nil: root
	cmd  *exec.Cmd
	done chan struct{}
	log  *os.File
}

// host is the loopback address of all servers of this package.
const host = "127.0.0.60"

// newProcess lays out a folder and finds a port.
func newProcess(t *testing.T, name, account string) *process {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "mailsplice-"+name+"-") // not t.TempDir: Unix sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	p := &process{t: t, name: name, dir: filepath.Join(root, "d"), addr: freePort(t)}
	if account != "" {
		p.as = credential(t, account)
	}
	if err := errors.Join(os.Chmod(root, 0o755), os.Mkdir(p.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if p.as != nil {
		if err := os.Chown(p.dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	if p.log, err = os.Create(filepath.Join(root, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.log.Close() })
	return p
}

func credential(t *testing.T, account string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(account)
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(t *testing.T) string {
	t.Helper()
	addr, err := port.Free(netip.MustParseAddr(host))
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

func (p *process) port() string {
	_, port, _ := net.SplitHostPort(p.addr)
	return port
}

// setUp runs a program to its end, as the server's user.
func (p *process) setUp(stdin string, args ...string) string {
	p.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = p.dir, strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// start runs the server and returns when it accepts connections.
func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = p.dir, p.log, p.log
	// Should the test die without its cleanup, the server goes too.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.done = make(chan struct{})
	go reap(p.cmd, p.done) // ends with the process, which stop ends
	p.t.Cleanup(func() { p.end(syscall.SIGKILL) })
	if !poll(func() bool {
		c, err := net.DialTimeout("tcp", p.addr, time.Second)
		if err != nil {
			return p.over()
		}
		c.Close()
		return true
	}) || p.over() {
		p.t.Fatalf("%s does not listen on %s\n%s", p.name, p.addr, p.logText())
	}
}

func reap(cmd *exec.Cmd, done chan<- struct{}) {
	cmd.Wait()
	close(done)
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// end stops the server by a signal and waits for it. It may be called more than once.
func (p *process) end(by syscall.Signal) {
	if p.cmd == nil || p.over() {
		return
	}
	p.cmd.Process.Signal(by)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.done
		p.t.Errorf("%s did not end by %v", p.name, by)
	}
}

func (p *process) logText() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8000):])
}

// poll looks again and again until ok, and says whether it came true in time.
func poll(ok func() bool) bool {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// until fails the test if something does not come true in time.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !poll(ok) {
		t.Fatalf("not in %v: %s", patience, what)
	}
}

// run runs a program to its end, with the environment added.
func run(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, &out, &complaints)
	}
	return strings.TrimSpace(out.String())
}

// newest is the program of the highest version that a pattern finds: Debian keeps PostgreSQL's out of the path.
func newest(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s; core/interop/install.sh installs it (%v)", pattern, err)
	}
	return found[len(found)-1]
}

// Redis.

// startRedis starts a server that writes everything to disk before it answers, so that a kill loses nothing.
func startRedis(t *testing.T, more ...string) *process {
	t.Helper()
	p := newProcess(t, "redis", "redis")
	p.args = append([]string{"redis-server", "--bind", host, "--bind-source-addr", host, "--port", p.port(), "--dir", p.dir, "--save", "", "--appendonly", "yes",
		"--appendfsync", "always", "--requirepass", password, "--masterauth", password}, more...)
	p.start()
	return p
}

// cli runs redis-cli against a server.
func (p *process) cli(args ...string) string {
	p.t.Helper()
	return run(p.t, []string{"REDISCLI_AUTH=" + password}, append([]string{"redis-cli", "-h", host, "-p", p.port()}, args...)...)
}

// ready waits until a server has read its data.
func (p *process) ready() {
	p.t.Helper()
	until(p.t, "redis is ready", func() bool {
		cmd := exec.Command("redis-cli", "-h", host, "-p", p.port(), "PING")
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+password)
		out, _ := cmd.Output()
		return strings.TrimSpace(string(out)) == "PONG"
	})
}

// PostgreSQL.

// table and trigger of the tests: whoever changes a mapping, all routers learn of it.
const postgresSchema = `
CREATE TABLE mapping (account text PRIMARY KEY, destination text NOT NULL);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('Mapping "changed"', coalesce(NEW.account, OLD.account)); RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON mapping FOR EACH ROW EXECUTE FUNCTION tell();
`

func startPostgres(t *testing.T) *process {
	t.Helper()
	p := newProcess(t, "postgres", "postgres")
	secret := filepath.Join(p.dir, "pw")
	if err := errors.Join(os.WriteFile(secret, []byte(password), 0o600), os.Chown(secret, int(p.as.Uid), int(p.as.Gid))); err != nil {
		t.Fatal(err)
	}
	p.setUp("", newest(t, "/usr/lib/postgresql/*/bin/initdb"), "-D", "data", "-U", "postgres", "-A", "scram-sha-256", "--pwfile", secret, "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8")
	p.args = []string{newest(t, "/usr/lib/postgresql/*/bin/postgres"), "-D", "data", "-h", host, "-p", p.port(), "-k", p.dir, "-c", "max_connections=50"}
	p.start()
	p.psql(postgresSchema)
	return p
}

// psql runs statements, as soon as the server takes them.
func (p *process) psql(text string) string {
	p.t.Helper()
	p.awaitPostgres()
	return run(p.t, []string{"PGPASSWORD=" + password}, "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", p.port(), "-U", "postgres", "-c", text)
}

func (p *process) awaitPostgres() {
	p.t.Helper()
	until(p.t, "postgres is ready", func() bool {
		return exec.Command("pg_isready", "-q", "-h", host, "-p", p.port()).Run() == nil
	})
}

// MariaDB.

const mariadbSchema = "CREATE DATABASE mail; CREATE USER 'm'@'%%' IDENTIFIED BY '%s'; GRANT ALL ON mail.* TO 'm'@'%%'; " +
	"CREATE TABLE mail.mapping (account VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, destination VARCHAR(64) NOT NULL);"

func startMariaDB(t *testing.T, more ...string) *process {
	t.Helper()
	p := newProcess(t, "mariadb", "mysql")
	p.setUp("", "mariadb-install-db", "--no-defaults", "--datadir="+p.dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db")
	p.args = append([]string{newest(t, "/usr/sbin/mariadbd"), "--no-defaults", "--datadir=" + p.dir + "/data", "--bind-address=" + host, "--port=" + p.port(),
		"--socket=" + p.dir + "/sock", "--pid-file=" + p.dir + "/pid"}, more...)
	p.start()
	p.mysql(fmt.Sprintf(mariadbSchema, password))
	return p
}

// mysql runs statements as root.
func (p *process) mysql(text string) string {
	p.t.Helper()
	return run(p.t, nil, "mariadb", "--no-defaults", "-u", "root", "-S", p.dir+"/sock", "-N", "-B", "-e", text)
}
