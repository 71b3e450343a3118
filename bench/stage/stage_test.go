package stage

import (
	"os"
	"os/exec"
	"testing"

	"mailsplice/bench/measure"
)

// changing is a proxy whose helper has ended when it is looked at for the first time.
type changing struct {
	Proxy
	asked int
	gone  int // how often the helper is in the list
	pid   int // of a process that has ended
}

func (c *changing) Pids() []int {
	c.asked++
	if c.asked <= c.gone {
		return []int{os.Getpid(), c.pid}
	}
	return []int{os.Getpid()}
}

func TestHelpersComeAndGo(t *testing.T) {
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for gone, ok := range map[int]bool{0: true, 1: true, 4: true, 5: false} {
		for name, ask := range map[string]func(Proxy) error{
			"CPU":   func(p Proxy) error { _, err := overAll(p, measure.CPU); return err },
			"usage": func(p Proxy) error { _, err := overAll(p, measure.Processes); return err },
		} {
			if err := ask(&changing{gone: gone, pid: ended.Process.Pid}); (err == nil) != ok {
				t.Errorf("%s, helper in %d lists: got %v, want ok %v", name, gone, err, ok)
			}
		}
	}
}
