package bridge

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailsplice/core/engine"
	"mailsplice/tlsx/record"
)

// move takes a session to the other loop, as a live upgrade takes it to another process.
func (s *peers) move() error {
	var p *Parcel
	var err error
	s.r.on(s.loop, func(b *Bridge) { p, err = b.Export(s.id) })
	if err != nil {
		return err
	}
	s.loop = 1 - s.loop
	s.r.on(s.loop, func(b *Bridge) { s.id, err = b.Import(p, s.tag) })
	return err
}

func TestMoveUnderTraffic(t *testing.T) { overLanes(t, moveUnderTraffic) }

func moveUnderTraffic(t *testing.T, o rigOptions) {
	r := newRig(t, o)
	const sessions = 6
	size := min(bulkBytes(8<<20), 8<<20)
	if o.splice() && !emulated {
		size *= 4 // it is over sooner
	}
	var all []*peers
	for i := range sessions {
		all = append(all, r.join(i%2))
	}
	streams, done := load(all, size, nil)
	var moves atomic.Int64
	finished := make(chan error, sessions)
	for _, s := range all {
		go s.moveUntilGone(&moves, finished) // ends with the session
	}
	done.Wait()
	for _, st := range streams {
		st.check(t, "stream")
	}
	for range all {
		if err := <-finished; !errors.Is(err, ErrUnknown) {
			t.Errorf("moving: got %v, want only the session's end", err)
		}
		if e := <-r.ended; e.ToBackend != uint64(size) || e.ToClient != uint64(size) {
			t.Errorf("counters after the moves: got %+v, want %d each way", e, size)
		}
	}
	if got := moves.Load(); got < 2*sessions {
		t.Errorf("moves: got %d, want at least %d", got, 2*sessions)
	} else {
		t.Logf("%d moves of %d sessions", got, sessions)
	}
}

func (s *peers) moveUntilGone(moves *atomic.Int64, finished chan<- error) {
	for {
		if err := s.move(); err != nil {
			if !errors.Is(err, ErrUnknown) { // nobody else would end the streams
				s.client.below.Close()
				s.backend.below.Close()
			}
			finished <- err
			return
		}
		moves.Add(1)
	}
}

// What a session was amid of goes on after a move.
func TestMoveKeeps(t *testing.T) {
	cases := map[string]func(t *testing.T, r *rig){
		"both stashes, then both ends": func(t *testing.T, r *rig) {
			c, b := r.unix(), r.unix()
			toClient, toBackend := c.clog(t), b.clog(t)
			s := r.joinLegs(0, c, b, Join{ToBackend: []byte(randomText(3000)), ToClient: []byte(randomText(40000))})
			io.WriteString(s.client, "after\r\n")
			s.client.closeWrite()
			s.mustMove(t)
			if got := r.stash.InUse(); got != 68<<10 {
				t.Errorf("stashes: got %d bytes, want 68 KiB", got)
			}
			wantRest(t, s.backend, strings.Repeat("\x00", toBackend)+randomText(3000)+"after\r\n")
			s.backend.closeWrite()
			wantRest(t, s.client, strings.Repeat("\x00", toClient)+randomText(40000))
			if rep := r.waitEnd(s.tag, ClientClosed); rep.ToBackend != 3007 || rep.ToClient != 40000 {
				t.Errorf("report: got %+v", rep)
			}
		},
		"half-closed": func(t *testing.T, r *rig) {
			s := r.join(0)
			s.backend.closeWrite()
			wantRest(t, s.client, "")
			s.mustMove(t)
			exchange(t, s.client, s.backend, "still heard")
			s.client.closeWrite()
			r.waitEnd(s.tag, BackendClosed)
		},
		"an end seen but not read": func(t *testing.T, r *rig) {
			c := r.unix()
			before := c.clog(t)
			s := r.joinLegs(0, c, r.unix(), Join{ToClient: []byte("x")})
			s.backend.closeWrite()
			r.eventually("hang-up", s.isHalved)
			s.mustMove(t)
			wantRest(t, s.client, strings.Repeat("\x00", before)+"x")
		},
		"over in between": func(t *testing.T, r *rig) {
			s := r.join(0)
			exchange(t, s.client, s.backend, "hello")
			var p *Parcel
			r.on(0, func(b *Bridge) { p, _ = b.Export(s.id) })
			io.WriteString(s.backend, "* BYE\r\n")
			s.backend.Close()
			r.on(1, func(b *Bridge) { s.id, _ = b.Import(p, s.tag) })
			s.loop = 1
			wantRest(t, s.client, "* BYE\r\n")
			s.client.Close()
			r.waitEnd(s.tag, BackendClosed)
		},
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) { run(t, newRig(t, rigOptions{})) })
	}
}

