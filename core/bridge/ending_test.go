package bridge

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
)

func TestHalfClose(t *testing.T) {
	legs := map[string]func(*peers) (first, second *peer){
		"client first":  func(s *peers) (*peer, *peer) { return s.client, s.backend },
		"backend first": func(s *peers) (*peer, *peer) { return s.backend, s.client },
	}
	for name, order := range legs {
		overLanes(t, func(t *testing.T, o rigOptions) {
			r := newRig(t, o)
			s := r.join(0)
			first, second := order(s)
			exchange(t, first, second, "last words")
			first.closeWrite()
			wantRest(t, second, "")
			exchange(t, second, first, "still heard\r\n")
			exchange(t, second, first, "and again\r\n")
			second.closeWrite()
			wantRest(t, first, "")
			want := ClientClosed
			if first == s.backend {
				want = BackendClosed
			}
			if got := r.waitEnd(s.tag, want); got.ToBackend+got.ToClient != 10+13+11 || got.Unclean != [2]bool{} {
				t.Errorf("%s: report: got %+v, want 34 bytes in all, clean", name, got)
			}
		})
	}
}

// The end of a download is already behind it when the client has not taken it yet (DESIGN 4: truncated downloads).
func TestEndWaitsForTheStash(t *testing.T) {
	overPlainKinds(t, func(t *testing.T, r *rig, leg func() *peer) {
		c, b := leg(), leg()
		before := c.clog(t)
		s := r.joinLegs(0, c, b, Join{ToClient: []byte(randomText(40000))})
		if _, err := io.WriteString(s.backend, "* BYE\r\n"); err != nil {
			t.Fatal(err)
		}
		s.backend.Close()
		if got := r.stash.InUse(); got == 0 || got > 64<<10 { // a slow machine's TCP may take some of it after all
			t.Errorf("stash: got %d bytes, want some, up to 65536", got)
		}
		r.eventually("backend's hang-up", func() bool { return s.isHalved() })
		wantRest(t, s.client, strings.Repeat("\x00", before)+randomText(40000)+"* BYE\r\n")
		s.client.Close()
		r.waitEnd(s.tag, BackendClosed)
	})
}

func (s *peers) isHalved() (halved bool) {
	s.r.on(s.loop, func(b *Bridge) {
		x, ok := b.find(s.id)
		halved = ok && x.halved != 0
	})
	return halved
}

// LOGOUT: the backend answers and closes while the client has sent more, which the backend answers with RST.
func TestBackendGoneStillHeard(t *testing.T) {
	cases := map[string]func(s *peers){
		"closed, nothing sent":    func(s *peers) { s.backend.Close() },
		"closed, client writes":   func(s *peers) { s.backend.Close(); io.WriteString(s.client, "more\r\n") },
		"client writes, closed":   func(s *peers) { io.WriteString(s.client, "more\r\n"); s.backend.Close() },
		"reset":                   func(s *peers) { s.backend.reset() },
		"reset, client writes":    func(s *peers) { s.backend.reset(); io.WriteString(s.client, "more\r\n") },
		"client writes, reset":    func(s *peers) { io.WriteString(s.client, "more\r\n"); s.backend.reset() },
		"client ends, then reset": func(s *peers) { s.client.closeWrite(); s.backend.reset() },
	}
	for name, end := range cases {
		overPlain(t, func(t *testing.T, o rigOptions) {
			r := newRig(t, o)
			t.Log(name)
			s := r.join(1)
			exchange(t, s.client, s.backend, "a LOGOUT\r\n")
			resume, _ := r.engine.Loops()[1].Pause()
			answer := randomText(20000) + "* BYE\r\na OK\r\n"
			io.WriteString(s.backend, answer)
			end(s)
			resume()
			wantRest(t, s.client, answer)
			s.client.closeWrite()
			if e := <-r.ended; e.tag != s.tag || e.Reason == 0 || e.Reason > BackendReset {
				t.Errorf("report: got %+v", e)
			}
		})
	}
}

func TestReset(t *testing.T) {
	cases := map[string]struct {
		want  Reason
		order func(*peers) (breaks, other *peer)
	}{
		"client":  {ClientReset, func(s *peers) (*peer, *peer) { return s.client, s.backend }},
		"backend": {BackendReset, func(s *peers) (*peer, *peer) { return s.backend, s.client }},
	}
	for name, c := range cases {
		overPlain(t, func(t *testing.T, o rigOptions) {
			r := newRig(t, o)
			t.Log(name)
			s := r.join(0)
			breaks, other := c.order(s)
			exchange(t, breaks, other, "hello\r\n")
			resume, _ := r.engine.Loops()[0].Pause()
			io.WriteString(breaks, "said before it broke\r\n")
			breaks.reset()
			resume()
			r.waitEnd(s.tag, c.want)
			wantRest(t, other, "said before it broke\r\n")
		})
	}
}

