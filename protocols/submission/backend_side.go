package submission

import (
	"cmp"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// BackendOptions says how a login is replayed to one backend. The machine changes nothing in it.
type BackendOptions struct {
	// StartTLS: the leg is to be encrypted by STARTTLS before anything else (SPEC 6).
	StartTLS bool
	// Hostname is our own name, said in EHLO where the client's is not known or the backend refuses it (SPEC 6.1). Where
	// server.hostname is unset, the caller words it: Literal of the local address (SPEC 2.1).
	Hostname string
	// Forward is announced by XCLIENT when the backend has it (SPEC 5.2); nil: nothing is announced.
	Forward *dialog.Forwarding
	// HideRefusals leaves Verdict.Answer empty unless the login is accepted (hide_auth_errors, SPEC 2.4).
	HideRefusals bool
	// MaxLineBytes bounds one line of the backend with its CRLF; 0: 12 KiB + 256, more than the 12288 bytes that RFC 4954 4
	// allows for a challenge.
	MaxLineBytes int
	// MaxBytes bounds all that the backend says up to its verdict; 0: 64 KiB.
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
	awaitGreeting backendState = iota
	awaitHello                 // answer to EHLO
	awaitGoAhead               // answer to STARTTLS
	awaitTLS                   // TLSUp
	awaitAnnounce              // answer to a line of XCLIENT
	awaitPrompt                // 334 for the next piece of the login
	awaitVerdict               // answer to the login
	awaitRelayed               // the client's answer to a challenge
	backendOver
)

var backendStateNames = [...]string{"greeting", "hello", "starttls", "tls", "xclient", "prompt", "verdict", "relay", "over"}

// String is the name used in debug logs.
func (s backendState) String() string { return backendStateNames[s] }

// BackendSide replays one login to one backend: it is the client of the dialogue (SPEC 5.2, 6, 6.1).
type BackendSide struct {
	o      BackendOptions
	login  *dialog.Login // until the verdict
	state  backendState
	reader wire.Reader
	offers offers

	tlsUp       bool // STARTTLS is done
	ownName     bool // the backend has refused the client's name in EHLO
	announced   bool // XCLIENT is done, for better or worse
	withoutIPv6 bool // XCLIENT was begun again without IPv6 addresses

	code       [3]byte // of the reply in progress, behind its first line
	within     bool    // a reply is in progress
	spent      int     // bytes of whole lines so far
	challenges int

	announcement [][]byte      // lines of XCLIENT, still to be sent
	pieces       []piece       // of the login, still to be sent, each but the first on a 334
	out          piece         // to be written
	then         dialog.Action // to be done behind out
	lent         []byte        // bytes of the last action

	before  []byte // lines of the verdict ahead of its last one
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
	o.MaxLineBytes = cmp.Or(o.MaxLineBytes, defaultBackendLine)
	o.MaxBytes = cmp.Or(o.MaxBytes, defaultBackendBytes)
	o.Hostname = cmp.Or(o.Hostname, noName)
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
// response, and a backend minds a missing QUIT less.
func (b *BackendSide) Tell(e dialog.Event) {
	b.reclaim()
	switch {
	case b.state == backendOver:
	case e.Kind == dialog.TLSUp && b.state == awaitTLS:
		b.tlsUp, b.ownName = true, false // nothing learnt before TLS is kept (SPEC 6)
		b.hail()
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

// Release implements dialog.Machine.
func (b *BackendSide) Release() {
	b.reclaim()
	b.forgetLogin()
	b.reader.Reset()
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
	b.reader.Reset()
	b.state = backendOver
	b.then = dialog.Action{Kind: dialog.Close, Reason: r}
}

// command sends a line and expects next.
func (b *BackendSide) command(line string, next backendState) {
	b.out = piece{text: append([]byte(line), "\r\n"...)}
	b.state = next
}

// hail says EHLO: in the client's name if there is one that can be said and that the backend has not refused, else in
// ours (SPEC 6.1).
func (b *BackendSide) hail() {
	b.offers = offers{}
	b.command("EHLO "+b.name(), awaitHello)
}

// name is what we call ourselves.
func (b *BackendSide) name() string {
	if b.ownName || !repeatable(b.login.Hello) {
		return b.o.Hostname
	}
	return b.login.Hello
}

// proceed takes the next step towards the login, now that it is known what the backend offers.
func (b *BackendSide) proceed() {
	switch {
	case b.o.StartTLS && !b.tlsUp && !b.offers.startTLS:
		b.close(dialog.NoStartTLS)
	case b.o.StartTLS && !b.tlsUp:
		b.command("STARTTLS", awaitGoAhead)
	case b.o.Forward != nil && !b.announced:
		b.announce()
	default:
		b.authenticate()
	}
}