func (s *peers) mustMove(t *testing.T) {
	t.Helper()
	if err := s.move(); err != nil {
		t.Fatal(err)
	}
}

// The time of silence goes on over a move.
func TestMoveKeepsDeadlines(t *testing.T) {
	cases := map[string]struct {
		o     rigOptions
		start func(*peers)
		want  Reason
	}{
		"idle":        {rigOptions{idle: time.Second}, func(*peers) {}, Idle},
		"half_closed": {rigOptions{halfClosed: time.Second}, func(s *peers) { s.client.closeWrite() }, HalfClosed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.o)
			s := r.join(0)
			exchange(t, s.client, s.backend, "x")
			last := time.Now()
			c.start(s)
			if c.want == HalfClosed {
				r.eventually("half-close", s.isHalved)
			}
			ended := make(chan struct{})
			go s.moveAgain(ended) // ends with the session
			rep := r.waitEnd(s.tag, c.want)
			<-ended
			if got := time.Since(last); got < 900*time.Millisecond || rep.Quiet < time.Second {
				t.Errorf("ended after %v, silent for %v; want a second", got, rep.Quiet)
			}
		})
	}
}

func (s *peers) moveAgain(ended chan struct{}) {
	defer close(ended)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.move() == nil {
		<-tick.C
	}
}

// Another version may read on while it stashes: an end that came with a stash still waits for it.
func TestImportEndBehindStash(t *testing.T) {
	r := newRig(t, rigOptions{})
	c, b := r.unix(), r.unix()
	before := c.clog(t)
	m := image{reason: BackendClosed, lastByte: time.Now().UnixNano(), halved: time.Now().UnixNano()}
	m.legs[client] = legImage{lane: LanePlain, moved: 9, stash: []byte("* BYE\r\n")}
	m.legs[backend] = legImage{lane: LanePlain, flags: inputEnded}
	s := &peers{r: r, client: c, backend: b, tag: 7}
	r.far = append(r.far, c, b)
	t.Cleanup(s.close)
	r.on(0, func(br *Bridge) {
		var err error
		if s.id, err = br.Import(&Parcel{Client: c.near, Backend: b.near, State: m.encode()}, 7); err != nil {
			t.Error(err)
		}
	})
	s.mustMove(t)
	b.closeWrite()
	wantRest(t, c, strings.Repeat("\x00", before)+"* BYE\r\n")
	c.closeWrite()
	if rep := r.waitEnd(7, BackendClosed); rep.ToClient != 9 {
		t.Errorf("report: got %+v", rep)
	}
}

func TestTimersAreGivenBack(t *testing.T) {
	r := newRig(t, rigOptions{})
	s := r.join(0)
	first := s.timer()
	s.mustMove(t)
	s.mustMove(t)
	if got := s.timer(); got != first {
		t.Errorf("deadline's name after moving there and back: got %d, want %d again", got, first)
	}
	s.kick(t)
	for range 50 {
		s = r.join(0)
		s.kick(t)
		s.close()
	}
	if got := r.join(0).timer(); got > 20 {
		t.Errorf("deadline's name of the 52nd session: got %d, want one of the first", got)
	}
}

// A clock that was set while a session moved ends it at most by its deadline.
func TestImportClampsTimes(t *testing.T) {
	r := newRig(t, rigOptions{})
	cases := map[string]struct {
		lastByte, halved int64
		wantQuietMax     time.Duration
	}{
		"future": {1 << 62, 1 << 62, 0},
		"1970":   {0, 0, 1 << 62},
		"oldest": {1, 1, 1 << 62},
	}
	r.on(0, func(b *Bridge) {
		for name, c := range cases {
			x, err := b.add(-1, -1, 0)
			m := image{lastByte: c.lastByte, halved: c.halved}
			if err = errors.Join(err, b.restore(x, &m)); err != nil {
				t.Error(err)
				return
			}
			if got := b.count(x.state).Quiet; got < 0 || got > c.wantQuietMax || x.lastByte < 1 {
				t.Errorf("%s: silent for %v, last byte at %d", name, got, x.lastByte)
			}
			if again := b.imageOf(x); again.lastByte < 0 || (again.halved == 0) != (c.halved == 0) {
				t.Errorf("%s: exported again: got %+v", name, again)
			}
			b.remove(x)
		}
	})
}

