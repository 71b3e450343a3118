package route

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// errDown is what a failing store says.
var errDown = errors.New("store is down")

// memory is a store whose moods the tests set. A call blocks while gate is set and not closed.
type memory struct {
	mu       sync.Mutex
	mappings map[string]string
	down     error
	gate     chan struct{}
	calls    []string
	notify   func([]string)
}

func (m *memory) Lookup(ctx context.Context, identifier string) (string, bool, error) {
	m.mu.Lock()
	m.calls = append(m.calls, identifier)
	d, ok := m.mappings[identifier]
	err, gate := m.down, m.gate
	m.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return "", false, ctx.Err()
		}
	}
	if err != nil {
		return "", false, err
	}
	return d, ok, nil
}

func (m *memory) Put(_ context.Context, identifier, destination string) error {
	m.set(func() { m.mappings[identifier] = destination })
	return m.down
}

func (m *memory) Delete(_ context.Context, identifier string) (bool, error) {
	_, ok := m.mappings[identifier]
	m.set(func() { delete(m.mappings, identifier) })
	return ok, m.down
}

func (m *memory) Reload(context.Context) (added, changed, removed []string, err error) {
	return []string{"a"}, []string{"b", "c"}, []string{"d"}, m.down
}

func (m *memory) Notify(changed func([]string)) { m.notify = changed }

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.calls)
}

// readOnly hides everything but Lookup.
type readOnly struct{ Store }

// clock is moved by hand.
type clock struct{ now atomic.Int64 }

func (c *clock) read() time.Duration    { return time.Duration(c.now.Load()) }
func (c *clock) pass(d time.Duration)   { c.now.Add(int64(d)) }
func (m *memory) options() Options      { return optionsFor(m) }
func (r *Router) where(a string) string { return whereOf(r, a) }

func optionsFor(s Store) Options {
	return Options{Store: s, Destinations: []string{"legacy", "new", "third"}, Default: "legacy", CacheMaxEntries: 1000}
}

// rig is a router on a memory store with a clock moved by hand.
type rig struct {
	*Router
	store *memory
	clock *clock
}

