package managesieve

import (
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
	"mailsplice/protocols/xclient"
)

// BackendOptions says how a login is replayed to one backend. The machine changes nothing in it.
type BackendOptions struct {
	// StartTLS: the leg is to be encrypted by STARTTLS before anything else (SPEC 6).
	StartTLS bool
	// Forward is announced by XCLIENT when the backend has it (SPEC 5.2); nil: nothing is announced.
	Forward *dialog.Forwarding
	// HideRefusals leaves Verdict.Answer empty unless the login is accepted (hide_auth_errors, SPEC 2.4).
	HideRefusals bool
	// MaxLineBytes bounds one line of the backend with its CRLF; 0: 12 KiB + 256, what SPEC 3 allows a client.
	MaxLineBytes int
	// MaxBytes bounds all that the backend says up to its verdict, literals included; 0: 64 KiB.
	MaxBytes int
}

const (
	defaultBackendLine  = 12<<10 + 256
	defaultBackendBytes = 64 << 10
	// maxChallenges bounds the challenges of one OAuth exchange. RFC 7628 3.2.2 knows one.
	maxChallenges = 2
)

// backendState is what the machine expects from the backend next.
type backendState uint8

const (
	awaitGreeting     backendState = iota // capabilities and OK
	awaitGoAhead                          // answer to STARTTLS
	awaitTLS                              // TLSUp
	awaitSync                             // answer to NOOP behind STARTTLS, and capabilities ahead of it
	awaitCapabilities                     // answer to CAPABILITY
	awaitXClient                          // answer to XCLIENT
	awaitPrompt                           // a challenge, for the next piece of the login
	awaitVerdict                          // answer to the login
	awaitRelayed                          // the client's answer to a challenge
	backendOver
)

var backendStateNames = [...]string{"greeting", "starttls", "tls", "sync", "capabilities", "xclient", "prompt", "verdict",
	"relay", "over"}

// String is the name used in debug logs.
func (s backendState) String() string { return backendStateNames[s] }

// BackendSide replays one login to one backend: it is the client of the dialogue (SPEC 5.2, 6, 6.1).
type BackendSide struct {
	o     BackendOptions
	login *dialog.Login // until the verdict
	state backendState
	in    wire.Reader
	caps  backendCaps // of the last list; 0: none since the start or TLS

	listing    bool // inside a list of capabilities
	tlsUp      bool // STARTTLS is done
	announced  bool // XCLIENT is done
	spent      int  // bytes of whole lines and literals so far
	challenges int

	pieces []piece       // of the login, still to be sent, each but the first on a challenge
	out    piece         // to be written
	then   dialog.Action // to be done behind out
	lent   []byte        // bytes of the last action

	verdict dialog.Verdict
}

// piece is what is sent at once.
type piece struct {
	text   []byte
	secret bool
}

var _ dialog.Machine = (*BackendSide)(nil)

// NewBackendSide makes the machine for one login. l stays the caller's, who wipes it not before the machine is released.
func NewBackendSide(o BackendOptions, l *dialog.Login) *BackendSide {
	if o.MaxLineBytes == 0 {
		o.MaxLineBytes = defaultBackendLine
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultBackendBytes
	}
	return &BackendSide{o: o, login: l}
}

// State implements dialog.Machine.
func (b *BackendSide) State() string { return b.state.String() }

// Feed implements dialog.Machine.
func (b *BackendSide) Feed(p []byte) int {
	b.reclaim()
	if b.waits() || len(p) == 0 {
		return 0
	}
	if b.in.Want() > 0 {
		return b.in.Take(p)
	}
	line, n, err := b.in.Line(p, min(b.o.MaxLineBytes, b.o.MaxBytes-b.spent))
	switch {
	case err != nil && b.state == awaitGreeting:
		b.close(dialog.BadGreeting)
	case err == wire.ErrLong:
		b.close(dialog.Limit)
	case err != nil:
		b.close(dialog.Syntax)
	case line != nil:
		b.spent += len(line) + len("\r\n")
		b.endLine(line)
	}
	return n
}

