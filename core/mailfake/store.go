package mailfake

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// message is one mail: either its bytes, or a size to generate.
type message struct {
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
	extra map[string][]*message
}

// messageOverhead is what a message costs beside its bytes, so that empty ones are bounded too.
const messageOverhead = 256

// newStore makes the marker message and the generated ones.
func newStore(o *Options) *store {
	text := fmt.Sprintf("From: %[1]s@example.org\r\nTo: you@example.org\r\nSubject: on %[1]s\r\n"+
		"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <marker@%[1]s>\r\n\r\nYou are on %[1]s.\r\n", o.Name)
	st := &store{common: []*message{{data: []byte(text), size: int64(len(text))}}, limit: o.StoreBytes,
		extra: map[string][]*message{}}
	for _, n := range o.MessageBytes {
		st.common = append(st.common, &message{size: generatedSize(n)})
	}
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

// reserve sets room aside for a message of n bytes; false: the store is full.
func (st *store) reserve(n int64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if n < 0 || n > st.limit-st.used-messageOverhead {
		return false
	}
	st.used += n + messageOverhead
	return true
}

// add puts a message into account's INBOX and gives its number. Its bytes were reserved.
func (st *store) add(account string, data []byte) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.extra[account] = append(st.extra[account], &message{data: data, size: int64(len(data))})
	return len(st.common) + len(st.extra[account])
}
