package session

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/bytebufferpool"

	"mailsplice/core/dial"
	"mailsplice/core/engine"
	"mailsplice/core/logx"
	"mailsplice/core/metrics"
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/proxyproto"
	"mailsplice/tlsx"
)

// backendReadBytes is how much is read from a backend at once before the join, and so the most a tail may hold.
const backendReadBytes = 8 << 10

// backendRoom is what a login reads into.
type backendRoom [backendReadBytes]byte

var backendRooms = sync.Pool{New: func() any { return new(backendRoom) }}

// backendLeg is the connection to a backend while a login uses it.
type backendLeg struct {
	park   *engine.Park               // nil: a ferry has it
	stream *tlsx.Stream               // over park; nil: in the clear
	suite  uint16                     // of the stream
	tail   *bytebufferpool.ByteBuffer // read, not consumed; nil: nothing
	raw    *bytebufferpool.ByteBuffer // read behind that, still sealed; nil: nothing
}

// sock is what the machine talks through.
func (g *backendLeg) sock() tlsx.Socket {
	if g.stream != nil {
		return g.stream
	}
	return g.park
}

// keep notes what was read behind the verdict: p, and what a record held beyond it.
func (g *backendLeg) keep(p []byte) {
	appendTo(&g.tail, p)
	if g.stream != nil {
		appendTo(&g.tail, g.stream.Rest())
	}
}

func (g *backendLeg) close() {
	if g.stream != nil {
		g.stream.Close()
	}
	if g.park != nil {
		g.park.Close()
	}
	release(&g.tail)
	release(&g.raw)
}

// visit reaches the destination once and replays the login there. The error is a *Failure.
func (a *attempt) visit(h *home) (*dialog.Verdict, *backendLeg, error) {
	d := h.declared.Load()
	if d == nil {
		return nil, nil, &Failure{Phase: PhaseResolve, Err: errNoDestination}
	}
	leg, ok := d.Legs[a.listener.Protocol]
	if !ok {
		a.wrongService(h)
		return nil, nil, &Failure{Phase: PhaseConnect, Err: errWrongService}
	}
	s := a.lobby.s
	timeout := s.policy.Load().Limits.BackendTimeout
	deadline := time.Now().Add(timeout)
	start := time.Now()
	park, host, err := a.connect(d, leg, deadline)
	s.o.Metrics.Phase(metrics.PhaseConnect, time.Since(start))
	if errors.Is(err, dial.ErrOwnListener) {
		a.ownListener(h)
	}
	if err != nil {
		return nil, nil, err
	}
	g, kept := &backendLeg{park: park}, false
	defer func() {
		a.hold(nil)
		if !kept { // refused, failed, or the machine panicked
			g.close()
		}
	}()
	c := conversation{a: a, d: d, leg: leg, g: g, deadline: deadline, timeout: timeout}
	if len(leg.TLS) > 0 {
		c.policy = leg.TLS[min(host, len(leg.TLS)-1)]
	}
	if leg.Mode == ImplicitTLS {
		if err := c.secure(nil); err != nil {
			return nil, nil, err
		}
	}
	start = time.Now()
	verdict, err := c.run()
	s.o.Metrics.Phase(metrics.PhaseAuth, time.Since(start))
	if err != nil || verdict.Outcome != dialog.Accepted {
		return verdict, nil, err
	}
	kept = true
	return verdict, g, nil
}

// wrongService says that a destination lacks a protocol, once a second at most (SPEC 4 point 5).
func (a *attempt) wrongService(d *home) {
	a.lobby.s.say(d.wrongServiceWarning, slog.LevelError, "destination does not offer the protocol", logx.Destination, d.name,
		logx.Protocol, a.listener.Protocol.String(), logx.Listener, a.listener.Name)
}

// ownListener says that a destination's name has come to mean this proxy, once a second at most (SPEC 2.11).
func (a *attempt) ownListener(d *home) {
	if d.ownListenerWarning.Allow(time.Now()) {
		a.lobby.s.o.Log.Error("destination is a listener of this proxy", logx.Destination, d.name, logx.Protocol, a.listener.Protocol.String(),
			logx.Listener, a.listener.Name)
	}
}

