package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"mailsplice/tlsx/record"
)

// parcelVersion is the first byte of Parcel.State. A version changes when a field does.
const parcelVersion = 4

// kept are the flags that travel. What the others say is learnt anew when the descriptors are watched; unopened is taken
// for granted.
const kept = ends | inKernel | outKernel

// ends are the flags of which each means that a direction has ended.
const ends = inputEnded | finished | broken | unclean

// Parcel is a session between two bridges, of one process or of two. Whoever holds it owns both descriptors, which are
// watched by no loop.
type Parcel struct {
	Client, Backend int
	// State is everything but the descriptors. It holds keys and mail; the holder clears it after use. A session with a leg in
	// LaneConn stays in its process, since the goroutines behind the leg do.
	State []byte
}

// image is a session's state as it travels:
//
//	version u8, reason u8, last byte i64, direction ended i64 (unix nanoseconds; 0: none has),
//	for each leg, the client's first: lane u8, flags u16, moved u64, account u64, keys (record.Leg.Export), stash, raw and
//	words, each a u32 and bytes
//
// in big-endian order. Deadlines follow from the two times by the Options of the bridge that imports.
type image struct {
	reason           Reason
	lastByte, halved int64
	legs             [2]legImage
}

type legImage struct {
	lane  Lane
	flags flag
	moved uint64
	keys  []byte // of a leg in TLS only
	stash []byte
	raw   []byte // of a leg in TLS only

	account uint64 // outKernel only
	words   []byte // outKernel only: alerts
}

// sealed tells that the leg is in TLS, of which we have the keys.
func (l *legImage) sealed() bool { return l.lane == LaneRecord || l.lane == LaneKTLS }

func (m *image) encode() []byte {
	size := 18
	for _, l := range m.legs {
		size += 35 + len(l.keys) + len(l.stash) + len(l.raw) + len(l.words)
	}
	p := append(make([]byte, 0, size), parcelVersion, byte(m.reason))
	p = binary.BigEndian.AppendUint64(p, uint64(m.lastByte))
	p = binary.BigEndian.AppendUint64(p, uint64(m.halved))
	for _, l := range m.legs {
		p = binary.BigEndian.AppendUint16(append(p, byte(l.lane)), uint16(l.flags))
		p = binary.BigEndian.AppendUint64(p, l.moved)
		p = binary.BigEndian.AppendUint64(p, l.account)
		for _, block := range [...][]byte{l.keys, l.stash, l.raw, l.words} {
			p = appendBlock(p, block)
		}
	}
	return p
}

func appendBlock(p, block []byte) []byte {
	return append(binary.BigEndian.AppendUint32(p, uint32(len(block))), block...)
}

// decode reads what may come from another version of this program. The image's blocks point into p.
func decode(p []byte) (m image, err error) {
	r := reader{rest: p}
	if v := r.byte(); r.short || v != parcelVersion {
		return m, fmt.Errorf("state of %d bytes, version %d, known is %d", len(p), v, parcelVersion)
	}
	m.reason = Reason(r.byte())
	m.lastByte, m.halved = int64(r.uint64()), int64(r.uint64())
	for i := range m.legs {
		l := &m.legs[i]
		l.lane, l.flags, l.moved, l.account = Lane(r.byte()), flag(r.uint16()), r.uint64(), r.uint64()
		l.keys, l.stash, l.raw, l.words = r.block(), r.block(), r.block(), r.block()
	}
	switch {
	case r.short:
		return m, fmt.Errorf("state of %d bytes is cut short", len(p))
	case len(r.rest) > 0:
		return m, fmt.Errorf("state of %d bytes has %d too many", len(p), len(r.rest))
	}
	return m, m.check()
}

// reader takes fields off the front; short is set when there was less than a field wanted.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return nil
	}
	p := r.rest[:n]
	r.rest = r.rest[n:]
	return p
}

func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if p := r.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if p := r.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (r *reader) block() []byte {
	p := r.take(4)
	if p == nil {
		return nil
	}
	return r.take(int(binary.BigEndian.Uint32(p)))
}

// check refuses what no bridge of this version exports.
func (m *image) check() error {
	if m.reason > BackendReset {
		return fmt.Errorf("state of a session that had ended: %v", m.reason)
	}
	if m.lastByte < 0 || m.halved < 0 {
		return errors.New("time before 1970")
	}
	for i := range m.legs {
		if err := m.legs[i].check(); err != nil {
			return fmt.Errorf("leg of the %s: %w", legNames[i], err)
		}
	}
	ended := (m.legs[client].flags | m.legs[backend].flags) & ends
	if (m.reason != 0 || ended != 0) && m.halved == 0 {
		return errors.New("a direction has ended, but not when")
	}
	for i := range m.legs {
		if l, other := &m.legs[i], &m.legs[1-i]; l.flags&finished != 0 && other.flags&inputEnded == 0 {
			return fmt.Errorf("leg of the %s: shut while the other is open", legNames[i])
		}
	}
	return nil
}

