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
	p := m.s.policy.Load()
	var right [2]*home // by form: with the default domain, without it
	for i, form := range p.Router.Forms(account) {
		if res, err := p.Router.Resolve(ctx, form); err == nil && !res.Stale {
			right[i] = p.byName[res.Destination]
		}
	}
	var elsewhere []place
	for _, x := range m.s.registry.sessionsOf(account, nil) {
		if d := right[flag(x.short)]; x.joined && d != nil && x.dest != d.index {
			elsewhere = append(elsewhere, x)
		}
	}
	m.s.kick(elsewhere)
}
