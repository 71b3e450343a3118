package bridge

import (
	"mailsplice/core/engine"
	"mailsplice/tlsx/record"
)

const (
	// keyringSlots is how many legs' expanded keys a loop keeps, 1.4 to 2.7 KB each (record.Keys). Legs beyond it share slots: they
	// expand their keys anew when they take turns, and never fail. Measured: that is an eighth of a NOOP's CPU
	// (docs/benchmarks.md).
	keyringSlots = 2048
	// keyringRest is after how long at the latest, twice as long, the keys of a quiet leg are dropped, in nanoseconds.
	keyringRest = 5e9
)

// keyring holds the expanded keys of the legs that were busy last. Its size does not depend on the number of sessions, and
// it is empty when all of them are quiet. It belongs to the loop.
type keyring struct {
	loop  *engine.Loop
	token engine.Token
	timer engine.TimerID // 0: no keys are here
	slots []keySlot      // keyringSlots
}

type keySlot struct {
	keys *record.Keys
	busy bool // used since the last round
}

// init makes k a handler of its loop, before the engine starts.
func (k *keyring) init(l *engine.Loop) {
	k.loop, k.slots = l, make([]keySlot, keyringSlots)
	k.token = engine.MakeToken(l.Register(k), 0, 0)
}

func (k *keyring) slot(h uint32) *keySlot { return &k.slots[h%uint32(len(k.slots))] }

// of is where the keys of sealed leg h belong. What another leg has left there is recognised as foreign by record.Keys.
func (k *keyring) of(h uint32) *record.Keys {
	slot := k.slot(h)
	slot.busy = true
	if slot.keys == nil {
		slot.keys = new(record.Keys)
	}
	if k.timer == 0 { // without memory for a timer they stay
		k.timer = k.loop.Arm(0, k.loop.Now()+keyringRest, k.token)
	}
	return slot.keys
}

// put files keys that were expanded for leg h elsewhere.
func (k *keyring) put(h uint32, keys *record.Keys) {
	k.forget(h)
	k.slot(h).keys = keys
	k.of(h)
}

// forget drops what a leg that has ended may have left.
func (k *keyring) forget(h uint32) {
	if keys := k.slot(h).keys; keys != nil {
		keys.Drop()
	}
}

// Due makes a round: what nobody has used since the last one goes.
func (k *keyring) Due(engine.Token) (next int64) {
	left := 0
	for i := range k.slots {
		slot := &k.slots[i]
		if !slot.busy && slot.keys != nil {
			slot.keys.Drop()
			slot.keys = nil
		}
		slot.busy = false
		if slot.keys != nil {
			left++
		}
	}
	if left == 0 {
		k.timer = 0
		return 0
	}
	return k.loop.Now() + keyringRest
}

// Ready is never called: no descriptor has the token.
func (k *keyring) Ready(engine.Token, engine.Ready) {}

// Failed lets all of them go: a round that broke off will not come again by itself.
func (k *keyring) Failed(engine.Token, any) { k.clear() }

// clear drops everything.
func (k *keyring) clear() {
	for i := range k.slots {
		if keys := k.slots[i].keys; keys != nil {
			keys.Drop()
		}
		k.slots[i].keys = nil
	}
	k.timer = 0
}