func (l *legImage) check() error {
	switch {
	case l.lane >= Lanes:
		return fmt.Errorf("unknown lane %d", l.lane)
	case !l.sealed() && len(l.keys)+len(l.raw) > 0:
		return fmt.Errorf("%d bytes of keys and %d of records in lane %s", len(l.keys), len(l.raw), l.lane)
	case (l.flags&(inKernel|outKernel) != 0) != (l.lane == LaneKTLS):
		return fmt.Errorf("flags %#x in lane %s", uint16(l.flags), l.lane)
	case l.flags&outKernel == 0 && (l.account != 0 || len(l.words) > 0):
		return errors.New("an account of what the kernel seals, but it does not")
	case l.flags&inKernel != 0 && len(l.raw) > 0:
		return fmt.Errorf("%d bytes unopened of what the kernel opens", len(l.raw))
	case len(l.words) > len(kernelLeg{}.words) || len(l.words)%2 != 0:
		return fmt.Errorf("alerts of %d bytes", len(l.words))
	case !l.sealed() && l.flags&unclean != 0:
		return fmt.Errorf("an end of TLS in lane %s", l.lane)
	case l.flags&^kept != 0:
		return fmt.Errorf("unknown flags %#x", uint16(l.flags&^kept))
	case len(l.stash) > maxStashBytes:
		return fmt.Errorf("stash of %d bytes, allowed %d", len(l.stash), maxStashBytes)
	case len(l.stash) > 0 && l.flags&outputEnded != 0:
		return fmt.Errorf("stash of %d bytes for a leg that takes none", len(l.stash))
	case len(l.raw) > record.MaxRecord:
		return fmt.Errorf("%d bytes unopened, allowed %d", len(l.raw), record.MaxRecord)
	case len(l.raw) > 0 && l.flags&inputEnded != 0:
		return fmt.Errorf("%d bytes unopened behind the end", len(l.raw))
	}
	return nil
}

// Export takes a session out of the bridge without ending it: both descriptors, watched no more, are the caller's with
// the Parcel. On an error nothing has changed, but a session whose descriptor cannot be unwatched, or whose numbers the
// kernel does not tell, is ended.
func (b *Bridge) Export(id ID) (*Parcel, error) {
	x, ok := b.find(id)
	if !ok || x.doomed() {
		return nil, fmt.Errorf("exporting session: %w", ErrUnknown)
	}
	for i := range x.legs {
		err := b.fetchNumbers(&x.legs[i])
		if err == nil {
			err = b.loop.Unwatch(int(x.legs[i].fd))
		}
		if err != nil {
			b.end(x, Bug)
			return nil, fmt.Errorf("exporting session: %w", err)
		}
	}
	m := b.imageOf(x)
	p := &Parcel{Client: int(x.legs[client].fd), Backend: int(x.legs[backend].fd), State: m.encode()}
	clear(m.legs[client].keys)
	clear(m.legs[backend].keys)
	b.remove(x)
	return p, nil
}

// imageOf describes a session. The image's stashes are the table's own.
func (b *Bridge) imageOf(x session) (m image) {
	wall := time.Now().UnixNano() - b.loop.Now()
	m.reason, m.lastByte = x.reason, wall+x.lastByte
	if x.halved != 0 {
		m.halved = wall + x.halved
	}
	for i := range x.legs {
		l := &x.legs[i]
		m.legs[i] = legImage{lane: l.lane, flags: l.flags & kept, moved: l.moved, stash: b.stashes.bytes(l.stash), raw: b.stashes.bytes(l.raw)}
		if l.tls != 0 {
			e := b.sealedOf(l)
			m.legs[i].keys, m.legs[i].account, m.legs[i].words = e.Export(nil), e.account, e.words[:e.owed]
		}
	}
	return m
}

// Import goes on with a session that another bridge has exported, perhaps one of another version of this program. The
// bridge owns both descriptors from now on; on an error they stay the caller's and are unwatched. State is copied. tag
// is the owner's name for the session here.
func (b *Bridge) Import(p *Parcel, tag uint64) (ID, error) {
	m, err := decode(p.State)
	if err != nil {
		return 0, fmt.Errorf("importing session: %w", err)
	}
	x, err := b.add(p.Client, p.Backend, tag)
	if err != nil {
		return 0, fmt.Errorf("importing session: %w", err)
	}
	if err = b.restore(x, &m); err == nil {
		err = b.start(x, b.loop.Watch)
	}
	if err != nil {
		b.loop.Unwatch(p.Client)
		b.loop.Unwatch(p.Backend)
		b.remove(x)
		return 0, fmt.Errorf("importing session: %w", err)
	}
	return x.id, nil
}

// restore fills a new record. Times outside of the machine's uptime, as a clock that was set makes them, are brought to
// its nearer end.
func (b *Bridge) restore(x session, m *image) error {
	now := b.loop.Now()
	age := now - time.Now().UnixNano()
	x.reason, x.lastByte = m.reason, max(1, min(m.lastByte+age, now))
	if m.halved != 0 {
		x.halved = max(1, min(m.halved+age, now))
	}
	for i := range m.legs {
		l := &m.legs[i]
		x.legs[i].flags, x.legs[i].moved, x.legs[i].lane = l.flags, l.moved, l.lane
		if l.sealed() {
			t, err := record.Import(l.keys)
			if err == nil {
				err = b.attach(x, i, &Leg{TLS: &t, Raw: l.raw})
			}
			if err != nil {
				return err
			}
			e := b.sealedOf(&x.legs[i])
			e.account = l.account
			e.say(l.words)
		}
		if len(l.stash) > 0 && !x.doomed() {
			b.keep(x, i, l.stash)
		}
	}
	if x.doomed() {
		return errors.New("no memory left for its stash")
	}
	return nil
}