func (s *peers) timer() (id engine.TimerID) {
	s.r.on(s.loop, func(b *Bridge) {
		if x, ok := b.find(s.id); ok {
			id = x.timer
		}
	})
	return id
}

func TestExportLeavesNothing(t *testing.T) {
	r := newRig(t, rigOptions{})
	s := r.stuck(0, 5000)
	var p *Parcel
	r.on(0, func(b *Bridge) {
		p, _ = b.Export(s.id)
		if _, err := b.Export(s.id); !errors.Is(err, ErrUnknown) {
			t.Errorf("second export: got %v, want %v", err, ErrUnknown)
		}
		if b.Len() != 0 || r.stash.InUse() != 0 || b.Kick(s.id) {
			t.Errorf("after the export: %d sessions, %d bytes of stash", b.Len(), r.stash.InUse())
		}
	})
	if len(r.ended) != 0 {
		t.Error("Ended was called for an export")
	}
	if m, err := decode(p.State); err != nil || len(m.legs[client].stash) != 5000 {
		t.Errorf("state: got %+v, %v", m, err)
	}
	r.on(0, func(b *Bridge) { s.id, _ = b.Import(p, s.tag) })
	if _, ok := s.count(); !ok {
		t.Error("not imported again")
	}
}

func TestImportErrors(t *testing.T) {
	good := sample()
	cases := map[string]Parcel{
		"no state":            {State: nil},
		"no memory for stash": {State: good.encode()},
	}
	for name, p := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{stashBytes: 10})
			a, b := r.unix(), r.unix()
			p.Client, p.Backend = a.near, b.near
			r.checkRefused(t, &p)
			watchable(t, r, a.near, b.near)
			a.Close()
			b.Close()
		})
	}
	t.Run("no descriptors", func(t *testing.T) {
		r := newRig(t, rigOptions{})
		r.checkRefused(t, &Parcel{Client: -1, Backend: -1, State: good.encode()})
	})
	t.Run("no second descriptor", func(t *testing.T) {
		r := newRig(t, rigOptions{})
		a := r.unix()
		r.checkRefused(t, &Parcel{Client: a.near, Backend: -1, State: good.encode()})
		watchable(t, r, a.near)
		a.Close()
	})
}

func (r *rig) checkRefused(t *testing.T, p *Parcel) {
	t.Helper()
	r.on(0, func(b *Bridge) {
		if id, err := b.Import(p, 1); err == nil {
			t.Errorf("import: got %#x, want an error", id)
		}
		if b.Len() != 0 || r.stash.InUse() != 0 {
			t.Errorf("after the error: %d sessions, %d bytes of stash", b.Len(), r.stash.InUse())
		}
	})
	if len(r.ended) != 0 {
		t.Error("Ended was called for an import that failed")
	}
}

// watchable wants descriptors to be open and unwatched, and closes them.
func watchable(t *testing.T, r *rig, fds ...int) {
	t.Helper()
	r.on(0, func(b *Bridge) {
		for _, fd := range fds {
			if err := b.loop.Watch(fd, 0); err != nil {
				t.Errorf("after the error: %v", err)
			}
			b.loop.Close(fd)
		}
	})
}

// sample is a state with something in every field.
func sample() image {
	m := image{reason: ClientClosed, lastByte: 1_800_000_000_000_000_000, halved: 1_800_000_000_000_000_001}
	m.legs[client] = legImage{lane: LanePlain, flags: inputEnded, moved: 12345, stash: []byte("* OK")}
	m.legs[backend] = legImage{lane: LanePlain, flags: finished, moved: 1 << 40}
	return m
}

func TestDecode(t *testing.T) {
	both := image{lastByte: 1}
	both.legs[client] = legImage{lane: LaneKTLS, flags: inKernel | outKernel, account: 1<<64 - 5, keys: []byte("k"), stash: []byte("s"), words: []byte{1, 0}}
	both.legs[backend] = legImage{lane: LaneKTLS, flags: outKernel, account: 9, keys: []byte("k"), raw: []byte("r")}
	for name, want := range map[string]image{"plain": sample(), "kernel": both} {
		t.Run(name, func(t *testing.T) { checkDecode(t, want) })
	}
}

