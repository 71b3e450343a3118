package submission

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/valyala/bytebufferpool"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/sasl"
	"mailsplice/protocols/wire"
)

// Bounds of the dialogue before login, SPEC 3 unless said otherwise.
const (
	defaultLineBytes    = 8 << 10
	initialExtraBytes   = 256      // for verb and mechanism beside an inline SASL response
	defaultCommandBytes = 64 << 10 // of one command: a BDAT and its chunk
	defaultMaxAttempts  = 3        // SPEC 2.3
	// maxBad commands may be wrong before the connection ends. Our choice: clients that probe for extensions need two
	// or three; Postfix takes 20 by default.
	maxBad = 10
	// maxUnavailable logins may end in a temporary failure before the connection ends. Our choice: such a failure is no
	// failed attempt, and without a bound a client could repeat it at full speed for ever.
	maxUnavailable = 10
)

// noName stands in greetings where neither options nor facts have a name, so that they are well formed all the same.
const noName = "localhost"

// ClientOptions is what all sessions of a listener share. It must not change while a ClientSide uses it.
type ClientOptions struct {
	// Hostname is server.hostname, the name in the greeting and the answers to EHLO and HELO. Empty: every connection has
	// its own, ClientFacts.Hostname.
	Hostname string
	// Banner is the text of the greeting behind the name, one line of ASCII.
	Banner string
	// Advertise lists the lines of the EHLO answer besides AUTH, STARTTLS and XCLIENT, which are added as they apply.
	Advertise []string
	// Mechanisms are offered in this order. There is no other login.
	Mechanisms []sasl.Mechanism
	// StartTLSOffered: the listener's tls is "starttls".
	StartTLSOffered bool
	// AllowPlainAuth takes credentials outside TLS (SPEC 2.7, allow_plain_auth_without_tls).
	AllowPlainAuth bool
	// TokenClaim is the JWT claim that names the account (SPEC 2.8); empty: email.
	TokenClaim string
	// MaxAttempts authentications may fail before the connection ends; 0: 3.
	MaxAttempts int
	// MaxLineBytes bounds a command line with its CRLF, but one with an inline SASL response has 12 KiB + 256; 0: 8 KiB.
	MaxLineBytes int
	// MaxCommandBytes bounds a BDAT with its chunk, which is dropped; 0: 64 KiB.
	MaxCommandBytes int
}

// offers reports whether m is among the mechanisms.
func (o *ClientOptions) offers(m sasl.Mechanism) bool {
	return m != sasl.None && slices.Contains(o.Mechanisms, m)
}

// ClientFacts is what is known about one connection before it says a word.
type ClientFacts struct {
	// TLS: the leg is encrypted already, as on an implicit listener.
	TLS bool
	// TrustedPeer may announce a client by XCLIENT (SPEC 3: proxy_trusted).
	TrustedPeer bool
	// Hostname is our name on this connection where ClientOptions.Hostname is empty. The caller words it: Literal of the
	// local address (SPEC 2.1).
	Hostname string
}

// clientState is where the dialogue stands.
type clientState uint8

const (
	clientFresh     clientState = iota // before Begin
	clientReady                        // waiting for a command
	clientChunk                        // inside the data behind BDAT
	clientExchange                     // waiting for a line of the SASL exchange
	clientHandshake                    // waiting for TLSUp
	clientPending                      // waiting for the verdict
	clientChallenge                    // waiting for the client's answer to the backend's challenge
	clientJoined                       // logged in: the rest is the backend's
	clientOver                         // closed
)

var clientStateNames = [...]string{"fresh", "ready", "chunk", "exchange", "handshake", "pending", "challenge", "joined",
	"over"}

// String is the name used in debug logs.
func (s clientState) String() string { return clientStateNames[s] }

// ClientSide plays the server towards a mail program up to its login. It is a dialog.Machine. A silent one is this
// struct and nothing else: buffers exist while a command or an answer is in progress.
type ClientSide struct {
	o         *ClientOptions
	name      string // ours
	hello     string // the client's, if it can be repeated
	in        wire.Reader
	out       *bytebufferpool.ByteBuffer // nil: nothing to write
	try       *attempt                   // nil: no authentication in progress
	announced *dialog.Announced          // nil: no XCLIENT yet; shared by logins, never changed

	chunk       int32 // bytes of a BDAT still to be dropped
	attempts    int32
	bads        uint8
	unavailable uint8
	state       clientState
	next        dialog.Kind   // what follows the Write, or None
	reason      dialog.Reason // of Close
	handed      bool          // out was handed out and goes back at the next call
	tls         bool
	trusted     bool
	seen        bool // a command came
	extended    bool // EHLO was the last hello
}

var _ dialog.Machine = (*ClientSide)(nil)

