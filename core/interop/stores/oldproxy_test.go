package stores

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const hour = time.Hour

// oldProxy stands before a Redis and has never heard of HELLO, as some do: one request, one answer, RESP2.
func oldProxy(t *testing.T, server, refusal string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { // until the listener closes
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { relay(c, server, refusal) }) // until the client closes
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

func relay(c net.Conn, server, refusal string) {
	defer c.Close()
	s, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer s.Close()
	client, behind := bufio.NewReader(c), bufio.NewReader(s)
	for {
		request, err := message(client)
		if err != nil {
			return
		}
		answer := []byte(refusal + "\r\n")
		three := bytes.Contains(request, []byte("\r\n3\r\n")) || strings.Contains(refusal, "unknown")
		if !bytes.Contains(bytes.ToUpper(request), []byte("\r\nHELLO\r\n")) || !three {
			if _, err := s.Write(request); err != nil {
				return
			}
			if answer, err = message(behind); err != nil {
				return
			}
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// message reads one RESP2 request or answer whole.
func message(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if err != nil || len(line) < 3 {
		return nil, fmt.Errorf("reading %q: %w", line, err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(line[1:])))
	switch {
	case line[0] == '$' && n >= 0:
		body := make([]byte, n+2)
		if _, err := io.ReadFull(in, body); err != nil {
			return nil, err
		}
		return append(line, body...), nil
	case line[0] == '*':
		for range n {
			part, err := message(in)
			if err != nil {
				return nil, err
			}
			line = append(line, part...)
		}
	}
	return line, nil
}

// lines is a log that is looked into.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) holds(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), words)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
