package session

import (
	"errors"
	"time"

	"github.com/valyala/bytebufferpool"
	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
	"mailsplice/core/metrics"
	"mailsplice/protocols/dialog"
	"mailsplice/tlsx"
	tlsrecord "mailsplice/tlsx/record"
)

const (
	// maxHandshakes bounds the goroutines that shake hands with clients (DESIGN 3.1); above it the newest is closed.
	maxHandshakes = 4096
	// handshakeTimeout bounds one of them, from the complete first record on.
	handshakeTimeout = 10 * time.Second
)

// clientTLS is an encrypted client leg before the join. While its client is silent it holds no buffer.
type clientTLS struct {
	leg   tlsrecord.Leg // dead in lane conn, where the loop sees plaintext
	facts tlsx.Facts
	raw   *bytebufferpool.ByteBuffer // ciphertext, at most one record of the greatest size; nil: none
	used  int                        // bytes of raw that were opened and handed out
	cause error                      // why the leg has ended on our side; nil: it has not
	keys  *tlsrecord.Keys            // expanded, while logging in, for the bridge; nil: those of the lobby are used
}

// handshake is one TLS handshake with a client. Its goroutine ends by posting it to the loop, at its deadline at the latest.
type handshake struct {
	lobby  *lobby
	tok    engine.Token
	config *tlsx.ServerConfig
	park   *engine.Park // owns the descriptor until Deliver
	until  time.Time
	seen   engine.Ready // meanwhile; the loop's
	parts  bool         // a drain has begun: the farewell waits for the end of the handshake; the loop's

	taken *tlsx.Taken
	err   error
}

// run does the handshake.
func (h *handshake) run() {
	s := h.lobby.s
	defer h.lobby.loop.Post(h)
	defer s.handshakes.Add(-1)
	defer func() {
		if cause := recover(); cause != nil {
			s.bug("shaking hands with client", cause)
			h.taken, h.err = nil, errPanic
		}
	}()
	start := time.Now()
	h.taken, h.err = h.config.Handshake(h.park, h.until)
	s.o.Metrics.Phase(metrics.PhaseTLS, time.Since(start))
}

// noticed passes on what the loop hears of the descriptor.
func (h *handshake) noticed(r engine.Ready) {
	h.seen |= r
	h.park.Notice(r)
}

// Drop closes the connection: its session has ended, or the loop has stopped.
func (h *handshake) Drop() {
	h.park.Close()
	if h.taken != nil {
		h.taken.Leg.Wipe()
	}
}

// Deliver gives the connection back to the loop.
func (h *handshake) Deliver() {
	b := h.lobby
	rec := b.slab.Of(h.tok)
	if rec == nil || rec.phase != handshaking || b.talks.of(rec.talk).shake != h {
		h.Drop()
		return
	}
	b.shielded(h.tok, func() { b.shaken(h.tok, rec, h) })
}

// hello waits for a complete first record, which alone starts a handshake.
func (b *lobby) hello(t engine.Token, rec *record, r engine.Ready) {
	arrival, _ := tlsx.FirstRecord(int(rec.fd)) // an error comes with Ended
	switch {
	case arrival == tlsx.Whole:
		b.shake(t, rec)
	case arrival == tlsx.Alien:
		b.end(t, rec, dialog.NotMail.String())
	case arrival == tlsx.Ended, r&(engine.HangUp|engine.Gone) != 0:
		b.end(t, rec, clientLeft)
	}
}

// shake lends the client leg to a handshake's goroutine.
func (b *lobby) shake(t engine.Token, rec *record) {
	ln := b.s.listener(rec.listener)
	if b.s.handshakes.Add(1) > maxHandshakes {
		b.s.handshakes.Add(-1)
		b.end(t, rec, dialog.TooBusy.String())
		return
	}
	left := time.Duration(rec.deadline - b.loop.Now())
	h := &handshake{lobby: b, tok: t, config: ln.TLS, until: time.Now().Add(min(left, handshakeTimeout))}
	park, err := b.loop.Lend(int(rec.fd))
	if err != nil {
		b.s.handshakes.Add(-1)
		b.end(t, rec, noResources)
		return
	}
	if rec.talk == 0 {
		rec.talk = b.talks.add(&talk{})
	}
	h.park = park
	rec.phase = handshaking
	b.talks.of(rec.talk).shake = h
	if !b.s.crew.start(h.run) {
		b.s.handshakes.Add(-1)
		h.err = errClosing
		b.shaken(t, rec, h)
	}
}

