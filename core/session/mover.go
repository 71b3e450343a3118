package session

import (
	"context"
	"sync"
)

// moverQueue is the set of accounts that wait, and the one goroutine that serves it.
type moverQueue struct {
	mu       sync.Mutex
	accounts map[string]struct{}
	running  bool
	done     sync.WaitGroup
}

// add queues an account and starts the goroutine unless it runs; it ends when the set is empty.
func (m *mover) add(account string) {
	m.q.mu.Lock()
	defer m.q.mu.Unlock()
	if m.q.accounts == nil {
		m.q.accounts = map[string]struct{}{}
	}
	m.q.accounts[account] = struct{}{}
	if !m.q.running {
		m.q.running = true
		m.q.done.Add(1)
		go m.run()
	}
}

func (m *mover) wait() { m.q.done.Wait() }

func (m *mover) run() {
	defer m.q.done.Done()
	for {
		account, ok := m.take()
		if !ok {
			return
		}
		m.move(account)
	}
}

func (m *mover) take() (string, bool) {
	m.q.mu.Lock()
	defer m.q.mu.Unlock()
	for account := range m.q.accounts {
		delete(m.q.accounts, account)
		return account, true
	}
	m.q.running = false
	return "", false
}

// move ends the account's sessions that are elsewhere now. A failing look-up moves nobody.
func (m *mover) move(account string) {
	ctx, cancel := context.WithTimeout(m.s.ctx, moveTimeout)
	defer cancel()
	var right [2]*Destination // by form: with the default domain, without it
	for i, form := range m.s.o.Router.Forms(account) {
		if res, err := m.s.o.Router.Resolve(ctx, form); err == nil && !res.Stale {
			right[i] = m.s.byName[res.Destination]
		}
	}
	var elsewhere []place
	for _, p := range m.s.registry.sessionsOf(account, nil) {
		if d := right[flag(p.short)]; p.joined && d != nil && p.dest != d.index {
			elsewhere = append(elsewhere, p)
		}
	}
	m.s.kick(elsewhere)
}