// A client that has shut its direction and then breaks says so by EPOLLHUP alone: nothing is left to be read from it.
func TestResetAfterHalfClose(t *testing.T) {
	r := newRig(t, rigOptions{})
	s := r.join(0)
	s.client.closeWrite()
	wantRest(t, s.backend, "")
	s.client.reset()
	r.waitEnd(s.tag, ClientClosed)
}

func TestIdle(t *testing.T) {
	const idle = 400 * time.Millisecond
	r := newRig(t, rigOptions{idle: idle})
	s := r.join(0)
	tick := time.NewTicker(idle / 4)
	defer tick.Stop()
	for range 8 { // twice as long as it may be silent
		exchange(t, s.client, s.backend, "x")
		<-tick.C
	}
	if _, ok := s.count(); !ok {
		t.Fatal("ended although bytes came")
	}
	exchange(t, s.backend, s.client, "x")
	last := time.Now()
	rep := r.waitEnd(s.tag, Idle)
	if got := time.Since(last); got < idle*3/4 || rep.Quiet < idle {
		t.Errorf("ended %v after the last byte, reports %v; want at least %v", got, rep.Quiet, idle)
	}
	wantRest(t, s.client, "")
	wantRest(t, s.backend, "")
}

func TestHalfClosedDeadline(t *testing.T) {
	cases := map[string]func(r *rig) *peers{
		"client's end":  func(r *rig) *peers { s := r.join(0); s.client.closeWrite(); return s },
		"backend's end": func(r *rig) *peers { s := r.join(0); s.backend.closeWrite(); return s },
		// The end is behind bytes that the client does not take: it was seen, not read.
		"end while paused": func(r *rig) *peers {
			c, b := r.unix(), r.unix()
			c.clog(r.t)
			s := r.joinLegs(0, c, b, Join{ToClient: []byte("tail")})
			io.WriteString(s.backend, "waits")
			s.backend.closeWrite()
			return s
		},
	}
	for name, start := range cases {
		t.Run(name, func(t *testing.T) {
			const limit = 300 * time.Millisecond
			r := newRig(t, rigOptions{halfClosed: limit})
			s := start(r)
			if rep := r.waitEnd(s.tag, HalfClosed); rep.Quiet < limit {
				t.Errorf("silent for %v, want at least %v", rep.Quiet, limit)
			}
			// Whatever waited for the client is still delivered.
			s.client.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, s.client); err != nil {
				t.Errorf("client: got %v, want a clean end", err)
			}
		})
	}
}

func TestKickDeliversTheStash(t *testing.T) {
	for _, kind := range []string{"tcp", "unix"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			leg := map[string]func() *peer{"tcp": r.tcp, "unix": r.unix}[kind]
			c, b := leg(), leg()
			before := c.clog(t)
			s := r.joinLegs(0, c, b, Join{ToClient: []byte(randomText(60000))})
			io.WriteString(s.backend, "never read by the bridge")
			s.kick(t)
			r.waitEnd(s.tag, Kicked)
			if got := r.stash.InUse(); got != 0 {
				t.Errorf("stash: got %d bytes, want 0", got)
			}
			wantRest(t, s.client, strings.Repeat("\x00", before)+randomText(60000))
			wantRest(t, s.backend, "")
		})
	}
}

func (s *peers) kick(t *testing.T) {
	t.Helper()
	s.r.on(s.loop, func(b *Bridge) {
		if !b.Kick(s.id) {
			t.Error("kick: session not found")
		}
		if b.Kick(s.id) {
			t.Error("second kick: session found")
		}
		if _, ok := b.Count(s.id); ok || b.Len() != 0 {
			t.Errorf("after the kick: found %v, %d sessions", ok, b.Len())
		}
	})
}

// What the client had sent for the backend has no use once its answer cannot come back.
func TestKickDropsWhatTheBackendHasNotTaken(t *testing.T) {
	r := newRig(t, rigOptions{})
	c, b := r.unix(), r.unix()
	before := b.clog(t)
	s := r.joinLegs(0, c, b, Join{ToBackend: []byte("a DELETE INBOX\r\n")})
	s.kick(t)
	r.waitEnd(s.tag, Kicked)
	wantRest(t, s.backend, strings.Repeat("\x00", before))
}

