package route

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a memory store whose notices come over a channel that the test breaks.
type watched struct {
	*memory
	lost, back func()
	order      []string // what the router set, in order
}

func (w *watched) Notify(changed func([]string)) {
	w.order = append(w.order, "notify")
	w.memory.Notify(changed)
}

func (w *watched) Watch(lost, back func()) {
	w.order = append(w.order, "watch")
	w.lost, w.back = lost, back
}

// newWatched is a rig on a watched store.
func newWatched(t *testing.T, change func(*Options)) (rig, *watched) {
	t.Helper()
	w := &watched{memory: &memory{mappings: map[string]string{"alice": "new", "lost": "gone"}}}
	g := newRig(t, func(o *Options) {
		o.Store = w
		if change != nil {
			change(o)
		}
	})
	g.store = w.memory
	return g, w
}

func TestWatchComesAfterNotify(t *testing.T) {
	if _, w := newWatched(t, nil); !slices.Equal(w.order, []string{"notify", "watch"}) {
		t.Errorf("got %v, want notify, then watch", w.order)
	}
}

// While the channel is broken nothing answers for longer than negative_ttl, whenever it was stored (SPEC 4.2).
func TestLifeWhileBroken(t *testing.T) {
	const positive, negative = 600 * time.Second, 30 * time.Second
	for _, c := range []struct {
		name, account string
		negative      time.Duration
		before        func(rig, *watched) // the answer is stored in here
		want          time.Duration       // from now
	}{
		{"working", "alice", negative, func(g rig, w *watched) { g.where("alice") }, positive},
		{"stored before, broken at once", "alice", negative, func(g rig, w *watched) { g.where("alice"); w.lost() }, negative},
		{"stored before, broken later", "alice", negative, func(g rig, w *watched) { g.where("alice"); g.clock.pass(20 * time.Second); w.lost() }, 10 * time.Second},
		{"stored while broken", "alice", negative, func(g rig, w *watched) { w.lost(); g.clock.pass(time.Hour); g.where("alice") }, negative},
		{"undeclared", "lost", negative, func(g rig, w *watched) { w.lost(); g.where("lost") }, negative},
		{"absent", "bob", negative, func(g rig, w *watched) { w.lost(); g.where("bob") }, negative},
		{"negative_ttl is the longer one", "alice", 2 * positive, func(g rig, w *watched) { w.lost(); g.where("alice") }, positive},
		{"stored after it came back", "alice", negative, func(g rig, w *watched) { w.lost(); w.back(); g.where("alice") }, positive},
	} {
		g, w := newWatched(t, func(o *Options) { o.PositiveTTL, o.NegativeTTL = positive, c.negative })
		c.before(g, w)
		g.clock.pass(c.want - 1)
		if _, ok := g.ResolveCached(c.account); !ok {
			t.Errorf("%s: forgotten before %v", c.name, c.want)
		}
		g.clock.pass(1)
		if _, ok := g.ResolveCached(c.account); ok {
			t.Errorf("%s: still answers after %v", c.name, c.want)
		}
	}
}

// What the notices would have said while they were missing is asked for when they are back.
func TestBackMeansAskAgain(t *testing.T) {
	g, w := newWatched(t, nil)
	g.where("alice")
	g.where("bob")
	w.lost()
	if got := g.Stats(); !got.Broken {
		t.Error("Stats does not say that the channel is broken")
	}
	g.store.set(func() { g.store.mappings["alice"], g.store.mappings["bob"] = "third", "new" })
	if got := g.where("alice"); got != "new" {
		t.Fatalf("while broken: got %s, want the cached new", got)
	}
	var told []string
	g.OnInvalidate(func(a string) { told = append(told, a) }, func() { told = append(told, "*") })
	w.back()
	if a, b := g.where("alice"), g.where("bob"); a != "third" || b != "new" {
		t.Errorf("afterwards: got %s and %s, want third and new", a, b)
	}
	if got := strings.Join(told, " "); got != "*" {
		t.Errorf("hooks were told %q, want *", got)
	}
	if got := g.Stats(); got.Broken {
		t.Error("Stats says that the channel is still broken")
	}
}

// A store that comes back and fails at once costs nobody his known home (SECURITY 30).
func TestBackAndDownAgain(t *testing.T) {
	g, w := newWatched(t, func(o *Options) { o.OnStoreError = FallbackDefault })
	g.where("alice")
	for range 3 {
		w.lost()
		w.back()
		g.store.set(func() { g.store.down = errDown })
		if got := g.where("alice"); got != "new stale" {
			t.Errorf("got %s, want new stale", got)
		}
		g.clock.pass(time.Minute)
	}
}

// A look-up that began while notices were missing is not trusted once they are back.
func TestBackWinsOverLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, w := newWatched(t, nil)
		w.lost()
		gate := make(chan struct{})
		g.store.gate = gate
		done := resolving(g, "alice", 3)
		g.store.set(func() { g.store.mappings["alice"], g.store.gate = "third", nil })
		w.back()
		for range 3 {
			if got := <-done; got != "third" {
				t.Errorf("got %s, want third", got)
			}
		}
		close(gate) // the disowned flight comes home
		synctest.Wait()
		if got := g.where("alice"); got != "third" {
			t.Errorf("the late answer was kept: got %s, want third", got)
		}
	})
}

// bulk is a memory store with everything that is optional.
type bulk struct {
	*memory
	writable, listable bool
}

func (b bulk) Writable() bool { return b.writable }
func (b bulk) Listable() bool { return b.listable }

func (b bulk) Apply(_ context.Context, changes map[string]string) error {
	b.set(func() {
		for identifier, destination := range changes {
			b.mappings[identifier] = destination
		}
	})
	return b.down
}

