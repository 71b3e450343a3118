package dialogtest

import (
	"bytes"
	"fmt"
	"slices"

	"mailsplice/protocols/dialog"
)

// said is one piece of a machine's output: bytes written, or another action in its canonical text.
type said struct {
	write  []byte
	secret bool
	act    string
}

// waiting says what the contract allows Feed to consume.
type waiting uint8

const (
	free    waiting = iota // at least one byte
	unknown                // an event may or may not have meant something
	onTLS                  // nothing until TLSUp
	onEvent                // nothing until Decided or Relayed
	ended                  // nothing any more
)

// maxActions bounds what a machine may ask for between two calls from outside. The longest honest row is a refusal
// behind its untagged lines and a farewell.
const maxActions = 256

// maxFeed bounds one feed in bytes, as a session's read buffer does: more than any line of SPEC 3.
const maxFeed = 16 << 10

// driver drives one machine as a session does and holds it to the contract. The first breach stays in err, and
// everything after it is a no-op.
type driver struct {
	m         dialog.Machine
	onAction  func(dialog.Action) error
	maxOutput int

	begun   bool
	wait    waiting
	closed  bool // ended by Close
	stalled bool // Feed refused the pending bytes and nothing has happened since
	pending []byte
	out     []said
	written int
	verdict *dialog.Verdict // of Done, for a second look before Release
	shown   string          // what verdict looked like at Done
	err     error
}

