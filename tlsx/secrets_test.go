package tlsx

import (
	"bytes"
	"strings"
	"testing"
)

func TestSecrets(t *testing.T) {
	random, long, short := strings.Repeat("0a", 32), strings.Repeat("5c", 48), strings.Repeat("5c", 32)
	tests := []struct {
		name, line             string
		client, server, master int // bytes kept
	}{
		{"client", "CLIENT_TRAFFIC_SECRET_0 " + random + " " + short + "\n", 32, 0, 0},
		{"server", "SERVER_TRAFFIC_SECRET_0 " + random + " " + long + "\n", 0, 48, 0},
		{"master", "CLIENT_RANDOM " + random + " " + long + "\n", 0, 0, 48},
		{"handshake secret", "SERVER_HANDSHAKE_TRAFFIC_SECRET " + random + " " + long + "\n", 0, 0, 0},
		{"longer than a secret", "CLIENT_RANDOM " + random + " " + long + "00\n", 0, 0, 0},
		{"short random", "CLIENT_RANDOM 0a " + long + "\n", 0, 0, 0},
		{"not hexadecimal", "CLIENT_RANDOM " + random + " zz\n", 0, 0, 0},
		{"random not hexadecimal", "CLIENT_RANDOM " + strings.Repeat("zz", 32) + " " + long + "\n", 0, 0, 0},
		{"no secret", "CLIENT_RANDOM\n", 0, 0, 0},
		{"empty", "", 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s secrets
			line := []byte(tt.line)
			if n, err := s.Write(line); n != len(line) || err != nil {
				t.Errorf("got %d, %v, want %d", n, err, len(line))
			}
			if got, want := [3]int{len(s.client.bytes()), len(s.server.bytes()), len(s.master.bytes())}, [3]int{tt.client, tt.server, tt.master}; got != want {
				t.Errorf("got %v bytes, want %v", got, want)
			}
			if !bytes.Equal(line, make([]byte, len(line))) {
				t.Error("the line was not wiped")
			}
			if kept := append(append(s.client.bytes(), s.server.bytes()...), s.master.bytes()...); len(kept) > 0 && kept[0] != 0x5c {
				t.Errorf("got %x", kept)
			}
			if s.wipe(); s != (secrets{}) {
				t.Error("something is left after wiping")
			}
		})
	}
}

// After a handshake, whatever came of it, the wire holds no secret.
func TestSecretsAreGone(t *testing.T) {
	server, client := newServer(t), newClient(t)
	ours, conn, taken, _ := accept(t, server, clientConfig(tls12(0xc013))) // lane conn keeps its wire
	exchange(t, ours, conn)
	if w := taken.Conn.NetConn().(*wire); w.secrets != (secrets{}) || w.flight != nil {
		t.Error("lane conn: secrets are kept")
	}
	ours, conn, taken = dial(t, client, backend(t))
	exchange(t, ours, conn)
	if w := taken.Tickets.wire; w.secrets != (secrets{}) {
		t.Error("tickets: secrets are kept")
	}
}
