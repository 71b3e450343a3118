package engine

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestRaiseFileLimit(t *testing.T) {
	var old, now unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: old.Max - 1, Max: old.Max}))
	got, err := RaiseFileLimit()
	check(t, err)
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &now))
	if uint64(got) != old.Max || now.Cur != old.Max {
		t.Errorf("raised to %d, the kernel says %d; want %d", got, now.Cur, old.Max)
	}
}

// wantRefusal reads what a newcomer without a place gets.
func wantRefusal(t *testing.T, fd int) {
	t.Helper()
	if got, err := readAll(fd); err != nil || string(got) != "* BYE full\r\n" {
		t.Errorf("a newcomer too many got %q, %v; want the refusal", got, err)
	}
}

// Each session counts with the backend socket it will want; at the limit newcomers are turned away, with words, until
// there is room again.
func TestDescriptorLimitTurnsNewcomersAway(t *testing.T) {
	const sessions = 5
	r := newRig(t, Options{Loops: 1, MaxFDs: reserveFDs + 2*sessions})
	r.Start()
	g := &greeter{keep: true}
	ln := r.serve(g)
	for round := range 3 {
		var fds []int
		free := int64(sessions) // at first all places, then one
		if round > 0 {
			free = 1
		}
		accepted := g.accepted.Load() + free
		for range free {
			fds = append(fds, dial(t, ln.Addr()))
		}
		eventually(t, "all places are taken", func() bool { return g.accepted.Load() == accepted })
		refused := g.refused.Load()
		for range 3 {
			fd := dial(t, ln.Addr())
			wantRefusal(t, fd)
			fds = append(fds, fd)
		}
		r.everywhere()
		if got := g.refused.Load() - refused; got != 3 {
			t.Errorf("Refused was told of %d newcomers, want 3", got)
		}
		if r.OpenFDs() != sessions || r.Pending() != sessions {
			t.Errorf("accounted are %d open and %d pending, want %d each", r.OpenFDs(), r.Pending(), sessions)
		}
		g.release(1)
		closeAll(fds...)
	}
	g.release(-1)
	if r.OpenFDs() != 0 || r.Pending() != 0 || r.Loops()[0].Load() != 0 {
		t.Errorf("at the end %d open, %d pending, load %d; want 0", r.OpenFDs(), r.Pending(), r.Loops()[0].Load())
	}
}

// A session that has its backend socket, or will have none, leaves room for others.
func TestSettledSessionsCountOnce(t *testing.T) {
	d := descriptors{limit: reserveFDs + 6}
	for _, c := range []struct {
		open, pending int64
		want          bool
	}{
		{0, 0, true}, {2, 2, true}, {4, 0, true}, {0, 4, true},
		{5, 0, false}, {3, 2, false}, {2, 3, false}, {6, 6, false},
	} {
		d.open.Store(c.open)
		d.pending.Store(c.pending)
		if got := d.room(); got != c.want {
			t.Errorf("with %d open and %d pending of 6 there is room: %v, want %v", c.open, c.pending, got, c.want)
		}
	}
}

// accept(2) EMFILE: newcomers are turned away one by one through the spare descriptor, and it is there again afterwards.
func TestNoDescriptorLeftTurnsNewcomersAway(t *testing.T) {
	r := startRig(t, 1)
	g := &greeter{}
	ln := r.serve(g)
	const clients = 40 // more than one batch
	var fds []int
	r.everywhere()
	resume, _ := r.Loops()[0].Pause()
	for range clients {
		fds = append(fds, dial(t, ln.Addr()))
	}
	defer closeAll(fds...)
	full := exhaust(t)
	defer full.end()
	resume()
	for _, fd := range fds {
		wantRefusal(t, fd)
	}
	r.everywhere()
	if got := g.refused.Load(); got != clients {
		t.Errorf("Refused was told of %d newcomers, want %d", got, clients)
	}
	full.end()
	if err := greeted(ln.Addr()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if r.spare < 0 {
		t.Error("there is no spare descriptor any more")
	}
}

// Two loops race for the number that the spare gives free, so that a newcomer may get in after all; but each gets an
// answer.
func TestNoDescriptorLeftOnTwoLoops(t *testing.T) {
	r := startRig(t, 2)
	g := &greeter{}
	ln := r.serve(g)
	var fds []int
	var resumes []func()
	r.everywhere()
	for _, l := range r.Loops() {
		resume, _ := l.Pause()
		resumes = append(resumes, resume)
	}
	for range 40 {
		fds = append(fds, dial(t, ln.Addr()))
	}
	full := exhaust(t)
	defer full.end()
	for _, resume := range resumes {
		resume()
	}
	eventually(t, "somebody is answered", func() bool { return g.accepted.Load()+g.refused.Load() > 0 })
	r.everywhere()
	full.end()
	defer closeAll(fds...)
	for i, fd := range fds {
		if got, err := readAll(fd); err != nil || string(got) != "* BYE full\r\n" && string(got) != string(greeting) {
			t.Errorf("client %d got %q, %v; want an answer", i, got, err)
		}
	}
}

// Without a spare a loop leaves the listener alone for a moment instead of spinning, and comes back.
func TestNoDescriptorAndNoSparePausesTheListener(t *testing.T) {
	r := startRig(t, 1)
	l := r.Loops()[0]
	g := &greeter{}
	ln := r.serve(g)
	on(t, l, func() {})
	resume, _ := l.Pause()
	fd := dial(t, ln.Addr())
	defer unix.Close(fd)
	unix.Close(r.spare)
	r.spare = -1
	full := exhaust(t)
	defer full.end()
	resume()
	eventually(t, "the listener is paused", func() bool {
		return ask(t, l, func() bool {
			for _, w := range l.accept.listeners {
				return w.paused
			}
			return false
		})
	})
	full.end()
	if got, err := readAll(fd); err != nil || string(got) != string(greeting) {
		t.Errorf("the newcomer got %q, %v; want the greeting", got, err)
	}
	on(t, l, func() {
		for _, w := range l.accept.listeners {
			if w.paused || w.timer != 0 {
				t.Error("the listener is still paused")
			}
		}
		if n := l.wheel.nodes.Len(); n != 0 {
			t.Errorf("%d timers are left", n)
		}
	})
	r.spareMu.Lock()
	defer r.spareMu.Unlock()
	if r.spare < 0 {
		t.Error("no spare descriptor was taken when there were some again")
	}
}

// Closing a listener while a loop has paused it.
func TestClosingAPausedListener(t *testing.T) {
	r := startRig(t, 1)
	l := r.Loops()[0]
	g := &greeter{}
	ln := r.serve(g)
	on(t, l, func() {
		for key, w := range l.accept.listeners {
			l.accept.pause(MakeToken(l.accept.kind, key, 0), w)
		}
	})
	fd := dial(t, ln.Addr())
	defer unix.Close(fd)
	ln.Close()
	receive(t, "the listener's end", ln.Done())
	if got, err := readAll(fd); err != nil || string(got) != string(greeting) {
		t.Errorf("the queued client got %q, %v; want the greeting", got, err)
	}
	if n := ask(t, l, func() int { return l.wheel.nodes.Len() }); n != 0 {
		t.Errorf("%d timers are left", n)
	}
	r.bugs.want(t, 0)
}
