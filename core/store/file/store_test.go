package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(asWriter); path != "" {
		if err := writeForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1) // only a signal ends it
	}
	goleak.VerifyTestMain(m)
}

var ctx = context.Background()

// written is what a rewrite that changes nothing writes.
func written(s *Store) string {
	return string(bytes.Join(s.text(s.mappings.Load()), nil))
}

// open makes a file with the text and opens it.
func open(t *testing.T, text string, rules Rules) (*Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mappings.tsv")
	write(t, path, text)
	s, err := Open(path, Options{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// content reads the file and checks that nothing else is in its folder.
func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v, %v; want only the file", entries, err)
	}
	return string(text)
}

// where looks up in memory; "" is absent.
func where(t *testing.T, s *Store, identifier string) string {
	t.Helper()
	destination, found, err := s.Lookup(ctx, identifier)
	if err != nil || found != (destination != "") {
		t.Errorf("Lookup(%q) = %q, %v, %v", identifier, destination, found, err)
	}
	return destination
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mappings.tsv")
	if _, err := Open(path, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: got %v, want os.ErrNotExist", err)
	}
	write(t, path, "alice\nbob new\ncarol\n")
	_, err := Open(path, Options{})
	var p Problem
	if !errors.As(err, &p) || p.Line != 1 || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), path) {
		t.Errorf("bad lines: got %v, want path and lines 1 and 3", err)
	}
}

func TestWrites(t *testing.T) {
	put := func(identifier, destination string) func(*testing.T, *Store) {
		return func(t *testing.T, s *Store) {
			if err := s.Put(ctx, identifier, destination); err != nil {
				t.Errorf("Put(%q): %v", identifier, err)
			}
			if got := where(t, s, strings.ToLower(identifier)); got != destination {
				t.Errorf("after Put(%q): got %q, want %q", identifier, got, destination)
			}
		}
	}
	del := func(identifier string, want bool) func(*testing.T, *Store) {
		return func(t *testing.T, s *Store) {
			if existed, err := s.Delete(ctx, identifier); existed != want || err != nil {
				t.Errorf("Delete(%q) = %v, %v; want %v", identifier, existed, err, want)
			}
			if got := where(t, s, identifier); got != "" {
				t.Errorf("after Delete(%q): got %q, want nothing", identifier, got)
			}
		}
	}
	for _, c := range []struct {
		name, before string
		do           func(*testing.T, *Store)
		after        string
	}{
		{"first", "", put("alice", "new"), "alice\tnew\n"},
		{"sorted", "zoe  old\nbob old", put("alice", "new"), "alice\tnew\nbob\told\nzoe\told\n"},
		{"changed", "alice old\nbob old\n", put("alice", "new"), "alice\tnew\nbob\told\n"},
		{"normalised", "Alice old\n", put("ALICE", "new"), "alice\tnew\n"},
		{"nothing to do", "alice  new  # as it was\n", put("alice", "new"), "alice  new  # as it was\n"},
		{"longest line", "", put(strings.Repeat("a", maxIdentifierBytes), strings.Repeat("n", maxDestinationBytes)),
			strings.Repeat("a", maxIdentifierBytes) + "\t" + strings.Repeat("n", maxDestinationBytes) + "\n"},
		{"dash is a name", "", put("-", "-"), "-\t-\n"},
		{"removed", "alice old\nbob old\n", del("alice", true), "bob\told\n"},
		{"last one removed", "# c\nalice old\n", del("alice", true), "# c\n"},
		{"absent", "bob   old\n", del("alice", false), "bob   old\n"},
		{"remark sign absent", "#alice old\n", del("#alice", false), "#alice old\n"},
		{"head kept", bom + "# one\r\n\r\n# two\r\n\r\nbob old\r\n# gone\r\n", put("alice", "new"), "# one\n\n# two\nalice\tnew\nbob\told\n"},
		{"head without line end", "# one", put("alice", "new"), "# one\nalice\tnew\n"},
	} {
		s, path := open(t, c.before, Rules{Normalize: strings.ToLower})
		c.do(t, s)
		if got := content(t, path); got != c.after {
			t.Errorf("%s: got file %q, want %q", c.name, got, c.after)
		}
		if again, err := Open(path, Options{}); err != nil || again.Len() != s.Len() {
			t.Errorf("%s: opened again: %v", c.name, err)
		}
	}
}

