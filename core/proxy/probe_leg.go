package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"mailsplice/core/config"
	"mailsplice/core/dial"
	"mailsplice/core/engine"
	"mailsplice/core/session"
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/proxyproto"
	"mailsplice/tlsx"
)

// visit is one probe of one target, in the hands of one goroutine.
type visit struct {
	p        *prober
	t        target
	r        *report
	leg      session.Leg
	deadline time.Time
	talk     *talk
}

// one probes a target.
func (p *prober) one(ctx context.Context, t target) *report {
	v := &visit{p: p, t: t, r: newReport(p, t)}
	v.leg, v.r.failure = p.security.leg(t.d, t.e, map[dialKey]dialPolicy{})
	if v.r.failure == nil {
		v.r.failure = v.run(ctx)
	}
	return v.r
}

func (v *visit) run(ctx context.Context) error {
	v.r.say("forwarding", "%s", v.forwarding())
	done, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	err = v.dialogue()
	var refused *tlsx.CertificateError
	if errors.As(err, &refused) {
		v.lookAtCertificate(ctx)
	}
	return err
}

// forwarding is the one in effect, which may be the leg's own (SPEC 2.4).
func (v *visit) forwarding() string {
	mine, general := v.t.e.Forwarding, v.t.d.Forwarding
	if mine == general {
		return mine.String()
	}
	return fmt.Sprintf("%s on this leg (%s on the destination)", mine, general)
}

// connect dials and sends the PROXY header. done gives the connection back.
func (v *visit) connect(ctx context.Context) (done func(), err error) {
	v.deadline = time.Now().Add(v.p.cfg.Server.BackendTimeout)
	dialing, cancel := context.WithDeadline(ctx, v.deadline)
	defer cancel()
	to := dial.Target{Destination: v.t.d.Name, Hosts: v.t.d.Hosts[v.t.host : v.t.host+1], Port: v.t.e.Port}
	if len(v.t.d.SourceIPs) > 0 {
		to.Sources = dial.NewSources(v.t.d.SourceIPs)
	}
	park, reached, err := dial.Dial(dialing, v.p.dialer, v.p.engine.Loops()[0], to)
	if err != nil {
		return nil, err
	}
	park.SetDeadline(v.deadline)
	stop := context.AfterFunc(ctx, park.Interrupt) // not of dialing, which would interrupt at the deadline
	v.talk = &talk{clear: park, name: v.p.name, host: cmp.Or(v.t.d.TLSServerName, to.Hosts[0]), peer: reached.Addr, own: localAddr(park)}
	done = func() {
		stop()
		v.talk.close()
		park.Close()
	}
	if v.t.e.Forwarding != config.ForwardProxy {
		return done, nil
	}
	header, err := proxyproto.Header(proxyproto.Facts{Client: v.talk.own, Local: reached.Addr, Session: probeSession})
	if err == nil {
		err = v.talk.write(header)
	}
	if err != nil {
		done()
		return nil, fmt.Errorf("sending the PROXY header: %w", err)
	}
	v.talk.proxied = true
	return done, nil
}

// probeSession is the session id that a backend is told, to be recognised in its log.
const probeSession = "mailsplice-probe"

