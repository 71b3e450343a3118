package passthrough

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/dialog/dialogtest"
)

// clients replays what a client sees. Option: hostname (default proxy.example.org).
var clients = dialogtest.Suite{Role: dialogtest.Server, New: newClient}

func TestClientTranscripts(t *testing.T) { clients.Run(t, "testdata/client-*.txt") }

func newClient(tb testing.TB, options []dialogtest.Option) dialog.Machine {
	hostname := "proxy.example.org"
	for _, opt := range options {
		if opt.Key != "hostname" {
			tb.Fatalf("option %q is unknown", opt.Key)
		}
		hostname = opt.Value
	}
	return NewClientSide(hostname)
}

// TestReplies wants every text of replies.go in some transcript.
func TestReplies(t *testing.T) {
	source, err := os.ReadFile("replies.go")
	if err != nil {
		t.Fatal(err)
	}
	paths, _ := filepath.Glob("testdata/*.txt")
	var said strings.Builder
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(text)
	}
	found := regexp.MustCompile(`(?m)^\t\w+ += "([^"]{4,})"`).FindAllSubmatch(source, -1)
	if len(found) != 11 {
		t.Fatalf("%d texts found in replies.go, want 11", len(found))
	}
	for _, reply := range found {
		if !strings.Contains(said.String(), string(reply[1])) {
			t.Errorf("%q is in no transcript", reply[1])
		}
	}
}

// FuzzClientSide lets anything happen and wants that no byte of the client is ever consumed.
func FuzzClientSide(f *testing.F) {
	for _, s := range clients.Seeds(f, "testdata/client-*.txt") {
		f.Add(s.Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		logins := 0
		dialogtest.Fuzz(t, func() dialog.Machine { logins = 0; return mute{NewClientSide("proxy.example.org")} }, data, dialogtest.FuzzOptions{
			OnAction: func(s dialogtest.Seen) error {
				switch s.Action.Kind {
				case dialog.LoginReady:
					logins++
				case dialog.Write, dialog.Close:
				default:
					return errors.New("an action that has no place here")
				}
				if logins > 1 {
					return errors.New("a second login")
				}
				return nil
			},
		})
	})
}

// mute is a client side whose every Feed is judged.
type mute struct{ *ClientSide }

func (m mute) Feed(p []byte) int {
	if n := m.ClientSide.Feed(p); n != 0 {
		panic("bug: a byte of a pass-through session is consumed")
	}
	return 0
}