// shaken goes on with a client leg whose handshake is over.
func (b *lobby) shaken(t engine.Token, rec *record, h *handshake) {
	tk := b.talks.of(rec.talk)
	tk.shake = nil
	rec.phase = preauth
	if h.err == nil {
		h.err = b.encrypted(t, rec, tk, h)
	}
	if h.err != nil {
		if !tk.carried { // else the ferry has it
			h.park.Detach()
		}
		b.end(t, rec, handshakeReason(h.err))
		return
	}
	why := dialog.TLSUp
	if tk.machine == nil {
		tk.machine = b.s.listener(rec.listener).Speaker.Client(rec.facts(true))
		why = dialog.Begin
	}
	tk.machine.Tell(dialog.Event{Kind: why})
	switch {
	case !b.act(t, rec, tk):
	case h.parts:
		b.tell(t, rec, dialog.Drain)
	default:
		b.pump(t, rec, tk)
	}
}

// encrypted makes the loop go on with what the handshake has led to.
func (b *lobby) encrypted(t engine.Token, rec *record, tk *talk, h *handshake) error {
	fd := -1
	if h.taken.Conn == nil {
		fd = h.park.Detach() // before all else: from now on the session closes it
	}
	rec.suites[0] = h.taken.Facts.Suite
	tk.tls = &clientTLS{facts: h.taken.Facts}
	b.s.tookOver(h.taken)
	if h.taken.Conn == nil {
		tk.tls.leg = h.taken.Leg
		h.taken.Leg.Wipe()
		appendTo(&tk.tls.raw, h.taken.Ahead)
		if h.seen&(engine.HangUp|engine.Gone) != 0 { // so that it is heard of again
			return b.loop.Rewatch(fd, t)
		}
		return nil
	}
	if err := h.park.Keep(); err != nil {
		return err
	}
	end, err := b.s.ferry(b.loop, h.taken.Conn, h.park)
	if err != nil {
		return err
	}
	rec.fd, tk.carried = int32(end), true
	return b.loop.Watch(end, t)
}

// tookOver counts a takeover that should have been possible and was not (DESIGN 3.11).
func (s *Sessions) tookOver(taken *tlsx.Taken) {
	if taken.Reason.Failed() {
		s.takeoversFailed.Add(1)
		s.o.Metrics.TakeoverFailed(string(taken.Reason)).Inc()
	}
}

// TakeoversFailed is how many handshakes stayed with crypto/tls that should not have.
func (s *Sessions) TakeoversFailed() int { return int(s.takeoversFailed.Load()) }

// handshakeReason is why a session ended, for the log; the peer's own words stay out of it.
func handshakeReason(err error) string {
	var failed *tlsx.Error
	if errors.As(err, &failed) {
		return "tls " + failed.Cause.String()
	}
	return noResources
}

// upgrade answers STARTTLS. Nothing the client has sent may be left, neither in our hands nor in the socket: it would be
// taken for something said inside TLS (SPEC 3, SECURITY 1).
func (b *lobby) upgrade(t engine.Token, rec *record, tk *talk, unconsumed []byte) {
	goAhead := tk.goAhead
	tk.goAhead = nil
	if err := tlsx.CheckQuiet(int(rec.fd), unconsumed); err != nil {
		reason := clientLeft
		if errors.Is(err, tlsx.ErrPipelined) {
			reason = dialog.Injection.String()
		}
		b.end(t, rec, reason)
		return
	}
	if !b.write(t, rec, tk, goAhead) {
		return
	}
	if tk.out != nil { // a client that wants TLS and does not read
		b.end(t, rec, dialog.Syntax.String())
		return
	}
	rec.phase = awaiting
}

// receive brings the next input of a client leg, in the clear, good until the next call. ok is false when there is none
// now; the session may have ended then.
func (b *lobby) receive(t engine.Token, rec *record, tk *talk) (p []byte, ok bool) {
	if tk.sealed() {
		return b.receiveRecord(t, rec, tk)
	}
	buf := b.loop.Buffer()[:readBytes]
	n, ok := b.read(t, rec, buf)
	return buf[:n], ok
}

