package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end when it is asked to, before it is killed.
const stopTimeout = 5 * time.Second

// Process is a child as its parent sees it.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	stop sync.Once

	// Nil for a foreign program.
	in  io.WriteCloser
	out *json.Decoder
	mu  sync.Mutex // one call at a time
}

// Start starts this program again in a role. Its standard error is ours.
func Start(role string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := launch(cmd)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", role, err)
	}
	p.in, p.out = in, json.NewDecoder(bufio.NewReader(out))
	return p, nil
}

// Run starts a foreign program, which takes no calls. Of cmd.SysProcAttr only Pdeathsig is changed.
func Run(cmd *exec.Cmd) (*Process, error) {
	p, err := launch(cmd)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	go p.wait() // ends with the process
	return p, nil
}

func launch(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &Process{cmd: cmd, done: make(chan struct{})}, nil
}

// wait reaps the process. Calls read its output, so it must not run before the last of them is over.
func (p *Process) wait() {
	p.cmd.Wait()
	close(p.done)
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Ended is closed when a foreign program has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Call makes the child do something and waits for its answer; result may be nil. When ctx ends first the child is killed,
// since nobody could tell its late answer from the next one.
func (p *Process) Call(ctx context.Context, name string, args, result any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	unwatch := context.AfterFunc(ctx, func() { p.cmd.Process.Kill() })
	defer unwatch()
	err := p.exchange(name, args, result)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (p *Process) exchange(name string, args, result any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(p.in).Encode(request{name, raw}); err != nil {
		return err
	}
	var r response
	if err := p.out.Decode(&r); err != nil {
		return fmt.Errorf("the child has ended: %w", err)
	}
	switch {
	case r.Error != "":
		return errors.New(r.Error)
	case result == nil:
		return nil
	}
	return json.Unmarshal(r.Result, result)
}

// Stop ends the process: by the end of its input or SIGTERM, then by force. It returns when the process is gone, and may
// be called again.
func (p *Process) Stop() {
	p.stop.Do(func() {
		if p.in != nil {
			p.in.Close()
			go p.wait() // ends with the process
		} else {
			p.cmd.Process.Signal(syscall.SIGTERM)
		}
	})
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	select {
	case <-p.done:
	case <-late.C:
		p.cmd.Process.Kill()
		<-p.done
	}
}
