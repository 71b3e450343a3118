package tlsx

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

// Record layer, RFC 8446 5.1. Sizes in bytes.
const (
	headerBytes  = 5
	maxPlaintext = 1 << 14

	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
)

// Where the server's random ends in a ServerHello: message header (4), version (2), random (RFC 5246 7.4.1.3).
const (
	randomOffset = 6
	helloBytes   = randomOffset + randomBytes
)

// maxFlightBytes bounds what is kept of a TLS 1.3 server's last flight until its tickets are counted: a long certificate
// chain and a ticket. Above it there is no takeover.
const maxFlightBytes = 64 << 10

func bodyBytes(header []byte) int { return int(binary.BigEndian.Uint16(header[3:])) }

// wire is the connection as crypto/tls sees it. It hands out exactly one record at a time, header then body, so that crypto/tls
// never has anything ahead (DESIGN 3.1); what the socket held beyond stays here, and goes with the keys at a takeover: a
// flight of four records is one system call and not eight. It holds a slot while crypto/tls computes, and notes what the takeover needs: records
// since ChangeCipherSpec, the server's random, the last flight. It never closes the socket.
type wire struct {
	sock     Socket
	role     role
	slots    *Slots
	deadline time.Time // of the handshake
	held     bool      // a slot
	done     bool      // the handshake is over: nothing is noted any more

	secrets secrets
	hello   [helloBytes]byte // beginning of the ServerHello
	helloN  int

	ahead    *room // read and not handed out: from to to; nil: nothing
	from, to int

	header  [headerBytes]byte // of the record being read
	headerN int               // bytes of it that were handed out; headerBytes while the body is
	body    int               // bytes of the body not handed out yet
	read    passed
	written passed
	torn    bool   // a Write was not of whole records: nothing can be said about what was written
	flight  []byte // server, TLS 1.3: all that was written since the application secret is known

	fed  ticketFeed // from the handshake's end on, where tickets are awaited
	fail error      // the first failure of the socket or for want of a slot
}

// role is which end of the handshake we are.
type role uint8

const (
	roleServer role = iota + 1
	roleClient
)

// passed counts what went one way.
type passed struct {
	ciphered  bool // behind ChangeCipherSpec
	records   int  // since then
	bodyBytes int  // of these records
}

func (c *passed) record(kind byte, bodyBytes int) {
	if kind == recordChangeCipherSpec {
		*c = passed{ciphered: true}
		return
	}
	if c.ciphered {
		c.records++
		c.bodyBytes += bodyBytes
	}
}

// Read gives crypto/tls the rest of the header or the rest of the body, whatever of it has come.
func (w *wire) Read(p []byte) (int, error) {
	if w.fed.on {
		return w.fed.read(p)
	}
	if w.headerN < headerBytes {
		n, err := w.take(p[:min(len(p), headerBytes-w.headerN)])
		w.headerN += copy(w.header[w.headerN:], p[:n])
		if err == nil && w.headerN == headerBytes {
			w.body = bodyBytes(w.header[:])
			err = w.whole()
		}
		return n, err
	}
	n, err := w.take(p[:min(len(p), w.body)])
	if w.role == roleClient && !w.done {
		w.note(w.header[0], p[:n])
	}
	w.body -= n
	if err == nil {
		err = w.whole()
	}
	return n, err
}

// take yields what was read, and reads from the socket when that is used up, without a slot. Its failure is remembered.
func (w *wire) take(p []byte) (int, error) {
	if w.from == w.to {
		w.letGo()
		if w.done { // lane conn: no memory for a session that is silent
			w.release()
			n, err := w.sock.Read(p)
			return n, ended(n, err)
		}
		if w.ahead == nil {
			w.ahead = rooms.Get().(*room)
		}
		n, err := w.sock.Read(w.ahead[:])
		if err = w.failed(ended(n, err)); err != nil {
			return 0, err
		}
		w.from, w.to = 0, n
	}
	n := copy(p, w.ahead[w.from:w.to])
	w.from += n
	return n, nil
}

// ended makes an error of the end of input.
func ended(n int, err error) error {
	if err == nil && n == 0 {
		return io.EOF
	}
	return err
}

// rest is a copy of what was read and not handed out; nil: nothing.
func (w *wire) rest() []byte {
	if w.from == w.to {
		return nil
	}
	return append([]byte(nil), w.ahead[w.from:w.to]...)
}