// Many changes are one rewrite, one bad one is none.
func TestApply(t *testing.T) {
	const before = "# head\nbob old\nzoe old\n"
	for _, c := range []struct {
		name    string
		changes map[string]string
		after   string // empty: refused
		bad     error
	}{
		{"none", nil, before, nil},
		{"as it is", map[string]string{"bob": "old", "carol": ""}, before, nil},
		{"all kinds", map[string]string{"alice": "new", "BOB": "new", "zoe": "", "gone": ""}, "# head\nalice\tnew\nbob\tnew\n", nil},
		{"everything", map[string]string{"bob": "", "zoe": ""}, "# head\n", nil},
		{"bad identifier", map[string]string{"alice": "new", "#x": "new"}, "", ErrIdentifier},
		{"bad destination", map[string]string{"alice": "new", "x": "a b"}, "", errDestination},
	} {
		s, path := open(t, before, Rules{Normalize: strings.ToLower})
		err := s.Apply(ctx, c.changes)
		if !errors.Is(err, c.bad) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.bad)
		}
		want := c.after
		if c.bad != nil {
			want = before
		}
		if got := content(t, path); got != want {
			t.Errorf("%s: got file %q, want %q", c.name, got, want)
		}
		if got := listing(t, s); strings.TrimPrefix(strings.ReplaceAll(want, " old", "\told"), "# head\n") != got {
			t.Errorf("%s: got %q from All, want what is in the file", c.name, got)
		}
	}
}

// listing is what All says, as lines.
func listing(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	err := s.All(ctx, func(identifier, destination string) error {
		fmt.Fprintf(&b, "%s\t%s\n", identifier, destination)
		return nil
	})
	if err != nil {
		t.Errorf("All: %v", err)
	}
	return b.String()
}