func newRig(t *testing.T, change func(*Options)) rig {
	t.Helper()
	g := rig{store: &memory{mappings: map[string]string{"alice": "new", "void": "", "lost": "gone"}}, clock: &clock{}}
	o := g.store.options()
	o.Clock = g.clock.read
	if change != nil {
		change(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	g.Router = r
	return g
}

// whereOf writes a resolution in one word.
func whereOf(r *Router, account string) string {
	res, err := r.Resolve(context.Background(), account)
	return word(res, err)
}

func word(res Result, err error) string {
	switch {
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	case err != nil:
		return err.Error()
	}
	w := res.Destination
	if res.Default {
		w += " default"
	}
	if res.Stale {
		w += " stale"
	}
	return w
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no store":                 func(o *Options) { o.Store = nil },
		"default not declared":     func(o *Options) { o.Default = "other" },
		"default missing entirely": func(o *Options) { o.Default = "" },
	} {
		o := (&memory{}).options()
		change(&o)
		if r, err := New(o); err == nil {
			r.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAccount(t *testing.T) {
	for _, c := range []struct {
		separators []string
		normalize  Normalization
		domain     string
		identifier string
		want       Account
	}{
		{[]string{"%"}, AsIs, "", "alice", Account{"alice", "alice", false}},
		{[]string{"%"}, AsIs, "", "alice%admin", Account{"alice", "alice", true}},
		{[]string{"%"}, AsIs, "", "alice%admin%x", Account{"alice", "alice", true}},
		{[]string{"%"}, AsIs, "", "alice%", Account{"alice", "alice", true}},
		{[]string{"%", "*"}, AsIs, "", "alice*x%y", Account{"alice", "alice", true}},
		{[]string{"%", "*"}, AsIs, "", "alice%x*y", Account{"alice", "alice", true}},
		{[]string{"", "::"}, AsIs, "", "a:b::admin", Account{"a:b", "a:b", true}},
		{nil, AsIs, "", "alice%admin", Account{"alice%admin", "alice%admin", false}},
		{[]string{""}, AsIs, "", "alice%admin", Account{"alice%admin", "alice%admin", false}},
		{[]string{"%"}, AsIs, "", "Alice", Account{"Alice", "Alice", false}},
		{[]string{"%"}, Lowercase, "", "ÄRGER@Example.ORG%Boss", Account{"ärger@example.org", "ärger@example.org", true}},
		{nil, Lowercase, "Example.ORG", "Alice", Account{"alice", "alice@example.org", false}},
		{nil, AsIs, "Example.ORG", "Alice", Account{"Alice", "Alice@Example.ORG", false}},
		{nil, AsIs, "example.org", "alice@other", Account{"alice@other", "alice@other", false}},
	} {
		g := newRig(t, func(o *Options) {
			o.MasterSeparators, o.Normalize, o.DefaultDomain = c.separators, c.normalize, c.domain
		})
		got, err := g.Account(c.identifier)
		if got != c.want || err != nil {
			t.Errorf("Account(%q) = %+v, %v; want %+v", c.identifier, got, err, c.want)
		}
	}
}

func TestAccountRefuses(t *testing.T) {
	g := newRig(t, func(o *Options) { o.MasterSeparators = []string{"%"} })
	for _, identifier := range []string{"", "%", "%admin", "%%"} {
		if a, err := g.Account(identifier); !errors.Is(err, ErrIdentifier) {
			t.Errorf("Account(%q) = %+v, %v; want ErrIdentifier", identifier, a, err)
		}
	}
}

func TestNormalizeDoesNotCut(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.MasterSeparators, o.Normalize, o.DefaultDomain = []string{"%"}, Lowercase, "d"
	})
	if got, want := g.Normalize("A%B"), (Account{Lookup: "a%b", Registry: "a%b@d"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name, account, domain string
		mappings              map[string]string
		want, calls           string
	}{
		{"mapped", "alice", "", map[string]string{"alice": "new"}, "new", "alice"},
		{"absent", "bob", "", nil, "legacy default", "bob"},
		{"empty destination", "bob", "", map[string]string{"bob": ""}, "legacy default", "bob"},
		{"undeclared", "bob", "", map[string]string{"bob": "gone"}, "legacy default", "bob"},
		{"mapped to the default", "bob", "", map[string]string{"bob": "legacy"}, "legacy", "bob"},
		{"as it is first", "bob", "d", map[string]string{"bob": "new", "bob@d": "third"}, "new", "bob"},
		{"then with the domain", "bob", "d", map[string]string{"bob@d": "third"}, "third", "bob bob@d"},
		{"neither form", "bob", "d", nil, "legacy default", "bob bob@d"},
		{"full form only as it is", "bob@d", "d", map[string]string{"bob": "new"}, "legacy default", "bob@d"},
	} {
		g := newRig(t, func(o *Options) { o.DefaultDomain = c.domain })
		g.store.mappings = c.mappings
		if got := g.where(c.account); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if got := strings.Join(g.store.calls, " "); got != c.calls {
			t.Errorf("%s: store was asked for %s, want %s", c.name, got, c.calls)
		}
		if res, ok := g.ResolveCached(c.account); !ok || word(res, nil) != c.want {
			t.Errorf("%s: ResolveCached gives %s, %v; want %s", c.name, word(res, nil), ok, c.want)
		}
	}
}

// Each answer is kept for its own time, to the nanosecond (SPEC 4.2).
func TestTimeToLive(t *testing.T) {
	for _, c := range []struct {
		name, account string
		down          error
		negative      time.Duration
		want          time.Duration
	}{
		{"found", "alice", nil, 30 * time.Second, 600 * time.Second},
		{"undeclared", "lost", nil, 30 * time.Second, 600 * time.Second},
		{"absent", "bob", nil, 30 * time.Second, 30 * time.Second},
		{"empty", "void", nil, 30 * time.Second, 30 * time.Second},
		{"store error", "alice", errDown, 30 * time.Second, 5 * time.Second},
		{"store error, short negative_ttl", "alice", errDown, 2 * time.Second, 2 * time.Second},
	} {
		g := newRig(t, func(o *Options) { o.NegativeTTL = c.negative })
		g.store.down = c.down
		g.where(c.account)
		g.clock.pass(c.want - 1)
		if _, ok := g.ResolveCached(c.account); !ok {
			t.Errorf("%s: forgotten before %v", c.name, c.want)
		}
		g.clock.pass(1)
		if _, ok := g.ResolveCached(c.account); ok {
			t.Errorf("%s: still known after %v", c.name, c.want)
		}
	}
}

func TestStoreError(t *testing.T) {
	known := func(g rig, account string, age time.Duration) { g.where(account); g.clock.pass(age) }
	for _, c := range []struct {
		name, account string
		policy        Fallback
		before        func(rig)
		want          string
	}{
		{"nothing known, default", "alice", FallbackDefault, func(rig) {}, "legacy default"},
		{"nothing known, unavailable", "alice", FallbackUnavailable, func(rig) {}, "unavailable"},
		{"mapping known, default", "alice", FallbackDefault, func(g rig) { known(g, "alice", time.Hour) }, "new stale"},
		{"mapping known, unavailable", "alice", FallbackUnavailable, func(g rig) { known(g, "alice", time.Hour) }, "new stale"},
		{"absence known", "bob", FallbackUnavailable, func(g rig) { known(g, "bob", time.Hour) }, "legacy default stale"},
		{"undeclared known", "lost", FallbackUnavailable, func(g rig) { known(g, "lost", time.Hour) }, "legacy default stale"},
		{"other account known", "bob", FallbackUnavailable, func(g rig) { known(g, "alice", time.Hour) }, "unavailable"},
		{"invalidated", "alice", FallbackUnavailable, func(g rig) { known(g, "alice", 1); g.Invalidate("alice") }, "unavailable"},
		{"all invalidated", "alice", FallbackUnavailable, func(g rig) { known(g, "alice", 1); g.InvalidateAll() }, "unavailable"},
		{"any may have changed", "alice", FallbackDefault, func(g rig) { known(g, "alice", 1); g.store.notify(nil) }, "new stale"},
		{"doubted, then forgotten", "alice", FallbackUnavailable, func(g rig) { known(g, "alice", 1); g.doubt(); g.InvalidateAll() }, "unavailable"},
		{"doubted twice", "alice", FallbackUnavailable, func(g rig) { known(g, "alice", 1); g.doubt(); g.doubt() }, "new stale"},
	} {
		g := newRig(t, func(o *Options) { o.OnStoreError = c.policy })
		c.before(g)
		g.store.set(func() { g.store.down = errDown })
		if got := g.where(c.account); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		// The second login is answered from memory, the third, later, by a store that still fails, the last by one that works.
		calls := g.store.count()
		if got := g.where(c.account); got != c.want || g.store.count() != calls {
			t.Errorf("%s: at once again: got %s after %d calls, want %s after none", c.name, got, g.store.count()-calls, c.want)
		}
		g.clock.pass(5 * time.Second)
		if got := g.where(c.account); got != c.want || g.store.count() != calls+1 {
			t.Errorf("%s: 5 s later: got %s after %d calls, want %s after 1", c.name, got, g.store.count()-calls, c.want)
		}
		g.store.set(func() { g.store.down = nil })
		g.clock.pass(5 * time.Second)
		want := map[string]string{"alice": "new", "bob": "legacy default", "lost": "legacy default"}[c.account]
		if got := g.where(c.account); got != want {
			t.Errorf("%s: store works again: got %s, want %s", c.name, got, want)
		}
	}
}

// fullFormFails knows no account and fails for those with a domain.
type fullFormFails struct{}

func (fullFormFails) Lookup(_ context.Context, identifier string) (string, bool, error) {
	if strings.Contains(identifier, "@") {
		return "", false, errDown
	}
	return "", false, nil
}

func TestAbsenceOfOneFormIsNoAnswer(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Store, o.DefaultDomain, o.OnStoreError = fullFormFails{}, "d", FallbackUnavailable
	})
	if got := g.where("bob"); got != "unavailable" {
		t.Errorf("got %s, want unavailable", got)
	}
}

func tell(to chan<- string, f func() string) { to <- f() }

func TestLookupTimeout(t *testing.T) {
	g := newRig(t, func(o *Options) { o.LookupTimeout = time.Millisecond })
	g.store.gate = make(chan struct{})
	if got, want := g.where("alice"), "legacy default"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := g.Stats().StoreErrors; got != 1 {
		t.Errorf("store errors: got %d, want 1", got)
	}
}

type panicking struct{}

func (panicking) Lookup(context.Context, string) (string, bool, error) { panic("broken") }

func TestStorePanics(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Store = panicking{} })
	if got, want := g.where("alice"), "legacy default"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLogsAtMostOnceASecond(t *testing.T) {
	var log bytes.Buffer
	g := newRig(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	g.store.down = errDown
	for _, account := range []string{"carol", "dave", "erin"} {
		g.where(account)
	}
	g.clock.pass(time.Second)
	g.where("frank")
	g.store.set(func() { g.store.down = nil })
	g.where("lost")
	got := log.String()
	for want, n := range map[string]int{
		"mapping store failed": 2, "unlogged=2": 1, "undeclared destination": 1, "destination=gone": 1,
		"carol": 0, "frank": 0, "lost": 0, // no account in a log
	} {
		if strings.Count(got, want) != n {
			t.Errorf("%q: got %d times, want %d, in\n%s", want, strings.Count(got, want), n, got)
		}
	}
}

func TestPeek(t *testing.T) {
	for _, c := range []struct {
		name, identifier string
		before           func(rig)
		want             Mapping
	}{
		{"mapped", "ALICE", func(rig) {}, Mapping{"alice", "new", true, false}},
		{"absent", "bob", func(rig) {}, Mapping{"bob", "legacy", false, false}},
		{"undeclared", "lost", func(rig) {}, Mapping{"lost", "gone", true, false}},
		{"mapped, cached", "alice", func(g rig) { g.where("alice") }, Mapping{"alice", "new", true, true}},
		{"absent, cached", "bob", func(g rig) { g.where("bob") }, Mapping{"bob", "legacy", false, true}},
		{"undeclared, cached", "lost", func(g rig) { g.where("lost") }, Mapping{"lost", "gone", true, true}},
		{"expired", "alice", func(g rig) { g.where("alice"); g.clock.pass(time.Hour) }, Mapping{"alice", "new", true, false}},
		{"after an error", "alice", func(g rig) {
			g.store.down = errDown
			g.where("alice")
			g.store.set(func() { g.store.down = nil })
		}, Mapping{"alice", "new", true, true}},
		{"not cut", "alice%x", func(rig) {}, Mapping{"alice%x", "legacy", false, false}},
	} {
		g := newRig(t, func(o *Options) { o.Normalize, o.MasterSeparators = Lowercase, []string{"%"} })
		c.before(g)
		before := g.Stats()
		got, err := g.Peek(context.Background(), c.identifier)
		if got != c.want || err != nil {
			t.Errorf("%s: got %+v, %v; want %+v", c.name, got, err, c.want)
		}
		if after := g.Stats(); after != before {
			t.Errorf("%s: counted or cached: %+v became %+v", c.name, before, after)
		}
	}
}

func TestPeekFails(t *testing.T) {
	g := newRig(t, nil)
	g.where("alice")
	g.clock.pass(time.Hour)
	g.store.down = errDown
	if m, err := g.Peek(context.Background(), "alice"); !errors.Is(err, errDown) {
		t.Errorf("got %+v, %v; want the store's error", m, err)
	}
}

func TestWrite(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Normalize = Lowercase })
	ctx := context.Background()
	g.where("alice")
	if err := g.Put(ctx, "ALICE", "third"); err != nil {
		t.Fatal(err)
	}
	if got := g.where("alice"); got != "third" {
		t.Errorf("after Put: got %s, want third", got)
	}
	for _, want := range []bool{true, false} {
		if existed, err := g.Delete(ctx, "Alice"); existed != want || err != nil {
			t.Errorf("Delete: got %v, %v; want %v", existed, err, want)
		}
	}
	if got := g.where("alice"); got != "legacy default" {
		t.Errorf("after Delete: got %s, want legacy default", got)
	}
	if got, err := g.Reload(ctx); got != (Changes{1, 2, 1}) || err != nil {
		t.Errorf("Reload: got %+v, %v", got, err)
	}
}