// release gives the memory back. What is in it was on the network.
func (w *wire) release() {
	if w.ahead != nil {
		w.ahead.free(0)
		w.ahead, w.from, w.to = nil, 0, 0
	}
}

// whole closes the record that is being read if all of it was handed out. What comes next is crypto/tls computing, unless
// the record is one that it only looks at.
func (w *wire) whole() error {
	if w.body > 0 {
		return nil
	}
	kind := w.header[0]
	w.headerN = 0
	if w.done {
		return nil
	}
	w.read.record(kind, bodyBytes(w.header[:]))
	if kind == recordChangeCipherSpec || kind == recordAlert {
		return nil
	}
	return w.failed(w.grab())
}

// Write sends whole records: crypto/tls never splits one over two calls.
func (w *wire) Write(p []byte) (int, error) {
	if w.fed.on { // an alert about a ticket: its sequence number is ours by now
		return 0, net.ErrClosed
	}
	w.letGo()
	if !w.done {
		w.noteWritten(p)
	}
	n, err := w.sock.Write(p)
	return n, w.failed(err)
}

func (w *wire) noteWritten(p []byte) {
	for rest := p; len(rest) > 0; {
		if len(rest) < headerBytes || len(rest) < headerBytes+bodyBytes(rest) {
			w.torn = true
			return
		}
		body := rest[headerBytes : headerBytes+bodyBytes(rest)]
		w.written.record(rest[0], len(body))
		if w.role == roleServer {
			w.note(rest[0], body)
		}
		rest = rest[headerBytes+len(body):]
	}
	if w.role == roleServer && w.secrets.server.n > 0 && len(w.flight) <= maxFlightBytes {
		w.flight = append(w.flight, p...)
	}
}

// note collects the beginning of the server's first handshake message, which may be split over records.
func (w *wire) note(kind byte, body []byte) {
	if kind == recordHandshake {
		w.helloN += copy(w.hello[w.helloN:], body)
	}
}

func (w *wire) serverRandom() []byte { return w.hello[randomOffset:] }

// settled reports whether the streams stand between two records, as they must at a takeover.
func (w *wire) settled() bool { return w.headerN == 0 && w.body == 0 && !w.torn }

// grab takes a slot for the computing that follows.
func (w *wire) grab() error {
	if w.held {
		return nil
	}
	if err := w.slots.acquire(w.deadline); err != nil {
		return err
	}
	w.held = true
	return nil
}

func (w *wire) letGo() {
	if w.held {
		w.held = false
		w.slots.release()
	}
}

// failed remembers err for the handshake's error. Afterwards, in lane conn, both directions come here at the same time.
func (w *wire) failed(err error) error {
	if !w.done && w.fail == nil {
		w.fail = err
	}
	return err
}

// Close leaves the socket to its owner.
func (w *wire) Close() error { return nil }

// SetDeadline bounds reads and writes alike.
func (w *wire) SetDeadline(t time.Time) error { w.sock.SetDeadline(t); return nil }

// SetReadDeadline is the same: a Socket has one deadline.
func (w *wire) SetReadDeadline(t time.Time) error { return w.SetDeadline(t) }

// SetWriteDeadline does nothing: crypto/tls sets one in the past behind its close_notify, which would end the reading too.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

func (w *wire) LocalAddr() net.Addr  { return noAddr{} }
func (w *wire) RemoteAddr() net.Addr { return noAddr{} }

// noAddr stands for addresses: crypto/tls only wants them as a cache key, which ours ignores.
type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "" }

// ticketFeed replaces the socket once the keys are ours: crypto/tls reads what it is fed, and then finds nothing.
type ticketFeed struct {
	on      bool
	pending []byte
}

func (f *ticketFeed) read(p []byte) (int, error) {
	if len(f.pending) == 0 {
		return 0, errDry
	}
	n := copy(p, f.pending)
	f.pending = f.pending[n:]
	return n, nil
}

// errDry ends a tls.Conn's Read without breaking it: it is temporary in the sense of net.Error.
var errDry error = dry{errors.New("nothing more for crypto/tls")}

type dry struct{ error }

func (dry) Timeout() bool   { return false }
func (dry) Temporary() bool { return true }