// Writing from within All does not lock up; giving up is possible in both ways.
func TestAllGivesUp(t *testing.T) {
	s, _ := open(t, "a new\nb new\n", Rules{})
	errEnough := errors.New("enough")
	err := s.All(ctx, func(identifier, _ string) error {
		if err := s.Put(ctx, "c", "new"); err != nil {
			t.Error(err)
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("got %v, want the reader's error", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.All(ended, func(string, string) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestPutRefuses(t *testing.T) {
	const before = "# head\nbob old\n"
	for _, c := range []struct {
		identifier, destination string
		badIdentifier           bool
	}{
		{"", "new", true}, {"#alice", "new", true}, {"al ice", "new", true}, {"al\tice", "new", true}, {"alice\n", "new", true},
		{"\r", "new", true}, {"a\x00", "new", true}, {"a\xff", "new", true}, {bom + "alice", "new", true}, {`"alice"`, "new", true},
		{strings.Repeat("a", 513), "new", true},
		{"alice", "", false}, {"alice", "n w", false}, {"alice", "new\nbob new", false},
		{"alice", strings.Repeat("n", maxDestinationBytes+1), false},
	} {
		s, path := open(t, before, Rules{})
		err := s.Put(ctx, c.identifier, c.destination)
		if err == nil || errors.Is(err, ErrIdentifier) != c.badIdentifier {
			t.Errorf("Put(%q, %q) = %v; want an error, ErrIdentifier: %v", c.identifier, c.destination, err, c.badIdentifier)
		}
		if got := content(t, path); got != before || s.Len() != 1 {
			t.Errorf("Put(%q, %q) left file %q and %d mappings", c.identifier, c.destination, got, s.Len())
		}
	}
}

// Edits since the file was read are kept, and told.
func TestForeignEdits(t *testing.T) {
	put := func(s *Store) error { return s.Put(ctx, "alice", "new") }
	del := func(s *Store) error { _, err := s.Delete(ctx, "bob"); return err }
	for _, c := range []struct {
		name, edited string
		do           func(*Store) error
		after, told  string
	}{
		{"added", "bob old\ncarol third\n", put, "alice\tnew\nbob\told\ncarol\tthird\n", "carol"},
		{"removed", "", put, "alice\tnew\n", "bob"},
		{"changed, same length", "bob two\n", put, "alice\tnew\nbob\ttwo\n", "bob"},
		{"head", "# new head\nbob old\n", put, "# new head\nalice\tnew\nbob\told\n", ""},
		{"the same mapping", "alice new\nbob old\n", put, "alice new\nbob old\n", "alice"},
		{"removed what was to be removed", "carol new\n", del, "carol new\n", "bob carol"},
	} {
		s, path := open(t, "bob old\n", Rules{})
		var told []string
		s.Notify(func(identifiers []string) { told = append(told, identifiers...) })
		write(t, path, c.edited)
		if err := c.do(s); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		slices.Sort(told)
		if got := strings.Join(told, " "); got != c.told {
			t.Errorf("%s: told of %q, want %q", c.name, got, c.told)
		}
		if got := content(t, path); got != c.after {
			t.Errorf("%s: got file %q, want %q", c.name, got, c.after)
		}
	}
}

func TestWriteOverBadEdit(t *testing.T) {
	const edited = "bob old\ncarol\n"
	s, path := open(t, "bob old\n", Rules{})
	write(t, path, edited)
	var p Problem
	if err := s.Put(ctx, "alice", "new"); !errors.As(err, &p) || p.Line != 2 {
		t.Errorf("got %v, want the problem of line 2", err)
	}
	if got := content(t, path); got != edited || where(t, s, "alice") != "" {
		t.Errorf("file became %q, alice is on %q", got, where(t, s, "alice"))
	}
}

// An edit between reading and rename starts the write anew.
func TestEditDuringWrite(t *testing.T) {
	s, path := open(t, "bob old\n", Rules{})
	edits := 0
	s.rules.CheckDestination = func(string) error { // called while the file is read again, after its identity was taken
		if edits++; edits == 1 {
			write(t, path, "bob old\ncarol third\n")
		}
		return nil
	}
	if err := s.Put(ctx, "alice", "new"); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, path), "alice\tnew\nbob\told\ncarol\tthird\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEndlessRace(t *testing.T) {
	s, path := open(t, "bob old\n", Rules{})
	edits := 0
	s.rules.CheckDestination = func(string) error {
		edits++
		write(t, path, "bob old"+strings.Repeat(" ", edits)+"\n")
		return nil
	}
	if err := s.Put(ctx, "alice", "new"); !errors.Is(err, errRaced) {
		t.Errorf("got %v, want %v", err, errRaced)
	}
	content(t, path) // no temporary file is left
}

func TestReload(t *testing.T) {
	s, path := open(t, "alice old\nbob old\ncarol old\n", Rules{})
	write(t, path, "alice new\nbob old\ndave new\n")
	added, changed, removed, err := s.Reload(ctx)
	if got, want := fmt.Sprint(added, changed, removed, err), "[dave] [alice] [carol] <nil>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for identifier, want := range map[string]string{"alice": "new", "bob": "old", "carol": "", "dave": "new"} {
		if got := where(t, s, identifier); got != want {
			t.Errorf("%s: got %q, want %q", identifier, got, want)
		}
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	s, path := open(t, "alice old\n", Rules{CheckDestination: func(d string) error {
		if d == "bad" {
			return errors.New("not declared")
		}
		return nil
	}})
	write(t, path, "alice new\nbob\ncarol bad\n")
	_, _, _, err := s.Reload(ctx)
	for _, want := range []string{"line 2", "line 3"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	if got := where(t, s, "alice"); got != "old" {
		t.Errorf("alice: got %q, want old", got)
	}
}

func TestModeAndOwnerAreKept(t *testing.T) {
	s, path := open(t, "bob old\n", Rules{})
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // only root can give files away
		uid, gid = 12345, 23456
	}
	if err := errors.Join(os.Chown(path, uid, gid), os.Chmod(path, 0o604)); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "alice", "new"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o604 || int(st.Uid) != uid || int(st.Gid) != gid {
		t.Errorf("got %v %d:%d, want -rw----r-- %d:%d", info.Mode(), st.Uid, st.Gid, uid, gid)
	}
}

func TestLinkStaysLink(t *testing.T) {
	s, path := open(t, "bob old\n", Rules{})
	link := filepath.Join(t.TempDir(), "link.tsv")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	s.path = link
	if err := s.Put(ctx, "alice", "new"); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); to != path || err != nil {
		t.Errorf("link leads to %q, %v", to, err)
	}
	if got, want := content(t, path), "alice\tnew\nbob\told\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLeftoversAreSwept(t *testing.T) {
	s, path := open(t, "", Rules{})
	name := func(n string) string { return filepath.Join(filepath.Dir(path), n) }
	old, young, others := name(".mappings.tsv.1"+tempSuffix), name(".mappings.tsv.2"+tempSuffix), name(".other.tsv.3"+tempSuffix)
	for _, n := range []string{old, young, others} {
		write(t, n, "")
		if err := os.Chtimes(n, time.Time{}, time.Now().Add(-2*leftoverAge)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(young, time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "alice", "new"); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[string]bool{old: false, young: true, others: true, path: true} {
		if _, err := os.Stat(n); (err == nil) != want {
			t.Errorf("%s: there: %v, want %v", filepath.Base(n), err == nil, want)
		}
	}
}

// A file that was not changed lately is not read again for a write.
func TestUnchangedFileIsNotReadAgain(t *testing.T) {
	s, _ := open(t, "bob old\n", Rules{})
	reads := 0
	s.rules.CheckDestination = func(string) error { reads++; return nil }
	s.seen.recent = false // as if it had been read long after its last change
	if err := s.Put(ctx, "alice", "new"); err != nil || reads != 0 {
		t.Errorf("got %v after %d reads, want none", err, reads)
	}
	if err := s.Put(ctx, "carol", "new"); err != nil || reads != 0 {
		t.Errorf("just written by us: got %v after %d reads, want none", err, reads)
	}
}

// A file that shows no change may have been changed all the same while its clock stood still: what we wrote a moment ago
// is compared, what others wrote is read.
func TestEditThatDoesNotShow(t *testing.T) {
	for _, first := range []string{"ours", "theirs"} {
		s, path := open(t, "bob old\n", Rules{})
		if first == "ours" {
			if err := s.Put(ctx, "alice", "new"); err != nil {
				t.Fatal(err)
			}
		}
		text := content(t, path)
		for i, edited := range []string{strings.Replace(text, "old", "two", 1), strings.TrimSuffix(text, "\n"), text + "dave new\n"} {
			write(t, path, edited)
			s.seen = must(identify(os.Stat(path)))
			s.seen.recent = true
			if err := s.Put(ctx, "carol", fmt.Sprint("c", i)); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("bob\t%s\ncarol\tc%d\n", []string{"two", "old", "old"}[i], i) + []string{"", "", "dave\tnew\n"}[i]
			if got := content(t, path); strings.TrimPrefix(got, "alice\tnew\n") != want {
				t.Errorf("%s, edit %d: got %q, want %q", first, i, got, want)
			}
			if first == "theirs" {
				s, path = open(t, text, Rules{})
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestConcurrentWrites(t *testing.T) {
	s, path := open(t, "# head\n", Rules{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 4 {
				if err := s.Put(ctx, fmt.Sprintf("user%d.%d", i, j), "new"); err != nil {
					t.Error(err)
				}
				s.Lookup(ctx, "user0.0")
			}
		})
	}
	wg.Wait()
	again, err := Open(path, Options{})
	if err != nil || again.Len() != 64 || s.Len() != 64 {
		t.Errorf("got %d in the file, %d in memory, %v; want 64", again.Len(), s.Len(), err)
	}
}

// Writers that come while somebody writes share one rewrite, in the order in which they came.
func TestWritesShareARewrite(t *testing.T) {
	s, path := open(t, "zoe old\n", Rules{})
	s.writing <- struct{}{} // somebody writes
	const writers = 32
	var existed [writers]bool
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				err = s.Put(ctx, fmt.Sprintf("user%02d", i), "new")
			} else {
				existed[i], err = s.Delete(ctx, "zoe")
			}
			if err != nil {
				t.Error(err)
			}
		})
		for waits := 0; waits <= i; { // so that their order is known
			s.waiting.mu.Lock()
			waits = len(s.waiting.list)
			s.waiting.mu.Unlock()
			runtime.Gosched()
		}
	}
	before := must(os.Stat(path))
	s.unlock()
	wg.Wait()
	if after := must(os.Stat(path)); os.SameFile(before, after) || s.Len() != writers/2 {
		t.Errorf("the file was not written, or %d mappings are left, want %d", s.Len(), writers/2)
	}
	for i, e := range existed {
		if want := i == 1; e != want {
			t.Errorf("writer %d was told that zoe existed: %v, want %v", i, e, want)
		}
	}
	if again := must(Open(path, Options{})); again.Len() != writers/2 || s.waiting.list != nil {
		t.Errorf("%d mappings in the file, want %d; %d writes wait", again.Len(), writers/2, len(s.waiting.list))
	}
}

func TestWriteGivesUpWithItsCaller(t *testing.T) {
	s, _ := open(t, "", Rules{})
	s.writing <- struct{}{} // somebody writes
	ended, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := s.Put(ended, "alice", "new"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want context.DeadlineExceeded", err)
	}
	s.unlock()
	if err := s.Put(ended, "alice", "new"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("free again: got %v, want context.DeadlineExceeded", err)
	}
}

// Logs name lines, never accounts.
func TestWarningsAreLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mappings.tsv")
	write(t, path, strings.Repeat("alice new\n", 14))
	var log bytes.Buffer
	if _, err := Open(path, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	for want, n := range map[string]int{"repeated identifier": 10, "line=2 ": 1, "lines=3": 1, "alice": 0} {
		if got := strings.Count(log.String(), want); got != n {
			t.Errorf("%q: got %d times, want %d, in\n%s", want, got, n, log.String())
		}
	}
}
