package mock

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

const (
	maxLineBytes  = 8 << 10
	pieceBytes    = 64 << 10 // read and written at once
	maxBulkBytes  = 1 << 40
	capabilities  = "IMAP4rev1 SASL-IR LITERAL+ ID IDLE AUTH=PLAIN"
	afterwards    = "IMAP4rev1 LITERAL+ ID IDLE"
	loggedInLabel = "logged in on "
)

var (
	errLine   = errors.New("line too long")
	errLogout = errors.New("client has logged out")
)

// pieces are buffers for whoever has something to read; no session keeps one.
var pieces = sync.Pool{New: func() any { return new([pieceBytes]byte) }}

// filler is what sources send. It is only read.
var filler [pieceBytes]byte

// session is one connection. Only the goroutine that netpoll runs for it touches it, but for writes, which mu orders.
type session struct {
	name    string // of the backend
	layer   layer
	partial []byte // beginning of a line
	// literals is the beginning of a command whose next line is awaited.
	literals []byte
	sink     int64  // bytes that an XSINK still takes
	tag      string // of the XSINK or IDLE in progress
	idling   bool
	joined   bool   // has logged in
	admit    func() // called once, before the client is told; nil: nobody counts

	mu sync.Mutex
}

// greet says hello.
func (s *session) greet() error {
	return s.say("* OK [CAPABILITY %s] %s ready\r\n", capabilities, s.name)
}

func (s *session) say(format string, args ...any) error {
	return s.send(fmt.Appendf(nil, format, args...))
}

// send may be called by any goroutine.
func (s *session) send(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.layer.write(p)
}

// work takes everything that has arrived. It returns nil when there is nothing more for now.
func (s *session) work() error {
	buf := pieces.Get().(*[pieceBytes]byte)
	defer pieces.Put(buf)
	for {
		n, err := s.layer.read(buf[:])
		if n > 0 {
			if err := s.take(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, errNothing):
			return nil
		case err != nil:
			return err
		}
	}
}

// take consumes p: bulk, or lines. What is left of an unfinished line is kept.
func (s *session) take(p []byte) error {
	for len(p) > 0 {
		if s.sink > 0 {
			n := min(s.sink, int64(len(p)))
			p, s.sink = p[n:], s.sink-n
			if s.sink > 0 {
				return nil
			}
			if err := s.say("%s OK done\r\n", s.tag); err != nil {
				return err
			}
			continue
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.partial = append(s.partial, p...)
			return s.checkLength()
		}
		line := p[:end]
		if len(s.partial) > 0 {
			line = append(s.partial, line...)
			s.partial = nil
		}
		p = p[end+1:]
		if err := s.command(bytes.TrimSuffix(line, []byte("\r"))); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) checkLength() error {
	if len(s.partial) > maxLineBytes {
		return errLine
	}
	return nil
}

// command obeys one line.
func (s *session) command(line []byte) error {
	if s.idling {
		s.idling = false
		return s.say("%s OK done\r\n", s.tag)
	}
	if bytes.HasSuffix(line, []byte("}")) {
		s.literals = append(s.literals, line...)
		if len(s.literals) > maxLineBytes {
			return errLine
		}
		return s.say("+ go on\r\n")
	}
	if len(s.literals) > 0 {
		line, s.literals = append(s.literals, line...), nil
	}
	tag, rest, _ := bytes.Cut(line, []byte(" "))
	verb, args, _ := bytes.Cut(rest, []byte(" "))
	switch string(bytes.ToUpper(verb)) {
	case "NOOP":
		return s.say("%s OK done\r\n", tag)
	case "LOGIN", "AUTHENTICATE":
		s.join()
		return s.say("%s OK [CAPABILITY %s] %s%s\r\n", tag, afterwards, loggedInLabel, s.name)
	case "CAPABILITY":
		return s.say("* CAPABILITY %s\r\n%s OK done\r\n", capabilities, tag)
	case "ID":
		return s.say("* ID NIL\r\n%s OK done\r\n", tag)
	case "IDLE":
		s.tag, s.idling = string(tag), true
		return s.say("+ idling\r\n")
	case "XSOURCE":
		return s.source(string(tag), args)
	case "XSINK":
		return s.beginSink(string(tag), args)
	case "LOGOUT":
		s.say("* BYE\r\n%s OK done\r\n", tag)
		return errLogout
	}
	return s.say("%s BAD unknown\r\n", tag)
}

// join is the first login that is taken. The client's answer comes later, so that whoever has it is counted.
func (s *session) join() {
	if !s.joined && s.admit != nil {
		s.admit()
	}
	s.joined = true
}

func (s *session) beginSink(tag string, args []byte) error {
	n, err := bulkBytes(args)
	if err != nil {
		return err
	}
	s.tag, s.sink = tag, n
	return nil
}

// source sends bulk. Each write waits for the socket, so that no more than a piece is in memory.
func (s *session) source(tag string, args []byte) error {
	n, err := bulkBytes(args)
	if err != nil {
		return err
	}
	if err := s.say("* SOURCE %d\r\n", n); err != nil {
		return err
	}
	for n > 0 {
		piece := filler[:min(n, pieceBytes)]
		if err := s.send(piece); err != nil {
			return err
		}
		n -= int64(len(piece))
	}
	return s.say("%s OK done\r\n", tag)
}

func bulkBytes(args []byte) (int64, error) {
	n, err := strconv.ParseInt(string(args), 10, 64)
	if err != nil || n < 1 || n > maxBulkBytes {
		return 0, fmt.Errorf("bulk of %q bytes: allowed 1 to %d", args, int64(maxBulkBytes))
	}
	return n, nil
}
