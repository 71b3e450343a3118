package dialogtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailsplice/protocols/dialog"
)

var toys = Suite{Role: Server, New: newToy}

func TestTranscripts(t *testing.T) {
	toys.Run(t, "testdata/toy*.txt")
}

// TestReplayCatches feeds transcripts that are wrong, or right ones to machines that are.
func TestReplayCatches(t *testing.T) {
	for _, tc := range []struct {
		fault      fault
		text, want string
	}{
		{"", "S: ho", "want\n\tS: ho"},
		{"", "S: hi\nC: PING", "S: pong"},
		{"", "S: hi\nC: PING\nS: pong\nS: pong", "S: pong\n\tS: pong"},
		{"", "S: hi\nC: LOGIN\n! want login method=password", "identifier"},
		{"", "S: hi\nC: TLS\nS: go\n! want starttls\nC: X", `unconsumed at the end: "X`},
		{"", "S: hi\nC: TLS\nS: go\n! want starttls\nC: X\n! want unconsumed Y", `want "Y"`},
		{"", "S: hi\nC: PING\nS*: pong", "S*: pong"},
		{"", "S: hi\nC: QUIT\nS: bye\n! want close limit", "close logout"},
		{"", "S: hi\nC: DONE\n! want done accepted NO y", "done refused"},
		{keepsInput, "S: hi\nC: PING\nS: pong", "#ING"},
		{sharesBytes, "S: hi\nC: PING\nS: pong\nC: PING\nS: pong", "######"},
		{keepsEvent, "S: hi\nC: ASK\n! want relay \" q\\x00\"\n! relayed a\nS: up a", "#"},
		{stalls, "S: hi\nC: PING\nS: pong", "consumed nothing"},
		{greedy, "S: hi\nC: TLS\nS: go\n! want starttls\nC: PING", "waits for an event"},
		{overreports, "S: hi\nC: PING", "reported 7"},
		{talksAtEnd, "S: hi\nC: QUIT\nS: bye\n! want close logout", "behind the end"},
		{eatsAtEnd, "S: hi\nC: QUIT\nC: X\nS: bye\n! want close logout", "behind the end"},
		{partialLine, "S: hi\nC: PING\nS~ pon", "whole CRLF lines"},
		{splitSees, "S: hi\nC: PING\nS: pong", "bytewise"},
		{floods, "S: hi\nC: PING", "bytes written"},
		{endless, "S: hi\nC: PING", "in a row"},
		{writesNothing, "S: hi\nC: PING", "empty Write"},
	} {
		t.Run(string(tc.fault)+"/"+tc.want, func(t *testing.T) {
			copy(shared, "pong\r\n")
			tr, err := parse("x.txt", tc.text, Server)
			if err != nil {
				t.Fatal(err)
			}
			err = replay(tr, func() dialog.Machine { return &toy{fault: tc.fault} })
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// TestReplaySplits wants a fault that only one split shows to be found.
func TestReplaySplits(t *testing.T) {
	tr, err := parse("x.txt", "S: hi\nC: PING\nS: pong", Server)
	if err != nil {
		t.Fatal(err)
	}
	err = replay(tr, func() dialog.Machine { return &splitAt{at: 3} })
	if got, want := errText(err), "split behind byte 3"; !strings.Contains(got, want) {
		t.Errorf("got error %q, want one with %q", got, want)
	}
}

// splitAt is a toy that answers wrongly when its first line arrives in two pieces cut at one place.
type splitAt struct {
	toy
	at, feeds, first int
}

func (m *splitAt) Feed(p []byte) int {
	if m.feeds++; m.feeds == 1 {
		m.first = len(p)
	}
	n := m.toy.Feed(p)
	if m.feeds == 2 && m.first == m.at && n > 1 {
		m.queue = nil
	}
	return n
}

// TestReplayGlues wants a fault that only pipelining shows to be found.
func TestReplayGlues(t *testing.T) {
	text := "S: hi\nC: PING\nS: pong\nC: PING\nS: pong"
	for _, tc := range []struct{ text, want string }{
		{text, "glued"},
		{"stepwise\n" + text, ""},
	} {
		tr, err := parse("x.txt", tc.text, Server)
		if err != nil {
			t.Fatal(err)
		}
		err = replay(tr, func() dialog.Machine { return &glutton{} })
		if got := errText(err); !strings.HasPrefix(got, tc.want) || tc.want == "" && got != "" {
			t.Errorf("%q: got error %q, want %q", tc.text, got, tc.want)
		}
	}
}

// glutton consumes everything at once and forgets what lies behind the first line.
type glutton struct{ toy }

func (m *glutton) Feed(p []byte) int {
	m.toy.Feed(p)
	return len(p)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"hello", "neither said nor an event"},
		{"C- x", "mark"},
		{`C~ \q`, "escapes"},
		{"C~ repeat 0 x", "repeat"},
		{"C~ repeat 9999999999 x", "repeat"},
		{"C*: x", "star"},
		{"! hello", "unknown"},
		{"! begin now", "unknown"},
		{"! want hello", "unknown"},
		{"! want done perhaps", "outcome"},
		{"! want login colour=red", "colour"},
		{`! want relay "x`, "text"},
	} {
		_, err := parse("x.txt", "# first\n"+tc.text, Server)
		if got := errText(err); !strings.Contains(got, tc.want) || !strings.HasPrefix(got, "x.txt:2: ") {
			t.Errorf("%q: got error %q, want x.txt:2 with %q", tc.text, got, tc.want)
		}
	}
}

func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.txt")
	const before = "# rule\n\nS: old\n! expects\n"
	const text = "# rule\n\nS: old\n# note\nC: PING\nS: gone\nC: TLS\n! want starttls\nC: X\n! want unconsumed Y\n"
	const want = "# rule\n\nS: hi\n# note\nC: PING\nS: pong\nC: TLS\nS: go\n! want starttls\nC: X\n" +
		"! want unconsumed \"X\\r\\n\"\n"
	if _, err := parse(path, before, Server); err == nil {
		t.Errorf("parse(%q): no error", before)
	}
	tr, err := parse(path, text, Server)
	if err != nil {
		t.Fatal(err)
	}
	if err := rewrite(tr, func() dialog.Machine { return &toy{} }); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if tr, err = parse(path, want, Server); err != nil {
		t.Fatal(err)
	}
	if err := replay(tr, func() dialog.Machine { return &toy{} }); err != nil {
		t.Error(err)
	}
}

func TestFuzzCatches(t *testing.T) {
	for _, tc := range []struct {
		fault      fault
		data, want string
	}{
		{"", "PING\r\nTLS\r\nx\xfft\xffx", ""},
		{"", "LOGIN\r\n\xffaOK\r\xfd* x\n\xfdA\xfePING\r\n", ""},
		{"", "\xffbPING\xff\xff\r\n", ""},
		{keepsInput, "PING\r\nPING\r\n", "#"},
		{splitSees, "PING\r\nPING\r\n", "bytewise"},
		{eatsAtEnd, "QUIT\r\nx", "behind the end"},
		{talksAtEnd, "QUIT\r\nx", "behind the end"},
		{partialLine, "PING\r\n", "whole CRLF lines"},
		{floods, "PING\r\n", "bytes written"},
		{hoards, "PIN\r\nPING\r\n", "bytes held"},
	} {
		copy(shared, "pong\r\n")
		err := fuzz(func() dialog.Machine { return &toy{fault: tc.fault} }, []byte(tc.data), FuzzOptions{
			Held:    func(m dialog.Machine) int { return len(m.(*toy).line) },
			MaxHeld: 8,
		})
		if got := errText(err); !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
			t.Errorf("%s %q: got error %q, want %q", tc.fault, tc.data, got, tc.want)
		}
	}
}