func (b bulk) All(_ context.Context, yield func(identifier, destination string) error) error {
	for identifier, destination := range b.mappings {
		if err := yield(identifier, destination); err != nil {
			return err
		}
	}
	return b.down
}

func newBulk(t *testing.T, down error) rig {
	t.Helper()
	m := &memory{mappings: map[string]string{"alice": "new", "lost": "gone"}, down: down}
	g := newRig(t, func(o *Options) { o.Store, o.Normalize = bulk{m, true, true}, Lowercase })
	g.store = m
	return g
}

func TestApply(t *testing.T) {
	for _, c := range []struct {
		name    string
		changes []Change
		applied int
		want    string // of alice and bob afterwards
	}{
		{"none", nil, 0, "new, legacy default"},
		{"one", []Change{{"bob", "third"}}, 1, "new, third"},
		{"removed", []Change{{"alice", ""}}, 1, "legacy default, legacy default"},
		{"both ways", []Change{{"ALICE", ""}, {"Bob", "new"}}, 2, "legacy default, new"},
		{"the last one counts", []Change{{"bob", "new"}, {"BOB", "third"}, {"alice", ""}, {"alice", "third"}}, 2, "third, third"},
	} {
		g := newBulk(t, nil)
		g.where("alice")
		g.where("bob")
		applied, err := g.Apply(context.Background(), c.changes)
		if applied != c.applied || err != nil {
			t.Errorf("%s: got %d, %v; want %d", c.name, applied, err, c.applied)
		}
		if got := g.where("alice") + ", " + g.where("bob"); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// One bad change and none is made; all bad ones are told apart.
func TestApplyRefuses(t *testing.T) {
	g := newBulk(t, nil)
	_, err := g.Apply(context.Background(), []Change{{"bob", "new"}, {"al ice", "new"}, {"bob", "gone"}, {"", ""}})
	var got []int
	for _, e := range unjoin(err) {
		var refused *RefusedChange
		if errors.As(e, &refused) {
			got = append(got, refused.Index)
		}
	}
	if !slices.Equal(got, []int{1, 2, 3}) || !errors.Is(err, ErrIdentifier) || !errors.Is(err, ErrUndeclared) {
		t.Errorf("got changes %v of %v, want 1, 2 and 3", got, err)
	}
	if strings.Contains(err.Error(), "al ice") {
		t.Errorf("the error names an identifier: %v", err)
	}
	if _, written := g.store.mappings["bob"]; written {
		t.Error("a good change was made beside bad ones")
	}
}

// unjoin is the errors that were joined, below one wrapping.
func unjoin(err error) []error {
	if list, ok := errors.Unwrap(err).(interface{ Unwrap() []error }); ok {
		return list.Unwrap()
	}
	return nil
}

// A write that failed may have happened all the same.
func TestApplyFails(t *testing.T) {
	g := newBulk(t, nil)
	g.where("alice")
	g.store.set(func() { g.store.down = errDown })
	if _, err := g.Apply(context.Background(), []Change{{"alice", "third"}}); !errors.Is(err, errDown) {
		t.Errorf("got %v, want %v", err, errDown)
	}
	g.store.set(func() { g.store.down = nil })
	if got := g.where("alice"); got != "third" {
		t.Errorf("afterwards: got %s, want third", got)
	}
}

func TestExport(t *testing.T) {
	errFull := errors.New("disk is full")
	for _, c := range []struct {
		name           string
		down, yielding error
		want           string
		err            error
	}{
		{"all, undeclared too", nil, nil, "alice=new lost=gone", nil},
		{"the reader gives up", nil, errFull, "", errFull},
		{"the store fails", errDown, nil, "alice=new lost=gone", errDown},
	} {
		g := newBulk(t, c.down)
		var got []string
		err := g.Export(context.Background(), func(identifier, destination string) error {
			if c.yielding == nil {
				got = append(got, identifier+"="+destination)
			}
			return c.yielding
		})
		slices.Sort(got)
		if s := strings.Join(got, " "); s != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %q, %v; want %q, %v", c.name, s, err, c.want, c.err)
		}
	}
}

// What a store can do is decided by its type and, if it says so, by its configuration.
func TestAbilities(t *testing.T) {
	m := &memory{mappings: map[string]string{}}
	for _, c := range []struct {
		name                           string
		store                          Store
		writable, bulkwise, exportable error
	}{
		{"nothing", readOnly{m}, ErrReadOnly, ErrReadOnly, ErrNoList},
		{"writes one by one", m, nil, ErrNoBulk, ErrNoList},
		{"everything", bulk{m, true, true}, nil, nil, nil},
		{"not configured", bulk{m, false, false}, ErrReadOnly, ErrReadOnly, ErrNoList},
		{"not configured to write", bulk{m, false, true}, ErrReadOnly, ErrReadOnly, nil},
		{"not configured to list", bulk{m, true, false}, nil, nil, ErrNoList},
	} {
		g := newRig(t, func(o *Options) { o.Store = c.store })
		ctx := context.Background()
		_, deleting := g.Delete(ctx, "x")
		_, applying := g.Apply(ctx, []Change{{"x", "new"}})
		exporting := g.Export(ctx, func(string, string) error { return nil })
		for _, x := range []struct {
			call      string
			got, want error
		}{{"Put", g.Put(ctx, "x", "new"), c.writable}, {"Delete", deleting, c.writable}, {"Apply", applying, c.bulkwise}, {"Export", exporting, c.exportable}} {
			if !errors.Is(x.got, x.want) {
				t.Errorf("%s: %s: got %v, want %v", c.name, x.call, x.got, x.want)
			}
		}
		if g.Writable() != (c.writable == nil) || g.Listable() != (c.exportable == nil) {
			t.Errorf("%s: got writable %v and listable %v", c.name, g.Writable(), g.Listable())
		}
	}
}