func TestWriteRefuses(t *testing.T) {
	ctx := context.Background()
	put := func(identifier, destination string) func(*Router) error {
		return func(r *Router) error { return r.Put(ctx, identifier, destination) }
	}
	del := func(r *Router) error { _, err := r.Delete(ctx, "alice"); return err }
	reload := func(r *Router) error { _, err := r.Reload(ctx); return err }
	works, fails := Store(&memory{mappings: map[string]string{}}), Store(&memory{mappings: map[string]string{}, down: errDown})
	locked := readOnly{works}
	for _, c := range []struct {
		name  string
		store Store
		do    func(*Router) error
		want  error
	}{
		{"put, read-only", locked, put("alice", "new"), ErrReadOnly},
		{"put nonsense, read-only", locked, put("", "gone"), ErrReadOnly},
		{"delete, read-only", locked, del, ErrReadOnly},
		{"reload, impossible", locked, reload, ErrNoReload},
		{"undeclared", works, put("alice", "gone"), ErrUndeclared},
		{"no destination", works, put("alice", ""), ErrUndeclared},
		{"empty", works, put("", "new"), ErrIdentifier},
		{"blank", works, put("al ice", "new"), ErrIdentifier},
		{"quote", works, put(`al"ice`, "new"), ErrIdentifier},
		{"line end", works, put("alice\nbob", "new"), ErrIdentifier},
		{"not UTF-8", works, put("al\xffice", "new"), ErrIdentifier},
		{"too long", works, put(strings.Repeat("a", 513), "new"), ErrIdentifier},
		{"put, store fails", fails, put("alice", "new"), errDown},
		{"delete, store fails", fails, del, errDown},
		{"reload, store fails", fails, reload, errDown},
	} {
		g := newRig(t, func(o *Options) { o.Store = c.store })
		if err := c.do(g.Router); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if got, want := g.Writable(), c.store != Store(locked); got != want {
			t.Errorf("%s: Writable is %v, want %v", c.name, got, want)
		}
	}
}