func checkDecode(t *testing.T, want image) {
	got, err := decode(want.encode())
	for i := range got.legs {
		if len(got.legs[i].keys) == 0 {
			got.legs[i].keys = nil
		}
		if len(got.legs[i].stash) == 0 {
			got.legs[i].stash = nil
		}
		if len(got.legs[i].raw) == 0 {
			got.legs[i].raw = nil
		}
		if len(got.legs[i].words) == 0 {
			got.legs[i].words = nil
		}
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestDecodeErrors(t *testing.T) {
	changed := func(f func(*image)) []byte {
		m := sample()
		f(&m)
		return m.encode()
	}
	good := changed(func(*image) {})
	version := bytes.Clone(good)
	version[0] = 1
	cases := map[string][]byte{
		"unknown version":    version,
		"one byte too many":  append(bytes.Clone(good), 0),
		"ended for idleness": changed(func(m *image) { m.reason = Idle }),
		"unknown reason":     changed(func(m *image) { m.reason = 200 }),
		"negative time":      changed(func(m *image) { m.lastByte = -1 }),
		"negative end":       changed(func(m *image) { m.halved = -1 }),
		"end without a time": changed(func(m *image) { m.halved = 0 }),
		"unknown lane":       changed(func(m *image) { m.legs[0].lane = 9 }),
		"keys on plain":      changed(func(m *image) { m.legs[0].keys = []byte("k") }),
		"records on plain":   changed(func(m *image) { m.legs[0].raw = []byte("r") }),
		"TLS end on plain":   changed(func(m *image) { m.legs[0].flags |= unclean }),
		"oversize record":    changed(func(m *image) { m.legs[1].lane = LaneRecord; m.legs[1].raw = make([]byte, record.MaxRecord+1) }),
		"record after end":   changed(func(m *image) { m.legs[0].lane = LaneRecord; m.legs[0].raw = []byte("r") }),
		"unknown flag":       changed(func(m *image) { m.legs[1].flags |= truncated }),
		"oversize stash":     changed(func(m *image) { m.legs[0].stash = make([]byte, maxStashBytes+1) }),
		"stash after end":    changed(func(m *image) { m.legs[1].stash = []byte("x") }),
		"shut too early":     changed(func(m *image) { m.legs[0].flags = 0 }),
		"kernel on record":   changed(func(m *image) { m.legs[0].lane = LaneRecord; m.legs[0].flags |= inKernel }),
		"nothing in kernel":  changed(func(m *image) { m.legs[0].lane = LaneKTLS }),
		"raw behind kernel":  changed(func(m *image) { m.legs[1].lane = LaneKTLS; m.legs[1].flags |= inKernel; m.legs[1].raw = []byte("r") }),
		"account on record":  changed(func(m *image) { m.legs[1].lane = LaneRecord; m.legs[1].account = 1 }),
		"words on record":    changed(func(m *image) { m.legs[1].lane = LaneRecord; m.legs[1].words = []byte{1, 0} }),
		"half an alert":      changed(func(m *image) { m.legs[1].lane = LaneKTLS; m.legs[1].flags |= outKernel; m.legs[1].words = []byte{1} }),
		"too many alerts": changed(func(m *image) {
			m.legs[1].lane = LaneKTLS
			m.legs[1].flags |= outKernel
			m.legs[1].words = make([]byte, 6)
		}),
	}
	for name, p := range cases {
		if m, err := decode(p); err == nil {
			t.Errorf("%s: got %+v, want an error", name, m)
		}
	}
	for n := range good {
		if m, err := decode(good[:n]); err == nil {
			t.Errorf("cut to %d bytes: got %+v, want an error", n, m)
		}
	}
}

// The decoder reads what another version of the program wrote: whatever it accepts has one encoding only, and no block
// is larger than allowed.
func FuzzDecode(f *testing.F) {
	m := sample()
	f.Add(m.encode())
	k := image{legs: [2]legImage{{lane: LaneKTLS, flags: inKernel | outKernel, keys: []byte("k"), words: []byte{1, 0}}, {lane: LaneSplice}}}
	f.Add(k.encode())
	f.Add((&image{legs: [2]legImage{{lane: LanePlain}, {lane: LanePlain}}}).encode())
	f.Add([]byte{parcelVersion})
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := decode(p)
		if err != nil {
			return
		}
		if got := m.encode(); !bytes.Equal(got, p) {
			t.Errorf("encoded again: got %x, want %x", got, p)
		}
		for _, l := range m.legs {
			if len(l.stash) > maxStashBytes || len(l.raw) > record.MaxRecord || !l.sealed() && len(l.keys) > 0 {
				t.Errorf("accepted a stash of %d bytes, %d unopened, keys of %d", len(l.stash), len(l.raw), len(l.keys))
			}
		}
	})
}
