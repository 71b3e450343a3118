package dialogtest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailsplice/protocols/dialog"
)

var update = flag.Bool("update", false, "rewrite the machine's own lines in transcripts")

// Suite is what a test supplies to have transcripts replayed.
type Suite struct {
	Role Role
	// New makes a fresh machine as the options of a transcript say. It must end the test at an option that it does not
	// know.
	New func(tb testing.TB, options []Option) dialog.Machine
}

// Run replays every transcript that matches glob, each as a subtest. No match is a failure.
func (s Suite) Run(t *testing.T, glob string) {
	for _, path := range match(t, glob) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			tr, err := load(path, s.Role)
			if err != nil {
				t.Fatal(err)
			}
			newMachine := func() dialog.Machine { return s.New(t, tr.options) }
			if *update {
				if err := rewrite(tr, newMachine); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err := replay(tr, newMachine); err != nil {
				t.Error(err)
			}
		})
	}
}

// match lists the files of glob.
func match(tb testing.TB, glob string) []string {
	tb.Helper()
	paths, err := filepath.Glob(glob)
	if err != nil || len(paths) == 0 {
		tb.Fatalf("transcripts %q: %d found, error %v", glob, len(paths), err)
	}
	return paths
}

// step is one thing that happens to the machine and what it does then.
type step struct {
	at     int // line that drives it, the last one of several; -1 for a Begin that is not written
	input  []byte
	event  *event
	look   bool // compare the pending input with expect
	expect []byte
	after  []*event // told once the input is used up or the machine waits
	want   []said
}

// steps groups the lines of a transcript.
func (tr *transcript) steps() []step {
	var list []step
	if !tr.opensWithEvent() {
		list = append(list, step{at: -1, event: &event{kind: dialog.Begin}})
	}
	for i, ln := range tr.lines {
		last := len(list) - 1
		switch ln.kind {
		case input:
			if last < 0 || list[last].input == nil || list[last].want != nil {
				list = append(list, step{})
				last++
			}
			list[last].at = i
			list[last].input = append(list[last].input, ln.data...)
		case told:
			list = append(list, step{at: i, event: &ln.tell})
		case unconsumed:
			list = append(list, step{at: i, look: true, expect: ln.data})
		case own:
			list[last].want = appendSaid(list[last].want, said{write: slices.Clone(ln.data), secret: ln.star})
		case want:
			list[last].want = append(list[last].want, said{act: ln.want})
		}
	}
	return list
}

// opensWithEvent reports whether the dialogue's first line is an event, which then stands for Begin.
func (tr *transcript) opensWithEvent() bool {
	for _, ln := range tr.lines {
		if ln.kind != comment && ln.kind != option {
			return ln.kind == told
		}
	}
	return false
}

// cut says how the n-th byte of all input is to be treated: true ends a feed behind it.
type cut func(n int) bool

// replay runs the transcript in every way and reports the first difference.
func replay(tr *transcript, newMachine func() dialog.Machine) error {
	list := tr.steps()
	whole := func(int) bool { return false }
	if err := replayOnce(tr, list, newMachine(), whole); err != nil {
		return fmt.Errorf("whole: %w", err)
	}
	if err := replayOnce(tr, list, newMachine(), func(int) bool { return true }); err != nil {
		return fmt.Errorf("bytewise: %w", err)
	}
	for _, at := range splitPoints(list) {
		if err := replayOnce(tr, list, newMachine(), func(n int) bool { return n == at }); err != nil {
			return fmt.Errorf("split behind byte %d of the input: %w", at, err)
		}
	}
	if tr.role == Client || tr.stepwise {
		return nil
	}
	if err := replayOnce(tr, glue(list), newMachine(), whole); err != nil {
		return fmt.Errorf("glued: %w", err)
	}
	return nil
}

// replayOnce runs the steps on m, cutting input where c says so.
func replayOnce(tr *transcript, list []step, m dialog.Machine, c cut) error {
	d := &driver{m: m, maxOutput: maxRepeat}
	err := d.run(tr, list, c)
	if d.release(); err == nil {
		err = d.err
	}
	return err
}

// run drives the machine through the steps.
func (d *driver) run(tr *transcript, list []step, c cut) error {
	fed := 0
	for _, s := range list {
		if s.event != nil {
			d.tell(s.event)
		}
		for from := 0; from < len(s.input); {
			to := from + 1
			for to < len(s.input) && !c(fed+to) {
				to++
			}
			d.feed(s.input[from:to])
			from = to
		}
		fed += len(s.input)
		for _, e := range s.after {
			d.tell(e)
		}
		if err := d.compare(tr, s); err != nil {
			return err
		}
	}
	return d.judgePending(list)
}

// compare checks what the machine did at step s.
func (d *driver) compare(tr *transcript, s step) error {
	where := fmt.Sprintf("%s:%d", tr.path, s.at+1)
	if d.err != nil {
		return fmt.Errorf("%s: %w", where, d.err)
	}
	if s.look && string(d.pending) != string(s.expect) {
		return fmt.Errorf("%s: unconsumed %q, want %q", where, d.pending, s.expect)
	}
	got, wanted := tr.render(d.take()), tr.render(s.want)
	if !slices.Equal(got, wanted) {
		return fmt.Errorf("%s: got (state %s)\n\t%s\nwant\n\t%s", where, d.m.State(), shorten(got), shorten(wanted))
	}
	return nil
}

