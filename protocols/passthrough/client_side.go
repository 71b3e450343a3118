package passthrough

import (
	"bytes"

	"mailsplice/protocols/dialog"
)

// clientState is where a client side is.
type clientState uint8

const (
	clientFresh clientState = iota
	clientWaits             // for the verdict
	clientOver
)

var clientStateNames = [...]string{"fresh", "waiting", "over"}

// String is the name used in debug logs.
func (s clientState) String() string { return clientStateNames[s] }

// ClientSide stands in for a server until the backend is there. It consumes nothing.
type ClientSide struct {
	hostname string
	state    clientState
	out      []byte        // to be written
	then     dialog.Action // to be done behind out
}

var _ dialog.Machine = (*ClientSide)(nil)

// NewClientSide makes the machine for one client. hostname is server.hostname, a name or an address.
func NewClientSide(hostname string) *ClientSide { return &ClientSide{hostname: hostname} }

// State implements dialog.Machine.
func (c *ClientSide) State() string { return c.state.String() }

// Feed implements dialog.Machine: every byte is for the backend.
func (*ClientSide) Feed([]byte) int { return 0 }

// Next implements dialog.Machine.
func (c *ClientSide) Next() dialog.Action {
	if len(c.out) > 0 {
		p := c.out
		c.out = nil
		return dialog.Action{Kind: dialog.Write, Bytes: p}
	}
	a := c.then
	c.then = dialog.Action{}
	return a
}

// farewells are the events that end a session in whatever state it is, and what is said then.
var farewells = map[dialog.EventKind]struct {
	text   string
	reason dialog.Reason
}{
	dialog.Expire: {textTimeout, dialog.Timeout},
	dialog.Drain:  {textDrain, dialog.Draining},
	dialog.Busy:   {textBusy, dialog.TooBusy},
	dialog.Kicked: {textKicked, dialog.KickedOut},
}

// Tell implements dialog.Machine.
func (c *ClientSide) Tell(e dialog.Event) {
	bye, ends := farewells[e.Kind]
	switch {
	case c.state == clientOver:
	case e.Kind == dialog.Begin && c.state == clientFresh:
		c.state = clientWaits
		c.then = dialog.Action{Kind: dialog.LoginReady, Login: &dialog.Login{}}
	case e.Kind == dialog.Decided && c.state == clientWaits:
		c.decide(e.Verdict)
	case ends:
		c.close(farewell(domain(c.hostname), bye.text), bye.reason)
	}
}

// decide hands the backend's greeting on. Nothing but a refusal to greet comes from a backend that is not joined.
func (c *ClientSide) decide(v *dialog.Verdict) {
	switch {
	case v.Outcome == dialog.Accepted:
		c.state, c.out = clientOver, reply(v)
	case v.Outcome == dialog.Refused && refusal(v.Answer):
		c.close(reply(v), dialog.BackendClosed)
	default:
		c.close(farewell(domain(c.hostname), textUnavailable), dialog.BackendClosed)
	}
}

// reply is the whole of the backend's reply; empty if there is none.
func reply(v *dialog.Verdict) []byte {
	if len(v.Answer) == 0 {
		return nil
	}
	return append(append(bytes.Clone(v.Before), v.Answer...), "\r\n"...)
}

// refusal reports whether answer greets a client that is not welcome.
func refusal(answer []byte) bool {
	code, last, ok := parseReply(answer)
	return ok && last && refusesClient(code)
}

// close says text and ends the leg. What was to be done before is dropped.
func (c *ClientSide) close(text []byte, r dialog.Reason) {
	c.state, c.out = clientOver, text
	c.then = dialog.Action{Kind: dialog.Close, Reason: r}
}

// Release implements dialog.Machine.
func (c *ClientSide) Release() { *c = ClientSide{state: clientOver} }
