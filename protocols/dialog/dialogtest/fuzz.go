package dialogtest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"mailsplice/protocols/dialog"
)

// A fuzz program is input bytes, except that byteMark and a code are an event, texts of which end at byteEnd; byteMark
// twice is that byte itself. None of them occurs in UTF-8.
const (
	byteMark = 0xff
	byteEnd  = 0xfe
	byteSep  = 0xfd // between answer, lines before it and capabilities of a verdict
)

// eventCodes names the events of a program; those of textCodes carry text.
var eventCodes = map[byte]dialog.EventKind{
	'b': dialog.Begin, 't': dialog.TLSUp, 'x': dialog.Expire, 'd': dialog.Drain, 'u': dialog.Busy, 'k': dialog.Kicked,
	'l': dialog.Relayed, 'a': dialog.Decided, 'r': dialog.Decided, 'n': dialog.Decided,
}

var textCodes = map[byte]dialog.Outcome{'l': 0, 'a': dialog.Accepted, 'r': dialog.Refused, 'n': dialog.Unavailable}

// maxProgram bounds a program in bytes: twice what one command may have (SPEC 3).
const maxProgram = 128 << 10

// Seed is a transcript as a fuzz program.
type Seed struct {
	Options []Option
	Data    []byte
}

// Seeds turns the transcripts that match glob into fuzz programs.
func (s Suite) Seeds(tb testing.TB, glob string) []Seed {
	tb.Helper()
	var seeds []Seed
	for _, path := range match(tb, glob) {
		tr, err := load(path, s.Role)
		if err != nil {
			tb.Fatal(err)
		}
		seeds = append(seeds, Seed{tr.options, tr.program()})
	}
	return seeds
}

// program is the input and the events of a transcript.
func (tr *transcript) program() []byte {
	var out []byte
	for _, s := range tr.steps() {
		if s.event != nil && s.at >= 0 {
			out = append(out, s.event.program()...)
		}
		out = append(out, bytes.ReplaceAll(s.input, []byte{byteMark}, []byte{byteMark, byteMark})...)
	}
	return out
}

// program is one event.
func (e *event) program() []byte {
	for code, kind := range eventCodes {
		outcome, text := textCodes[code]
		if kind != e.kind || outcome != e.verdict.Outcome {
			continue
		}
		out := []byte{byteMark, code}
		if kind == dialog.Decided {
			v := &e.verdict
			out = append(out, bytes.Join([][]byte{v.Answer, v.Before, v.Capabilities}, []byte{byteSep})...)
		}
		if out = append(out, e.bytes...); text {
			out = append(out, byteEnd)
		}
		return out
	}
	return nil
}

// decode turns a program into steps. As in a transcript, Begin comes by itself unless an event opens it.
func decode(data []byte) []step {
	var list []step
	if len(data) < 2 || data[0] != byteMark || eventCodes[data[1]] == 0 {
		list = append(list, step{event: &event{kind: dialog.Begin}})
	}
	for len(data) > 0 {
		at := bytes.IndexByte(data, byteMark)
		switch {
		case at < 0:
			return append(list, step{input: data})
		case at > 0:
			list = append(list, step{input: data[:at]})
		}
		if data = data[at+1:]; len(data) == 0 {
			return list
		}
		code := data[0]
		data = data[1:]
		switch outcome, text := textCodes[code]; {
		case text:
			var body []byte
			body, data, _ = bytes.Cut(data, []byte{byteEnd})
			list = append(list, step{event: textEvent(outcome, body)})
		case eventCodes[code] != 0:
			list = append(list, step{event: &event{kind: eventCodes[code]}})
		case code == byteMark:
			list = append(list, step{input: []byte{byteMark}})
		}
	}
	return list
}

