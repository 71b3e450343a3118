package submission

import (
	"bytes"
	"net/netip"
	"strings"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/sasl"
	"mailsplice/protocols/wire"
	"mailsplice/protocols/xclient"
)

// maxInitialLine bounds an AUTH line with an initial response, in bytes with its CRLF. The 12288 bytes of RFC 4954 4 are
// for the lines of the exchange; the command itself keeps the 512 of RFC 5321 4.5.3.1.4, and a response that would
// exceed them goes behind the prompt (BACKENDS, XOAUTH2).
const maxInitialLine = 512

// offers is what matters of an answer to EHLO.
type offers struct {
	startTLS   bool
	mechanisms uint8 // bits by sasl.Mechanism
	xclient    bool
	attributes xclient.Offer // of XCLIENT
}

// add reads one line.
func (o *offers) add(line []byte) {
	keyword, args, _ := bytes.Cut(line, []byte{' '})
	switch {
	case strings.EqualFold(string(keyword), "STARTTLS"):
		o.startTLS = true
	case strings.EqualFold(string(keyword), "XCLIENT"):
		o.xclient, o.attributes = true, xclient.ParseOffer(args)
	case strings.EqualFold(string(keyword), "AUTH"):
		for name := range bytes.FieldsSeq(args) {
			o.mechanisms |= 1 << sasl.Parse(name)
		}
	}
}

// has reports whether m is offered; None never is.
func (o *offers) has(m sasl.Mechanism) bool { return m != sasl.None && o.mechanisms&(1<<m) != 0 }

// announce begins XCLIENT (SPEC 5.2), once on a connection. What cannot be said to this backend is no reason to refuse
// the login.
func (b *BackendSide) announce() {
	b.announced = true
	b.verdict.ForwardingIgnored = !b.offers.attributes.Addr()
	b.announcement = b.wordAnnouncement()
	if len(b.announcement) == 0 {
		b.authenticate()
		return
	}
	b.sendAnnouncement()
}

// wordAnnouncement is nothing where the backend has no XCLIENT for us.
func (b *BackendSide) wordAnnouncement() [][]byte {
	if !b.offers.xclient {
		return nil
	}
	c := xclient.Client{Forwarding: b.o.Forward, Proto: "ESMTP", AddrUnavailable: b.withoutIPv6 && ipv6(b.o.Forward.Client)}
	if b.withoutIPv6 && !c.AddrUnavailable {
		told := *b.o.Forward
		told.Local = netip.AddrPort{}
		c.Forwarding = &told
	}
	if repeatable(b.login.Hello) {
		c.Hello = b.login.Hello
	}
	return xclient.Commands(b.offers.attributes, c)
}

// sendAnnouncement sends the next line. One at a time: Postfix minds commands behind an XCLIENT that it has not answered.
func (b *BackendSide) sendAnnouncement() {
	b.out = piece{text: b.announcement[0]}
	b.announcement = b.announcement[1:]
	b.state = awaitAnnounce
}

// takeAnnounce goes on with the next line, and behind the last with a new EHLO: the backend's state is as after its
// greeting (BACKENDS). So it may be after a refusal too, when an earlier line was taken.
func (b *BackendSide) takeAnnounce(r *reply) {
	switch {
	case r.class() == '3':
		b.close(dialog.Syntax)
	case r.class() == '2' && len(b.announcement) > 0:
		b.sendAnnouncement()
	case r.class() == '2':
		b.hail()
	case r.is("501") && b.speaksIPv6() && !b.withoutIPv6:
		b.leaveIPv6Out()
	default:
		b.verdict.ForwardingIgnored = true
		b.announcement = nil
		b.hail()
	}
}

// speaksIPv6 reports whether the announcement holds an address that a backend without IPv6 refuses.
func (b *BackendSide) speaksIPv6() bool { return ipv6(b.o.Forward.Client) || ipv6(b.o.Forward.Local) }

func ipv6(a netip.AddrPort) bool { return a.Addr().Unmap().Is6() }

// leaveIPv6Out announces the client once more without IPv6 addresses: Postfix with inet_protocols = ipv4 takes none
// (BACKENDS). Where the client's own is lost by that, the verdict says so.
func (b *BackendSide) leaveIPv6Out() {
	b.withoutIPv6 = true
	b.verdict.ForwardingIgnored = b.verdict.ForwardingIgnored || ipv6(b.o.Forward.Client)
	if b.announcement = b.wordAnnouncement(); len(b.announcement) == 0 {
		b.hail()
		return
	}
	b.sendAnnouncement()
}

// authenticate sends the login in the best way that the backend offers (SPEC 6.1).
func (b *BackendSide) authenticate() {
	m := sasl.OfMethod(b.login.Method)
	switch {
	case b.oauth() && b.offers.has(m):
		b.startSASL(m)
	case b.oauth():
		b.notOffered()
	case b.offers.has(sasl.Plain):
		b.startSASL(sasl.Plain)
	case !sasl.ForeignAuthz(b.login) && b.offers.has(sasl.Login): // never without it (SECURITY 13)
		b.startSASL(sasl.Login)
	default:
		b.notOffered()
	}
}

// oauth reports whether the login is one of the OAuth methods.
func (b *BackendSide) oauth() bool { return b.login.Method != dialog.Password }

// startSASL sends AUTH, with the initial response where it fits. LOGIN always waits for its prompts: an initial response
// to it is nobody's standard.
func (b *BackendSide) startSASL(m sasl.Mechanism) {
	verb := "AUTH " + m.String()
	size := len(verb) + len(" \r\n") + sasl.InitialLen(m, b.login)
	if m != sasl.Login && size <= maxInitialLine {
		line := append(make([]byte, 0, size), verb...)
		line = sasl.AppendInitial(append(line, ' '), m, b.login)
		b.pieces = []piece{{append(line, "\r\n"...), true}}
		b.sendPiece()
		return
	}
	b.pieces = []piece{{text: []byte(verb + "\r\n")}, b.saslPiece(sasl.AppendFirst, m)}
	if m == sasl.Login {
		second := func(dst []byte, _ sasl.Mechanism, l *dialog.Login) []byte { return sasl.AppendPassword(dst, l) }
		b.pieces = append(b.pieces, b.saslPiece(second, m))
	}
	b.sendPiece()
}

// saslPiece is one prompted line.
func (b *BackendSide) saslPiece(appendTo func([]byte, sasl.Mechanism, *dialog.Login) []byte, m sasl.Mechanism) piece {
	size := sasl.InitialLen(m, b.login) + wire.Base64Len(len(b.login.Password)) + len("\r\n")
	return piece{append(appendTo(make([]byte, 0, size), m, b.login), "\r\n"...), true}
}

// sendPiece sends the next piece of the login.
func (b *BackendSide) sendPiece() {
	b.out = b.pieces[0]
	b.pieces = b.pieces[1:]
	b.state = awaitVerdict
	if len(b.pieces) > 0 {
		b.state = awaitPrompt
	}
}
