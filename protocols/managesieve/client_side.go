package managesieve

import (
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
	defaultCommandBytes = 64 << 10 // lines and literals of one command; so literals together are within it, too
	defaultMaxAttempts  = 3        // SPEC 2.3
	// maxBad commands may be wrong before the connection ends, as in IMAP.
	maxBad = 10
	// maxUnavailable logins may end in a temporary failure before the connection ends. Our choice: such a failure is no
	// failed attempt, and without a bound a client could repeat it at full speed for ever.
	maxUnavailable = 10
)

// ClientOptions is what all sessions of a listener share. It must not change while a ClientSide uses it.
type ClientOptions struct {
	// Banner is the text of the greeting, one line of ASCII.
	Banner string
	// Implementation is the name that the capability IMPLEMENTATION gives, one line of ASCII.
	Implementation string
	// Sieve lists the extensions of the capability SIEVE. STARTTLS, SASL, NOTIFY (for enotify), XCLIENT and VERSION are added
	// as they apply.
	Sieve []string
	// Mechanisms are offered in this order.
	Mechanisms []sasl.Mechanism
	// StartTLSOffered: the listener's tls is "starttls".
	StartTLSOffered bool
	// AllowPlainAuth takes credentials outside TLS (SPEC 2.7, allow_plain_auth_without_tls).
	AllowPlainAuth bool
	// TokenClaim is the JWT claim that names the account (SPEC 2.8); empty: email.
	TokenClaim string
	// MaxAttempts authentications may fail before the connection ends; 0: 3.
	MaxAttempts int
	// MaxLineBytes bounds a command line with its CRLF, but AUTHENTICATE has 12 KiB + 256; 0: 8 KiB.
	MaxLineBytes int
	// MaxCommandBytes bounds all lines and literals of a command; 0: 64 KiB.
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
}

// clientState is where the dialogue stands.
type clientState uint8

const (
	clientFresh     clientState = iota // before Begin
	clientReady                        // waiting for a command or the rest of one
	clientExchange                     // waiting for a string of the SASL exchange
	clientHandshake                    // waiting for TLSUp
	clientPending                      // waiting for the verdict
	clientChallenge                    // waiting for the client's answer to the backend's challenge
	clientJoined                       // logged in: the rest is the backend's
	clientOver                         // closed
)

var clientStateNames = [...]string{"fresh", "ready", "exchange", "handshake", "pending", "challenge", "joined", "over"}

// String is the name used in debug logs.
func (s clientState) String() string { return clientStateNames[s] }

// ClientSide plays the server towards a ManageSieve client up to its login. It is a dialog.Machine. A silent one is this
// struct and nothing else: buffers exist while a command or an answer is in progress.
type ClientSide struct {
	o    *ClientOptions
	in   wire.Reader
	out  *bytebufferpool.ByteBuffer // nil: nothing to write
	try  *attempt                   // nil: no authentication in progress
	said *dialog.Announced          // by XCLIENT; nil: nothing. Shared with logins, so never changed

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
}

var _ dialog.Machine = (*ClientSide)(nil)

// NewClientSide makes the machine for one connection. It keeps o.
func NewClientSide(o *ClientOptions, f ClientFacts) *ClientSide {
	return &ClientSide{o: o, tls: f.TLS, trusted: f.TrustedPeer}
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
	case clientReady, clientExchange, clientChallenge:
		if c.in.Want() > 0 {
			return c.in.Take(p)
		}
		return c.feedLine(p)
	}
	return 0
}

// feedLine reads a line of a command or of an exchange: the first, or the rest behind a literal.
func (c *ClientSide) feedLine(p []byte) int {
	held := len(c.in.Prefix()) - c.in.Pending()
	most := sasl.MaxLineBytes + initialExtraBytes
	if c.state != clientReady {
		most = sasl.MaxLineBytes + len("\"\"\r\n")
	}
	line, n, err := c.in.Line(p, min(most, c.maxCommand()-held))
	if errors.Is(err, wire.ErrLong) || c.tooLong(line) {
		c.exceeded()
		return n
	}
	if line != nil {
		c.endLine(line, err)
	}
	return n
}

// maxCommand bounds lines and literals together, in bytes.
func (c *ClientSide) maxCommand() int { return cmp.Or(c.o.MaxCommandBytes, defaultCommandBytes) }

// tooLong holds a line of a command, or what there is of it when line is nil, to the bound that the verb has.
func (c *ClientSide) tooLong(line []byte) bool {
	start, size := c.in.Whole(line), len(line)+len("\r\n")
	if line == nil {
		start, size = c.in.Prefix(), c.in.Pending()+1
	}
	if c.state != clientReady || size <= cmp.Or(c.o.MaxLineBytes, defaultLineBytes) {
		return false
	}
	verb, _ := cutVerb(start)
	cmd := lookUp(verb)
	return cmd == nil || cmd.place != private
}

// endLine carries out what line completes, or goes on to the literal that it announces.
func (c *ClientSide) endLine(line []byte, broken error) {
	whole := c.in.Whole(line)
	lit, found, err := wire.ParseLiteral(line)
	switch {
	case c.state == clientReady && isHTTP(whole):
		c.end(byeNotMail, dialog.NotMail)
	case err != nil, found && (broken != nil || c.tooBig(lit.Size, whole)):
		c.exceeded() // it cannot be known where the next command begins
	case found && !lit.NonSync:
		c.end(byeSync, dialog.Syntax)
	case found:
		c.in.Literal(line, lit.Size)
	default:
		c.take(whole, broken)
		c.in.Reset()
	}
}

// tooBig holds a literal to its bounds before a byte of it is taken.
func (c *ClientSide) tooBig(size int, whole []byte) bool {
	return len(whole)+len("\r\n")+size > c.maxCommand() || c.state != clientReady && size > sasl.MaxLineBytes
}

// take acts on a whole command or answer. broken says that its last line held forbidden bytes.
func (c *ClientSide) take(whole []byte, broken error) {
	switch c.state {
	case clientReady:
		c.execute(whole, broken)
	case clientExchange:
		c.takeAnswer(whole, broken)
	case clientChallenge:
		c.answerChallenge(whole, broken)
	}
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
		c.list(c.o.Banner)
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

// startAnew forgets what was said in the clear, XCLIENT too (SPEC 3, SECURITY 2), and lists the capabilities unasked
// (RFC 5804 2.2). The counts of failures stay: they are ours.
func (c *ClientSide) startAnew() {
	c.in.Reset()
	c.said, c.seen = nil, false
	c.tls, c.state = true, clientReady
	c.list(tlsUp)
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
