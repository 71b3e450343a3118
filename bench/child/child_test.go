package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const testRole = "child-test"

func TestMain(m *testing.M) {
	switch Role() {
	case testRole:
		if err := Serve(os.Stdin, os.Stdout, handlers()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "":
		os.Exit(m.Run())
	}
	os.Exit(2)
}

func handlers() map[string]Handler {
	return map[string]Handler{
		"double": Handle(func(n int) (int, error) { return 2 * n, nil }),
		"fail":   Handle(func(None) (None, error) { return None{}, errors.New("no luck") }),
		"hang":   Handle(hang),
		"exit":   Handle(func(code int) (None, error) { os.Exit(code); return None{}, nil }),
	}
}

// hang reads from a pipe that nobody writes to.
func hang(None) (None, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return None{}, err
	}
	defer w.Close()
	_, err = r.Read(make([]byte, 1))
	return None{}, err
}

func TestServe(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"a call", `{"call":"double","args":21}`, `{"result":42}`},
		{"two calls", "{\"call\":\"double\",\"args\":1}\n{\"call\":\"double\",\"args\":2}", "{\"result\":2}\n{\"result\":4}"},
		{"a failure", `{"call":"fail","args":{}}`, `{"error":"no luck"}`},
		{"an unknown call", `{"call":"dance","args":{}}`, `{"error":"unknown call \"dance\""}`},
		{"wrong arguments", `{"call":"double","args":"x"}`, `{"error":"json: cannot unmarshal string into Go value of type int"}`},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := Serve(strings.NewReader(tt.in), &out, handlers())
			if got := strings.TrimSpace(out.String()); err != nil || got != tt.want {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
	if err := Serve(strings.NewReader(`{"call":`), new(strings.Builder), nil); err == nil {
		t.Error("half a call: no error")
	}
}

func start(t *testing.T) *Process {
	t.Helper()
	p, err := Start(testRole)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// gone: no process has the id any more.
func gone(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return errors.Is(err, os.ErrNotExist)
}

func TestProcess(t *testing.T) {
	p := start(t)
	n := 0
	if err := p.Call(t.Context(), "double", 21, &n); err != nil || n != 42 {
		t.Errorf("got %d, %v; want 42", n, err)
	}
	if err := p.Call(t.Context(), "fail", None{}, nil); err == nil || !strings.Contains(err.Error(), "fail: no luck") {
		t.Errorf("a failure: got %v", err)
	}
	if err := p.Call(t.Context(), "double", 1, nil); err != nil {
		t.Errorf("after a failure: %v", err)
	}
	p.Stop()
	p.Stop()
	if !gone(p.Pid()) {
		t.Error("the process is still there")
	}
}

func TestCallOfEndedProcess(t *testing.T) {
	p := start(t)
	if err := p.Call(t.Context(), "exit", 3, nil); err == nil || !strings.Contains(err.Error(), "the child has ended") {
		t.Errorf("got %v", err)
	}
}

func TestCallIsCancelled(t *testing.T) {
	p := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Call(ctx, "hang", None{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	p.Stop()
	if !gone(p.Pid()) {
		t.Error("the process is still there")
	}
}

func TestForeignProgram(t *testing.T) {
	p, err := Run(exec.Command("sleep", "600"))
	if err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if !gone(p.Pid()) {
		t.Error("the process is still there")
	}
	if p, err = Run(exec.Command("true")); err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	p.Stop()
	if _, err := Run(exec.Command("/nonexistent/program")); err == nil {
		t.Error("a program that is not there: no error")
	}
}