// NewClientSide makes the machine for one connection. It keeps o.
func NewClientSide(o *ClientOptions, f ClientFacts) *ClientSide {
	return &ClientSide{o: o, name: cmp.Or(o.Hostname, f.Hostname, noName), tls: f.TLS, trusted: f.TrustedPeer}
}

// State implements dialog.Machine.
func (c *ClientSide) State() string { return c.state.String() }

// Feed implements dialog.Machine.
func (c *ClientSide) Feed(p []byte) int {
	c.settle()
	if len(p) == 0 {
		return 0
	}
	switch c.state {
	case clientReady:
		return c.feedLine(p)
	case clientChunk:
		return c.feedChunk(p)
	case clientExchange, clientChallenge:
		return c.feedSASL(p)
	}
	return 0
}

// feedLine reads a command.
func (c *ClientSide) feedLine(p []byte) int {
	line, n, err := c.in.Line(p, sasl.MaxLineBytes+initialExtraBytes)
	if errors.Is(err, wire.ErrLong) || c.tooLong(line) {
		c.exceeded(badLimit)
		return n
	}
	if line != nil {
		c.execute(line, err)
		c.in.Reset()
	}
	return n
}

// tooLong holds a line, or what there is of it when line is nil, to the bound of its command.
func (c *ClientSide) tooLong(line []byte) bool {
	size := len(line) + len("\r\n")
	if line == nil {
		line, size = c.in.Prefix(), c.in.Pending()+1
	}
	if size <= cmp.Or(c.o.MaxLineBytes, defaultLineBytes) {
		return false
	}
	return !bytes.EqualFold(parseRequest(line).verb, []byte("AUTH"))
}

// feedChunk drops data, which is answered when all of it is there (RFC 3030 2).
func (c *ClientSide) feedChunk(p []byte) int {
	n := min(int(c.chunk), len(p))
	c.chunk -= int32(n)
	if c.chunk == 0 {
		c.state = clientReady
		c.bad(badLoginFirst)
	}
	return n
}

// Next implements dialog.Machine.
func (c *ClientSide) Next() dialog.Action {
	c.settle()
	if c.out != nil && c.next != dialog.StartTLS {
		c.handed = true
		return dialog.Action{Kind: dialog.Write, Bytes: c.out.B}
	}
	a := dialog.Action{Kind: c.next}
	switch c.next {
	case dialog.StartTLS:
		c.handed = true
		a.Bytes = c.out.B
	case dialog.LoginReady:
		a.Login, c.try.login = c.try.login, nil
	case dialog.Relay:
		a.Bytes = c.try.relay
	case dialog.Close:
		a.Reason = c.reason
	}
	c.next = dialog.None
	return a
}

// settle takes back what the last call handed out.
func (c *ClientSide) settle() {
	if c.handed {
		outputs.Put(c.out)
		c.out, c.handed = nil, false
	}
	if c.try != nil && c.next != dialog.Relay {
		clear(c.try.relay)
		c.try.relay = nil
	}
}

// Tell implements dialog.Machine.
func (c *ClientSide) Tell(e dialog.Event) {
	c.settle()
	waiting := c.state == clientPending || c.state == clientChallenge
	switch {
	case e.Kind == dialog.Begin && c.state == clientFresh:
		c.greet()
		c.state = clientReady
	case e.Kind == dialog.TLSUp && c.state == clientHandshake:
		c.startAnew()
	case e.Kind == dialog.Decided && waiting:
		c.decide(e.Verdict)
	case e.Kind == dialog.Relayed && c.state == clientPending && c.try.method != dialog.Password:
		c.ask(e.Bytes)
	case e.Kind >= dialog.Expire && int(e.Kind) < len(farewells):
		c.farewell(farewells[e.Kind])
	}
}

// startAnew forgets what was said in the clear (SPEC 3, SECURITY 2). The counts of failures stay: they are ours.
func (c *ClientSide) startAnew() {
	c.in.Reset()
	c.announced, c.hello, c.extended, c.seen = nil, "", false, false
	c.tls, c.state = true, clientReady
}

// mayLogin reports whether credentials may be sent on the leg as it is (SPEC 3).
func (c *ClientSide) mayLogin() bool { return c.tls || c.o.AllowPlainAuth }

// outputs is the pool of answers being written.
var outputs bytebufferpool.Pool

// output is the buffer of the answer in progress.
func (c *ClientSide) output() *bytebufferpool.ByteBuffer {
	if c.out == nil {
		c.out = outputs.Get()
	}
	return c.out
}

// Release implements dialog.Machine.
func (c *ClientSide) Release() {
	c.in.Reset()
	c.forget()
	if c.out != nil {
		outputs.Put(c.out)
	}
	*c = ClientSide{o: c.o, state: clientOver}
}
