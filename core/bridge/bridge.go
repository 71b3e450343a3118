package bridge

import (
	"errors"
	"fmt"
	"time"

	"mailsplice/core/engine"
	"mailsplice/tlsx/ktls"
	"mailsplice/tlsx/record"
)

// MaxTailBytes bounds each tail of a Join and each stash of a Parcel. Before the bridge at most 64 KiB are read ahead
// (SPEC 3), and a stash made by the bridge itself is at most engine.BufferBytes.
const MaxTailBytes = 256 << 10

// ErrUnknown is returned for an ID whose session has ended, moved away, or is about to end for its memory.
var ErrUnknown = errors.New("no such session")

// Options describe a Bridge.
type Options struct {
	// Idle ends a session without a byte in either direction for this long; positive.
	Idle time.Duration
	// HalfClosed does the same once a direction has ended; positive.
	HalfClosed time.Duration
	// Stash is shared by the bridges of all loops; required.
	Stash *Budget
	// Pipes is shared by the bridges of all loops; nil: nothing is spliced.
	Pipes *Pipes
	// Kernel says which keys may go into the kernel; nil: none.
	Kernel *ktls.Support
	// Moved is told of each change of a session's lane after its join or import. It runs on the loop, amid the session's work: it must not
	// call the bridge.
	Moved func(tag uint64, to Lane)
	// Ended is told of each session's end, once, when its record is gone already. It runs on the loop and may call any
	// method. It is not called for a Join or Import that returned an error, nor after Export.
	Ended func(tag uint64, r Report)
}

// ID names a session of one Bridge. The zero ID names none.
type ID uint64

func (id ID) index() uint32 { return uint32(id) }
func (id ID) gen() uint32   { return uint32(id >> 32) }

func makeID(index, gen uint32) ID { return ID(gen)<<32 | ID(index) }

// Counters say what a session has moved.
type Counters struct {
	// ToBackend and ToClient are the bytes taken from one leg for the other: tails and what is still stashed included.
	ToBackend, ToClient uint64
	// Quiet is the time since the last byte was read from or written to either leg.
	Quiet time.Duration
}

// Report tells how a session ended.
type Report struct {
	Reason Reason
	// Unclean says of the client's and the backend's leg that its input ended in TLS without close_notify.
	Unclean [2]bool
	Counters
}

// Join describes two legs that become a session.
type Join struct {
	Client, Backend Leg
	// ToBackend and ToClient are the tails: plaintext from before the join that is owed to a leg, at most MaxTailBytes each.
	// They are written or copied before Join returns, and go in front of what Leg.Raw holds.
	ToBackend, ToClient []byte
	// Tag is the owner's name for the session, given back by Ended and Each.
	Tag uint64
}

// Bridge is one loop's joined sessions. Its methods belong to the loop's goroutine.
type Bridge struct {
	// immutable after New
	loop  *engine.Loop
	o     Options
	kinds [2]engine.Kind

	// owned by the loop
	records *engine.Slab[state]
	sealed  *engine.Slab[record.Leg] // of legs in LaneRecord and LaneKTLS
	kernel  map[uint32]*kernelLeg    // by their index there, those of flag outKernel
	stashes stashes
	pipes   *pipes
	keys    keyring
	out     []byte // scratch for what is sealed

	// immutable while the engine runs
	spliceAfter int8
	kernelAfter uint64
}

// New makes the loop's bridge. It is called before the engine starts.
func New(l *engine.Loop, o Options) *Bridge {
	if o.Pipes == nil {
		o.Pipes = NewPipes(0)
	}
	b := &Bridge{loop: l, o: o, records: engine.NewSlab[state](), sealed: engine.NewSlab[record.Leg](), kernel: map[uint32]*kernelLeg{},
		pipes: &pipes{loop: l, shared: o.Pipes}, spliceAfter: spliceAfter, kernelAfter: kernelAfter}
	b.stashes = newStashes(o.Stash, b.pipes)
	b.keys.init(l)
	for i := range b.kinds {
		b.kinds[i] = l.Register(&watcher{b, i})
	}
	return b
}

// SetTimes changes Options.Idle and Options.HalfClosed. Deadlines that are running are judged by them when they come.
func (b *Bridge) SetTimes(idle, halfClosed time.Duration) {
	b.o.Idle, b.o.HalfClosed = idle, halfClosed
}

// Join starts a session. The loop may watch the legs already. The bridge owns both descriptors from now on: on an error it has
// closed them.
func (b *Bridge) Join(j Join) (ID, error) {
	id, err := b.join(j)
	if err != nil {
		b.loop.Close(j.Client.FD)
		b.loop.Close(j.Backend.FD)
		for _, l := range [2]*Leg{&j.Client, &j.Backend} {
			l.wipe()
		}
		return 0, fmt.Errorf("joining legs: %w", err)
	}
	return id, nil
}

