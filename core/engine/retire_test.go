package engine

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var farewell = []byte("* BYE see you\r\n")

// retire watches ours and retires it, as an owner would who has read nothing.
func (r *rig) retire(ours int, rest []byte) { r.t.Helper(); r.retireAfter(ours, rest, nil) }

func (r *rig) retireAfter(ours int, rest []byte, last func(fd int) (uint64, error)) {
	r.t.Helper()
	l := r.Loops()[0]
	r.fds.opened(1)
	on(r.t, l, func() {
		check(r.t, l.Watch(ours, MakeToken(0, 0, 0)))
		l.RetireAfter(ours, rest, last)
		clear(rest) // it is copied
	})
}

// retired waits until every polite end is over.
func (r *rig) retired() {
	r.t.Helper()
	eventually(r.t, "the socket is closed", func() bool { return r.OpenFDs() == 0 })
	l := r.Loops()[0]
	if n := ask(r.t, l, l.Retired); n != 0 {
		r.t.Errorf("%d sockets are still listed", n)
	}
	if n := ask(r.t, l, func() int { return l.wheel.nodes.Len() }); n != 0 {
		r.t.Errorf("%d timers are left", n)
	}
}

// later is what the loop would do after so long: deadlines come without waiting for them. Only for a rig whose clock is
// not looked at afterwards.
func (r *rig) later(d time.Duration) {
	r.t.Helper()
	l := r.Loops()[0]
	on(r.t, l, func() {
		l.now += int64(d)
		l.wheel.advance(l.now, l.fire)
	})
}

// pattern is n bytes in which a gap or a swap shows.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return p
}

// The peer gets every byte and then an end, not a reset, whatever it does meanwhile.
func TestRetireDeliversTheFarewell(t *testing.T) {
	for _, c := range []struct {
		name string
		rest []byte
		peer func(t *testing.T, fd int) // before it reads
	}{
		{"to a quiet peer", farewell, nil},
		{"nothing owed", nil, nil},
		{"more than the socket takes", pattern(8 << 20), nil},
		{"to a peer that pipelined", farewell, func(t *testing.T, fd int) { check(t, writeAll(fd, pattern(20_000))) }},
		{"more than the socket takes, to a peer that pipelined", pattern(8 << 20), func(t *testing.T, fd int) {
			check(t, writeAll(fd, pattern(20_000)))
		}},
		{"to a peer that has ended", farewell, func(t *testing.T, fd int) { check(t, unix.Shutdown(fd, unix.SHUT_WR)) }},
		{"more than the socket takes, to a peer that has ended", pattern(8 << 20), func(t *testing.T, fd int) {
			check(t, unix.Shutdown(fd, unix.SHUT_WR))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRig(t, 1)
			ours, peer := tcpPair(t)
			defer unix.Close(peer)
			want := bytes.Clone(c.rest)
			if c.peer != nil {
				c.peer(t, peer)
			}
			r.retire(ours, bytes.Clone(c.rest))
			got, err := readAll(peer)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("the peer got %d bytes and %v, want %d bytes and an end", len(got), err, len(want))
			}
			unix.Shutdown(peer, unix.SHUT_WR)
			r.retired()
		})
	}
}

// Input that comes after the farewell is read away, so that it does not reset the connection.
func TestRetireDiscardsLateInput(t *testing.T) {
	r := startRig(t, 1)
	ours, peer := tcpPair(t)
	defer unix.Close(peer)
	r.retire(ours, bytes.Clone(farewell))
	for range 20 {
		check(t, writeAll(peer, pattern(2000)))
		on(t, r.Loops()[0], func() {})
	}
	if got, err := readAll(peer); err != nil || !bytes.Equal(got, farewell) {
		t.Errorf("the peer got %q and %v, want the farewell and an end", got, err)
	}
	unix.Shutdown(peer, unix.SHUT_WR)
	r.retired()
}

// A peer that goes on sending is cut off after 64 KiB.
func TestRetireBoundsWhatItDiscards(t *testing.T) {
	r := startRig(t, 1)
	ours, peer := tcpPair(t)
	defer unix.Close(peer)
	r.retire(ours, bytes.Clone(farewell))
	sent, err := 0, error(nil)
	for p := pattern(4096); err == nil && sent < 256<<20; sent += len(p) {
		err = writeAll(peer, p)
	}
	if err == nil {
		t.Errorf("%d bytes were taken", sent)
	}
	if sent < retireDiscard {
		t.Errorf("the peer was cut off after %d bytes, want at least %d", sent, retireDiscard)
	}
	r.retired()
}

