package dial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// dns is a resolver whose moods the tests set, in a synctest bubble. Each answer is the number of the question.
type dns struct {
	mu    sync.Mutex
	asked int
	fail  bool
	slow  time.Duration
}

func (d *dns) resolve(ctx context.Context, _ string) ([]netip.Addr, error) {
	d.mu.Lock()
	d.asked++
	n, fail := d.asked, d.fail
	d.mu.Unlock()
	select {
	case <-time.After(d.slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if fail {
		return nil, errors.New("server failure")
	}
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, byte(n)})}, nil
}

// ask finds a host and writes the last number of its address, or the error, and how long it took.
func ask(n *names, name string) string {
	start := time.Now()
	addrs, err := n.find(context.Background(), name)
	if err != nil {
		return fmt.Sprintf("%v after %v", err, time.Since(start))
	}
	return fmt.Sprintf("%d after %v", addrs[0].As4()[3], time.Since(start))
}

func TestNames(t *testing.T) {
	type step struct {
		pass time.Duration // before the question
		set  func(*dns)
		want string
	}
	fails := func(d *dns) { d.fail = true }
	works := func(d *dns) { d.fail = false; d.slow = 0 }
	slow := func(by time.Duration) func(*dns) { return func(d *dns) { d.slow = by } }
	for _, c := range []struct {
		name  string
		steps []step
		asked int
	}{
		{"kept", []step{{0, nil, "1 after 0s"}, {20*time.Second - 1, nil, "1 after 0s"}}, 1},
		{"refreshed in the background", []step{{0, nil, "1 after 0s"}, {25 * time.Second, slow(2 * time.Second), "1 after 0s"},
			{3 * time.Second, nil, "2 after 0s"}, {15 * time.Second, nil, "2 after 0s"}}, 2},
		{"waited for when too old", []step{{0, nil, "1 after 0s"}, {30 * time.Second, slow(time.Second / 2), "2 after 500ms"}}, 2},
		{"first one waited for", []step{{0, slow(9 * time.Second), "1 after 9s"}}, 1},
		{"first one too slow", []step{{0, slow(time.Minute), "context deadline exceeded after 10s"}}, 1},
		{"first one fails, not remembered", []step{{0, fails, "server failure after 0s"}, {0, nil, "server failure after 0s"},
			{0, works, "3 after 0s"}}, 3},
		{"stale on failure, asked again after 5 s", []step{{0, nil, "1 after 0s"}, {time.Hour, fails, "1 after 0s"},
			{5*time.Second - 1, nil, "1 after 0s"}, {1, works, "3 after 0s"}}, 3},
		{"background failure harms nobody", []step{{0, nil, "1 after 0s"}, {25 * time.Second, fails, "1 after 0s"},
			{1 * time.Second, nil, "1 after 0s"}, {5 * time.Second, works, "3 after 0s"}}, 3},
		{"stale when slow, at once from then on", []step{{0, nil, "1 after 0s"}, {time.Hour, slow(4 * time.Second), "1 after 1s"},
			{0, nil, "1 after 0s"}, {4 * time.Second, nil, "2 after 0s"}}, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			var d dns
			n := newNames(d.resolve, slog.New(slog.DiscardHandler))
			defer n.close()
			for i, s := range c.steps {
				<-time.After(s.pass) // the bubble's clock
				synctest.Wait()
				if s.set != nil {
					s.set(&d)
				}
				if got := ask(n, "host"); got != s.want {
					t.Errorf("%s: step %d: got %s, want %s", c.name, i, got, s.want)
				}
				synctest.Wait()
			}
			if d.asked != c.asked {
				t.Errorf("%s: asked %d times, want %d", c.name, d.asked, c.asked)
			}
		})
	}
}

func TestOneQuestionForManyDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dns{slow: time.Second}
		n := newNames(d.resolve, slog.New(slog.DiscardHandler))
		defer n.close()
		got := make(chan string, 20)
		for range 20 {
			go func() { got <- ask(n, "host") }()
		}
		for range 20 {
			if got := <-got; got != "1 after 1s" {
				t.Errorf("got %s, want 1 after 1s", got)
			}
		}
		if d.asked != 1 {
			t.Errorf("asked %d times, want once", d.asked)
		}
	})
}

func TestNamesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d dns
		n := newNames(d.resolve, slog.New(slog.DiscardHandler))
		defer n.close()
		for i := range 2 * maxHosts {
			<-time.After(time.Millisecond)
			ask(n, fmt.Sprint(i))
		}
		if got := len(n.hosts); got != maxHosts {
			t.Errorf("got %d hosts, want %d", got, maxHosts)
		}
		if n.hosts["0"] != nil || n.hosts[fmt.Sprint(2*maxHosts-1)] == nil {
			t.Error("not the oldest were dropped")
		}
		<-time.After(time.Hour)
		d.slow = time.Second
		for name := range n.hosts {
			go n.find(context.Background(), name)
		}
		synctest.Wait()
		if _, err := n.find(context.Background(), "one more"); !errors.Is(err, errTooManyNames) || !local(err) {
			t.Errorf("all names asked for: got %v, want %v", err, errTooManyNames)
		}
	})
}

func TestNamesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dns{slow: time.Minute}
		n := newNames(d.resolve, slog.New(slog.DiscardHandler))
		waiting := make(chan string, 1)
		go func() { waiting <- ask(n, "host") }()
		synctest.Wait()
		n.close()
		if got, want := <-waiting, "context canceled after 0s"; got != want {
			t.Errorf("waiting: got %s, want %s", got, want)
		}
		if got, want := ask(n, "host"), errClosed.Error()+" after 0s"; got != want {
			t.Errorf("later: got %s, want %s", got, want)
		}
		if got := ask(n, "127.0.0.7"); got != "7 after 0s" {
			t.Errorf("address: got %s, want 7 after 0s", got)
		}
	})
}

func TestNamesCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dns{slow: 2 * time.Second}
		n := newNames(d.resolve, slog.New(slog.DiscardHandler))
		defer n.close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := n.find(ctx, "host"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
		if got := ask(n, "host"); got != "1 after 1s" {
			t.Errorf("the next one: got %s, want 1 after 1s", got)
		}
	})
}

// Go's own resolver, without the network: this name is in every hosts file.
func TestSystemResolver(t *testing.T) {
	d := New(Options{})
	defer d.Close()
	addrs, err := d.names.find(context.Background(), "localhost")
	if err != nil || len(addrs) == 0 || !addrs[0].IsLoopback() {
		t.Errorf("got %v, %v; want a loopback address", addrs, err)
	}
}
