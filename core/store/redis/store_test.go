package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// patience bounds waiting for what must happen; nothing takes a fraction of it.
const patience = 20 * time.Second

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		url  string
		want address
	}{
		{"redis://h", address{hosts: []string{"h:6379"}}},
		{"redis://h:1234/3", address{hosts: []string{"h:1234"}, db: 3}},
		{"rediss://h", address{hosts: []string{"h:6379"}, tls: true}},
		{"redis://u:p@h", address{hosts: []string{"h:6379"}, user: "u", password: "p"}},
		{"redis://:p%40%3a@h", address{hosts: []string{"h:6379"}, password: "p@:"}},
		{"redis://u:p@ss@h", address{hosts: []string{"h:6379"}, user: "u", password: "p@ss"}},
		{"redis://[::1]", address{hosts: []string{"[::1]:6379"}}},
		{"redis://[::1]:1,10.0.0.1", address{hosts: []string{"[::1]:1", "10.0.0.1:6379"}}},
		{"redis://a:1,b:2", address{hosts: []string{"a:1", "b:2"}}},
		{"redis+sentinel://a,b:2/main", address{hosts: []string{"a:26379", "b:2"}, primary: "main"}},
		{"redis+sentinel://u:p@a/main/2", address{hosts: []string{"a:26379"}, primary: "main", db: 2, user: "u", password: "p"}},
		{"rediss+sentinel://a/m?sentinel_user=s&sentinel_password=q%26", address{hosts: []string{"a:26379"}, primary: "m", tls: true,
			sentinelUser: "s", sentinelPassword: "q&"}},
	} {
		got, err := parseAddress(c.url)
		if err != nil || fmt.Sprint(*got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %+v, %v; want %+v", c.url, got, err, c.want)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, c := range []struct {
		url  string
		want error
	}{
		{"", errScheme}, {"h:6379", errScheme}, {"http://h", errScheme}, {"redis+sentinel+sentinel://h", errScheme}, {"redis://", errForm},
		{"redis://a,,b", errForm}, {"redis://h/x", errDatabase}, {"redis://h/1/2", errDatabase}, {"redis://h/-1", errDatabase},
		{"redis+sentinel://h", errPrimary}, {"redis+sentinel://h/m/x", errDatabase}, {"redis://secret%zz@h", errForm},
		{"redis://::1", errForm}, {"redis://[::1", errForm}, {"redis://h:", errForm}, {"redis://h?x=%zz", errForm},
	} {
		if _, err := parseAddress(c.url); !errors.Is(err, c.want) {
			t.Errorf("%q: got %v, want %v", c.url, err, c.want)
		}
	}
	for _, url := range []string{"redis://u:secret@h/x", "http://u:secret@h", "redis://u:secret%zz@h", "redis://u:secret@h?a=b", "redis+sentinel://u:secret@h", "redis://u:secret@a,:"} {
		if _, err := New(Options{URL: url}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want an error without the password", url, err)
		}
	}
}

// open makes a Store on the fake. Its log is read after the test's last call to it.
func open(t *testing.T, f *fake, change func(*Options)) (*Store, *bytes.Buffer) {
	t.Helper()
	log := &lockedBuffer{}
	o := Options{URL: "redis://user:secret@" + f.addr, KeyPrefix: "route:", Timeout: patience, Logger: slog.New(slog.NewTextHandler(log, nil))}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, &log.Buffer
}

// lockedBuffer is a log that many write to.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// where is the destination, nothing, or why there is none.
func where(s *Store, identifier string) string {
	d, found, err := s.Lookup(ctx, identifier)
	switch {
	case err != nil:
		return err.Error()
	case !found:
		return "nothing"
	}
	return d
}

// modes are the servers that look-ups and writes must work with.
var modes = map[string]func(*fake){
	"RESP3":       func(*fake) {},
	"no HELLO":    func(f *fake) { f.hello = "-ERR unknown command 'HELLO', with args beginning with: '3'" },
	"no RESP3":    func(f *fake) { f.hello = "-NOPROTO unsupported protocol version" },
	"no tracking": func(f *fake) { f.tracking = "-ERR unknown command 'CLIENT'" },
}

