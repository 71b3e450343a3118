package session

import (
	"testing"

	tlsrecord "mailsplice/tlsx/record"
)

// The lobby's keys go with a leg that logs in, come back when it is refused, and are wiped with a leg that ends.
func TestKeysOfALogin(t *testing.T) {
	half, err := tlsrecord.NewHalf13(0x1301, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	leg, err := tlsrecord.NewLeg(tlsrecord.AsServer, half, half)
	if err != nil {
		t.Fatal(err)
	}
	b := &lobby{keys: new(tlsrecord.Keys)}
	c := &clientTLS{leg: leg}
	tk := &talk{tls: c}
	seal := func() {
		if _, err := b.seal(tk, []byte("+")); err != nil {
			t.Fatal(err)
		}
	}
	seal()
	first := b.keys
	b.keep(c)
	if c.keys != first || b.keys == first || b.keysOf(c) != first || b.keysOf(&clientTLS{}) != b.keys {
		t.Fatal("the leg does not have the keys, or the lobby has them still")
	}
	seal()
	if *b.keys != (tlsrecord.Keys{}) {
		t.Error("the lobby's keys were used for a leg that has its own")
	}
	b.takeBack(c)
	b.takeBack(c) // told twice: held back, then decided
	if b.keys != first || c.keys != nil || *first == (tlsrecord.Keys{}) {
		t.Error("the lobby has not got its keys back")
	}
	b.keep(c)
	c.dropKeys()
	c.dropKeys()
	if c.keys != nil || *first != (tlsrecord.Keys{}) {
		t.Error("the keys of a leg that has ended are still there")
	}
	seal()
	if *b.keys == (tlsrecord.Keys{}) {
		t.Fatal("the lobby has no keys of the leg")
	}
	b.dropTalk(b.talks.add(tk), tk)
	if *b.keys != (tlsrecord.Keys{}) {
		t.Error("the lobby has still keys of a leg that has ended")
	}
}
