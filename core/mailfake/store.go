package mailfake

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync"
)

// message is one mail: either its bytes, or a size to generate.
type message struct {
	id   int // never used again in one store
	data []byte
	size int64
}

func (m *message) open() io.Reader {
	if m.data != nil {
		return bytes.NewReader(m.data)
	}
	return Generated(m.size)
}

// head is the header with its closing empty line, at most 64 KiB of it.
func (m *message) head() string {
	start, _ := io.ReadAll(io.LimitReader(m.open(), 64<<10))
	if i := bytes.Index(start, []byte("\r\n\r\n")); i >= 0 {
		return string(start[:i+4])
	}
	return string(start)
}

// store holds one INBOX per account: the common messages, then what was appended.
type store struct {
	common []*message // immutable
	limit  int64

	mu    sync.Mutex
	used  int64
	last  int // id given out last
	extra map[string][]*message
	gone  map[string]map[*message]bool // common messages that an account has removed

	scripts map[string][]script // by account, see scripts.go
}

// messageOverhead is what a message costs beside its bytes, so that empty ones are bounded too.
const messageOverhead = 256

// newStore makes the marker message and the generated ones.
func newStore(o *Options) *store {
	text := fmt.Sprintf("From: %[1]s@example.org\r\nTo: you@example.org\r\nSubject: on %[1]s\r\n"+
		"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <marker@%[1]s>\r\n\r\nYou are on %[1]s.\r\n", o.Name)
	st := &store{common: []*message{{id: 1, data: []byte(text), size: int64(len(text))}}, limit: o.StoreBytes,
		extra: map[string][]*message{}, gone: map[string]map[*message]bool{}, scripts: map[string][]script{}}
	for i, n := range o.MessageBytes {
		st.common = append(st.common, &message{id: i + 2, size: generatedSize(n)})
	}
	st.last = len(st.common)
	return st
}

func (st *store) count(account string) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.common) + len(st.extra[account])
}

// get is message n, counted from 1, or nil.
func (st *store) get(account string, n int) *message {
	st.mu.Lock()
	defer st.mu.Unlock()
	n--
	if n < 0 {
		return nil
	}
	if n < len(st.common) {
		return st.common[n]
	}
	if n -= len(st.common); n < len(st.extra[account]) {
		return st.extra[account][n]
	}
	return nil
}

// list is what account's mailbox holds, as POP3 sees it; IMAP's numbers, which never change, are those of get.
func (st *store) list(account string) (out []*message) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, m := range st.common {
		if !st.gone[account][m] {
			out = append(out, m)
		}
	}
	return append(out, st.extra[account]...)
}

// remove takes messages out of account's mailbox; false: the store has no room to remember all of it.
func (st *store) remove(account string, list []*message) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	whole := true
	for _, m := range list {
		if i := slices.Index(st.extra[account], m); i >= 0 {
			st.extra[account] = slices.Delete(st.extra[account], i, i+1)
			st.used -= m.size + messageOverhead
			continue
		}
		if st.gone[account][m] || !slices.Contains(st.common, m) { // another session was first
			continue
		}
		if !st.take(messageOverhead) {
			whole = false
			continue
		}
		if st.gone[account] == nil {
			st.gone[account] = map[*message]bool{}
		}
		st.gone[account][m] = true
	}
	return whole
}

// take counts n bytes as used; false: the store is full. st.mu is held.
func (st *store) take(n int64) bool {
	if n < 0 || n > st.limit-st.used {
		return false
	}
	st.used += n
	return true
}

// reserve sets room aside for a message of n bytes; false: the store is full.
func (st *store) reserve(n int64) bool {
	return n >= 0 && n <= st.limit && st.grow(n+messageOverhead)
}

// grow sets n bytes aside; false: the store is full.
func (st *store) grow(n int64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.take(n)
}

// release gives back what grow or reserve has set aside, overhead included.
func (st *store) release(n int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.used -= n
}

// add puts a message into account's INBOX and gives its number. Its bytes were reserved.
func (st *store) add(account string, data []byte) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.last++
	st.extra[account] = append(st.extra[account], &message{id: st.last, data: data, size: int64(len(data))})
	return len(st.common) + len(st.extra[account])
}
