package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mailsplice/core/mailfake"
)

// The migration: of all accounts every second one moves, in so many bulk calls.
const (
	migrants  = 10_000
	batches   = 10
	wanderers = 6 // clients that log in and out all the time
)

// batchOf is the call that moves account i; -1: it stays.
func batchOf(i int) int {
	if i%2 == 0 {
		return -1
	}
	return i / 2 % batches
}

func migrant(i int) string { return fmt.Sprintf("user%05d@example.org", i) }

// How far the call of a batch is.
const (
	toMove = iota
	moving
	moved
)

// migration is the state that logins are judged by.
type migration struct {
	*rig
	state  [batches]atomic.Int32
	logins atomic.Int64
	stop   chan struct{}
	wg     sync.WaitGroup
}

func (m *migration) stateOf(i int) int32 {
	if b := batchOf(i); b >= 0 {
		return m.state[b].Load()
	}
	return toMove
}

// connect logs account i in.
func (m *migration) connect(i int) (*mailfake.Client, error) {
	c, err := mailfake.DialWith(m.addr(), m.client(mailfake.ClientOptions{Timeout: patience}))
	if err != nil {
		return nil, err
	}
	if mode.listener == "starttls" {
		if err := startTLS(c); err != nil {
			c.Close()
			return nil, err
		}
	}
	if err := c.Login(migrant(i), password); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// visit logs account i in and out, and judges where it landed by what had happened to the account before and after.
func (m *migration) visit(i int) error {
	before, at := m.stateOf(i), ""
	c, err := m.connect(i)
	if err == nil {
		defer c.Close()
		at, err = c.Landed()
	}
	after := m.stateOf(i)
	switch {
	case err != nil && before != moved && after != toMove: // it was kicked
		return nil
	case err != nil:
		return fmt.Errorf("login of account %d, in state %d before and %d after: %w", i, before, after, err)
	case after == toMove && at != "legacy", before == moved && at != "new":
		return fmt.Errorf("account %d, in state %d before and %d after, landed on %s", i, before, after, at)
	}
	return nil
}

// wander visits accounts until stop.
func (m *migration) wander(seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	for {
		select {
		case <-m.stop:
			return
		default:
		}
		if err := m.visit(random.IntN(migrants)); err != nil {
			m.t.Error(err)
			return
		}
		m.logins.Add(1)
	}
}

// more waits for logins to come.
func (m *migration) more(n int64) {
	m.t.Helper()
	from := m.logins.Load()
	m.await("logins to go on", func() bool { return m.logins.Load() >= from+n || m.t.Failed() })
}

// settle has the first n accounts idle, and gives their clients.
func (m *migration) settle(n int) []*mailfake.Client {
	m.t.Helper()
	clients := make([]*mailfake.Client, n)
	var wg sync.WaitGroup
	for w := range wanderers {
		wg.Go(func() { // ends with its share
			for i := w; i < n; i += wanderers {
				c, err := m.connect(i)
				if err != nil {
					m.t.Error(err)
					return
				}
				clients[i] = c
			}
		})
	}
	wg.Wait()
	m.t.Cleanup(func() {
		for _, c := range clients {
			if c != nil {
				c.Close()
			}
		}
	})
	if m.t.Failed() {
		m.t.FailNow()
	}
	return clients
}

// move makes the call of one batch, and tells how many sessions it reached.
func (m *migration) move(b int) int {
	m.t.Helper()
	var body strings.Builder
	n := 0
	for i := range migrants {
		if batchOf(i) == b {
			fmt.Fprintf(&body, "%s\tnew\n", migrant(i))
			n++
		}
	}
	m.state[b].Store(moving)
	status, answer := m.send("POST", "/mappings/bulk?kick=true", body.String())
	m.state[b].Store(moved)
	if status != http.StatusOK || answer["written"] != float64(n) {
		m.t.Fatalf("bulk call: got %d %v, want %d written", status, answer, n)
	}
	return int(answer["kicked"].(float64))
}

// A migration of 10,000 accounts, half of which move in bulk while sessions are open and logins go on: every login after its
// account's move lands on the new backend and none before; every moved session ends cleanly; nobody else notices (SPEC 1, 8).
func TestMigration(t *testing.T) {
	open := 2000
	if mode.listener != "plain" {
		open = 500 // handshakes would be most of it
	}
	m := &migration{rig: newRig(t, stage{}), stop: make(chan struct{})}
	clients := m.settle(open)
	for w := range uint64(wanderers) {
		m.wg.Go(func() { m.wander(w) }) // until stop
	}
	defer m.wg.Wait()
	defer close(m.stop)
	m.more(50)
	kicked := 0
	for b := range batches {
		kicked += m.move(b)
		m.more(30)
	}
	if kicked < open/2 {
		t.Errorf("sessions and logins that were ended: got %d, want %d at least", kicked, open/2)
	}
	for i, c := range clients {
		if batchOf(i) >= 0 {
			if end, err := c.WaitEnd(); err != nil || !end.Clean || end.Reset || end.Rest != "" || len(end.Lines) != 0 {
				t.Fatalf("session of account %d: got %+v, %v, want a clean FIN", i, end, err)
			}
		} else if _, err := c.Must("NOOP"); err != nil {
			t.Fatalf("session of account %d, which stays: %v", i, err)
		}
	}
	if got := strings.Count(m.read("mappings"), "\tnew\n"); got != migrants/2 {
		t.Errorf("mapping file: got %d accounts, want %d", got, migrants/2)
	}
	m.assertLane()
}