// judgePending reports input that no look has shown. Behind a Close it is worth nothing and depends on how it was cut.
func (d *driver) judgePending(list []step) error {
	var expect []byte
	for _, s := range list {
		if s.look {
			expect = s.expect
		}
	}
	if d.closed || string(d.pending) == string(expect) || len(d.pending) == 0 {
		return nil
	}
	return fmt.Errorf("unconsumed at the end: %q", head(d.pending))
}

// render puts output into lines of a transcript.
func (tr *transcript) render(out []said) []string {
	var lines []string
	for _, t := range out {
		if t.act != "" {
			lines = append(lines, "! want "+t.act)
			continue
		}
		lines = append(lines, formatSaid(tr.role.letter(), t)...)
	}
	return lines
}

// shorten joins lines for a message.
func shorten(lines []string) string {
	short := make([]string, len(lines))
	for i, ln := range lines {
		short[i] = ln
		if len(ln) > 300 {
			short[i] = fmt.Sprintf("%s… (%d bytes)", ln[:300], len(ln))
		}
	}
	return strings.Join(short, "\n\t")
}

// maxSplits bounds how many positions of a long transcript are tried, maxSplitWork all that is fed for that, in bytes.
const (
	maxSplits    = 512
	maxSplitWork = 4 << 20
)

// splitPoints lists the positions, counted over all input, at which one chunk is cut in two.
func splitPoints(list []step) []int {
	var near, far []int
	fed := 0
	for _, s := range list {
		for i := 1; i < len(s.input); i++ {
			if lineEndWithin(s.input, i, 2) {
				near = append(near, fed+i)
			} else {
				far = append(far, fed+i)
			}
		}
		fed += len(s.input)
	}
	most := min(maxSplits, maxSplitWork/max(fed, 1))
	if len(near)+len(far) <= most {
		return append(near, far...)
	}
	return append(sample(near, most/2), sample(far, most/2)...)
}

// lineEndWithin reports whether a CR or LF stands within n bytes of position i.
func lineEndWithin(p []byte, i, n int) bool {
	around := p[max(0, i-n):min(len(p), i+n)]
	return slices.Contains(around, '\r') || slices.Contains(around, '\n')
}

// sample takes at most n of list, evenly.
func sample(list []int, n int) []int {
	if len(list) <= n {
		return list
	}
	out := make([]int, n)
	for i := range out {
		out[i] = list[i*len(list)/n]
	}
	return out
}

// glue joins steps so that a machine in the server's role gets its input pipelined: all input up to the next event
// that does not answer the machine itself. What it does is then one list.
func glue(list []step) []step {
	var out []step
	for i := 0; i < len(list); {
		end := i + 1
		for end < len(list) && !list[end].barrier() {
			end++
		}
		out = append(out, glueGroup(list[i:end])...)
		i = end
	}
	return out
}

// barrier reports whether input behind the step must not be fed ahead of it.
func (s *step) barrier() bool {
	switch {
	case s.look:
		return true
	case s.event == nil:
		return false
	case s.event.kind == dialog.Relayed:
		return false
	}
	return s.event.kind != dialog.Decided || s.event.verdict.Outcome == dialog.Accepted
}

// glueGroup orders one group: its barrier, all its input, then the answering events; the wants stay with the last.
func glueGroup(group []step) []step {
	feed := step{at: group[0].at}
	var out []step
	for i, s := range group {
		switch {
		case i == 0 && s.barrier():
			out = append(out, step{at: s.at, event: s.event, look: s.look, expect: s.expect, want: s.want})
			continue
		case s.event != nil:
			feed.after = append(feed.after, s.event)
		}
		feed.input = append(feed.input, s.input...)
		for _, w := range s.want {
			feed.want = appendSaid(feed.want, said{write: slices.Clone(w.write), secret: w.secret, act: w.act})
		}
	}
	return append(out, feed)
}

// rewrite replays the transcript whole and writes what the machine did into the file.
func rewrite(tr *transcript, newMachine func() dialog.Machine) error {
	d := &driver{m: newMachine(), maxOutput: maxRepeat}
	defer d.release()
	done := make(map[int][]string)
	looks := make(map[int]string)
	for _, s := range tr.steps() {
		if s.event != nil {
			d.tell(s.event)
		}
		d.feed(s.input)
		if s.look {
			looks[s.at] = "! want unconsumed " + quoteText(d.pending)
		}
		done[s.at] = tr.render(d.take())
	}
	if d.err != nil {
		return fmt.Errorf("%s: %w", tr.path, d.err)
	}
	return os.WriteFile(tr.path, []byte(tr.withOutput(done, looks)), 0o644)
}

// withOutput is the text of the transcript with its own lines replaced; done holds them by the line they follow.
func (tr *transcript) withOutput(done map[int][]string, looks map[int]string) string {
	var b strings.Builder
	emit := func(at int) {
		for _, ln := range done[at] {
			b.WriteString(ln + "\n")
		}
		delete(done, at)
	}
	for i, ln := range tr.lines {
		if ln.kind != comment && ln.kind != option {
			emit(-1)
		}
		if ln.kind == own || ln.kind == want {
			continue
		}
		text := ln.raw
		if seen, ok := looks[i]; ok {
			text = seen
		}
		b.WriteString(text + "\n")
		emit(i)
	}
	emit(-1)
	return b.String()
}
