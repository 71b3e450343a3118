package mock

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// script is a layer that hands out pieces, and keeps what is written.
type script struct {
	pieces []string
	out    strings.Builder
}

func (s *script) read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, errNothing
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *script) write(p []byte) error {
	s.out.Write(p)
	return nil
}

// play is what a session answers to the pieces, and how it ends.
func play(pieces ...string) (out string, joined bool, err error) {
	l := &script{pieces: pieces}
	s := &session{name: "b0", layer: l}
	err = s.work()
	return l.out.String(), s.joined, err
}

const loggedIn = " OK [CAPABILITY IMAP4rev1 LITERAL+ ID IDLE] logged in on b0\r\n"

func TestSession(t *testing.T) {
	tests := []struct {
		name, in, want string
		joined         bool
		err            error
	}{
		{"capability", "a CAPABILITY\r\n", "* CAPABILITY " + capabilities + "\r\na OK done\r\n", false, nil},
		{"login", "a LOGIN u p\r\n", "a" + loggedIn, true, nil},
		{"authenticate", "a AUTHENTICATE PLAIN AHUAcA==\r\n", "a" + loggedIn, true, nil},
		{"login with literals", "a LOGIN {1}\r\nu {1}\r\np\r\nb NOOP\r\n", "+ go on\r\n+ go on\r\na" + loggedIn + "b OK done\r\n", true, nil},
		{"literals without end", strings.Repeat("{7}\r\n", maxLineBytes/3+1), strings.Repeat("+ go on\r\n", maxLineBytes/3), false, errLine},
		{"verbs in any case", "a noop\r\n", "a OK done\r\n", false, nil},
		{"id", "a ID (\"x\" \"y\")\r\n", "* ID NIL\r\na OK done\r\n", false, nil},
		{"pipelined", "a NOOP\r\nb NOOP\r\n", "a OK done\r\nb OK done\r\n", false, nil},
		{"idle and done", "a IDLE\r\nDONE\r\nb NOOP\r\n", "+ idling\r\na OK done\r\nb OK done\r\n", false, nil},
		{"source", "a XSOURCE 5\r\nb NOOP\r\n", "* SOURCE 5\r\n\x00\x00\x00\x00\x00a OK done\r\nb OK done\r\n", false, nil},
		{"sink of what looks like commands", "a XSINK 12\r\nx\r\nNOOP 12\r\nb NOOP\r\n", "a OK done\r\nb OK done\r\n", false, nil},
		{"sink and more", "a XSINK 7\r\n1\n34567b NOOP\r\n", "a OK done\r\nb OK done\r\n", false, nil},
		{"logout", "a LOGOUT\r\nb NOOP\r\n", "* BYE\r\na OK done\r\n", false, errLogout},
		{"unknown", "a DANCE\r\n", "a BAD unknown\r\n", false, nil},
		{"half a line", "a NOO", "", false, nil},
		{"a line without end", strings.Repeat("x", maxLineBytes+1), "", false, errLine},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, joined, err := play(tt.in)
			if out != tt.want || joined != tt.joined || !errors.Is(err, tt.err) {
				t.Errorf("got %q, joined %v, %v; want %q, %v, %v", out, joined, err, tt.want, tt.joined, tt.err)
			}
			step := max(1, len(tt.in)/100)
			for i := 1; i < len(tt.in); i += step {
				split, joined, err := play(tt.in[:i], tt.in[i:])
				if split != tt.want || joined != tt.joined || !errors.Is(err, tt.err) {
					t.Errorf("split at %d: got %q, joined %v, %v; want %q, %v, %v", i, split, joined, err, tt.want, tt.joined, tt.err)
				}
			}
		})
	}
}

func TestBulkBytes(t *testing.T) {
	for _, args := range []string{"", "0", "-1", "x", "1 2", fmt.Sprint(maxBulkBytes + 1)} {
		for _, verb := range []string{"XSOURCE", "XSINK"} {
			if out, _, err := play("a " + verb + " " + args + "\r\n"); err == nil {
				t.Errorf("%s %q: got %q, want an end", verb, args, out)
			}
		}
	}
}

// A large source is sent piece by piece, and complete.
func TestLargeSource(t *testing.T) {
	const n = 3*pieceBytes + 17
	out, _, err := play(fmt.Sprintf("a XSOURCE %d\r\n", n))
	head := fmt.Sprintf("* SOURCE %d\r\n", n)
	if want := len(head) + n + len("a OK done\r\n"); err != nil || len(out) != want || !strings.HasPrefix(out, head) {
		t.Errorf("got %d bytes, %v; want %d", len(out), err, want)
	}
}