func TestReadAndWrite(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			mode(f)
			f.data = map[string]string{"route:alice": "new", "route:void": "", "bob": "new", "route:*": "star"}
			s, _ := open(t, f, nil)
			for identifier, want := range map[string]string{"alice": "new", "bob": "nothing", "void": "", "*": "star", "a lice": "nothing"} {
				if got := where(s, identifier); got != want {
					t.Errorf("Lookup(%q): got %q, want %q", identifier, got, want)
				}
			}
			if err := s.Put(ctx, "bob\r\nDEL alice", "third"); err != nil {
				t.Errorf("Put: %v", err)
			}
			for _, want := range []bool{true, false} {
				if existed, err := s.Delete(ctx, "alice"); existed != want || err != nil {
					t.Errorf("Delete: got %v, %v; want %v", existed, err, want)
				}
			}
			want := map[string]string{"route:bob\r\nDEL alice": "third", "route:void": "", "bob": "new", "route:*": "star"}
			if got := f.keys(); !maps.Equal(got, want) {
				t.Errorf("got keys %q, want %q", got, want)
			}
		})
	}
}

func TestApply(t *testing.T) {
	many := map[string]string{}
	for i := range 2*maxKeys + 5 {
		many[fmt.Sprint(i)] = "new"
	}
	for _, c := range []struct {
		name    string
		changes map[string]string
		want    string // of alice and bob
		keys    int
	}{
		{"none", nil, "new nothing", 1},
		{"put", map[string]string{"bob": "third"}, "new third", 2},
		{"remove", map[string]string{"alice": "", "carol": ""}, "nothing nothing", 0},
		{"both", map[string]string{"alice": "", "bob": "third"}, "nothing third", 1},
		{"many", many, "new nothing", 2*maxKeys + 6},
	} {
		f := newFake(t)
		f.data["route:alice"] = "new"
		s, _ := open(t, f, nil)
		if err := s.Apply(ctx, c.changes); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := where(s, "alice") + " " + where(s, "bob"); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if got := len(f.keys()); got != c.keys {
			t.Errorf("%s: got %d keys, want %d", c.name, got, c.keys)
		}
	}
}