func TestFuzzShowsActions(t *testing.T) {
	errLeak := errors.New("pong outside TLS")
	check := func(s Seen) error {
		if string(s.Action.Bytes) == "pong\r\n" && !s.TLS {
			return errLeak
		}
		return nil
	}
	for _, tc := range []struct {
		data string
		want error
	}{
		{"PING\r\n", errLeak},
		{"\xffbPIN\xfftG\r\nPING\r\n", errLeak},
		{"TLS\r\n\xfftPING\r\n", nil},
	} {
		err := fuzz(func() dialog.Machine { return &toy{} }, []byte(tc.data), FuzzOptions{OnAction: check})
		if !errors.Is(err, tc.want) {
			t.Errorf("%q: got error %v, want %v", tc.data, err, tc.want)
		}
	}
}

func TestSeeds(t *testing.T) {
	for _, s := range toys.Seeds(t, "testdata/toy*.txt") {
		if err := fuzz(func() dialog.Machine { return newToy(t, s.Options) }, s.Data, FuzzOptions{}); err != nil {
			t.Error(err)
		}
		if strings.Count(string(s.Data), "PING") == 0 {
			t.Errorf("program %q holds no input", s.Data)
		}
	}
}

// TestVerdictKept wants a machine caught that changes its verdict behind Done.
func TestVerdictKept(t *testing.T) {
	tr, err := parse("x.txt", "S: hi\nC: DONE\n! want done refused before=\"* x\\r\\n\" NO y\n! expire", Server)
	if err != nil {
		t.Fatal(err)
	}
	err = replay(tr, func() dialog.Machine { return &fickle{} })
	if got, want := errText(err), "before Release"; !strings.Contains(got, want) {
		t.Errorf("got error %q, want one with %q", got, want)
	}
}

type fickle struct{ toy }

func (m *fickle) Tell(e dialog.Event) {
	m.toy.Tell(e)
	clear(m.verdict.Answer)
}