// localAddr is our own end; the zero value where the kernel does not tell.
func localAddr(park *engine.Park) netip.AddrPort {
	sa, err := unix.Getsockname(park.FD())
	if err != nil {
		return netip.AddrPort{}
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// dialogue is everything up to where a login would follow, or what serves as that for pass-through and HTTP.
func (v *visit) dialogue() error {
	s := speeches[v.t.e.Protocol]
	if v.t.e.TLS == config.TLSImplicit {
		if err := v.secure(); err != nil {
			return v.hint(err)
		}
	}
	if err := s.greet(v.talk); err != nil {
		return v.hint(fmt.Errorf("greeting: %w", err))
	}
	if err := s.capabilities(v.talk); err != nil {
		return v.hint(fmt.Errorf("capabilities: %w", err))
	}
	if v.t.e.TLS == config.TLSStart {
		if err := v.startTLS(s); err != nil {
			return err
		}
	}
	err := v.announce(s)
	v.r.say("capabilities", "%s", v.talk.listing())
	s.bye(v.talk)
	return err
}

// silences are the ends of a dialogue in which the backend has said nothing.
var silences = []error{os.ErrDeadlineExceeded, errEnded, io.EOF, io.ErrUnexpectedEOF, unix.ECONNRESET, unix.EPIPE}

// hint explains a dialogue that does not begin: the two ends may disagree about the PROXY header, each in its own way.
func (v *visit) hint(err error) error {
	switch {
	case errors.As(err, new(*tlsx.CertificateError)):
		return err // it understood us
	case v.talk.proxied:
		return fmt.Errorf("%w; it may not expect the PROXY header that forwarding = \"proxy\" sends, or not from this address", err)
	case slices.ContainsFunc(silences, func(s error) bool { return errors.Is(err, s) }):
		return fmt.Errorf("%w; it may wait for a PROXY header, which forwarding = %q does not send, or for TLS", err, v.t.e.Forwarding)
	}
	return err
}

// startTLS encrypts the leg and asks for the capabilities anew (SPEC 6).
func (v *visit) startTLS(s speech) error {
	if !v.talk.startTLS {
		return errors.New("it does not offer STARTTLS")
	}
	if err := s.startTLS(v.talk); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if err := tlsx.CheckQuiet(v.talk.clear.FD(), v.talk.unread()); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if err := v.secure(); err != nil {
		return err
	}
	if err := s.secured(v.talk); err != nil {
		return fmt.Errorf("capabilities inside TLS: %w", err)
	}
	return nil
}

// secure does the handshake as a login would.
func (v *visit) secure() error {
	c := v.leg.TLS[min(v.t.host, len(v.leg.TLS)-1)]
	taken, err := c.Handshake(v.talk.clear, v.deadline)
	if err != nil {
		return err
	}
	v.r.say("tls", "%s", taken.Facts)
	v.r.certificate(taken.Peer, time.Now())
	v.talk.stream = tlsx.NewStream(v.talk.clear, taken, v.t.d.Name)
	return nil
}

// lookAtCertificate connects once more, to show the certificate that was not accepted: it may be the one to be pinned.
// Nothing else is said on the connection.
func (v *visit) lookAtCertificate(ctx context.Context) {
	d := *v.t.d
	d.TLSAllowInvalidCerts, d.TLSPinnedCertSHA256 = true, nil
	again := &visit{p: v.p, t: target{&d, v.t.e, v.t.host}, r: v.r}
	var err error
	if again.leg, err = v.p.security.leg(&d, v.t.e, map[dialKey]dialPolicy{}); err != nil {
		return
	}
	done, err := again.connect(ctx)
	if err != nil {
		return
	}
	defer done()
	if err := again.untilTLS(); err == nil {
		_ = again.secure() // what matters has been reported before
	}
}

// untilTLS says what comes before the handshake.
func (v *visit) untilTLS() error {
	if v.t.e.TLS == config.TLSImplicit {
		return nil
	}
	s := speeches[v.t.e.Protocol]
	if err := s.greet(v.talk); err != nil {
		return err
	}
	if err := s.capabilities(v.talk); err != nil {
		return err
	}
	return s.startTLS(v.talk)
}

// announce tells the backend about a client where the leg is to do that in the protocol's words, and reports whether it
// takes our word. That it does not is a failure: the configuration asks for it, and pass-through depends on it (SPEC 3.5).
func (v *visit) announce(s speech) error {
	switch v.t.e.Forwarding {
	case config.ForwardProxy:
		v.r.say("trust", "it took the PROXY header")
		return nil
	case config.ForwardXClient:
	default:
		v.r.say("trust", "%s", notAsked.text)
		return nil
	}
	f := &dialog.Forwarding{Client: v.talk.own, Local: v.talk.peer, Session: probeSession, TTL: v.p.cfg.Server.ProxyTTL, TLS: v.talk.stream != nil}
	answer, err := s.announce(v.talk, f)
	switch {
	case err != nil:
		return fmt.Errorf("announcing a client: %w", err)
	case answer.distrust != "":
		v.r.say("trust", "NO: %s", answer.distrust)
		return errors.New("it does not take our word about clients (is this proxy's address in its trusted networks?)")
	}
	v.r.say("trust", "%s", answer.text)
	return nil
}
