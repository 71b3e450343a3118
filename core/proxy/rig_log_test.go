package proxy

import (
	"bytes"
	"encoding/base64"
	"regexp"
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
	// whole: account names are to be seen (log_accounts).
	whole bool
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

// secrets are what must never be in a log, in clear or as a part of base64.
var secrets = []string{password, wrong, token, bearer, badToken, idValue}

// encodings are all texts that mean a secret: itself, and what base64 makes of it wherever it begins.
func encodings(secret string) (list []string) {
	list = append(list, secret)
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte("xxx"[:shift] + secret))
		list = append(list, text[4:len(text)-4]) // its ends depend on what is around the secret
	}
	return list
}

var (
	// shortened is an account as the log may show it: letters and a hash.
	shortened = regexp.MustCompile(`^("?[^~ ]{0,2}~[0-9a-f]{8}"?|"")$`)
	account   = regexp.MustCompile(` account=("(?:[^"\\]|\\.)*"|\S*)`)
	address   = regexp.MustCompile(`[\w%]@\w`)
)

// judge fails the test for what must never be in a log.
func (l *logText) judge(t *testing.T) {
	text := l.String()
	for _, secret := range secrets {
		for _, form := range encodings(secret) {
			if strings.Contains(text, form) {
				t.Errorf("the log holds the secret %q as %q:\n%s", secret, form, text)
			}
		}
	}
	for line := range strings.Lines(text) {
		if m := account.FindStringSubmatch(line); !l.whole && (m != nil && !shortened.MatchString(m[1]) || address.MatchString(line)) {
			t.Errorf("an account is in the log: %s", line)
		}
	}
	for _, word := range []string{"bug in", "panic"} {
		if !l.bugs && strings.Contains(text, word) {
			t.Errorf("the log tells of a bug:\n%s", text)
		}
	}
}
