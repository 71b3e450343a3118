package peers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"mailsplice/bench/child"
	"mailsplice/bench/measure"
	"mailsplice/bench/stage"
)

// Peer is a foreign proxy.
type Peer interface {
	stage.Starter
	stage.Different
	// Version is what the installed program says of itself. An error: it is not there.
	Version(ctx context.Context) (string, error)
}

// All are the peers, in the order of tables.
func All() []Peer { return []Peer{HAProxy{}, Dovecot{}, Nginx{}} }

const (
	readyTimeout = 20 * time.Second
	endTimeout   = 5 * time.Second // for the rest of its processes
)

// said is the first line that a program writes about itself.
func said(ctx context.Context, program string, args ...string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%s is not installed (bench/install.sh)", program)
	}
	text, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line), nil
}

// running is a peer at work.
type running struct {
	*child.Process
	addr string
}

// launch starts a program that stays in the foreground, in a process group of its own, and waits until it takes clients.
func launch(ctx context.Context, s *stage.Setting, program string, args ...string) (*running, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, err
	}
	said := new(tail)
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = endTimeout // its children have its output too
	p, err := child.Run(cmd)
	if err != nil {
		return nil, err
	}
	r := &running{p, s.Listen}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := stage.WaitReady(ctx, r.addr, p.Ended()); err != nil {
		r.Stop()
		return nil, fmt.Errorf("%w; it said: %s", err, said)
	}
	return r, nil
}

func (r *running) Addr() string                         { return r.addr }
func (*running) Goroutines(context.Context) (int, bool) { return 0, false }

// Pids are the master and its processes.
func (r *running) Pids() []int {
	tree, err := measure.Tree(r.Pid())
	if err != nil {
		return []int{r.Pid()}
	}
	return tree
}

// Stop ends the master, which ends the others, and then by force whatever is left of the group.
func (r *running) Stop() {
	const pause = 20 * time.Millisecond
	r.Process.Stop()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for end := time.Now().Add(endTimeout); time.Now().Before(end); <-tick.C {
		if err := syscall.Kill(-r.Pid(), syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
			return
		}
	}
}
