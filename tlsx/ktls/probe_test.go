package ktls

import (
	"errors"
	"strings"
	"testing"

	"mailsplice/tlsx/record"
)

// What Probe finds agrees with itself; in a virtual machine it is everything but KeyUpdate.
func TestProbe(t *testing.T) {
	s := support()
	t.Log("can:", s)
	missing := s.Missing()
	if inVM && len(missing) > 0 {
		t.Errorf("this kernel cannot: %v", missing)
	}
	if s.Any() != (len(missing) < len(versions)*len(ciphers)*2) || s.Any() == (s.String() == "nothing") {
		t.Errorf("any: %v, missing %d, can %v", s.Any(), len(missing), s)
	}
	if !s.Any() && (s.Rekeys(TX) || s.Rekeys(RX)) {
		t.Error("takes a second key, but no first one")
	}
}

// A Support is asked by keys, and says what it lacks in the kernel's words.
func TestSupport(t *testing.T) {
	secret := make([]byte, 48)
	aes128, _ := record.NewHalf13(0x1301, secret[:32])
	aes256, _ := record.NewHalf13(0x1302, secret)
	chacha12, _ := record.NewHalf12(0xcca8, secret[:32], secret[:12], 1)
	some := new(Support)
	some.lacks[1][1] = [2]error{errors.New("no such cipher"), nil} // TLS 1.3 AES-256 TX
	some.rekeys[RX] = true
	for _, tt := range []struct {
		name string
		s    *Support
		d    Direction
		h    *record.Half
		want bool
	}{
		{"has it", some, TX, &aes128, true},
		{"lacks it", some, TX, &aes256, false},
		{"has the other direction", some, RX, &aes256, true},
		{"other version", some, TX, &chacha12, true},
		{"no key", some, TX, new(record.Half), false},
		{"no kernel", nil, TX, &aes128, false},
	} {
		if got := tt.s.Can(tt.d, tt.h); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if (*Support)(nil).Rekeys(RX) || some.Rekeys(TX) || !some.Rekeys(RX) {
		t.Error("rekeys: not as found")
	}
	if got := strings.Join(some.Missing(), ";"); got != "TLS 1.3 AES-256-GCM TX: no such cipher" {
		t.Errorf("missing: got %q", got)
	}
	text := some.String()
	for part, want := range map[string]bool{"1.3 AES-256-GCM TX": false, "1.3 AES-256-GCM RX": true, "1.2 CHACHA20-POLY1305 TX": true, "KeyUpdate RX": true, "KeyUpdate TX": false} {
		if strings.Contains(text, part) != want {
			t.Errorf("got %q, want %q in it: %v", text, part, want)
		}
	}
	some.lacks[1][1][TX] = nil
	if got := some.String(); got != "TLS 1.2 and 1.3 with every cipher in both directions, KeyUpdate RX" {
		t.Errorf("everything: got %q", got)
	}
	none := new(Support)
	for v := range none.lacks {
		for c := range none.lacks[v] {
			none.lacks[v][c] = [2]error{errors.New("no"), errors.New("no")}
		}
	}
	if none.Any() || none.String() != "nothing" || len(none.Missing()) != 12 {
		t.Errorf("nothing: got %v, %q, %v", none.Any(), none.String(), none.Missing())
	}
}
