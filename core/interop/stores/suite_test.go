package stores

import (
	"context"

	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailsplice/core/route"
)

// kinds of cases; at least one of each must pass.
var kinds = []string{"redis", "postgresql", "mariadb"}

var (
	ctx    = context.Background()
	mu     sync.Mutex
	counts = map[string]int{} // guarded by mu
)

func TestMain(m *testing.M) {
	code := m.Run()
	if asked() {
		code = max(code, sum())
	}
	// The library's cluster client leaves a sleeper behind Close that ends within a second.
	if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1")); err != nil && code == 0 {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// sum prints how many cases of each kind passed; none of a kind is a failure.
func sum() (code int) {
	total := 0
	var parts []string
	for _, k := range kinds {
		total += counts[k]
		parts = append(parts, fmt.Sprintf("%s %d", k, counts[k]))
		if counts[k] == 0 {
			fmt.Printf("no case of kind %s has passed\n", k)
			code = 1
		}
	}
	fmt.Printf("interop: stores: %d cases: %s\n", total, strings.Join(parts, ", "))
	return code
}

func asked() bool { return os.Getenv("MAILSPLICE_INTEROP") == "1" }

// wanted skips unless the suite was asked for.
func wanted(t *testing.T) {
	t.Helper()
	if !asked() {
		t.Skip("SKIPPED, NOTHING WAS TESTED: the interop suite needs root on Debian and MAILSPLICE_INTEROP=1 (make interop)")
	}
}

// scene runs and counts one case.
func scene(t *testing.T, kind, name string, play func(*testing.T)) {
	t.Helper()
	if t.Run(name, play) {
		mu.Lock()
		defer mu.Unlock()
		counts[kind]++
	}
}

// server is what is behind a store, killed and started by the test.
type server interface {
	start()
	crash()
}

// store is what the tests need of one.
type store interface {
	route.Store
	io.Closer
}

// clock stands still unless it is moved.
type clock struct{ now atomic.Int64 }

func (c *clock) read() time.Duration { return time.Duration(c.now.Load()) }

// rig is a router on a store.
type rig struct {
	*route.Router
	t       *testing.T
	changes chan string // registry names of what was invalidated, "*" for everything
}

// newRig makes a router that keeps what it knows for an hour of a clock that stands still.
func newRig(t *testing.T, s store, change func(*route.Options)) *rig {
	t.Helper()
	o := route.Options{Store: s, Destinations: []string{"legacy", "new", "third"}, Default: "legacy", Normalize: route.Lowercase,
		PositiveTTL: time.Hour, NegativeTTL: time.Hour, LookupTimeout: 5 * time.Second, Clock: (&clock{}).read, Logger: logger(t)}
	if change != nil {
		change(&o)
	}
	r, err := route.New(o)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{r, t, make(chan string, 100_000)}
	r.OnInvalidate(func(a string) { g.changes <- a }, func() { g.changes <- "*" })
	t.Cleanup(func() {
		r.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// at is where an account goes, in one word.
func (g *rig) at(account string) string {
	res, err := g.Resolve(ctx, account)
	switch {
	case err != nil:
		return err.Error()
	case res.Stale:
		return res.Destination + " stale"
	case res.Default:
		return res.Destination + " default"
	}
	return res.Destination
}

// want checks where an account goes now.
func (g *rig) want(account, want string) {
	g.t.Helper()
	if got := g.at(account); got != want {
		g.t.Errorf("%s: got %s, want %s", account, got, want)
	}
}

// told waits until the router has learnt of a change.
func (g *rig) told(account string) {
	g.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case got := <-g.changes:
			if got == account {
				return
			}
		case <-deadline:
			g.t.Fatalf("the router did not learn that %s changed", account)
		}
	}
}

// watching waits until notices arrive, and forgets what was told before.
func (g *rig) watching() {
	g.t.Helper()
	until(g.t, "the store's notices arrive", func() bool { return !g.Stats().Broken })
	for len(g.changes) > 0 {
		<-g.changes
	}
}

// noticed checks that a change by somebody else reaches the router by a notice, though no time passes: the look-up after
// it finds the change. A notice of an earlier change may still be on its way.
func (g *rig) noticed(account, want string, change func()) {
	g.t.Helper()
	g.at(account) // in the cache from here on
	change()
	for g.at(account) != want {
		g.told(account)
	}
}

const accounts = 200

func account(i int) string { return fmt.Sprintf("user%d@example.org", i%accounts) }

// fill maps every account to new. Where what is cached matters a router of its own does it, before the one under test is
// made, which then has no notices of these writes to come.
func fill(t *testing.T, g *rig) {
	t.Helper()
	var changes []route.Change
	for i := range accounts {
		changes = append(changes, route.Change{Identifier: account(i), Destination: "new"})
	}
	if n, err := g.Apply(ctx, changes); n != accounts || err != nil {
		t.Fatalf("Apply: got %d, %v; want %d", n, err, accounts)
	}
}

// warm has a router know every account.
func (g *rig) warm() {
	g.t.Helper()
	for i := range accounts {
		g.want(account(i), "new")
	}
}

// crashes kills and restarts the server under look-ups whose answers expire at once, so that nearly all ask the store.
// Every account is known, so none may ever go anywhere else (SPEC 4.2, SECURITY 30).
func crashes(t *testing.T, srv server, open func() store) {
	fill(t, newRig(t, open(), nil))
	g := newRig(t, open(), func(o *route.Options) {
		o.Clock, o.PositiveTTL, o.NegativeTTL, o.OnStoreError = nil, time.Millisecond, time.Millisecond, route.FallbackDefault
	})
	g.watching()
	g.warm()
	var wrong, asked atomic.Int64
	stop := make(chan struct{})
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			tick := time.NewTicker(time.Millisecond) // leaves the processor to others
			defer tick.Stop()
			for i := n; ; i += 8 {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				asked.Add(1)
				if res, err := g.Resolve(ctx, account(i)); err != nil || res.Destination != "new" || res.Default {
					if wrong.Add(1) == 1 {
						t.Errorf("got %+v, %v; want new", res, err)
					}
				}
			}
		})
	}
	for range 3 {
		before := g.Stats()
		srv.crash()
		until(t, "look-ups fail and are answered all the same", func() bool { return g.Stats().StaleAnswers > before.StaleAnswers+20 })
		srv.start()
		until(t, "the store answers again", func() bool { return g.at(account(0)) == "new" })
		now := asked.Load()
		until(t, "look-ups go on", func() bool { return asked.Load() > now+100 })
	}
	close(stop)
	all.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d logins were routed wrongly", n, asked.Load())
	}
}