func TestOnInvalidate(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name string
		do   func(rig)
		want string
	}{
		{"one", func(g rig) { g.Invalidate("alice@x") }, "alice@x"},
		{"normalised, filed under the domain", func(g rig) { g.Invalidate("ALICE") }, "alice@d"},
		{"all", func(g rig) { g.InvalidateAll() }, "*"},
		{"put", func(g rig) { g.Put(ctx, "alice", "third") }, "alice@d"},
		{"put that fails", func(g rig) { g.store.down = errDown; g.Put(ctx, "alice", "third") }, "alice@d"},
		{"put refused", func(g rig) { g.Put(ctx, "alice", "gone") }, ""},
		{"delete", func(g rig) { g.Delete(ctx, "alice@d") }, "alice@d"},
		{"reload", func(g rig) { g.Reload(ctx) }, "a@d b@d c@d d@d"},
		{"store's own news", func(g rig) { g.store.notify([]string{"alice", "bob@x"}) }, "alice@d bob@x"},
		{"store has lost track", func(g rig) { g.store.notify(nil) }, "*"},
		{"store has no news", func(g rig) { g.store.notify([]string{}) }, ""},
	} {
		g := newRig(t, func(o *Options) { o.Normalize, o.DefaultDomain = Lowercase, "D" })
		g.where("alice")
		var first, second []string
		g.OnInvalidate(func(a string) { first = append(first, a) }, func() { first = append(first, "*") })
		g.OnInvalidate(func(a string) {
			second = append(second, a)
			if _, ok := g.ResolveCached("alice"); ok && a == "alice@d" {
				t.Errorf("%s: the hook was called while the entry was still there", c.name)
			}
		}, func() { second = append(second, "*") })
		c.do(g)
		for _, got := range []string{strings.Join(first, " "), strings.Join(second, " ")} {
			if got != c.want {
				t.Errorf("%s: got %q, want %q", c.name, got, c.want)
			}
		}
	}
}

