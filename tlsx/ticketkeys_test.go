package tlsx

import (
	"bytes"
	"testing"
	"time"
)

func TestTicketKeysRotate(t *testing.T) {
	now := time.Now()
	k := NewTicketKeys()
	k.now = func() time.Time { return now }
	first := k.current()
	if now = now.Add(ticketRotation - time.Minute); k.current() != first {
		t.Error("rotated too early")
	}
	now = now.Add(2 * time.Minute)
	second := k.current()
	if second.generation == first.generation || second.keys[0] == first.keys[0] || second.keys[1] != first.keys[0] {
		t.Error("after a day: want a new key that seals, and the old one to open")
	}
	if k.current() != second {
		t.Error("rotated twice")
	}
	for range 2 * maxTicketKeys {
		k.Rotate()
	}
	if got := len(k.current().keys); got != maxTicketKeys {
		t.Errorf("got %d keys, want %d", got, maxTicketKeys)
	}
}

func TestTicketKeysExport(t *testing.T) {
	k := NewTicketKeys()
	k.Rotate()
	exported := k.Export([]byte("before"))[len("before"):]
	imported, err := ImportTicketKeys(exported)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(imported.Export(nil), exported) {
		t.Error("the imported keys are others")
	}
	future := bytes.Clone(exported)
	future[2] = 0x70 // made in ages
	if imported, err = ImportTicketKeys(future); err != nil || time.Until(imported.set.Load().made) > 0 {
		t.Errorf("a key of the future: got %v, want it to be of now", err)
	}
}

func TestTicketKeysImportIsStrict(t *testing.T) {
	good := NewTicketKeys().Export(nil)
	with := func(at int, b byte) []byte { p := bytes.Clone(good); p[at] = b; return p }
	tests := []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"head only", good[:10]},
		{"a byte short", good[:len(good)-1]},
		{"a byte long", append(bytes.Clone(good), 0)},
		{"another version", with(0, 2)},
		{"no key", with(1, 0)},
		{"more keys than bytes", with(1, 2)},
		{"too many keys", append(with(1, maxTicketKeys+1), make([]byte, maxTicketKeys*ticketKeyBytes)...)},
	}
	for _, tt := range tests {
		if _, err := ImportTicketKeys(tt.b); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
	}
}
