package passthrough

import (
	"net/netip"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
	"mailsplice/protocols/xclient"
)

// Options says what is to be settled with a backend before a client is joined to it. The machine changes nothing in it.
type Options struct {
	// LMTP: the backend speaks LMTP, and is greeted by LHLO.
	LMTP bool
	// StartTLS: the leg is to be encrypted by STARTTLS before anything else (SPEC 6).
	StartTLS bool
	// Hostname is what we call ourselves: server.hostname, a name or an address.
	Hostname string
	// Forward is announced by XCLIENT, which the backend then must take (SPEC 3.5); nil: nothing is announced.
	Forward *dialog.Forwarding
	// MaxLineBytes bounds one line of the backend with its CRLF; 0: 4 KiB, eight times what RFC 5321 4.5.3.1.5 allows.
	MaxLineBytes int
	// MaxBytes bounds all that the backend says up to its verdict; 0: 64 KiB.
	MaxBytes int
}

const (
	defaultLineBytes = 4 << 10
	defaultBytes     = 64 << 10
)

// backendState is what the machine expects from the backend next.
type backendState uint8

const (
	backendFresh  backendState = iota // nothing: Begin
	awaitGreeting                     // its first words
	awaitHello                        // answer to EHLO or LHLO
	awaitGoAhead                      // answer to STARTTLS
	awaitTLS                          // TLSUp
	awaitXclient                      // answer to XCLIENT
	backendOver
)

var backendStateNames = [...]string{"fresh", "greeting", "hello", "starttls", "tls", "xclient", "over"}

// String is the name used in debug logs.
func (s backendState) String() string { return backendStateNames[s] }

// BackendSide prepares one backend connection for one client: it is the client of the dialogue (SPEC 3.5, 5.2, 6).
type BackendSide struct {
	o      Options
	state  backendState
	reader wire.Reader
	offers offers
	tlsUp  bool // STARTTLS is done
	hidden bool // IPv6 addresses are held back, since the backend has refused them

	code  int    // of the reply that is coming in; 0: none is
	spent int    // bytes of whole lines so far
	notes []byte // lines of a reply that the client may get, but the last

	out  []byte        // to be written
	then dialog.Action // to be done behind out

	verdict dialog.Verdict
}

var _ dialog.Machine = (*BackendSide)(nil)

// NewBackendSide makes the machine for one connection.
func NewBackendSide(o Options) *BackendSide {
	if o.MaxLineBytes == 0 {
		o.MaxLineBytes = defaultLineBytes
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultBytes
	}
	return &BackendSide{o: o}
}

// State implements dialog.Machine.
func (b *BackendSide) State() string { return b.state.String() }

// Feed implements dialog.Machine.
func (b *BackendSide) Feed(p []byte) int {
	if b.waits() || len(p) == 0 {
		return 0
	}
	line, n, err := b.reader.Line(p, min(b.o.MaxLineBytes, b.o.MaxBytes-b.spent))
	switch {
	case err != nil && b.state == awaitGreeting:
		b.close(dialog.BadGreeting)
	case err == wire.ErrLong:
		b.close(dialog.Limit)
	case err != nil:
		b.close(dialog.Syntax)
	case line != nil:
		b.spent += len(line) + len("\r\n")
		b.takeLine(line)
		b.reader.Reset()
	}
	return n
}

// waits reports whether nothing is consumed before an event.
func (b *BackendSide) waits() bool {
	return b.state == backendFresh || b.state == awaitTLS || b.state == backendOver
}

// Next implements dialog.Machine.
func (b *BackendSide) Next() dialog.Action {
	if len(b.out) > 0 {
		p := b.out
		b.out = nil
		return dialog.Action{Kind: dialog.Write, Bytes: p}
	}
	a := b.then
	b.then = dialog.Action{}
	return a
}

// Tell implements dialog.Machine. There is no farewell: nothing has begun that QUIT would end better than a close does.
func (b *BackendSide) Tell(e dialog.Event) {
	bye, ends := farewells[e.Kind]
	switch {
	case b.state == backendOver:
	case e.Kind == dialog.Begin && b.state == backendFresh:
		b.begin()
	case e.Kind == dialog.TLSUp && b.state == awaitTLS:
		b.tlsUp, b.offers = true, offers{} // nothing learnt before TLS is kept (SPEC 6)
		b.secured()
	case ends:
		b.close(bye.reason)
	}
}

// Release implements dialog.Machine.
func (b *BackendSide) Release() {
	b.reader.Reset()
	*b = BackendSide{state: backendOver}
}

// begin waits for the backend's greeting, unless that is the client's business.
func (b *BackendSide) begin() {
	if b.o.StartTLS || b.o.Forward != nil {
		b.state = awaitGreeting
		return
	}
	b.done(dialog.Verdict{Outcome: dialog.Accepted})
}

// secured goes on inside TLS.
func (b *BackendSide) secured() {
	if b.o.Forward != nil {
		b.hello()
		return
	}
	b.done(dialog.Verdict{Outcome: dialog.Accepted, Answer: greeting(domain(b.o.Hostname), b.o.LMTP)})
}

// hello introduces us.
func (b *BackendSide) hello() {
	verb := "EHLO "
	if b.o.LMTP {
		verb = "LHLO "
	}
	b.command([]byte(verb+domain(b.o.Hostname)+"\r\n"), awaitHello)
}

// command sends line and expects next.
func (b *BackendSide) command(line []byte, next backendState) {
	b.out, b.state = line, next
}

// done ends the dialogue with a verdict.
func (b *BackendSide) done(v dialog.Verdict) {
	b.state, b.verdict = backendOver, v
	b.then = dialog.Action{Kind: dialog.Done, Verdict: &b.verdict}
}

// close ends the leg. What was to be written is dropped.
func (b *BackendSide) close(r dialog.Reason) {
	b.out, b.notes = nil, nil
	b.reader.Reset()
	b.state = backendOver
	b.then = dialog.Action{Kind: dialog.Close, Reason: r}
}

// announce tells the backend who the client is. Without ADDR in it the client would pass for us (SPEC 3.5). Without HELO
// it is always a single line, so that there is one answer to it, the greeting.
func (b *BackendSide) announce() {
	lines := xclient.Commands(b.offers.xclient, b.client())
	if !b.offers.xclient.Addr() || !b.o.Forward.Client.IsValid() || len(lines) != 1 {
		b.done(dialog.Verdict{Outcome: dialog.Unavailable, ForwardingIgnored: true})
		return
	}
	b.command(lines[0], awaitXclient)
}

// client is what the backend is told. To one that takes no IPv6 address an IPv4 client is still shown, and only what it
// connected to is left out.
func (b *BackendSide) client() xclient.Client {
	c := xclient.Client{Forwarding: b.o.Forward}
	switch {
	case !b.hidden:
	case c.Client.Addr().Unmap().Is4():
		f := *b.o.Forward
		f.Local = netip.AddrPort{}
		c.Forwarding = &f
	default:
		c.AddrUnavailable = true
	}
	return c
}