func TestEachMayKick(t *testing.T) {
	r := newRig(t, rigOptions{})
	tags := map[uint64]bool{}
	for range 5 {
		s := r.join(0)
		tags[s.tag] = true
		defer s.client.Close()
		defer s.backend.Close()
	}
	r.on(0, func(b *Bridge) {
		b.Each(func(id ID, tag uint64) { b.Kick(id) })
		if got := b.Len(); got != 0 {
			t.Errorf("left after kicking each: got %d, want 0", got)
		}
	})
	for range 5 {
		e := <-r.ended
		if !tags[e.tag] || e.Reason != Kicked {
			t.Errorf("ended: got %+v", e)
		}
		delete(tags, e.tag)
	}
}

// A panic costs the session that it happened on.
func TestFailed(t *testing.T) {
	r := newRig(t, rigOptions{})
	s, other := r.join(0), r.join(0)
	r.on(0, func(b *Bridge) {
		w := &watcher{b, backend}
		w.Failed(b.token(s.id, backend), "cause")
		w.Failed(b.token(s.id, backend), "cause again") // the record is gone: ignored
	})
	r.waitEnd(s.tag, Bug)
	exchange(t, other.client, other.backend, "alive\r\n")
	if _, err := s.client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("client: got %v, want a reset", err)
	}
}

// A stale token, as a late event or deadline may carry, reaches nobody.
func TestStaleToken(t *testing.T) {
	r := newRig(t, rigOptions{})
	s := r.join(0)
	s.kick(t)
	r.waitEnd(s.tag, Kicked)
	s.client.Close()
	s.backend.Close()
	next := r.join(0)
	r.on(0, func(b *Bridge) {
		if s.id.index() != next.id.index() {
			t.Errorf("the record was not used again: %#x, %#x", s.id, next.id)
		}
		w := &watcher{b, client}
		w.Ready(b.token(s.id, client), engine.Readable|engine.Gone)
		if at := w.Due(b.token(s.id, client)); at != 0 {
			t.Errorf("deadline of a stale token: got %d, want 0", at)
		}
		if x, _ := b.find(next.id); x.halved != 0 {
			t.Error("the stale event reached the next session")
		}
	})
}

func TestJoinErrors(t *testing.T) {
	clogged := func(r *rig) *peer { p := r.unix(); p.clog(r.t); return p }
	blind := func(r *rig) *peer { // its number stands for /dev/null, which epoll refuses; the peer sees the end
		p := r.unix()
		null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		defer unix.Close(null)
		if err := unix.Dup3(null, p.near, unix.O_CLOEXEC); err != nil {
			r.t.Fatal(err)
		}
		return p
	}
	cases := map[string]struct {
		backend func(*rig) *peer
		tail    int
	}{
		"tail too long":                {(*rig).unix, MaxTailBytes + 1},
		"no memory for a tail":         {clogged, 2048},
		"a leg that cannot be watched": {blind, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{stashBytes: 1024})
			cl, ba := r.unix(), c.backend(r)
			r.on(0, func(b *Bridge) {
				if id, err := b.Join(Join{Client: cl.leg(), Backend: ba.leg(), ToBackend: make([]byte, c.tail)}); err == nil {
					t.Errorf("join: got %#x, want an error", id)
				}
				if got := b.Len(); got != 0 {
					t.Errorf("sessions: got %d, want 0", got)
				}
			})
			for _, p := range []*peer{cl, ba} {
				if _, err := io.Copy(io.Discard, p); err != nil {
					t.Errorf("far end: got %v, want its end", err)
				}
				p.Close()
			}
			if got := len(r.ended); got != 0 {
				t.Errorf("Ended was called %d times for a join that failed", got)
			}
		})
	}
}

// A tail for a leg that broke meanwhile ends the session like any broken leg, after Join has returned.
func TestJoinWithBrokenBackend(t *testing.T) {
	r := newRig(t, rigOptions{})
	c, b := r.tcp(), r.tcp()
	io.WriteString(b, "bytes unread at the join")
	b.reset()
	s := r.joinLegs(0, c, b, Join{ToBackend: []byte("a NOOP\r\n"), ToClient: []byte("a OK\r\n")})
	r.waitEnd(s.tag, BackendReset)
	wantRest(t, s.client, "a OK\r\nbytes unread at the join")
}

func TestReasonString(t *testing.T) {
	for r, want := range map[Reason]string{ClientClosed: "client closed", HalfClosed: "half_closed", Kicked: "kick",
		StashFull: "stash", Bug: "bug", 0: "none", 99: "unknown"} {
		if got := r.String(); got != want {
			t.Errorf("reason %d: got %q, want %q", r, got, want)
		}
	}
}
