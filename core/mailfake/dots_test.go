package mailfake

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

var dotted = []struct{ name, content, wire string }{
	{"empty", "", ".\r\n"},
	{"one line", "a\r\n", "a\r\n.\r\n"},
	{"no CRLF at the end", "a", "a\r\n.\r\n"},
	{"a dot", ".\r\n", "..\r\n.\r\n"},
	{"dots", "..\r\n.a\r\n", "...\r\n..a\r\n.\r\n"},
	{"dot inside", "a.\r\nb.c\r\n", "a.\r\nb.c\r\n.\r\n"},
	{"behind LF alone", "a\n.\nb\r\n", "a\n.\nb\r\n.\r\n"},
	{"behind CR alone", "a\r.\rb\r\n", "a\r.\rb\r\n.\r\n"},
	{"behind LF CR", "a\n\r.b\r\n", "a\n\r.b\r\n.\r\n"},
	{"behind CR CR LF", "a\r\r\n.b\r\n", "a\r\r\n..b\r\n.\r\n"},
	{"empty lines", "\r\n\r\n.\r\n\r\n", "\r\n\r\n..\r\n\r\n.\r\n"},
	{"CR at the end", "a\r", "a\r\r\n.\r\n"},
}

func TestDotsAreDoubled(t *testing.T) {
	for _, tc := range dotted {
		for step := range 3 {
			var out bytes.Buffer
			d := &stuffer{w: &out}
			for rest := tc.content; rest != ""; {
				n := min(step+1, len(rest))
				_, _ = d.Write([]byte(rest[:n])) // a Buffer never fails
				rest = rest[n:]
			}
			ok(t, d.end())
			if out.String() != tc.wire {
				t.Errorf("%s by %d: got %q, want %q", tc.name, step+1, out.String(), tc.wire)
			}
		}
	}
}

// What is sent arrives: once doubled by the client, once as it stands on the wire.
func TestMessagesArriveByteForByte(t *testing.T) {
	c, b := dialFamily(t, SMTP, Options{})
	for i, tc := range dotted {
		want := tc.content
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		must[[]Reply](t)(c.Deliver("a@example.org", []string{"b@example.org"}, strings.NewReader(tc.content)))
		must[[]Reply](t)(c.DeliverRaw("a@example.org", []string{"b@example.org"}, tc.wire))
		for _, m := range b.Messages()[2*i:] {
			if got := string(m.Content()); got != want || string(m.Raw) != strings.TrimSuffix(tc.wire, ".\r\n") {
				t.Errorf("%s: got %q, on the wire %q; want %q and %q", tc.name, got, m.Raw, want, tc.wire)
			}
		}
	}
	if got := b.Counts().Messages; got != 2*len(dotted) {
		t.Errorf("got %d messages, want %d", got, 2*len(dotted))
	}
}

// Nothing but CRLF, dot, CRLF ends a message, wherever the reader's buffer ends.
func TestWhatDoesNotEndAMessage(t *testing.T) {
	c, b := dialFamily(t, SMTP, Options{})
	for pad := 4090; pad < 4100; pad++ {
		body := strings.Repeat("x", pad) + "\n.\n\r.\r\n.\n\n.\r\ny\r\n..\r\n. \r\nz\r\n"
		must[[]Reply](t)(c.DeliverRaw("a", []string{"b"}, body+".\r\n"))
		got := b.Messages()
		if raw := string(got[len(got)-1].Raw); raw != body {
			t.Errorf("after %d bytes: got %d bytes ending in %q, want %d", pad, len(raw), raw[max(0, len(raw)-20):], len(body))
		}
	}
	ok(t, c.Quit())
	if got := fmt.Sprint(b.Sessions()[0].Commands); got != "32" { // EHLO, ten times MAIL, RCPT and DATA, QUIT
		t.Errorf("got %s commands, want 32", got)
	}
}