// holds compares a whole export.
func holds(t *testing.T, g *rig, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	err := g.Export(ctx, func(identifier, destination string) error {
		got[identifier] = destination
		return nil
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Export: got %v, %v; want %v", got, err, want)
	}
}

// writes goes through everything that changes mappings, by one router, and looks by it and by another.
func writes(t *testing.T, a, b *rig) {
	const odd = `o'neil;drop/**/table--\%_?*[a]$1@example.org`
	for _, destination := range []string{"new", "third"} {
		if err := a.Put(ctx, odd, destination); err != nil {
			t.Fatal(err)
		}
		a.want(odd, destination)
	}
	b.want(odd, "third")
	for _, want := range []bool{true, false} {
		if existed, err := a.Delete(ctx, odd); existed != want || err != nil {
			t.Errorf("Delete: got %v, %v; want %v", existed, err, want)
		}
	}
	a.want(odd, "legacy default")
	if _, err := a.Apply(ctx, []route.Change{{Identifier: "one", Destination: "new"}, {Identifier: "two", Destination: "new"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Apply(ctx, []route.Change{{Identifier: "one"}, {Identifier: "gone"}, {Identifier: "three", Destination: "third"}}); err != nil {
		t.Fatal(err)
	}
	holds(t, a, map[string]string{"two": "new", "three": "third"})
	if _, err := a.Apply(ctx, []route.Change{{Identifier: "two"}, {Identifier: "three"}}); err != nil {
		t.Fatal(err)
	}
	holds(t, a, map[string]string{})
}

// secret is the password as an address has it.
func secret() string { return url.PathEscape(password) }

// quiet is a log that must never name the password or an account. It is shown if the test fails.
type quiet struct {
	t *testing.T
	lines
}

func (q *quiet) Write(p []byte) (int, error) {
	q.lines.Write(p)
	if text := string(p); strings.Contains(text, password) || strings.Contains(text, secret()) || strings.Contains(text, "@example.org") {
		q.t.Errorf("logged: %s", text)
	}
	return len(p), nil
}

func logger(t *testing.T) *slog.Logger {
	q := &quiet{t: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", q.text.String())
		}
	})
	return slog.New(slog.NewTextHandler(q, nil))
}

// failsWith checks that a store that cannot be made says why, without the password.
func failsWith(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), password) {
		t.Errorf("got %v, want %q", err, words)
	}
}
