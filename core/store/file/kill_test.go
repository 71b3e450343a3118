package file

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// asWriter makes the test binary a process that writes to the file it names, beginning with the write of fromWrite.
const (
	asWriter  = "MAILSPLICE_TEST_AS_WRITER"
	fromWrite = "MAILSPLICE_TEST_FROM_WRITE"
)

// mutation is the nth write of the process: mappings come, change and go, by themselves and many at once.
func mutation(n int) map[string]string {
	name := func(i int) string { return fmt.Sprintf("user%03d@example.org", i%97) }
	switch {
	case n%11 == 10:
		many := map[string]string{}
		for i := range 40 {
			many[name(n+i)] = fmt.Sprintf("destination%d", (n+i)%5)
		}
		return many
	case n%4 == 3:
		return map[string]string{name(3 * n): ""}
	}
	return map[string]string{name(7 * n): fmt.Sprintf("destination%d", n%5)}
}

// writeForever writes, and acknowledges each write by a line once it is done.
func writeForever(path string) error {
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(os.Getenv(fromWrite))
	for ; err == nil; n++ {
		c := mutation(n)
		if len(c) > 1 {
			err = s.Apply(ctx, c)
		} else {
			for identifier, destination := range c {
				if destination == "" {
					_, err = s.Delete(ctx, identifier)
				} else {
					err = s.Put(ctx, identifier, destination)
				}
			}
		}
		if err == nil {
			_, err = fmt.Println(n)
		}
	}
	return err
}

// doomed is a writer that is killed once it has acknowledged some writes; it tells the last one that it did.
func doomed(t *testing.T, path string, from, acknowledged int) (last int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asWriter+"="+path, fromWrite+"="+strconv.Itoa(from))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last = from - 1
	lines := bufio.NewReader(out)
	for i := 0; ; i++ {
		if i == acknowledged {
			cmd.Process.Kill()
		}
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // and half a line is no acknowledgement
		}
		if n, numErr := strconv.Atoi(strings.TrimSpace(line)); err != nil || numErr != nil || n != last+1 {
			t.Fatalf("writer said %q (%v), want %d", line, err, last+1)
		}
		last++
	}
	cmd.Wait() // killed
	if last < from {
		t.Fatal("the writer did not write at all")
	}
	return last
}

// A process that is killed while it writes, again and again, always leaves a whole file: with everything that it had
// acknowledged, and of the write it was at all or nothing (SPEC 8).
func TestKilledWriter(t *testing.T) {
	const rounds = 40
	const head = "# accounts that have moved\n# two lines of it\n"
	path := filepath.Join(t.TempDir(), "mappings.tsv")
	write(t, path, head)
	state, next, inTheMiddle := map[string]string{}, 0, 0
	apply := func(n int) {
		for identifier, destination := range mutation(n) {
			if destination == "" {
				delete(state, identifier)
			} else {
				state[identifier] = destination
			}
		}
	}
	for range rounds {
		last := doomed(t, path, next, 1+rand.IntN(12))
		for ; next <= last; next++ {
			apply(next)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := head + lines(state); string(text) != want {
			apply(next) // the write that nobody acknowledged is there
			next++
			if with := head + lines(state); string(text) != with {
				t.Fatalf("after write %d:\n%s\nwant\n%s\nor\n%s", last, text, want, with)
			}
		}
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := s.Len(); n != len(state) {
			t.Errorf("after write %d: got %d mappings, want %d", last, n, len(state))
		}
		left, err := filepath.Glob(filepath.Join(filepath.Dir(path), tempPrefix(path)+"*"+tempSuffix))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range left { // what the writer was at
			inTheMiddle++
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d writes, %d kills, %d of them before a rename", next, rounds, inTheMiddle)
}

// lines is a file's body with these mappings.
func lines(state map[string]string) string {
	var b strings.Builder
	for _, identifier := range slices.Sorted(maps.Keys(state)) {
		fmt.Fprintf(&b, "%s\t%s\n", identifier, state[identifier])
	}
	return b.String()
}
