package tlsx

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"mailsplice/tlsx/record"
)

// Stream is a backend leg in the hands of a login, between handshake and verdict: a Socket of plaintext, over whatever the
// handshake has led to. It opens one record at a time, and so nothing beyond what it hands out but the rest of that record;
// what it has read beyond, Unopened tells. Session tickets go to the cache, KeyUpdates are answered. It belongs to one goroutine.
type Stream struct {
	sock    Socket
	conn    *tls.Conn // lane conn; then the rest is unused
	leg     record.Leg
	keys    *record.Keys
	tickets *Tickets
	with    string
	begun   bool // a record was opened: an alert is no matter of the handshake any more

	room     *room  // nil while nothing is unread
	from, to int    // of room: not opened yet
	used     int    // bytes of room that are to be zeroed
	plain    []byte // inside room, before from: not read yet
}

// room is for one record, sealed or opened.
type room [record.MaxRecord]byte

var rooms = sync.Pool{New: func() any { return new(room) }}

// free gives r back without a trace of what it held, of which n bytes were used.
func (r *room) free(n int) {
	clear(r[:n])
	rooms.Put(r)
}

// NewStream takes the Leg, or the Conn, and the Tickets out of t: Detach gives the leg back. sock is that of the handshake
// and stays the caller's; name is the destination's, for error texts.
func NewStream(sock Socket, t *Taken, name string) *Stream {
	s := &Stream{sock: sock, conn: t.Conn, leg: t.Leg, keys: new(record.Keys), tickets: t.Tickets, with: fmt.Sprintf("backend %q", name)}
	if len(t.Ahead) > 0 {
		s.room = rooms.Get().(*room)
		s.to = copy(s.room[:], t.Ahead)
		s.used = s.to
	}
	t.Leg.Wipe()
	t.Conn, t.Tickets, t.Ahead = nil, nil, nil
	return s
}

var _ Socket = (*Stream)(nil)

// FD is the descriptor below. What can be seen there is ciphertext.
func (s *Stream) FD() int { return s.sock.FD() }

// SetDeadline bounds the waits that start afterwards.
func (s *Stream) SetDeadline(t time.Time) { s.sock.SetDeadline(t) }

// Read reads at least one byte; 0 and nil is the end of input, by close_notify or without. The error is an *Error if the
// backend's first record refuses us: a client certificate that it does not like (DESIGN 3.8).
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if s.conn != nil {
		return s.readConn(p)
	}
	for len(s.plain) == 0 {
		more, err := s.next()
		if err != nil || !more {
			return 0, err
		}
	}
	n := copy(p, s.plain)
	clear(s.plain[:n])
	s.plain = s.plain[n:]
	s.spare()
	return n, nil
}

func (s *Stream) readConn(p []byte) (int, error) {
	n, err := s.conn.Read(p)
	if n > 0 || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.begun = true
		return n, nil
	}
	return 0, s.blame(err)
}

// next reads and opens one record. more is false at the end of input.
func (s *Stream) next() (more bool, err error) {
	if s.room == nil {
		s.room = rooms.Get().(*room)
	}
	more, err = s.open()
	s.spare()
	return more, err
}

// spare gives the room back if there is nothing in it.
func (s *Stream) spare() {
	if len(s.plain) == 0 && s.from == s.to {
		s.freeRoom()
	}
}

func (s *Stream) open() (more bool, err error) {
	for {
		got, err := s.leg.Open(s.keys, s.room[s.from:s.to])
		if err != nil {
			return false, s.violated(err)
		}
		if got.Kind != record.NeedMore {
			s.from += got.Consumed
			return s.opened(&got)
		}
		s.from, s.to = 0, copy(s.room[:], s.room[s.from:s.to])
		k, err := s.sock.Read(s.room[s.to:])
		if k == 0 || err != nil {
			return false, err
		}
		s.to += k
		s.used = max(s.used, s.to)
	}
}

func (s *Stream) opened(got *record.Opened) (more bool, err error) {
	s.begun = true
	switch got.Kind {
	case record.Closed:
		return false, nil
	case record.Data:
		s.plain = got.Plain
	case record.Ticket:
		s.tickets.Offer(got.Plain)
	}
	if s.leg.Owes() {
		_, err = s.Write(nil)
	}
	return true, err
}

// violated sends the alert that ends the connection.
func (s *Stream) violated(cause error) error {
	var room [2 * record.Overhead]byte
	if out, err := s.leg.AppendClose(s.keys, room[:0], cause); err == nil && len(out) > 0 {
		_, _ = s.sock.Write(out) // the violation is the error
	}
	return s.blame(cause)
}

// blame makes an *Error of an alert that is the handshake's.
func (s *Stream) blame(err error) error {
	if !s.begun && remote(err) {
		return &Error{Cause: CauseAlert, With: s.with, Err: err}
	}
	return err
}

// Write seals and writes all of p. It returns when the socket has taken it.
func (s *Stream) Write(p []byte) (int, error) {
	if s.conn != nil {
		return s.conn.Write(p)
	}
	out := rooms.Get().(*room)
	defer out.free(0) // ciphertext only
	done := 0
	for {
		part := p[done:min(len(p), done+maxPlaintext)]
		sealed, err := s.leg.Seal(s.keys, out[:0], part)
		if err != nil {
			return done, err
		}
		if _, err = s.sock.Write(sealed); err != nil {
			return done, err
		}
		if done += len(part); done == len(p) {
			return done, nil
		}
	}
}

// Rest is what was opened and not read yet: a tail. It is the Stream's and valid until the next call.
func (s *Stream) Rest() []byte { return s.plain }

// Unopened is what was read behind that and is still sealed, for whoever goes on with the leg; less than record.MaxRecord bytes. It
// is the Stream's and valid until the next call.
func (s *Stream) Unopened() []byte {
	if s.room == nil {
		return nil
	}
	return s.room[s.from:s.to]
}

// Detach ends the Stream at the verdict and gives up the leg with its expanded keys, or the tls.Conn of lane conn. Read Rest and
// Unopened before.
func (s *Stream) Detach() (record.Leg, *record.Keys, *tls.Conn) {
	leg, keys, conn := s.leg, s.keys, s.conn
	s.keys = new(record.Keys)
	s.Close()
	return leg, keys, conn
}

// Close wipes the keys and drops everything but the socket. It sends nothing. Further calls do nothing.
func (s *Stream) Close() {
	s.freeRoom()
	s.tickets.Drop()
	s.keys.Drop()
	s.leg.Wipe()
	s.conn, s.tickets, s.plain = nil, nil, nil
}

func (s *Stream) freeRoom() {
	if s.room != nil {
		s.room.free(s.used)
		s.room, s.from, s.to, s.used, s.plain = nil, 0, 0, 0, nil
	}
}