func TestAll(t *testing.T) {
	f := newFake(t)
	f.data = map[string]string{"r*:alice": "new", "r*:bob": "old", "rx:carol": "new", "r*:void": "",
		"r*:list": "-WRONGTYPE Operation against a key holding the wrong kind of value"}
	s, _ := open(t, f, func(o *Options) { o.KeyPrefix = "r*:" })
	got := map[string]string{}
	err := s.All(ctx, func(identifier, destination string) error { got[identifier] = destination; return nil })
	if want := map[string]string{"alice": "new", "bob": "old"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	errEnough := errors.New("enough")
	if err := s.All(ctx, func(string, string) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

// Errors of look-ups are logged: servers quote keys in theirs (SECURITY 10, 28).
func TestErrorsNameNobody(t *testing.T) {
	f := newFake(t)
	f.data = map[string]string{
		"route:alice.secret": "-ERR unknown command 'GET', with args beginning with: 'route:alice.secret'",
		"route:bob.secret":   "-NOPERM User \"bob.secret\" may not",
		"route:carol.secret": "-WRONGTYPE Operation against a key",
	}
	s, log := open(t, f, nil)
	for identifier, want := range map[string]string{"alice.secret": "unknown command", "bob.secret": "NOPERM User", "carol.secret": "WRONGTYPE Operation against a key"} {
		if got := where(s, identifier); !strings.Contains(got, want) || strings.Contains(got, "secret") {
			t.Errorf("got %q, want %q and no name", got, want)
		}
	}
	f.stop()
	f.listener, _ = net.Listen("tcp", "127.0.0.1:0") // for the cleanup to close
	if got := where(s, "alice.secret"); !strings.Contains(got, "asking redis: ") || strings.Contains(got, "secret") {
		t.Errorf("server is gone: got %q", got)
	}
	s.Close()
	if strings.Contains(log.String(), "secret") {
		t.Errorf("logged:\n%s", log)
	}
}

// router is told things, in order.
type router struct {
	words chan string
}

func listen(s *Store) *router {
	r := &router{make(chan string, 1000)}
	s.Notify(func(identifiers []string) {
		if identifiers == nil {
			r.words <- "all"
			return
		}
		r.words <- strings.Join(identifiers, " ")
	})
	s.Watch(func() { r.words <- "lost" }, func() { r.words <- "back" })
	return r
}

// expect reads the next words.
func (r *router) expect(t *testing.T, words ...string) {
	t.Helper()
	for _, want := range words {
		select {
		case got := <-r.words:
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("got nothing, want %q", want)
		}
	}
}

func TestNotices(t *testing.T) {
	f := newFake(t)
	s, log := open(t, f, nil)
	r := listen(s)
	r.expect(t, "lost", "back")
	f.set("route:alice", "new")
	f.set("other:bob", "new")
	f.set("route:route:carol", "new")
	r.expect(t, "alice", "route:carol")
	f.flush()
	r.expect(t, "all")
	for range 3 {
		f.stop()
		r.expect(t, "lost")
		f.start()
		r.expect(t, "back")
		f.set("route:dave", "new")
		r.expect(t, "dave")
		if got := where(s, "dave"); got != "new" {
			t.Errorf("got %s, want new: a connection that broke must not make the next look-up fail", got)
		}
	}
	if err := s.Put(ctx, "own", "new"); err != nil {
		t.Fatal(err)
	}
	r.expect(t, "own")
	s.Close()
	if strings.Contains(log.String(), "alice") || strings.Contains(log.String(), "secret") {
		t.Errorf("logged:\n%s", log)
	}
}

func TestEmptyPrefix(t *testing.T) {
	f := newFake(t)
	s, _ := open(t, f, func(o *Options) { o.KeyPrefix = "" })
	r := listen(s)
	r.expect(t, "lost", "back")
	f.set("alice", "new")
	r.expect(t, "alice")
	if got := where(s, "alice"); got != "new" {
		t.Errorf("got %s, want new", got)
	}
}

// Without RESP3 or CLIENT TRACKING there are no notices, which is not the same as notices that do not arrive.
func TestNoNotices(t *testing.T) {
	for name, mode := range modes {
		if name == "RESP3" {
			continue
		}
		f := newFake(t)
		mode(f)
		s, log := open(t, f, nil)
		listen(s).expect(t, "lost", "back")
		s.Close()
		if want := "cannot send notices"; !strings.Contains(log.String(), want) {
			t.Errorf("%s: logged %q, want %q in it", name, log, want)
		}
	}
}

// An unreachable server is not fatal (SPEC 4.2); it is used as soon as it is there.
func TestUnreachableAtStart(t *testing.T) {
	f := newFake(t)
	f.stop()
	s, log := open(t, f, nil)
	if got, want := where(s, "alice"), "asking redis: "+errNotYet.Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for what, err := range map[string]error{"Put": s.Put(ctx, "a", "b"), "Apply": s.Apply(ctx, nil), "All": s.All(ctx, nil)} {
		if !errors.Is(err, errNotYet) && !strings.Contains(fmt.Sprint(err), errNotYet.Error()) {
			t.Errorf("%s: got %v, want %v", what, err, errNotYet)
		}
	}
	r := listen(s)
	f.start()
	f.set("route:alice", "new")
	r.expect(t, "lost", "back")
	if got := where(s, "alice"); got != "new" {
		t.Errorf("got %s, want new", got)
	}
	s.Close()
	if text := log.String(); strings.Count(text, "cannot be reached") != 1 || !strings.Contains(text, "mapping store reached") || strings.Contains(text, "secret") {
		t.Errorf("logged:\n%s", text)
	}
}

// A server that accepts and says nothing costs a look-up its own time, not more.
func TestSilentServer(t *testing.T) {
	f := newFake(t)
	s, _ := open(t, f, nil)
	f.mu.Lock() // nobody is answered from here on
	limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, _, err := s.Lookup(limited, "alice")
	f.mu.Unlock()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestCloseTwice(t *testing.T) {
	s, err := New(Options{URL: "redis://127.0.0.1:1", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s.Watch(func() {}, func() {})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
