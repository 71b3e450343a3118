package session

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
	"mailsplice/core/metrics"
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/proxyproto"
)

// HeaderMode says whether a PROXY header is read from peers in Listener.Trusted (SPEC 2.3, proxy_protocol).
type HeaderMode uint8

// The modes.
const (
	HeaderOff HeaderMode = iota
	HeaderOptional
	HeaderRequired
)

// headerGrace is how long a trusted peer may be silent until it counts as having sent none, where the header is optional.
const headerGrace = time.Second

// badHeader is why a connection ended that should have announced its client.
const badHeader = "proxy header"

// expectHeader waits for the PROXY header of a trusted peer.
func (b *lobby) expectHeader(rec *record, ln *Listener) {
	rec.phase = announcing
	if ln.Header == HeaderOptional && ln.PreauthTimeout > headerGrace {
		rec.grace = 1
		rec.deadline = b.loop.Now() + int64(headerGrace)
	}
}

// silent goes on without a header if a peer that need not send one has not said a word. It reports false when there is
// nothing to go on with: the deadline was that of the dialogue.
func (b *lobby) silent(t engine.Token, rec *record) bool {
	if rec.grace == 0 {
		return false
	}
	rec.grace = 0
	ln := b.s.listener(rec.listener)
	rec.deadline = b.loop.Now() + int64(ln.PreauthTimeout-headerGrace)
	rec.timer = b.loop.Arm(0, rec.deadline, t)
	if _, err := peek(int(rec.fd), make([]byte, 1)); err == unix.EAGAIN {
		b.open(t, rec, ln)
	}
	return true
}

// header reads the PROXY header once it is whole. Nothing behind it is read.
func (b *lobby) header(t engine.Token, rec *record, r engine.Ready) {
	ln := b.s.listener(rec.listener)
	buf := b.loop.Buffer()[:proxyproto.MaxBytes]
	n, err := peek(int(rec.fd), buf)
	if err == unix.EAGAIN {
		return
	}
	if err != nil || n == 0 {
		b.end(t, rec, clientLeft)
		return
	}
	in, used, err := proxyproto.Parse(buf[:n])
	switch {
	case err == nil:
		b.announced(t, rec, ln, &in, used)
	case errors.Is(err, proxyproto.ErrIncomplete) && r&(engine.HangUp|engine.Gone) == 0:
	case errors.Is(err, proxyproto.ErrNoHeader) && ln.Header == HeaderOptional:
		b.open(t, rec, ln)
	default:
		ln.metrics.Refused(metrics.RefusedProxy)
		b.end(t, rec, badHeader)
	}
}

// announced takes the header out of the socket and its word for who the client is. From then on trust is the client's,
// not the peer's: a balancer in front of everybody must not make everybody a proxy (BACKENDS, as Dovecot has it).
func (b *lobby) announced(t engine.Token, rec *record, ln *Listener, in *proxyproto.Inbound, used int) {
	if n, err := unix.Read(int(rec.fd), b.loop.Buffer()[:used]); n != used || err != nil {
		b.end(t, rec, clientLeft)
		return
	}
	if in.Client.IsValid() {
		rec.client, rec.local = endpointOf(in.Client), endpointOf(in.Local)
		rec.trusted = flag(trusted(ln.Trusted, in.Client.Addr()))
		if rec.trusted == 0 && !b.count(rec) {
			b.end(t, rec, dialog.TooBusy.String())
			return
		}
	}
	if in.Session != "" || in.SNI != "" || in.TLSSeen {
		rec.talk = b.talks.add(&talk{header: in})
	}
	rec.grace = 0
	rec.deadline = b.loop.Now() + int64(ln.PreauthTimeout)
	b.open(t, rec, ln)
}

// peek looks at what the socket holds; the error is unix.EAGAIN when that is nothing.
func peek(fd int, p []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return n, err
		}
	}
}