// breach records the first violation.
func (d *driver) breach(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// take returns the output so far and starts a new list.
func (d *driver) take() []said {
	out := d.out
	d.out = nil
	return out
}

// tell passes an event and then feeds what was left pending.
func (d *driver) tell(e *event) {
	if d.err != nil {
		return
	}
	ev := dialog.Event{Kind: e.kind}
	if e.kind == dialog.Relayed {
		ev.Bytes = slices.Clone(e.bytes)
	}
	if e.kind == dialog.Decided {
		v := e.verdict
		v.Before, v.Answer, v.Capabilities = slices.Clone(v.Before), slices.Clone(v.Answer), slices.Clone(v.Capabilities)
		ev.Verdict = &v
	}
	d.m.Tell(ev)
	scribble(ev.Bytes)
	if ev.Verdict != nil {
		scribble(ev.Verdict.Before)
		scribble(ev.Verdict.Answer)
		scribble(ev.Verdict.Capabilities)
	}
	joined := d.noteEvent(e)
	d.actions()
	if joined {
		d.wait = ended
	}
	d.stalled = false
	d.pump()
}

// noteEvent changes what the machine may consume; true when it ends behind the actions that follow.
func (d *driver) noteEvent(e *event) bool {
	switch {
	case e.kind == dialog.Begin:
		d.begun = true
	case d.wait == ended:
	case e.kind == dialog.TLSUp && d.wait == onTLS:
		d.wait = free
	case e.kind == dialog.Relayed && d.wait == onEvent:
		d.wait = unknown
	case e.kind == dialog.Decided && d.wait == onEvent && e.verdict.Outcome == dialog.Accepted:
		return true
	case e.kind == dialog.Decided && d.wait == onEvent:
		d.wait = free
	case e.kind == dialog.Decided && d.wait != onTLS:
		d.wait = unknown
	}
	return false
}

// feed offers p behind what is pending.
func (d *driver) feed(p []byte) {
	d.pending = append(d.pending, p...)
	d.pump()
}

// pump feeds until nothing is pending or the machine waits.
func (d *driver) pump() {
	for d.err == nil && len(d.pending) > 0 && !d.stalled {
		p := slices.Clone(d.pending[:min(len(d.pending), maxFeed)])
		n := d.m.Feed(p)
		scribble(p)
		if n < 0 || n > len(p) {
			d.breach("Feed of %d bytes reported %d", len(p), n)
			return
		}
		was := d.wait
		if n > 0 && was == unknown {
			d.wait = free
		}
		d.actions() // which may end the machine: over a limit nothing is consumed
		d.judgeFeed(n, was)
		d.pending = d.pending[n:]
		d.stalled = n == 0
	}
}

// judgeFeed compares what Feed consumed with what the machine could consume when it was fed.
func (d *driver) judgeFeed(n int, was waiting) {
	switch was {
	case free:
		if n == 0 && d.begun && d.wait == free {
			d.breach("Feed of %q consumed nothing although the machine waits for no event (state %s)", head(d.pending), d.m.State())
		}
	case onTLS, onEvent:
		if n > 0 {
			d.breach("Feed consumed %q while the machine waits for an event", head(d.pending[:n]))
		}
	case ended:
		if n > 0 {
			d.breach("Feed consumed %q behind the end", head(d.pending[:n]))
		}
	}
}

// actions carries out what the machine asks for until it asks for nothing.
func (d *driver) actions() {
	for range maxActions {
		a := d.m.Next()
		if a.Kind == dialog.None {
			d.judgeLines()
			return
		}
		if d.wait == ended {
			d.breach("action %d behind the end", a.Kind)
		}
		if d.onAction != nil {
			if err := d.onAction(a); err != nil {
				d.breach("%w", err)
			}
		}
		d.carryOut(a)
		scribble(a.Bytes)
		if d.err != nil {
			return
		}
	}
	d.breach("more than %d actions in a row", maxActions)
}

// carryOut notes one action.
func (d *driver) carryOut(a dialog.Action) {
	switch a.Kind {
	case dialog.Write:
		d.write(a)
	case dialog.StartTLS:
		if len(a.Bytes) > 0 {
			d.write(dialog.Action{Bytes: a.Bytes})
		}
		d.wait = onTLS
		d.note("starttls")
	case dialog.LoginReady:
		d.wait = onEvent
		d.note(formatLogin(a.Login))
		a.Login.Wipe()
	case dialog.Relay:
		d.wait = onEvent
		d.note("relay " + quoteText(a.Bytes))
	case dialog.Done:
		d.wait = ended
		d.verdict, d.shown = a.Verdict, "done "+formatVerdict(a.Verdict)
		d.note(d.shown)
	case dialog.Close:
		d.wait, d.closed = ended, true
		d.note("close " + a.Reason.String())
	default:
		d.breach("action of unknown kind %d", a.Kind)
	}
}

// note adds an action that is not a Write.
func (d *driver) note(act string) { d.out = append(d.out, said{act: act}) }

// write adds written bytes, joined with the piece before when both are alike: how output is cut is nobody's business.
func (d *driver) write(a dialog.Action) {
	d.written += len(a.Bytes)
	if d.written > d.maxOutput {
		d.breach("%d bytes written, allowed %d", d.written, d.maxOutput)
	}
	if len(a.Bytes) == 0 {
		d.breach("an empty Write")
	}
	d.out = appendSaid(d.out, said{write: slices.Clone(a.Bytes), secret: a.Secret})
}

// appendSaid adds t to list, as part of the last piece if it can be.
func appendSaid(list []said, t said) []said {
	if last := len(list) - 1; last >= 0 && t.act == "" && list[last].act == "" && list[last].secret == t.secret {
		list[last].write = append(list[last].write, t.write...)
		return list
	}
	return append(list, t)
}

// judgeLines demands that what was written so far is whole lines that end in CRLF and hold no other CR, LF or NUL.
func (d *driver) judgeLines() {
	var all []byte
	for _, t := range d.out {
		all = append(all, t.write...)
	}
	rest := bytes.ReplaceAll(all, []byte("\r\n"), nil)
	if len(all) > 0 && !bytes.HasSuffix(all, []byte("\r\n")) || bytes.ContainsAny(rest, "\r\n\x00") {
		d.breach("written %q, want whole CRLF lines", tailOf(all))
	}
}

// release looks at a verdict for the last time and gives the machine back.
func (d *driver) release() {
	if d.verdict != nil && d.err == nil {
		if now := "done " + formatVerdict(d.verdict); now != d.shown {
			d.breach("verdict was %q at Done and is %q before Release", d.shown, now)
		}
	}
	d.m.Release()
}

// hashes is what bytes are overwritten with; copied, since it is done to every byte of every replay.
var hashes = bytes.Repeat([]byte{'#'}, maxFeed)

// scribble overwrites bytes whose time is over.
func scribble(p []byte) {
	for len(p) > 0 {
		p = p[copy(p, hashes):]
	}
}

// head is the beginning of p for a message.
func head(p []byte) []byte { return p[:min(len(p), 80)] }

// tailOf is the end of p for a message.
func tailOf(p []byte) []byte { return p[max(0, len(p)-80):] }