// textEvent is Relayed for outcome 0, else Decided. A verdict is made to keep the contract: an answer without CR, LF
// and NUL, whole lines before it.
func textEvent(outcome dialog.Outcome, body []byte) *event {
	if outcome == 0 {
		return &event{kind: dialog.Relayed, bytes: body}
	}
	parts := append(bytes.SplitN(body, []byte{byteSep}, 3), nil, nil)
	v := dialog.Verdict{Outcome: outcome, Answer: oneLine(parts[0]), Capabilities: oneLine(parts[2])}
	for ln := range bytes.SplitSeq(parts[1], []byte("\n")) {
		if ln = oneLine(ln); len(ln) > 0 {
			v.Before = append(append(v.Before, ln...), "\r\n"...)
		}
	}
	return &event{kind: dialog.Decided, verdict: v}
}

// oneLine drops what may not stand inside a line.
func oneLine(p []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return -1
		}
		return r
	}, p)
}

// Seen is an action as the machine under Fuzz asks for it.
type Seen struct {
	Action dialog.Action
	// TLS: the machine has asked for StartTLS and was told TLSUp.
	TLS bool
}

// FuzzOptions says what else a machine is held to.
type FuzzOptions struct {
	// MaxOutput bounds all that is written, in bytes; 0: 64 KiB and 64 times the program.
	MaxOutput int
	// OnAction is asked about every action before it is carried out, if set.
	OnAction func(Seen) error
	// Held reports how many bytes of buffers the machine holds, which may never exceed MaxHeld, if set.
	Held    func(dialog.Machine) int
	MaxHeld int
}

// Fuzz runs the program data on machines made by newMachine: in whole chunks, bytewise and in uneven pieces. It fails
// the test when one of them breaks the contract of package dialog or they differ in what they do.
func Fuzz(tb testing.TB, newMachine func() dialog.Machine, data []byte, o FuzzOptions) {
	tb.Helper()
	if err := fuzz(newMachine, data, o); err != nil {
		tb.Fatal(err)
	}
}

func fuzz(newMachine func() dialog.Machine, data []byte, o FuzzOptions) error {
	if len(data) > maxProgram {
		return nil
	}
	if o.MaxOutput == 0 {
		o.MaxOutput = 64<<10 + 64*len(data)
	}
	list := decode(data)
	cuts := []struct {
		name string
		cut  cut
	}{
		{"whole", func(int) bool { return false }},
		{"bytewise", func(int) bool { return true }},
		{"uneven", func(n int) bool { return n*n%7 == 1 || n%13 == 0 }},
	}
	var first []string
	for i, c := range cuts {
		seen, err := fuzzOnce(newMachine(), list, c.cut, o)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if i == 0 {
			first = seen
		} else if !slices.Equal(seen, first) {
			return fmt.Errorf("%s: got\n\t%s\nwhole\n\t%s", c.name, shorten(seen), shorten(first))
		}
	}
	return nil
}

// fuzzOnce runs the steps and returns all that the machine did, events marked, and the tail.
func fuzzOnce(m dialog.Machine, list []step, c cut, o FuzzOptions) ([]string, error) {
	d := &driver{m: m, maxOutput: o.MaxOutput}
	tls := false
	if o.OnAction != nil {
		d.onAction = func(a dialog.Action) error { return o.OnAction(Seen{a, tls}) }
	}
	tr := &transcript{role: Server}
	var seen []string
	fed := 0
	for _, s := range list {
		if s.event != nil {
			tls = tls || s.event.kind == dialog.TLSUp && d.wait == onTLS
			d.tell(s.event)
		}
		for from := 0; from < len(s.input) && d.err == nil; {
			to := from + 1
			for to < len(s.input) && !c(fed+to) {
				to++
			}
			d.feed(s.input[from:to])
			d.judgeHeld(o)
			from = to
		}
		fed += len(s.input)
		seen = append(append(seen, tr.render(d.take())...), "--")
	}
	if !d.closed {
		seen = append(seen, fmt.Sprintf("tail %q", d.pending))
	}
	d.release()
	return seen, d.err
}

// judgeHeld compares the machine's buffers with their bound.
func (d *driver) judgeHeld(o FuzzOptions) {
	if o.Held == nil {
		return
	}
	if n := o.Held(d.m); n > o.MaxHeld {
		d.breach("%d bytes held, allowed %d", n, o.MaxHeld)
	}
}