// An account without domain may owe its answer to the mapping of the full form, so one invalidation covers both.
func TestInvalidateForms(t *testing.T) {
	for _, c := range []struct {
		invalidate, want string // what is still known afterwards
	}{
		{"bob", "bob@e bob@c@d @d"}, {"bob@d", "bob@e bob@c@d @d"}, {"bob@e", "bob bob@d bob@c@d @d"},
		{"bob@c@d", "bob bob@d bob@e @d"}, {"@d", "bob bob@d bob@e bob@c@d"}, {"other", "bob bob@d bob@e bob@c@d @d"},
	} {
		g := newRig(t, func(o *Options) { o.DefaultDomain = "d" })
		accounts := []string{"bob", "bob@d", "bob@e", "bob@c@d", "@d"}
		for _, a := range accounts {
			g.where(a)
		}
		g.Invalidate(c.invalidate)
		var left []string
		for _, a := range accounts {
			if _, ok := g.ResolveCached(a); ok {
				left = append(left, a)
			}
		}
		if got := strings.Join(left, " "); got != c.want {
			t.Errorf("Invalidate(%q) leaves %s, want %s", c.invalidate, got, c.want)
		}
	}
}

func TestBounded(t *testing.T) {
	g := newRig(t, func(o *Options) { o.CacheMaxEntries = 100 })
	for i := range 5000 {
		g.where("user" + string(rune('a'+i%26)) + strings.Repeat("x", i/26))
	}
	if got := g.Stats(); got.Entries > 100 || got.Evictions < 4000 {
		t.Errorf("got %d entries and %d evictions, want at most 100 and at least 4000", got.Entries, got.Evictions)
	}
}

