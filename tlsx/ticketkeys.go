package tlsx

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// ticketRotation is how long a key seals new tickets; older ones still open theirs.
	ticketRotation = 24 * time.Hour
	// maxTicketKeys is for how many rotations a ticket stays good: the seven days that crypto/tls gives it (RFC 8446 4.6.1
	// allows no more), and the one in which it was sealed.
	maxTicketKeys  = 8
	ticketKeyBytes = 32
	ticketVersion  = 1 // of the exported form
)

// TicketKeys owns the keys that session tickets are sealed with. It outlives reloads, and by Export an upgrade: otherwise
// each would be a storm of full handshakes (DESIGN 3.3). Keys rotate by themselves when they are asked for. Any
// goroutine may use it.
type TicketKeys struct {
	set atomic.Pointer[ticketSet]
	mu  sync.Mutex // held while rotating
	now func() time.Time
}

// ticketSet is immutable. The first key seals.
type ticketSet struct {
	generation uint64
	made       time.Time // the first key
	keys       [][ticketKeyBytes]byte
}

// NewTicketKeys begins with a fresh key.
func NewTicketKeys() *TicketKeys {
	k := &TicketKeys{now: time.Now}
	k.rotate(&ticketSet{})
	return k
}

// Rotate makes a new key the one that seals, for an operator who fears that the old one is known. Old tickets stay good.
func (k *TicketKeys) Rotate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rotate(k.set.Load())
}

// current is the keys to use now.
func (k *TicketKeys) current() *ticketSet {
	set := k.set.Load()
	if k.now().Sub(set.made) < ticketRotation {
		return set
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if set = k.set.Load(); k.now().Sub(set.made) >= ticketRotation {
		set = k.rotate(set)
	}
	return set
}

func (k *TicketKeys) rotate(old *ticketSet) *ticketSet {
	set := &ticketSet{generation: old.generation + 1, made: k.now(), keys: make([][ticketKeyBytes]byte, 1, maxTicketKeys)}
	rand.Read(set.keys[0][:])
	set.keys = append(set.keys, old.keys[:min(len(old.keys), maxTicketKeys-1)]...)
	k.set.Store(set)
	return set
}

// Export appends the keys to dst, in clear, for a process that takes this one's place. The caller zeroes them.
func (k *TicketKeys) Export(dst []byte) []byte {
	set := k.current()
	dst = append(dst, ticketVersion, byte(len(set.keys)))
	dst = binary.BigEndian.AppendUint64(dst, uint64(set.made.Unix()))
	for i := range set.keys {
		dst = append(dst, set.keys[i][:]...)
	}
	return dst
}

// ImportTicketKeys reads what Export wrote, strictly. It keeps no reference to b.
func ImportTicketKeys(b []byte) (*TicketKeys, error) {
	const head = 10
	if len(b) < head || b[0] != ticketVersion {
		return nil, errors.New("importing ticket keys: not the exported form of this version")
	}
	n := int(b[1])
	if n < 1 || n > maxTicketKeys || len(b) != head+n*ticketKeyBytes {
		return nil, fmt.Errorf("importing ticket keys: found %d keys in %d bytes, allowed 1 to %d and all of them", n, len(b), maxTicketKeys)
	}
	k := &TicketKeys{now: time.Now}
	set := &ticketSet{generation: 1, made: time.Unix(int64(binary.BigEndian.Uint64(b[2:])), 0), keys: make([][ticketKeyBytes]byte, n)}
	if set.made.After(k.now()) {
		set.made = k.now() // a clock that was set back must not keep a key for ever
	}
	for i := range set.keys {
		copy(set.keys[i][:], b[head+i*ticketKeyBytes:])
	}
	k.set.Store(set)
	return k, nil
}