// read reads at least one byte from the client's socket.
func (b *lobby) read(t engine.Token, rec *record, p []byte) (n int, ok bool) {
	for {
		n, err := engine.Receive(int(rec.fd), p)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, false
		case err != nil || n == 0:
			b.end(t, rec, clientLeft)
			return 0, false
		}
		return n, true
	}
}

// receiveRecord opens records until one holds application data. Input stays ciphertext until then, so that what a client
// pipelines behind its login is opened by the bridge.
func (b *lobby) receiveRecord(t engine.Token, rec *record, tk *talk) (p []byte, ok bool) {
	c := tk.tls
	for {
		c.consume()
		got, err := c.leg.Open(b.keysOf(c), pendingBytes(c.raw))
		switch {
		case err != nil:
			c.cause = err
			b.end(t, rec, clientBroke)
			return nil, false
		case got.Kind == tlsrecord.NeedMore:
			// One answer for however many KeyUpdates have come at once (RFC 8446 4.6.3), unless data has carried it.
			if c.leg.Owes() && !b.write(t, rec, tk, nil) || !b.fill(t, rec, c, got.Need) {
				return nil, false
			}
			continue
		case got.Kind == tlsrecord.Closed:
			b.end(t, rec, clientLeft)
			return nil, false
		}
		c.used = got.Consumed
		if got.Kind == tlsrecord.Data {
			return got.Plain, true
		}
	}
}

// keysOf is where the expanded keys of a leg are, or will be.
func (b *lobby) keysOf(c *clientTLS) *tlsrecord.Keys {
	if c.keys != nil {
		return c.keys
	}
	return b.keys
}

// keep has a leg that begins to log in keep the lobby's keys, which have nearly always just opened its login: the bridge will need them.
func (b *lobby) keep(c *clientTLS) { c.keys, b.keys = b.keys, new(tlsrecord.Keys) }

// takeBack ends what keep began when there was no join.
func (b *lobby) takeBack(c *clientTLS) {
	if c.keys != nil {
		b.keys.Drop()
		b.keys, c.keys = c.keys, nil
	}
}

// dropKeys lets go of keys that a leg has kept.
func (c *clientTLS) dropKeys() {
	if c.keys != nil {
		c.keys.Drop()
		c.keys = nil
	}
}

// consume lets go of the record that was handed out.
func (c *clientTLS) consume() {
	if c.used > 0 {
		keepRest(&c.raw, c.raw.B[c.used:])
		c.used = 0
	}
}

// unopened is the ciphertext behind what was handed out.
func (c *clientTLS) unopened() []byte {
	c.consume()
	return pendingBytes(c.raw)
}

// rawBytes holds what clients say at once before they are logged in, nearly always. Longer records get as much as they need.
const rawBytes = 1 << 10

// fill reads more ciphertext behind a partial record, need bytes if they are there, and perhaps some of the next.
func (b *lobby) fill(t engine.Token, rec *record, c *clientTLS, need int) bool {
	fresh := c.raw == nil
	if fresh {
		c.raw = buffers.Get()
	}
	have := len(c.raw.B)
	if room := max(have+need, rawBytes); cap(c.raw.B) < room {
		c.raw.B = append(make([]byte, 0, room), c.raw.B...)
	}
	n, ok := b.read(t, rec, c.raw.B[have:min(cap(c.raw.B), tlsrecord.MaxRecord)])
	if ok {
		c.raw.B = c.raw.B[:have+n]
	} else if fresh && c.raw != nil { // nil: the session has ended, and given everything back
		release(&c.raw)
	}
	return ok
}

// seal makes records of p. They are good until the next call.
func (b *lobby) seal(tk *talk, p []byte) ([]byte, error) {
	sealed, err := tk.tls.leg.Seal(b.keysOf(tk.tls), b.sealed[:0], p)
	if err == nil {
		b.sealed = sealed[:0]
	}
	return sealed, err
}

// lastWords is what is still owed to the client: what was not taken, and on a TLS leg its end.
func (b *lobby) lastWords(tk *talk) []byte {
	rest := pendingBytes(tk.out)
	if !tk.sealed() {
		return rest
	}
	b.sealed = append(b.sealed[:0], rest...)
	rest, _ = tk.tls.leg.AppendClose(b.keysOf(tk.tls), b.sealed, tk.tls.cause) // fails for a leg without numbers left: FIN must do
	b.sealed = rest[:0]
	return rest
}