func TestStats(t *testing.T) {
	g := newRig(t, nil)
	g.where("alice")
	g.where("alice")
	g.ResolveCached("alice")
	g.ResolveCached("bob") // nothing: Resolve is to follow
	g.where("lost")
	g.clock.pass(time.Hour)
	g.store.down = errDown
	g.where("alice")
	want := Stats{Hits: 2, Misses: 3, Entries: 2, StoreLookups: 3, StoreErrors: 1, StaleAnswers: 1, Undeclared: 1}
	if got := g.Stats(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Lower case twice is lower case once; otherwise a rewritten mapping would not be found.
func TestLowercaseIsStable(t *testing.T) {
	for c := rune(0); c <= 0x10ffff; c++ {
		once := Lowercase.Apply("x" + string(c) + "Y")
		if twice := Lowercase.Apply(once); twice != once {
			t.Fatalf("%U: %q becomes %q", c, once, twice)
		}
	}
}

// Entries are hidden under the lock that flights settle under, not only when the cache has been emptied.
func TestInvalidateAllHidesAtOnce(t *testing.T) {
	g := newRig(t, nil)
	g.where("alice")
	g.forgetAll()
	if res, ok := g.ResolveCached("alice"); ok {
		t.Errorf("ResolveCached still gives %+v", res)
	}
	g.store.down = errDown
	if got := g.where("alice"); got != "legacy default" {
		t.Errorf("got %s, want legacy default: no stale answer from before", got)
	}
}