func (b *Bridge) join(j Join) (ID, error) {
	if n := max(len(j.ToBackend), len(j.ToClient)); n > MaxTailBytes {
		return 0, fmt.Errorf("tail of %d bytes, allowed %d", n, MaxTailBytes)
	}
	x, err := b.add(j.Client.FD, j.Backend.FD, j.Tag)
	if err != nil {
		return 0, err
	}
	for i, l := range [2]*Leg{&j.Client, &j.Backend} {
		x.legs[i].lane = l.Lane
		if l.Lane == LaneSplice || l.Lane == LaneKTLS || l.Lane >= Lanes {
			err = fmt.Errorf("leg of the %s: joined in lane %v", legNames[i], l.Lane)
		}
		if l.Lane == LaneRecord && err == nil {
			err = b.attach(x, i, l)
		}
	}
	if err == nil {
		err = b.start(x, b.loop.Rewatch)
	}
	if err != nil {
		b.remove(x)
		return 0, err
	}
	b.pass(x, backend, j.ToBackend)
	b.pass(x, client, j.ToClient)
	if x.doomed() {
		b.remove(x)
		return 0, errors.New("no memory left for a tail that its leg does not take")
	}
	return x.id, nil // a write that failed is settled by the event that start has asked for, when the owner knows the ID
}

// add makes the record; nothing is watched yet.
func (b *Bridge) add(clientFD, backendFD int, tag uint64) (session, error) {
	index, gen, r, err := b.records.New()
	if err != nil {
		return session{}, err
	}
	r.legs[client].fd, r.legs[backend].fd = int32(clientFD), int32(backendFD)
	r.tag, r.lastByte = tag, b.loop.Now()
	return session{makeID(index, gen), r}, nil
}

// start arms the deadline and has both legs watched: by Watch when they come from elsewhere, by Rewatch when not.
// Present readiness is reported as an event.
func (b *Bridge) start(x session, watch func(int, engine.Token) error) error {
	if x.timer = b.loop.Arm(0, b.deadline(x.state), b.token(x.id, client)); x.timer == 0 {
		return errors.New("no memory left for a deadline")
	}
	for i := range x.legs {
		if err := watch(int(x.legs[i].fd), b.token(x.id, i)); err != nil {
			return fmt.Errorf("leg of the %s: %w", legNames[i], err)
		}
	}
	for i := range x.legs {
		if x.legs[i].flags&unopened != 0 {
			b.later(x, i)
		}
	}
	return nil
}

// remove forgets a session and its stashes; descriptors and their watching are left as they are.
func (b *Bridge) remove(x session) {
	b.loop.Disarm(x.timer)
	for i := range x.legs {
		b.drop(x, i)
		b.dropRaw(x, i)
		b.detach(&x.legs[i])
	}
	b.records.Free(x.id.index())
}

// Kick ends a session cleanly: reading stops, what is stashed for the client is delivered, then FIN, as long as the
// client takes it (Loop.Retire). What is stashed for the backend is dropped: an answer to it could not be delivered any
// more. It tells whether the session was there.
func (b *Bridge) Kick(id ID) bool {
	x, ok := b.find(id)
	if ok {
		b.end(x, Kicked)
	}
	return ok
}

// Count tells what a session has moved so far.
func (b *Bridge) Count(id ID) (Counters, bool) {
	x, ok := b.find(id)
	if !ok {
		return Counters{}, false
	}
	return b.count(x.state), true
}

func (b *Bridge) count(r *state) Counters {
	return Counters{
		ToBackend: r.legs[backend].moved,
		ToClient:  r.legs[client].moved,
		Quiet:     time.Duration(b.loop.Now() - r.lastByte),
	}
}

// Lane is the lane that a session has reached: the dearer one of its legs.
func (b *Bridge) Lane(id ID) (Lane, bool) {
	x, ok := b.find(id)
	if !ok {
		return 0, false
	}
	return x.lane(), true
}

// Len is the number of sessions.
func (b *Bridge) Len() int { return b.records.Len() }

// MappedBytes is the memory mapped for records, which the Go runtime does not account for.
func (b *Bridge) MappedBytes() int { return b.records.MappedBytes() + b.sealed.MappedBytes() }

// Each calls f for every session. f may kick or export the session it is given.
func (b *Bridge) Each(f func(id ID, tag uint64)) {
	b.records.Each(func(index, gen uint32, r *state) { f(makeID(index, gen), r.tag) })
}

// Close closes the descriptors of sessions that are left, without ceremony and without calling Ended, and unmaps the
// records. It is called once, after Engine.Stop, by any goroutine.
func (b *Bridge) Close() error {
	b.records.Each(func(index, gen uint32, r *state) {
		x := session{makeID(index, gen), r}
		for i := range r.legs {
			b.drop(x, i)
			b.dropRaw(x, i)
			b.detach(&x.legs[i])
			b.loop.Close(int(r.legs[i].fd))
		}
	})
	b.keys.clear()
	b.pipes.close()
	if err := errors.Join(b.records.Close(), b.sealed.Close()); err != nil {
		return fmt.Errorf("closing the bridge of loop %d: %w", b.loop.ID(), err)
	}
	return nil
}

func (b *Bridge) find(id ID) (session, bool) {
	r := b.records.At(id.index(), id.gen())
	return session{id, r}, r != nil
}

func (b *Bridge) token(id ID, leg int) engine.Token {
	return engine.MakeToken(b.kinds[leg], id.index(), id.gen())
}
