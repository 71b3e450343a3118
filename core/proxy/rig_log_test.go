package proxy

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

// logText is a captured log.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
	// bugs: a panic is what the test is about.
	bugs bool
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// lines are those with a message.
func (l *logText) lines(message string) (list []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "msg="+message+" ") || strings.Contains(line, `msg="`+message+`"`) {
			list = append(list, line)
		}
	}
	return list
}

// judge fails the test for what must never be in a log.
func (l *logText) judge(t *testing.T) {
	text := l.String()
	for _, secret := range []string{password, wrong, token, bearer} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds the secret %q:\n%s", secret, text)
		}
	}
	for _, word := range []string{"bug in", "panic"} {
		if !l.bugs && strings.Contains(text, word) {
			t.Errorf("the log tells of a bug:\n%s", text)
		}
	}
}
