package bridge

import (
	"testing"

	"mailsplice/tlsx/record"
)

// Keys that were expanded before the join are used on, and wiped with the leg; also when there is no join.
func TestJoinTakesKeys(t *testing.T) {
	for name, tail := range map[string]int{"joined": 0, "not joined": MaxTailBytes + 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			c, p := r.sealedPeer(t, client), r.unix()
			leg := c.leg()
			leg.Keys = new(record.Keys)
			same := *leg.TLS
			if _, err := same.Seal(leg.Keys, nil, []byte("expands the key")); err != nil {
				t.Fatal(err)
			}
			if *leg.Keys == (record.Keys{}) {
				t.Fatal("no key was expanded")
			}
			r.on(0, func(b *Bridge) {
				watchAll(b.loop, c.near, p.near)
				id, err := b.Join(Join{Client: leg, Backend: p.leg(), ToBackend: make([]byte, tail)})
				if (err == nil) != (tail == 0) {
					t.Errorf("join: got %v", err)
				}
				if err != nil {
					return
				}
				x, _ := b.find(id)
				if got := b.keys.of(x.legs[client].tls); got != leg.Keys {
					t.Error("the leg has other keys")
				}
				b.Kick(id)
			})
			r.on(0, func(*Bridge) {
				if *leg.Keys != (record.Keys{}) {
					t.Error("the keys are still there")
				}
			})
			c.below.Close()
			p.Close()
		})
	}
}