// endLine acts on the response that line completes, or goes on to the literal that it announces. Servers announce
// literals without a plus (RFC 5804 4, literal-s2c); one that adds it means the same.
func (b *BackendSide) endLine(line []byte) {
	lit, found, err := wire.ParseLiteral(line)
	switch {
	case err != nil:
		b.broken()
	case found && lit.Size > b.o.MaxBytes-b.spent:
		b.close(dialog.Limit)
	case found:
		b.spent += lit.Size
		b.in.Literal(line, lit.Size)
	default:
		b.takeResponse(b.in.Whole(line))
		b.in.Reset()
	}
}

// waits reports whether nothing is consumed before an event.
func (b *BackendSide) waits() bool {
	return b.state == awaitTLS || b.state == awaitRelayed || b.state == backendOver
}

// Next implements dialog.Machine.
func (b *BackendSide) Next() dialog.Action {
	b.reclaim()
	if len(b.out.text) > 0 {
		w := b.out
		b.out, b.lent = piece{}, w.text
		return dialog.Action{Kind: dialog.Write, Bytes: w.text, Secret: w.secret}
	}
	a := b.then
	b.then, b.lent = dialog.Action{}, a.Bytes
	return a
}

// reclaim zeroes the bytes of the last action, whose time is over.
func (b *BackendSide) reclaim() {
	clear(b.lent)
	b.lent = nil
}

// Tell implements dialog.Machine. There is no farewell: half-way through a SASL exchange any line would be taken for a
// response, and a backend minds a missing LOGOUT less.
func (b *BackendSide) Tell(e dialog.Event) {
	b.reclaim()
	switch {
	case b.state == backendOver:
	case e.Kind == dialog.TLSUp && b.state == awaitTLS:
		b.tlsUp, b.caps = true, 0 // nothing learnt before TLS is kept (SPEC 6)
		b.command(syncCommand, awaitSync)
	case e.Kind == dialog.Relayed && b.state == awaitRelayed:
		b.answerChallenge(e.Bytes)
	case e.Kind == dialog.Expire:
		b.close(dialog.Timeout)
	case e.Kind == dialog.Drain:
		b.close(dialog.Draining)
	case e.Kind == dialog.Busy:
		b.close(dialog.TooBusy)
	case e.Kind == dialog.Kicked:
		b.close(dialog.KickedOut)
	}
}

// syncCommand is sent first inside TLS (see the package's comment).
const syncCommand = `NOOP "starttls"`

// Release implements dialog.Machine.
func (b *BackendSide) Release() {
	b.reclaim()
	b.forgetLogin()
	b.in.Reset()
	clear(b.out.text)
	clear(b.then.Bytes)
	*b = BackendSide{state: backendOver}
}

// forgetLogin zeroes every piece that was not sent.
func (b *BackendSide) forgetLogin() {
	for _, p := range b.pieces {
		clear(p.text)
	}
	b.pieces, b.login = nil, nil
}

// close ends the leg. What was to be written is dropped: it would be part of a dialogue that is over.
func (b *BackendSide) close(r dialog.Reason) {
	clear(b.out.text)
	clear(b.then.Bytes)
	b.out = piece{}
	b.forgetLogin()
	b.in.Reset()
	b.state = backendOver
	b.then = dialog.Action{Kind: dialog.Close, Reason: r}
}

// broken ends the leg for a response that is none.
func (b *BackendSide) broken() {
	if b.state == awaitGreeting {
		b.close(dialog.BadGreeting)
		return
	}
	b.close(dialog.Syntax)
}

// command sends text and expects next.
func (b *BackendSide) command(text string, next backendState) {
	b.out = piece{text: []byte(text + "\r\n")}
	b.state = next
}

// proceed takes the next step towards the login, now that is known what the backend offers.
func (b *BackendSide) proceed() {
	switch {
	case b.o.StartTLS && !b.tlsUp && !b.caps.has(capStartTLS):
		b.close(dialog.NoStartTLS)
	case b.o.StartTLS && !b.tlsUp:
		b.command("STARTTLS", awaitGoAhead)
	case b.o.Forward != nil && !b.announced:
		b.announce()
	default:
		b.authenticate()
	}
}

// announce sends XCLIENT to a backend that shows it at this moment, which it does to peers that it trusts (SPEC 5.2).
func (b *BackendSide) announce() {
	b.announced = true
	if !b.caps.has(capXClient) {
		b.verdict.ForwardingIgnored = true
		b.proceed()
		return
	}
	b.out = piece{text: xclient.Line(b.o.Forward)}
	b.state = awaitXClient
}