// A peer that never reads is given up 10 s after the last progress; one that read something meanwhile has 10 s more.
func TestRetireGivesUpOnAPeerThatNeverReads(t *testing.T) {
	r := startRig(t, 1)
	l := r.Loops()[0]
	ours, peer := tcpPair(t)
	defer unix.Close(peer)
	r.retire(ours, pattern(32<<20))
	deadline := func() int64 { // of the one socket, 0 when it was given up
		return ask(t, l, func() int64 {
			for _, c := range l.retired.list {
				return c.deadline
			}
			return 0
		})
	}
	before := deadline()
	r.later(5 * time.Second)
	if got := deadline(); got != before {
		t.Fatalf("after 5 s without progress the deadline moved from %d to %d", before, got)
	}
	p := make([]byte, 1<<20)
	eventually(t, "progress gives it more time", func() bool {
		must(readSome(peer, p))
		return deadline() > before
	})
	r.later(11 * time.Second)
	r.retired()
}

// A peer that takes the farewell and never ends is closed after 2 s. This one test waits for it.
func TestRetireLingersTwoSeconds(t *testing.T) {
	r := startRig(t, 1)
	ours, peer := tcpPair(t)
	defer unix.Close(peer)
	start := monotonic()
	r.retire(ours, bytes.Clone(farewell))
	if got, err := readAll(peer); err != nil || !bytes.Equal(got, farewell) {
		t.Errorf("the peer got %q and %v, want the farewell and an end", got, err)
	}
	if n := r.OpenFDs(); n != 1 {
		t.Errorf("%d sockets linger, want 1", n)
	}
	r.retired()
	if took := monotonic() - start; took < retireLinger-int64(time.Millisecond)*200 {
		t.Errorf("it lingered for %v, want 2 s", time.Duration(took))
	}
}

// What cannot be ended politely is closed at once.
func TestRetireClosesWhatIsGone(t *testing.T) {
	for _, c := range []struct {
		name string
		peer func(fd int)
		rest []byte
	}{
		{"reset by the peer", func(fd int) {
			unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			unix.Close(fd)
		}, farewell},
		{"closed by the peer", func(fd int) { unix.Close(fd) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRig(t, 1)
			ours, peer := tcpPair(t)
			c.peer(peer)
			r.retire(ours, bytes.Clone(c.rest))
			r.retired()
		})
	}
	t.Run("not watched", func(t *testing.T) {
		r := startRig(t, 1)
		ours, peer := tcpPair(t)
		defer unix.Close(peer)
		r.fds.opened(1)
		on(t, r.Loops()[0], func() { r.Loops()[0].Retire(ours, nil) })
		r.retired()
	})
}

// A handler may retire from within each of its callbacks; events and deadlines of the old token find nothing.
func TestRetireFromWithinCallbacks(t *testing.T) {
	for _, how := range []string{"Ready", "Due", "Failed", "Deliver"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, Options{Loops: 1})
			l := r.Loops()[0]
			ours, peer := tcpPair(t)
			defer unix.Close(peer)
			retired := false
			retire := func() {
				if retired {
					t.Error("called again after Retire")
				}
				retired = true
				l.Retire(ours, farewell)
			}
			kind := l.Register(&script{
				ready: func(_ Token, rd Ready) {
					switch {
					case how == "Ready" && rd&Readable != 0:
						retire()
					case how == "Failed" && rd&Readable != 0:
						panic("boom")
					}
				},
				due:    func(Token) int64 { retire(); return 0 },
				failed: func(Token, any) { retire() },
			})
			r.fds.opened(1)
			tok := MakeToken(kind, 1, 1)
			check(t, l.Watch(ours, tok))
			r.Start()
			check(t, writeAll(peer, pattern(1000)))
			switch how {
			case "Due":
				on(t, l, func() { l.Arm(0, l.Now(), tok) })
			case "Deliver":
				l.Do(retire)
			}
			if got, err := readAll(peer); err != nil || !bytes.Equal(got, farewell) {
				t.Errorf("the peer got %q and %v, want the farewell and an end", got, err)
			}
			unix.Shutdown(peer, unix.SHUT_WR)
			r.retired()
		})
	}
}

// Many polite ends at once, with random peers, under the race detector.
func TestRetireMany(t *testing.T) {
	r := startRig(t, 1)
	for range 10 {
		var peers []int
		for i := range 40 {
			ours, peer := tcpPair(t)
			peers = append(peers, peer)
			if i%2 == 0 {
				check(t, writeAll(peer, pattern(100*i)))
			}
			r.retire(ours, bytes.Clone(farewell))
		}
		for i, peer := range peers {
			if i%4 != 3 {
				if got, err := readAll(peer); err != nil || !bytes.Equal(got, farewell) {
					t.Errorf("peer %d got %q and %v", i, got, err)
				}
			}
			unix.Close(peer)
		}
		r.retired()
	}
}