// connect dials and sends the PROXY header, which must be the first segment by itself (BACKENDS). host is the number of
// the host that took the connection.
func (a *attempt) connect(d *Destination, leg Leg, deadline time.Time) (park *engine.Park, host int, err error) {
	ctx, cancel := context.WithDeadline(a.ctx, deadline)
	defer cancel()
	target := dial.Target{Destination: d.Name, Hosts: d.Hosts, Port: leg.Port, Sources: d.Sources}
	park, reached, err := dial.Dial(ctx, a.lobby.s.o.Dialer, holder{a}, target)
	if err != nil {
		a.hold(nil)
		return nil, 0, dialFailure(err)
	}
	park.SetDeadline(deadline)
	if leg.Announce != AnnounceProxy {
		return park, reached.Host, nil
	}
	header, err := proxyproto.Header(a.announcement())
	if err == nil {
		_, err = park.Write(header)
	}
	if err != nil {
		a.hold(nil)
		park.Close()
		return nil, 0, &Failure{Phase: PhaseConnect, Retryable: true, Err: err}
	}
	return park, reached.Host, nil
}

// announcement is what a PROXY header says. A proxy in front of us knows the client's TLS; else the client's leg is ours.
func (a *attempt) announcement() proxyproto.Facts {
	f := proxyproto.Facts{Client: a.client, Local: a.local, Session: a.session}
	if a.leg.Version != 0 {
		f.SNI, f.TLSVersion, f.TLSCipher = a.leg.SNI, versionNames[a.leg.Version], tls.CipherSuiteName(a.leg.Suite)
	}
	if in := a.header; in != nil {
		f.SNI = cmp.Or(in.SNI, f.SNI)
		if in.TLSSeen {
			f.TLSVersion, f.TLSCipher = in.TLSVersion, in.TLSCipher
		}
	}
	return f
}

// versionNames are HAProxy's, which backends know.
var versionNames = map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}

// holder is the dial.Waiter of an attempt: the socket belongs to the client's loop from connect(2) on, and whatever
// interrupts the attempt interrupts it.
type holder struct{ a *attempt }

func (h holder) Adopt(fd int) (*engine.Park, error) {
	p, err := h.a.lobby.loop.Adopt(fd)
	if err == nil && !h.a.hold(p) {
		p.Interrupt()
	}
	return p, err
}

func dialFailure(err error) *Failure {
	f := &Failure{Phase: PhaseConnect, Err: err}
	var de *dial.Error
	if errors.As(err, &de) {
		f.Retryable, f.HostLevel = de.Retryable, de.Scope == dial.ScopeHost
		if de.Phase == dial.PhaseResolve {
			f.Phase = PhaseResolve
		}
	}
	return f
}

// conversation drives the backend side of one login, in blocking style.
type conversation struct {
	a        *attempt
	d        *Destination
	leg      Leg
	policy   *tlsx.ClientConfig // unless the leg is plain
	g        *backendLeg
	deadline time.Time
	timeout  time.Duration // backend_timeout
	sent     bool          // credentials have gone out: no retry any more
	greeted  bool
}

// run talks until the verdict. What was read behind it becomes the tail.
func (c *conversation) run() (*dialog.Verdict, error) {
	m := c.a.listener.Speaker.Backend(BackendFacts{Login: c.a.login, StartTLS: c.leg.Mode == StartTLS, HideRefusals: c.d.HideAuthErrors,
		Forward: c.forward(), Local: localAddr(c.g.park.FD())})
	defer m.Release()
	m.Tell(dialog.Event{Kind: dialog.Begin})
	room, used := backendRooms.Get().(*backendRoom), 0
	defer func() {
		clear(room[:used])
		backendRooms.Put(room)
	}()
	for p := []byte(nil); ; {
		v, err := c.act(m, p)
		if err != nil {
			return nil, err
		}
		if v != nil {
			c.g.keep(p)
			return v, nil
		}
		if len(p) == 0 {
			if p, err = c.read(room[:]); err != nil {
				used = len(room) // it may have brought something all the same
				return nil, err
			}
			used = max(used, len(p))
		}
		n := m.Feed(p)
		p = p[n:]
	}
}

// localAddr is our end of a connection; invalid if the kernel does not say.
func localAddr(fd int) netip.Addr {
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.Addr{}
	}
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *syscall.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr).Unmap()
	}
	return netip.Addr{}
}

// forward is what the machine announces in the protocol's words.
func (c *conversation) forward() *dialog.Forwarding {
	if c.leg.Announce != AnnounceInProtocol {
		return nil
	}
	return &dialog.Forwarding{Client: c.a.client, Local: c.a.local, Session: c.a.session, TTL: c.a.ttl, TLS: c.a.tls}
}

// act carries out what the machine wants until it needs input, of which rest is left. A verdict is copied: its texts die
// with the machine.
func (c *conversation) act(m dialog.Machine, rest []byte) (*dialog.Verdict, error) {
	for {
		switch x := m.Next(); x.Kind {
		case dialog.None:
			return nil, nil
		case dialog.Write:
			if err := c.write(x); err != nil {
				return nil, err
			}
		case dialog.Relay:
			answer, err := c.ask(x.Bytes)
			if err != nil {
				return nil, err
			}
			m.Tell(dialog.Event{Kind: dialog.Relayed, Bytes: answer})
			clear(answer)
		case dialog.StartTLS:
			if err := c.secure(rest); err != nil {
				return nil, err
			}
			m.Tell(dialog.Event{Kind: dialog.TLSUp})
		case dialog.Done:
			return keep(x.Verdict), nil
		case dialog.Close:
			return nil, &Failure{Phase: c.phase(), Retryable: !c.sent && x.Reason == dialog.BackendClosed, Err: errors.New("backend: " + x.Reason.String())}
		default:
			panic(fmt.Sprintf("bug: action %d from a backend side", x.Kind))
		}
	}
}

// phase is what a failure now belongs to.
func (c *conversation) phase() Phase {
	if c.greeted {
		return PhaseAuth
	}
	return PhaseGreeting
}

// keep copies a verdict out of its machine.
func keep(v *dialog.Verdict) *dialog.Verdict {
	k := *v
	k.Before = append([]byte(nil), v.Before...)
	k.Answer = append([]byte(nil), v.Answer...)
	k.Capabilities = append([]byte(nil), v.Capabilities...)
	return &k
}

// write sends what the machine says. Credentials go only over a leg that is fit for them (SPEC 6), and from then on the
// backend has backend_timeout anew for its verdict (SPEC 2.1).
func (c *conversation) write(x dialog.Action) error {
	if x.Secret && !c.sent {
		if c.g.stream == nil && (c.leg.Mode != Plain || !c.d.AllowPlaintextAuth) {
			return &Failure{Phase: PhaseAuth, Err: errUnfitLeg}
		}
		c.sent = true
		c.deadline = time.Now().Add(c.timeout)
		c.g.park.SetDeadline(c.deadline)
	}
	if _, err := c.g.sock().Write(x.Bytes); err != nil {
		return c.broken("writing to backend", err)
	}
	return nil
}

// read waits for the backend's next bytes.
func (c *conversation) read(p []byte) ([]byte, error) {
	n, err := c.g.sock().Read(p)
	var refused *tlsx.Error
	if errors.As(err, &refused) { // what a backend says first may still be about the handshake
		return nil, c.insecure(refused)
	}
	if err != nil {
		return nil, c.broken("reading from backend", err)
	}
	if n == 0 {
		return nil, &Failure{Phase: c.phase(), Retryable: !c.sent, Err: errClosedEarly}
	}
	c.greeted = true
	return p[:n], nil
}

// broken tells a timeout, which is the host's failure before the credentials, from a connection that broke.
func (c *conversation) broken(doing string, err error) *Failure {
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	cut := errors.Is(err, engine.ErrInterrupted)
	return &Failure{Phase: c.phase(), HostLevel: timeout && !c.sent, Retryable: !c.sent && !cut, Err: fmt.Errorf("%s: %w", doing, err)}
}

// ask puts a challenge to the client and waits for its answer, as long as a verdict may take.
func (c *conversation) ask(challenge []byte) ([]byte, error) {
	c.a.lobby.loop.Post(&question{c.a, append([]byte(nil), challenge...)})
	t := time.NewTimer(c.timeout)
	defer t.Stop()
	select {
	case answer := <-c.a.answers:
		c.g.park.SetDeadline(time.Now().Add(c.timeout))
		return answer, nil
	case <-c.a.ctx.Done():
		return nil, &Failure{Phase: PhaseAuth, Err: engine.ErrInterrupted}
	case <-t.C:
		return nil, &Failure{Phase: PhaseAuth, Err: errNoAnswer}
	}
}
